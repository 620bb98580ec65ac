/**
 * The configuration of one domain, whatever it came from: a typed object whose defaults stand here and nowhere else.
 */
import * as z from 'zod'
import { nearestWord, XenError } from '../../util/index.ts'
import { ACTIONS, defaultActions, type Actions, type Era } from './actions.ts'
import { resolveDisk, resolveNic, type DiskDescription, type NicDescription } from './device-options.ts'
import type { DiskConfig } from './disk-specification.ts'
import type { NicConfig } from './nic-specification.ts'
import type { StreamTrust } from './stream-trust.ts'

/** A file's bytes, or the name under which the host's file source knows it. */
export type FileSource = string | Uint8Array

/** Defaults to MiB of memory that xl uses when a description gives none. */
const DEFAULT_MEMORY = 32
/** xl names a file of its log after the domain. */
const LONGEST_NAME = 200
/** Most MiB of a domain: no host has more. */
export const MAX_MEMORY = 4096

/** What a caller may say about a domain; everything but the name has a default. */
export interface DomainOptions<Kernel = FileSource> {
  /** Unique among the host's domains. */
  readonly name: string
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
  /** Disk specifications as text or as objects, such as `{ vdev: 'xvda', target: 'disk.img' }`. */
  readonly disks?: readonly (string | DiskDescription)[] | undefined
  /** NIC specifications as text or as objects, such as `{ bridge: 'xenbr1' }`. */
  readonly nics?: readonly (string | NicDescription)[] | undefined
  /** What to do when the domain ends; those left out follow xl. */
  readonly actions?: { readonly [K in keyof Actions]?: Actions[K] | undefined } | undefined
  /** Ports that the domain may use. Default 1023. */
  readonly maxEventChannels?: number | undefined
  /** Frames that its grant table may grow to. Default 64. */
  readonly maxGrantFrames?: number | undefined
}

/** A complete configuration: every default filled in, every specification parsed. */
export interface DomainConfig<Kernel = FileSource> {
  readonly name: string
  readonly type: 'pv'
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
  readonly disks: readonly DiskConfig[]
  readonly nics: readonly NicConfig[]
  readonly actions: Actions
  readonly maxEventChannels: number
  readonly maxGrantFrames: number
  /** For a domain that came by a stream: what of this host the stream may name, also at the domain's next starts. */
  readonly trust?: StreamTrust | undefined
}

const whole = (least: number, most: number) =>
  z.int({ error: ({ input }) => `must be a whole number, got ${JSON.stringify(input)}` })
    .min(least, { error: `must be at least ${least}` })
    .max(most, { error: `must be at most ${most}` })

const listOf = <T extends string | object>(what: string) =>
  z.array(z.custom<T>((v) => typeof v === 'string' || (typeof v === 'object' && v !== null), { error: `must be ${what}` }), {
    error: `must be a list: ${what}`,
  }).default([])

const fileSource = /* @__PURE__ */ z.union([z.string().min(1), z.instanceof(Uint8Array)], {
  error: 'must be a path or bytes',
})
const action = /* @__PURE__ */ z.enum(ACTIONS, { error: `must be one of ${ACTIONS.join(', ')}` })

const shape = {
  // A slash would make a name that XenStore paths and tools cannot hold.
  name: z.string({ error: 'must be a string' }).min(1, { error: 'must not be empty' })
    .max(LONGEST_NAME, { error: `must be at most ${LONGEST_NAME} characters long` })
    .regex(/^[^/\u0000-\u001f]+$/, { error: 'must have neither a slash nor control characters' }),
  uuid: z.string().regex(/^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/, { error: 'is not a UUID' }).optional(),
  kernel: z.unknown().optional(),
  ramdisk: fileSource.optional(),
  bootloader: z.string({ error: 'must be a string' }).min(1, { error: 'must not be empty' }).optional(),
  bootloaderArgs: z.array(z.string(), { error: 'must be a list of strings' }).default([]),
  commandLine: z.string({ error: 'must be a string' }).default(''),
  memory: whole(1, MAX_MEMORY).default(DEFAULT_MEMORY),
  maxMemory: whole(1, MAX_MEMORY).optional(),
  vcpus: whole(1, 128).default(1),
  maxVcpus: whole(1, 128).optional(),
  disks: listOf<string | DiskDescription>('a text or an object for each disk'),
  nics: listOf<string | NicDescription>('a text or an object for each network interface'),
  actions: z.strictObject({ poweroff: action, reboot: action, crash: action, watchdog: action, softReset: action })
    .partial().default({}),
  maxEventChannels: whole(1, 131071).default(1023),
  maxGrantFrames: whole(1, 1024).default(64),
}

/** Known words where an object stands within the options. */
const KNOWN: Readonly<Record<string, readonly string[]>> = { actions: ['poweroff', 'reboot', 'crash', 'watchdog', 'softReset'] }

const OptionsSchema = /* @__PURE__ */ z.strictObject(shape)

/** Turns zod's first complaint into an error that names the option, and the nearest one when it is unknown. */
function complain(issue: z.core.$ZodIssue): never {
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0]!
    const place = issue.path.join('.')
    const nearest = nearestWord(key, KNOWN[place] ?? Object.keys(shape))
    const hint = nearest === undefined ? '' : `; did you mean ${nearest}?`
    throw new XenError('INVALID_CONFIG', `unknown option ${place === '' ? key : `${place}.${key}`}${hint}`, { details: { key, nearest } })
  }
  if (issue.path.length === 0) {
    throw new XenError('INVALID_CONFIG', 'the description of a domain must be a text or an object', { details: { key: '' } })
  }
  const key = issue.path.join('.')
  throw new XenError('INVALID_CONFIG', `${key} ${issue.message}`, { details: { key } })
}

/** Fills in the defaults and checks everything. Throws INVALID_CONFIG. */
export function resolveDomainOptions<Kernel>(options: DomainOptions<Kernel>, era: Era = 'xl'): DomainConfig<Kernel> {
  const result = OptionsSchema.safeParse(options)
  if (!result.success) complain(result.error.issues[0]!)
  const { disks, nics, actions, ...rest } = result.data
  const maxMemory = rest.maxMemory ?? rest.memory
  const maxVcpus = rest.maxVcpus ?? rest.vcpus
  if (maxMemory < rest.memory) throw tooSmall('maxMemory', maxMemory, 'memory', rest.memory)
  if (maxVcpus < rest.vcpus) throw tooSmall('maxVcpus', maxVcpus, 'vcpus', rest.vcpus)
  const given = Object.fromEntries(Object.entries(actions).filter(([, value]) => value !== undefined))
  return {
    ...rest, maxMemory, maxVcpus,
    type: 'pv',
    uuid: rest.uuid?.toLowerCase(),
    ramdisk: rest.ramdisk,
    bootloader: rest.bootloader,
    kernel: options.kernel,
    disks: distinctDisks(disks.map(resolveDisk)),
    nics: nics.map(resolveNic),
    actions: { ...defaultActions(era), ...given },
  }
}

function tooSmall(name: string, value: number, than: string, least: number): XenError {
  return new XenError('INVALID_CONFIG', `${name} ${value} is less than ${than} ${least}`, {
    details: { key: name, value, least },
  })
}

/** Two disks under one name would share one XenStore directory. */
function distinctDisks(disks: readonly DiskConfig[]): readonly DiskConfig[] {
  const seen = new Set<number>()
  for (const { vdev } of disks) {
    if (seen.has(vdev.number)) {
      throw new XenError('INVALID_CONFIG', `two disks are called ${vdev.name}`, {
        details: { key: 'disks', vdev: vdev.name },
      })
    }
    seen.add(vdev.number)
  }
  return disks
}
