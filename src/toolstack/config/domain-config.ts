/**
 * The configuration of one domain, whatever it came from: a typed object, with the defaults that the table of options
 * gives (option-table.ts).
 */
import type * as z from 'zod/mini'
import type { SchedulerName } from '../../hypervisor/index.ts'
import { nearestWord, thrownMessage, XenError } from '../../util/index.ts'
import { defaultActions, type Actions, type Era } from './actions.ts'
import { USUAL_KINDS, type DeviceDescriptions, type DeviceKinds, type DomainDevices } from '../device-kinds/device-kinds.ts'
import { ACTION_NAMES, OBJECT_NAMES, optionsSchema } from './option-schemas.ts'
import { OPTIONS, REFUSED_OPTIONS } from './option-table.ts'
import type { FileSource, GuestType, TscMode } from './option-values.ts'
import type { StreamTrust } from './stream-trust.ts'

/** What a caller may say about a domain; everything but the name has a default. */
export interface DomainOptions<Kernel = FileSource> extends DeviceDescriptions {
  /** Unique among the host's domains. */
  readonly name: string
  /** Kind of guest. Default `pv`. */
  readonly type?: GuestType | undefined
  /** Chosen at random when absent. */
  readonly uuid?: string | undefined
  /** What runs in the domain; the embedded kernel when absent. */
  readonly kernel?: Kernel | undefined
  readonly ramdisk?: FileSource | undefined
  /** What finds kernel and ramdisk in the domain's own first disk: `pygrub`, also with a path in front. */
  readonly bootloader?: string | undefined
  /** Arguments of the boot loader. */
  readonly bootloaderArgs?: readonly string[] | undefined
  /** Passed to the kernel. */
  readonly commandLine?: string | undefined
  /** MiB at start, below 1 in whole pages: `memory: 0.25` is 64 of them. Default 32, as xl has it. */
  readonly memory?: number | undefined
  /** MiB that the domain can ever have. Default: `memory`. */
  readonly maxMemory?: number | undefined
  /** Virtual CPUs online at start. Default 1. */
  readonly vcpus?: number | undefined
  /** Virtual CPUs that can ever be online. Default: `vcpus`. */
  readonly maxVcpus?: number | undefined
  /** Pool of CPUs on which it runs, by name. Default `Pool-0`. */
  readonly pool?: string | undefined
  /** Physical CPUs that its vCPUs may run on, as `0-3,^1`; a list has a text for each vCPU. Default: all. */
  readonly cpus?: string | readonly string[] | undefined
  /** Physical CPUs that its vCPUs should run on while they can. Default: all. */
  readonly cpusSoft?: string | readonly string[] | undefined
  /** Scheduler that the next options are for: that of its pool. */
  readonly sched?: SchedulerName | undefined
  /** Share of CPU time beside others' (credit, credit2). Default 256. */
  readonly cpuWeight?: number | undefined
  /** Most CPU time in percent of one CPU (credit, credit2). Default 0, no cap. */
  readonly cap?: number | undefined
  /** Microseconds of each vCPU's period (rtds). Default 10000. */
  readonly period?: number | undefined
  /** Microseconds of CPU time in each period (rtds). Default 4000. */
  readonly budget?: number | undefined
  /** 1 where vCPUs go on after their budget while nobody else needs the CPU (rtds), or 0. Default 1. */
  readonly extraTime?: number | undefined
  /** Whether its memory is kept aside for it while it is built or comes in. Default true. */
  readonly claimMode?: boolean | undefined
  /** What CPUID tells it: `host,avx=0,avx2=0`, or a list as `1:ecx=xxx...` with 32 characters for a register. Default: what the host offers. */
  readonly cpuid?: string | readonly string[] | undefined
  /** Whether its wall clock shows the host's local time instead of UTC. Default false. */
  readonly localTime?: boolean | undefined
  /** Seconds by which its wall clock is ahead of that. Default 0. */
  readonly timeOffset?: number | undefined
  /** How it sees the time-stamp counter: as its host has it unless that is another frequency than where it comes from, as one of its own, as its host has it. Default `default`. */
  readonly tscMode?: TscMode | undefined
  /** Whether saving and moving it are refused. Default false. */
  readonly noMigrate?: boolean | undefined
  /** Whether its kernel serves devices of others: the toolstack stands in for the hotplug scripts in it. Default false. */
  readonly driverDomain?: boolean | undefined
  /** Frames of records of grants that it maps. Default 1024. */
  readonly maxMaptrackFrames?: number | undefined
  /** What to do when the domain ends; those left out follow xl. */
  readonly actions?: { readonly [K in keyof Actions]?: Actions[K] | undefined } | undefined
  /** Ports that the domain may use. Default 1023. */
  readonly maxEventChannels?: number | undefined
  /** Frames that its grant table may grow to. Default 64. */
  readonly maxGrantFrames?: number | undefined
  /** Newest version of grant tables that it may change to, 1 or 2. Default 2. */
  readonly maxGrantVersion?: number | undefined
}

/** A complete configuration: every default filled in, every specification parsed. */
export interface DomainConfig<Kernel = FileSource> extends DomainDevices {
  readonly name: string
  readonly type: GuestType
  readonly uuid: string | undefined
  readonly kernel: Kernel | undefined
  readonly ramdisk: FileSource | undefined
  readonly bootloader: string | undefined
  readonly bootloaderArgs: readonly string[]
  readonly commandLine: string
  readonly memory: number
  readonly maxMemory: number
  readonly vcpus: number
  readonly maxVcpus: number
  readonly pool: string | undefined
  readonly cpus: string | readonly string[] | undefined
  readonly cpusSoft: string | readonly string[] | undefined
  readonly sched: SchedulerName | undefined
  readonly cpuWeight: number | undefined
  readonly cap: number | undefined
  readonly period: number | undefined
  readonly budget: number | undefined
  readonly extraTime: number | undefined
  /** Entries as `0x1:ecx=xxx...`; none where nothing is said. */
  readonly cpuid: readonly string[]
  readonly claimMode: boolean
  readonly localTime: boolean
  readonly timeOffset: number
  readonly tscMode: TscMode
  readonly noMigrate: boolean
  readonly driverDomain: boolean
  readonly maxMaptrackFrames: number
  readonly actions: Actions
  readonly maxEventChannels: number
  readonly maxGrantFrames: number
  readonly maxGrantVersion: number
  /** For a domain that came by a stream: what of this host the stream may name, also at the domain's next starts. */
  readonly trust?: StreamTrust | undefined
}

/** Turns zod's first complaint into an error that names the option, and the nearest one when it is unknown. */
function complain(issue: z.core.$ZodIssue, { further }: DeviceKinds): never {
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0]!
    const place = issue.path.join('.')
    const refused = place === '' && Object.hasOwn(REFUSED_OPTIONS, key) ? REFUSED_OPTIONS[key] : undefined
    if (refused !== undefined) throw new XenError('NOT_SUPPORTED', `${key} is refused: ${refused}`, { details: { key } })
    // Known words where an object stands within the options.
    const known: Readonly<Record<string, readonly string[]>> = { actions: ACTION_NAMES, devices: further.map(({ name }) => name) }
    const nearest = nearestWord(key, known[place] ?? OBJECT_NAMES)
    const hint = nearest === undefined ? '' : `; did you mean ${nearest}?`
    throw new XenError('INVALID_CONFIG', `unknown option ${place === '' ? key : `${place}.${key}`}${hint}`, { details: { key, nearest } })
  }
  if (issue.path.length === 0) {
    throw new XenError('INVALID_CONFIG', 'the description of a domain must be a text or an object', { details: { key: '' } })
  }
  const key = issue.path.join('.')
  throw new XenError('INVALID_CONFIG', `${key} ${issue.message}`, { details: { key } })
}

/** Throws INVALID_ARGUMENT for what no domain can be called. */
export function checkDomainName(name: unknown): void {
  const result = OPTIONS.name.value.object.safeParse(typeof name === 'object' ? null : name)
  if (!result.success) throw new XenError('INVALID_ARGUMENT', `the name ${result.error.issues[0]!.message}`, { details: { name } })
}

/** What a domain's option is unless given. Where the table has none it is undefined. */
type Defaults = Pick<DomainConfig, 'type' | 'bootloaderArgs' | 'cpuid' | 'commandLine' | 'memory' | 'vcpus' | 'claimMode' | 'localTime' | 'timeOffset' | 'tscMode' | 'noMigrate' | 'driverDomain' | 'maxMaptrackFrames' | 'maxEventChannels' | 'maxGrantFrames' | 'maxGrantVersion'>

/** The table's defaults; its rows and the fields of {@link DomainConfig} are of the same types, which a test holds. */
const defaults = (): Defaults => Object.fromEntries(
  Object.entries(OPTIONS).flatMap(([name, { fallback }]) => (fallback === undefined ? [] : [[name, fallback]]))) as Defaults & object

/** Options that are undefined unless given. */
const absent = {
  ramdisk: undefined, bootloader: undefined, pool: undefined, cpus: undefined, cpusSoft: undefined, sched: undefined,
  cpuWeight: undefined, cap: undefined, period: undefined, budget: undefined, extraTime: undefined,
} as const

/** A configuration while it is made. */
type Draft<T> = { -readonly [K in keyof T]: T[K] }

/** The configuration of which nothing was given. */
let nothingGiven: DomainConfig<undefined> | undefined

/** A configuration with everything as it is unless given: a copy, as putting one together costs ten times as much. */
function draft(): Draft<DomainConfig<undefined>> {
  nothingGiven ??= {
    ...absent, ...defaults(), name: '', maxMemory: 0, maxVcpus: 0, uuid: undefined, kernel: undefined,
    disks: [], nics: [], channels: [], folders: [], framebuffers: [], keyboards: [], actions: defaultActions('xl'),
  }
  return { ...nothingGiven }
}

/** Puts the values that are there in the place of an object's own. */
function fillIn<T extends object>(object: T, values: { readonly [K in keyof T]?: unknown }): T {
  // A schema has looked at them.
  for (const name of Object.keys(values) as (keyof T)[]) if (values[name] !== undefined) object[name] = values[name] as T[keyof T]
  return object
}

/** What the schema makes of options. Throws INVALID_CONFIG where a getter or a trap of the caller's throws. */
function parsed<Kernel>(options: DomainOptions<Kernel>, kinds: DeviceKinds): ReturnType<ReturnType<typeof optionsSchema>['safeParse']> {
  try {
    return optionsSchema(kinds).safeParse(options)
  } catch (error) {
    if (XenError.is(error)) throw error
    throw new XenError('INVALID_CONFIG', `the options of a domain cannot be read: ${thrownMessage(error)}`, { details: { thrown: error } })
  }
}

/** Fills in the defaults and checks everything. Throws INVALID_CONFIG. */
export function resolveDomainOptions<Kernel>(
  options: DomainOptions<Kernel>, era: Era = 'xl', kinds: DeviceKinds = USUAL_KINDS,
): DomainConfig<Kernel> {
  const result = parsed(options, kinds)
  if (!result.success) complain(result.error.issues[0]!, kinds)
  const { actions = {}, uuid, ...rest } = result.data
  const filled = fillIn(draft(), rest)
  const maxMemory = rest.maxMemory ?? filled.memory
  const maxVcpus = rest.maxVcpus ?? filled.vcpus
  if (maxMemory < filled.memory) throw tooSmall('maxMemory', maxMemory, 'memory', filled.memory)
  if (maxVcpus < filled.vcpus) throw tooSmall('maxVcpus', maxVcpus, 'vcpus', filled.vcpus)
  return Object.assign(filled, kinds.resolved(result.data), {
    maxMemory, maxVcpus, uuid: uuid?.toLowerCase(), kernel: options.kernel,
    actions: fillIn({ ...defaultActions(era) }, actions),
  })
}

function tooSmall(name: string, value: number, than: string, least: number): XenError {
  return new XenError('INVALID_CONFIG', `${name} ${value} is less than ${than} ${least}`, {
    details: { key: name, value, least },
  })
}
