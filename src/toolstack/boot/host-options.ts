/** What a host is booted with; checked here, with the defaults. */
import * as z from 'zod/mini'
import { checkUserNetwork } from '../../drivers/index.ts'
import { SCHEDULER_NAMES, type Policy, type PolicyChoice, type SchedulerName } from '../../hypervisor/index.ts'
import { DEFAULT_LEVEL, PROCESSOR_LEVELS, type CompilerOptions, type ProcessorLevel } from '../../machine/index.ts'
import {
  duration as durationCheck, nearestWord, parseDuration, shown, thrownMessage, XenError,
  type Duration, type Random,
} from '../../util/index.ts'
import { parseSize } from '../grub/memory-size.ts'
import type { CoreOpener } from '../core-dump/core-dumper.ts'
import type { DeviceConfiguration } from '../device-kinds/described-device.ts'
import { DeviceKinds, USUAL_KINDS } from '../device-kinds/device-kinds.ts'
import type { ServedDevice, SplitDevice } from '../device-kinds/served-device.ts'
import { SERVED_KINDS } from '../device-kinds/served-kinds.ts'
import type { DiskOpener, FolderOpener, Networks } from '../device-kinds/device-sources.ts'
import type { Decompressor } from '../image/unpack.ts'
import { UnpackedKernels } from '../image/unpacked-kernels.ts'
import type { HostInterference } from '../run/host-interference.ts'
import type { FileReader } from '../config/files.ts'
import type { OperationStep } from '../run/operation.ts'
import type { FileSource } from '../config/option-values.ts'
import { DOM0_SERVICES, hasOwnServices, type Dom0Choice, type Dom0Services } from '../initial-domain/hardware-domain.ts'
import type { Dom0Image } from '../initial-domain/linux-dom0.ts'
import type { MemoryPolicy } from '../memory/memory-policy.ts'
import { mostMebibytes } from './machine-size.ts'

/** How a host's time passes. */
export type ClockKind = 'virtual' | 'realtime'

/** A kernel of one's own for dom0. */
export interface Dom0BootOptions extends Dom0Image {
  /** Its memory: MiB, or a text such as `'512M'`. Default: `dom0Memory` of the host, what the grub.conf says, or 512. */
  readonly memory?: number | string | undefined
  /** Its vCPUs. Default 1, or what the grub.conf says. */
  readonly vcpus?: number | undefined
  /**
   * Who serves XenStore, consoles and devices. `'dom0'` (default): its own daemons and drivers, as on a real host. `'host'`: this library, of
   * whose kernel in domain 0 it is a client; it is privileged, is domain 1 by the name `dom0`, and may serve devices of others (`backend: 'dom0'`).
   */
  readonly services?: Dom0Services | undefined
}

/** Settings of a host; everything has a default. */
export interface HostOptions {
  /**
   * A kernel for dom0, such as Debian's Linux with Xen's own tools: XenStore, consoles and back-ends run in it, and domains are made
   * by its `xl`, unless `services` says otherwise. Default: what `grubConf` names, where `files` has it, or else a kernel of this library, which serves them itself.
   */
  readonly dom0?: Dom0BootOptions | undefined
  /** Memory for dom0 and all guests together: MiB, or a text such as `'1G'`. Default 512, or 1024 with a kernel for dom0. */
  readonly memory?: number | string | undefined
  /** Dom0's memory, written alike. Default 64, or what the grub.conf says. */
  readonly dom0Memory?: number | string | undefined
  /** Text of a grub.conf, or of GRUB 2's grub.cfg, that boots Xen; its options count where none is given here. */
  readonly grubConf?: string | undefined
  /**
   * `virtual` (default): time follows executed instructions and jumps over idle time; a run can be repeated exactly.
   * `realtime`: time follows the wall, to which it is brought up every million instructions; an idle host waits.
   */
  readonly clock?: ClockKind | undefined
  /**
   * How long, by the wall, a host on which nothing can happen any more waits for something from outside (code of yours, a
   * socket) before everything that is awaited is rejected with IDLE; `'wait'`: for ever. Default `'1s'`, and `'wait'` for a
   * real-time host.
   */
  readonly idle?: Duration | 'wait' | undefined
  /** Seed of everything random. Default 1. */
  readonly seed?: number | undefined
  /**
   * What guests' RDRAND and RDSEED read. By default numbers that follow from the seed, so that a run repeats; a host
   * whose guests keep secrets gives a real source.
   */
  readonly entropy?: Random | undefined
  /** Instructions per second of virtual time, and the most that a physical CPU of a real-time host executes. Default 10^9. */
  readonly instructionsPerSecond?: number | undefined
  /**
   * How hot code of guests is compiled to WebAssembly, see {@link CompilerOptions}; `'off'`: not at all. What guests compute, and
   * when, is the same.
   */
  readonly compiler?: 'off' | CompilerOptions | undefined
  /**
   * Level of the x86-64 psABI that guests' processors have: `'x86-64-v3'` (default), with AVX2, or `'x86-64-v2'`. A saved domain
   * that was shown more than a host has is refused there.
   */
  readonly cpu?: ProcessorLevel | undefined
  /** Physical CPUs. Default 1. */
  readonly cpus?: number | undefined
  /** Scheduler of the first pool of CPUs. Default `credit2`, or what the grub.conf says. */
  readonly scheduler?: SchedulerName | undefined
  /** Its parameters as a whole, such as `ratelimit` in microseconds; those that are left out have the grub.conf's values, or its defaults. */
  readonly schedulerParameters?: Readonly<Record<string, number>> | undefined
  /** Calendar time at boot. Default: now for a real-time host, 2005-10-24 for a virtual one, so that runs repeat. */
  readonly bootTime?: Date | undefined
  /** Seconds by which local time is ahead of UTC, for domains with `localtime`. Default: here and now for a real-time host, 0 for a virtual one. */
  readonly timeZoneOffset?: number | undefined
  /** Where the files named in configurations come from. */
  readonly files?: FileReader | undefined
  /** Unpacks kernels in formats other than gzip; see `paravirt/decompress`. */
  readonly decompress?: Decompressor | undefined
  /**
   * Kernels that have been unpacked, so that the next domain of the same kernel is made faster; hosts that are given the same
   * ones share them. Default: the host's own, of at most a sixteenth of its memory.
   */
  readonly kernels?: UnpackedKernels | undefined
  /** Opens the targets of disks; see `paravirt/node` for files. Without it a domain with disks is refused. */
  readonly openDisk?: DiskOpener | undefined
  /** Opens the paths of folders; see `paravirt/node` and `paravirt/browser`. Without it a domain with folders is refused. */
  readonly openFolder?: FolderOpener | undefined
  /**
   * Networks without privileges, by the bridges that they are at: guests with an interface there get an address by DHCP, ask names, and reach by
   * TCP and UDP what the network's outside lets them; see `nodeOutside` of `paravirt/node`. 16 at most.
   *
   * @example
   * const host = await Host.boot({ networks: { xenbr0: { outside: nodeOutside(), forward: [{ tcp: 8080, to: 80 }] } } })
   */
  readonly networks?: Networks | undefined
  /**
   * Whether dom0 gives memory up where a new domain needs more than is free, as `autoballoon` of xl.conf. Default: unless dom0's memory is
   * said, here or by `dom0_mem` of the grub.conf.
   */
  readonly autoballoon?: boolean | undefined
  /** Who gives memory up for a new domain, where somebody does. Default: `balloonDom0`. */
  readonly memoryPolicy?: MemoryPolicy | undefined
  /** Kinds of devices that its domains may have beside disks and network interfaces. */
  readonly deviceKinds?: readonly SplitDevice[] | undefined
  /**
   * How many MiB the pages of moments may take that are taken of the host and of all that branches from it, and what happens to
   * one more: it is refused with OUT_OF_MEMORY (`'refuse'`, the default), or the oldest without a label go (`'evict'`). Default 1024 MiB.
   * `ready`: the machines that the first checkpoint makes ready for branches, as `moment.prepare` does; each takes what the moment takes. Default 1.
   */
  readonly moments?: { readonly memory?: number | string | undefined; readonly whenFull?: 'refuse' | 'evict' | undefined; readonly ready?: number | undefined } | undefined
  /** What comes between the host's parts, for tests: see `paravirt/testing`. Absent: nothing, at no cost. */
  readonly interference?: HostInterference | undefined
  /** Where the cores of domains go whose description asks for a dump at their end; without it there is none. */
  readonly openCore?: CoreOpener | undefined
  /**
   * Who may ask what of whom, in the place of Xen's security modules: `'dummy'` (the default), what the ABI says; `'silo'`, which
   * keeps guests from each other, so that they share memory and events with dom0 alone; or a policy of your own.
   */
  readonly policy?: PolicyChoice | undefined
  /**
   * Hears of each step of each operation while there is a way back; what it throws is what the operation fails with at that
   * step. For tests of what has to hold when operations fail or are given up anywhere.
   */
  readonly onOperationStep?: ((step: OperationStep) => void) | undefined
}

/** Long enough for code that goes on after some work of its own, short for somebody who watches a test hang. */
const IDLE_PATIENCE = '1s'
/** Of a host's memory, as much is kept of unpacked kernels: hosts for one small guest keep none of Linux's size. */
const KEPT_SHARE = 1 / 16
/** User-mode networks of a host. */
const MOST_NETWORKS = 16
/** MiB of a host. */
const DEFAULT_MEMORY = 512
const DEFAULT_MEMORY_OF_LINUX = 1024
/** Any fixed day would do. */
const VIRTUAL_BOOT = /* @__PURE__ */ new Date('2005-10-24T12:00:00Z')

const whole = (name: string, least: number, most: number, kind = 'a whole number') =>
  z.int({ error: ({ input }) => `${name} must be ${kind}, got ${shown(input)}` })
    .check(z.minimum(least, { error: `${name} must be at least ${least}` }), z.maximum(most, { error: `${name} must be at most ${most}` }))

const bytesAsMebibytes = /* @__PURE__ */ z.transform((value: unknown) => {
  const bytes = typeof value === 'string' ? parseSize(value) : undefined
  return bytes === undefined ? value : bytes / 2 ** 20
})

/** MiB, or a size with its unit. */
const sized = (name: string, least: number, most: number) =>
  z.pipe(bytesAsMebibytes, whole(name, least, most, 'a whole number of MiB or a size such as "512M"'))

/** Of a machine; the bound is what one holds, and is told with its number. */
const mebibytes = (name: string, least: number) => sized(name, least, Number.MAX_SAFE_INTEGER).check(z.superRefine((value, context) => {
  const most = mostMebibytes()
  if (value <= most) return
  context.addIssue({ code: 'custom', message: `${name} must be at most ${most}: a machine has no more MiB than that, got ${value}` })
}))

const source = (name: string) => z.optional(z.custom<FileSource>((value) => typeof value === 'string' || value instanceof Uint8Array, {
  error: `${name} must be a path or bytes`,
}))

const shape = {
  dom0: z.optional(z.strictObject({
    kernel: source('dom0.kernel'), ramdisk: source('dom0.ramdisk'),
    commandLine: z.optional(z.string({ error: 'dom0.commandLine must be a text' })),
    memory: z.optional(mebibytes('dom0.memory', 1)), vcpus: z.optional(whole('dom0.vcpus', 1, 128)),
    services: z._default(z.enum(DOM0_SERVICES, { error: 'dom0.services must be "dom0" or "host"' }), 'dom0'),
  }, { error: 'dom0 must be an object with a kernel' })),
  memory: z.optional(mebibytes('memory', 8)),
  dom0Memory: z.optional(mebibytes('dom0Memory', 1)),
  grubConf: z.optional(z.string({ error: 'grubConf must be a text' })),
  clock: z._default(z.enum(['virtual', 'realtime'], { error: 'clock must be "virtual" or "realtime"' }), 'virtual'),
  idle: z.optional(z.custom<Duration>((value) => value === 'wait' || durationCheck()(value) === undefined, {
    error: 'idle must be a length of time such as "1s", or "wait"',
  })),
  seed: z._default(whole('seed', 0, 0xffff_ffff), 1),
  entropy: z.optional(z.custom<Random>((value) => typeof (value as Random | undefined)?.next === 'function', {
    error: 'entropy must have a method next',
  })),
  instructionsPerSecond: z._default(whole('instructionsPerSecond', 1000, 1e12), 1e9),
  // What is in it is the machine's to check.
  compiler: z.optional(z.custom<'off' | CompilerOptions>((value) => value === 'off' || (typeof value === 'object' && value !== null), {
    error: 'compiler must be "off" or an object of settings',
  })),
  cpu: z._default(z.enum(PROCESSOR_LEVELS, { error: `cpu must be ${PROCESSOR_LEVELS.map((level) => `"${level}"`).join(' or ')}` }), DEFAULT_LEVEL),
  cpus: z._default(whole('cpus', 1, 64), 1),
  scheduler: z.optional(z.enum(SCHEDULER_NAMES, { error: ({ input }) => `scheduler must be one of ${SCHEDULER_NAMES.join(', ')}, got ${shown(input)}` })),
  // What is in it is the scheduler's to check.
  schedulerParameters: z.optional(z.record(z.string(), z.number(), { error: 'schedulerParameters must be an object of numbers' })),
  bootTime: z.optional(z.date({ error: 'bootTime must be a Date that is one' })),
  timeZoneOffset: z.optional(whole('timeZoneOffset', -86400, 86400)),
  files: z.optional(z.custom<FileReader>((value) => typeof (value as FileReader | undefined)?.read === 'function', {
    error: 'files must have a method read',
  })),
  decompress: z.optional(z.custom<Decompressor>((value) => typeof value === 'function', { error: 'decompress must be a function' })),
  kernels: z.optional(z.custom<UnpackedKernels>((value) => typeof (value as UnpackedKernels | undefined)?.unpack === 'function', {
    error: 'kernels must be an UnpackedKernels',
  })),
  openDisk: z.optional(z.custom<DiskOpener>((value) => typeof value === 'function', { error: 'openDisk must be a function' })),
  openFolder: z.optional(z.custom<FolderOpener>((value) => typeof value === 'function', { error: 'openFolder must be a function' })),
  networks: z.optional(z.custom<Networks>((value) => typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length <= MOST_NETWORKS, {
    error: `networks must be an object of at most ${MOST_NETWORKS} networks`,
  })),
  autoballoon: z.optional(z.boolean({ error: 'autoballoon must be true or false' })),
  memoryPolicy: z.optional(z.custom<MemoryPolicy>((value) => typeof value === 'function', { error: 'memoryPolicy must be a function' })),
  deviceKinds: z._default(z.array(z.custom<SplitDevice<DeviceConfiguration>>((value) => typeof (value as SplitDevice | undefined)?.serve === 'function', {
    error: 'deviceKinds must be a list of kinds of devices',
  }), { error: 'deviceKinds must be a list of kinds of devices' }), []),
  moments: z.prefault(z.strictObject({
    memory: z._default(sized('moments.memory', 1, 2 ** 30), 1024),
    whenFull: z._default(z.enum(['refuse', 'evict'], { error: 'moments.whenFull must be "refuse" or "evict"' }), 'refuse'),
    ready: z._default(whole('moments.ready', 0, 4), 1),
  }, { error: 'moments must be an object with memory, whenFull and ready' }), {}),
  interference: z.optional(z.custom<HostInterference>((value) => typeof value === 'object' && value !== null, { error: 'interference must be an object' })),
  openCore: z.optional(z.custom<CoreOpener>((value) => typeof value === 'function', { error: 'openCore must be a function' })),
  policy: z.optional(z.custom<PolicyChoice>((value) => value === 'dummy' || value === 'silo' || typeof (value as Policy | null | undefined)?.name === 'string', {
    error: 'policy must be "dummy", "silo" or an object with a name and rules',
  })),
  onOperationStep: z.optional(z.custom<(step: OperationStep) => void>((value) => typeof value === 'function', {
    error: 'onOperationStep must be a function',
  })),
}

const Schema = /* @__PURE__ */ z.strictObject(shape)

/** Settings with the defaults filled in. */
export type ResolvedHostOptions = Omit<z.infer<typeof Schema>, 'bootTime' | 'timeZoneOffset' | 'idle' | 'deviceKinds' | 'kernels' | 'memory'> & {
  readonly memory: number
  readonly kernels: UnpackedKernels
  readonly deviceKinds: DeviceKinds
  /** Who serves each of them. */
  readonly servedKinds: readonly ServedDevice[]
  readonly bootTime: Date
  readonly timeZoneOffset: number
  /** Milliseconds; Infinity for ever. */
  readonly idle: number
}

/** What the schema makes of options. Throws INVALID_CONFIG where a getter or a trap of the caller's throws. */
function parsed(options: HostOptions): ReturnType<typeof Schema.safeParse> {
  try {
    return Schema.safeParse(options)
  } catch (error) {
    if (XenError.is(error)) throw error
    throw new XenError('INVALID_CONFIG', `the options of a host cannot be read: ${thrownMessage(error)}`, { details: { thrown: error } })
  }
}

/** Throws INVALID_CONFIG for networks that are none, or that nobody of this library is there to run. */
function checkNetworks({ networks = {}, dom0 }: Pick<HostOptions, 'networks'> & Dom0Choice): void {
  for (const [bridge, network] of Object.entries(networks)) {
    try {
      checkUserNetwork(network)
    } catch (error) {
      throw new XenError('INVALID_CONFIG', `host option networks.${bridge}: ${thrownMessage(error)}`, { details: { key: `networks.${bridge}` }, cause: error })
    }
    if (hasOwnServices({ dom0 })) throw new XenError('INVALID_CONFIG', `host option networks.${bridge}: a dom0 with a kernel of its own has bridges of its own`, { details: { key: 'networks' } })
  }
}

/** Checks settings. Throws INVALID_CONFIG naming the one at fault. */
export function resolveHostOptions(options: HostOptions): ResolvedHostOptions {
  const result = parsed(options)
  if (result.success) {
    const { data } = result
    checkNetworks(data)
    const isRealTime = data.clock === 'realtime'
    const memory = data.memory ?? (data.dom0 === undefined ? DEFAULT_MEMORY : DEFAULT_MEMORY_OF_LINUX)
    const idle = data.idle ?? (isRealTime ? 'wait' : IDLE_PATIENCE)
    return {
      ...data, memory, deviceKinds: data.deviceKinds.length === 0 ? USUAL_KINDS : new DeviceKinds(data.deviceKinds),
      servedKinds: [...Object.values<ServedDevice>(SERVED_KINDS), ...data.deviceKinds],
      kernels: data.kernels ?? new UnpackedKernels(Math.floor(memory * KEPT_SHARE)),
      bootTime: data.bootTime ?? (isRealTime ? new Date() : VIRTUAL_BOOT),
      timeZoneOffset: data.timeZoneOffset ?? (isRealTime ? new Date().getTimezoneOffset() * -60 : 0),
      idle: idle === 'wait' ? Infinity : parseDuration(idle, 'idle') / 1e6,
    }
  }
  const issue = result.error.issues[0]!
  if (issue.path.length === 0 && issue.code === 'invalid_type') {
    throw new XenError('INVALID_CONFIG', `the options of Host.boot must be an object, got ${shown(options)}`, { details: { options } })
  }
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0]!
    const nearest = nearestWord(key, Object.keys(shape))
    throw new XenError(
      'INVALID_CONFIG',
      `unknown host option ${key}${nearest === undefined ? '' : `; did you mean ${nearest}?`}`,
      {
        details: { key, nearest },
      },
    )
  }
  throw new XenError('INVALID_CONFIG', `host option ${issue.message}`, { details: { key: issue.path.join('.') } })
}
