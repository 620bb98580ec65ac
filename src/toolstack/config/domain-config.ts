/**
 * The configuration of one domain, whatever it came from: a typed object, with the defaults that the table of options
 * gives (option-table.ts).
 */
import type * as z from 'zod/mini'
import { nearestWord, XenError } from '../../util/index.ts'
import { defaultActions, type Actions, type Era } from './actions.ts'
import { USUAL_KINDS, type DeviceDescriptions, type DeviceKinds, type DomainDevices } from '../device-kinds/device-kinds.ts'
import { ACTION_NAMES, OBJECT_NAMES, optionsSchema } from './option-schemas.ts'
import { OPTIONS } from './option-table.ts'
import type { FileSource, GuestType } from './option-values.ts'
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
  /** MiB at start. Default 32, as xl has it. */
  readonly memory?: number | undefined
  /** MiB that the domain can ever have. Default: `memory`. */
  readonly maxMemory?: number | undefined
  /** Virtual CPUs online at start. Default 1. */
  readonly vcpus?: number | undefined
  /** Virtual CPUs that can ever be online. Default: `vcpus`. */
  readonly maxVcpus?: number | undefined
  /** What to do when the domain ends; those left out follow xl. */
  readonly actions?: { readonly [K in keyof Actions]?: Actions[K] | undefined } | undefined
  /** Ports that the domain may use. Default 1023. */
  readonly maxEventChannels?: number | undefined
  /** Frames that its grant table may grow to. Default 64. */
  readonly maxGrantFrames?: number | undefined
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
  readonly actions: Actions
  readonly maxEventChannels: number
  readonly maxGrantFrames: number
  /** For a domain that came by a stream: what of this host the stream may name, also at the domain's next starts. */
  readonly trust?: StreamTrust | undefined
}

/** Turns zod's first complaint into an error that names the option, and the nearest one when it is unknown. */
function complain(issue: z.core.$ZodIssue, { further }: DeviceKinds): never {
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0]!
    const place = issue.path.join('.')
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

/** What a domain's option is unless given. Where the table has none it is undefined. */
type Defaults = Pick<DomainConfig, 'type' | 'bootloaderArgs' | 'commandLine' | 'memory' | 'vcpus' | 'maxEventChannels' | 'maxGrantFrames'>

/** The table's defaults; its rows and the fields of {@link DomainConfig} are of the same types, which a test holds. */
const defaults = (): Defaults => Object.fromEntries(
  Object.entries(OPTIONS).flatMap(([name, { fallback }]) => (fallback === undefined ? [] : [[name, fallback]]))) as Defaults & object

/** The values that are there. */
const given = <T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } =>
  // What is filtered out is exactly what the type excludes.
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as { [K in keyof T]?: Exclude<T[K], undefined> }

/** Fills in the defaults and checks everything. Throws INVALID_CONFIG. */
export function resolveDomainOptions<Kernel>(
  options: DomainOptions<Kernel>, era: Era = 'xl', kinds: DeviceKinds = USUAL_KINDS,
): DomainConfig<Kernel> {
  const result = optionsSchema(kinds).safeParse(options)
  if (!result.success) complain(result.error.issues[0]!, kinds)
  const { actions = {}, name, uuid, ramdisk, bootloader, ...rest } = result.data
  const filled = { ...defaults(), ...given(rest) }
  const maxMemory = filled.maxMemory ?? filled.memory
  const maxVcpus = filled.maxVcpus ?? filled.vcpus
  if (maxMemory < filled.memory) throw tooSmall('maxMemory', maxMemory, 'memory', filled.memory)
  if (maxVcpus < filled.vcpus) throw tooSmall('maxVcpus', maxVcpus, 'vcpus', filled.vcpus)
  return {
    ...filled, name, maxMemory, maxVcpus, ramdisk, bootloader,
    uuid: uuid?.toLowerCase(),
    kernel: options.kernel,
    ...kinds.resolved(result.data),
    actions: { ...defaultActions(era), ...given(actions) },
  }
}

function tooSmall(name: string, value: number, than: string, least: number): XenError {
  return new XenError('INVALID_CONFIG', `${name} ${value} is less than ${than} ${least}`, {
    details: { key: name, value, least },
  })
}
