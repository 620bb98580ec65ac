/**
 * What each call of hosts and domains may be given, in one table: the compiler sees to it that every option is there. The
 * configuration of hosts and domains is checked by boot/host-options.ts and config/domain-config.ts.
 */
import type { BlockStore } from '../../drivers/index.ts'
import type { TraceHooks } from '../../machine/index.ts'
import {
  abortSignal, anything, record, callable, checkOptions, flag, having, listOf, oneOf, setOf, real, text, timeLimit, whole,
  type Check, type OptionChecks,
} from '../../util/index.ts'
import type { DumpCoreOptions } from '../core-dump/dump-operation.ts'
import type { FileSource } from '../config/option-values.ts'
import type { StreamPermissions, StreamTrust } from '../config/stream-trust.ts'
import type { ReceiveOptions } from '../migrate/receive.ts'
import type { MigrateOptions } from '../migrate/send.ts'
import type { ProtectOptions } from '../remus/protect-domain.ts'
import type { StandByOptions } from '../remus/stand-by.ts'
import type { RestoreOptions } from '../save/restore-domain.ts'
import type { SaveOptions } from '../save/save-domain.ts'
import type { CreateOptions } from '../create/create-options.ts'
import type { OperationOptions } from '../run/operation.ts'
import type { UntilOptions } from '../run/run-loop.ts'

/** How a disk is attached. */
export interface AttachDiskOptions extends OperationOptions {
  /**
   * The disk's contents; without it the host's `openDisk` is asked. It is asked for this disk, too, where the domain is
   * restored or moves to; a restart does without the disk.
   */
  readonly store?: BlockStore | undefined
}

/** How a device is taken away. */
export interface DetachOptions extends OperationOptions {
  /** Takes it away without asking the guest, as `xl block-detach --force` does. */
  readonly force?: boolean | undefined
}

/** How vCPUs are asked for. */
export interface SetVcpusOptions extends UntilOptions {
  /** Waits until the guest uses as many, and takes the wish back when it does not in time. Default: the wish is all. */
  readonly wait?: boolean | undefined
}

/** How a saved domain is started again. */
export interface RestoreDomainOptions extends RestoreOptions, OperationOptions {
  /** Leaves the domain paused, as `xl restore -p` does. */
  readonly paused?: boolean | undefined
  /** ELF file with the kernel's symbols, by which a crash names functions: a saved domain brings none. */
  readonly symbols?: FileSource | undefined
}

/** What each call takes. */
export interface CallOptions {
  'createDomain': CreateOptions
  'restore': RestoreDomainOptions
  'receiveMigration': ReceiveOptions & OperationOptions
  'until': UntilOptions
  'waitForShutdown': UntilOptions
  'shutdown': UntilOptions
  'reboot': UntilOptions
  'setMemTarget': UntilOptions
  'setMaxMem': OperationOptions
  'setVcpus': SetVcpusOptions
  'save': SaveOptions & OperationOptions
  'dumpCore': DumpCoreOptions
  'migrate': MigrateOptions & OperationOptions
  'protect': ProtectOptions & OperationOptions
  'standBy': StandByOptions & OperationOptions
  'attachDisk': AttachDiskOptions
  'attachNic': OperationOptions
  'attachDevice': OperationOptions
  'detachDisk': DetachOptions
  'detachNic': DetachOptions
  'detachDevice': DetachOptions
  'softReset': OperationOptions
  'insertMedium': AttachDiskOptions
  'ejectMedium': OperationOptions
  'resizeDisk': OperationOptions
  'trace': { readonly vcpu?: number }
  'scheduling': { readonly vcpu?: number | undefined }
  'trigger': { readonly vcpu?: number | undefined }
  'profile': { readonly vcpu?: number }
  'the hooks of trace': TraceHooks
}

/** Longest path or name that is taken for a file. */
const file: Check = (value) =>
  (typeof value === 'string' && value !== '') || value instanceof Uint8Array ? undefined : 'must be a path or bytes'
const kernel: Check = (value) => (typeof value === 'function' ? undefined : file(value) && 'must be a path, bytes, or a function')
const trustFields: OptionChecks<StreamPermissions> = {
  disks: anything, bridges: anything, files: anything, backends: anything, addresses: anything, scripts: anything,
}
const trust: Check = (value) => {
  if (value === 'all') return undefined
  if (typeof value !== 'object' || value === null) return 'must be "all" or an object of what is allowed'
  try {
    checkOptions('trust', value as Exclude<StreamTrust, 'all'>, trustFields)
    return undefined
  } catch (error) {
    return `is wrong: ${(error as Error).message}`
  }
}

const cpuPolicy = /* @__PURE__ */ oneOf('refuse', 'mask')
const signal = abortSignal
const until: OptionChecks<UntilOptions> = { signal, timeout: timeLimit }
const suspend = { timeout: timeLimit }
const line = { heartbeat: timeLimit, peerTimeout: timeLimit, clock: /* @__PURE__ */ having('after'), arbiter: /* @__PURE__ */ having('claim') }
const detach: OptionChecks<DetachOptions> = { signal, force: flag }
const count = /* @__PURE__ */ whole(0, Number.MAX_SAFE_INTEGER)
const store = /* @__PURE__ */ having('read', 'write', 'flush', 'close')

const CHECKS: { readonly [C in keyof CallOptions]: OptionChecks<CallOptions[C]> } = {
  createDomain: {
    signal, paused: flag, kernel, symbols: file, source: text, overrides: /* @__PURE__ */ listOf(text),
    era: /* @__PURE__ */ oneOf('xl', 'xm'), strict: flag, identity: text,
  },
  restore: { signal, paused: flag, kernel, symbols: file, rename: callable, trust, cpuPolicy },
  receiveMigration: { signal, kernel, trust, cpuPolicy, peerTimeout: timeLimit },
  until, waitForShutdown: until, shutdown: until, reboot: until, setMemTarget: until,
  setMaxMem: { signal },
  setVcpus: { ...until, wait: flag },
  save: { signal, ...suspend, afterwards: /* @__PURE__ */ oneOf('destroy', 'resume', 'pause') },
  migrate: { signal, ...suspend, live: flag, peerTimeout: timeLimit, maxRounds: /* @__PURE__ */ whole(1, 1000), dirtyPages: count,
    worthwhile: /* @__PURE__ */ real(0, Infinity), zeros: /* @__PURE__ */ oneOf('sent', 'omitted') },
  protect: { signal, ...suspend, ...line, interval: timeLimit, maxRounds: /* @__PURE__ */ whole(1, 1000), dirtyPages: count, paused: flag },
  standBy: { signal, kernel, trust, cpuPolicy, ...line, disks: record, paused: flag },
  dumpCore: { signal, live: flag },
  attachDisk: { signal, store },
  attachNic: { signal }, attachDevice: { signal },
  detachDisk: detach, detachNic: detach, detachDevice: detach,
  softReset: { signal },
  insertMedium: { signal, store }, ejectMedium: { signal }, resizeDisk: { signal },
  trace: { vcpu: count },
  scheduling: { vcpu: count }, trigger: { vcpu: count },
  profile: { vcpu: count },
  'the hooks of trace': {
    instruction: callable, memory: callable, exception: callable, breakpoint: callable, watchpoint: callable,
    breakpoints: /* @__PURE__ */ setOf(real(-(2 ** 63), 2 ** 63)), watchpoints: /* @__PURE__ */ listOf(anything),
  },
}

/** Checks what a call was given. Throws INVALID_ARGUMENT naming the option at fault. */
export function checkCall<C extends keyof CallOptions>(call: C, options: CallOptions[C]): void {
  checkOptions(call, options, CHECKS[call])
}
