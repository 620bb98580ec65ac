/**
 * What is left of a domain at the instant it crashes, as plain data: who ended it and why, the vCPU's registers, the code
 * around its instruction pointer, its stack. It is taken at once, since the domain may be destroyed next. All of it is the
 * guest's: sizes are fixed here, and what cannot be read is left out. Words and symbols are for whoever shows it.
 * Reference: xen/arch/x86/traps.c, show_execution_state, show_guest_stack; xen/common/domain.c, __domain_crash.
 */
import { VcpuInfo } from '../../abi/index.ts'
import { signedFromParts } from '../../util/index.ts'
import type { HypervisorConsole } from './console.ts'
import { crashLines, walkLines } from './crash-text.ts'
import type { Domain, Vcpu } from '../domains/domain.ts'
import type { GuestContext } from '../domains/guest-vcpu.ts'
import { type GuestAccess, Scratch } from '../memory/guest-access.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { HostClock } from '../time/host-clock.ts'
import type {
  CrashReport, CrashState, CrashedCode, CrashedException, CrashedStack, TrapNote,
} from '../domains/crash-report.ts'

/** Bytes of code before and from the instruction pointer on. */
const CODE_BEFORE = 8
const CODE_FROM = 32
/** Words of the stack: Xen shows 80 of them; the return addresses of a deep call lie further up. */
const STACK_WORDS = 256

/** Who ends a domain, and why. */
export type CrashCause =
  | { readonly origin: 'hypervisor'; readonly vcpu: Vcpu; readonly reason: string; readonly exception?: TrapNote | undefined }
  | { readonly origin: 'guest'; readonly vcpu: Vcpu }
  | { readonly origin: 'outside' }

/** What reports are made of. */
export interface CrashParts {
  readonly clock: HostClock
  readonly memory: Pick<GuestMemory, 'view'>
  readonly console: HypervisorConsole
}

/** Up to `count` bytes from `address` on, as far as they can be read. */
function readForward(access: GuestAccess, address: number, count: number): Uint8Array {
  const bytes = new Uint8Array(count)
  for (let at = 0; at < count; at += 1) {
    if (!access.read(address + at, bytes.subarray(at, at + 1))) return bytes.slice(0, at)
  }
  return bytes
}

/** Up to `count` bytes that end before `address`. */
function readBackward(access: GuestAccess, address: number, count: number): Uint8Array {
  const bytes = new Uint8Array(count)
  for (let at = count - 1; at >= 0; at -= 1) {
    if (!access.read(address - (count - at), bytes.subarray(at, at + 1))) return bytes.slice(at + 1)
  }
  return bytes
}

function codeAt(access: GuestAccess, address: number): CrashedCode | undefined {
  const bytes = readForward(access, address, CODE_FROM)
  return bytes.length === 0 ? undefined : { address, before: readBackward(access, address, CODE_BEFORE), bytes }
}

function stackAt(access: GuestAccess, address: number): CrashedStack {
  const words: bigint[] = []
  const word = new Scratch(8)
  for (let i = 0; i < STACK_WORDS; i += 1) {
    if (!access.read(address + i * 8, word.bytes)) return { address, words, isCut: true }
    words.push(word.view.getBigUint64(0, true))
  }
  return { address, words, isCut: false }
}

function stateOf(vcpu: Vcpu, context: GuestContext, memory: Pick<GuestMemory, 'view'>): CrashState {
  const registers = context.crashRegisters()
  const { rsp } = registers.registers
  const stack = signedFromParts(Number(rsp & 0xffff_ffffn), Number(rsp >> 32n))
  return {
    ...registers,
    eventsMasked: vcpu.infoAddress < 0 ? undefined : VcpuInfo.evtchnUpcallMask.get(memory.view, vcpu.infoAddress) !== 0,
    code: codeAt(vcpu.access, context.registers.rip()), stack: stackAt(vcpu.access, stack),
  }
}

/** The vCPU that is to be shown where nobody's call ended the domain: one that was at work, or the first. */
const mostInteresting = (domain: Domain): Vcpu | undefined =>
  domain.vcpus.find(({ runningOn }) => runningOn >= 0) ?? domain.vcpus.find(({ online }) => online) ?? domain.vcpus[0]

const REASONS = {
  guest: 'the guest says that it has crashed (SHUTDOWN_crash)',
  outside: 'it was ended as crashed from outside',
} as const

/** Takes reports. */
export class CrashReporter {
  private readonly parts: CrashParts

  constructor(parts: CrashParts) {
    this.parts = parts
  }

  /** Writes down how a domain has crashed, and prints it on the hypervisor's console. */
  report(domain: Domain, cause: CrashCause): CrashReport {
    const { memory, clock, console } = this.parts
    const vcpu = cause.origin === 'outside' ? mostInteresting(domain) : cause.vcpu
    const context = vcpu?.initialised === true ? vcpu.guest?.context : undefined
    const report: CrashReport = {
      domid: domain.id, vcpu: vcpu?.vcpu ?? 0, time: clock.now(), origin: cause.origin,
      reason: cause.origin === 'hypervisor' ? cause.reason : REASONS[cause.origin],
      exception: vcpu === undefined || context === undefined ? undefined : exceptionOf(cause, vcpu, context),
      state: vcpu === undefined || context === undefined ? undefined : stateOf(vcpu, context, memory),
    }
    const walk = cause.origin === 'hypervisor' && context !== undefined && cause.exception !== undefined
      ? walkLines(cause.exception, context) : []
    const cpu = Math.max(0, vcpu?.runningOn ?? 0)
    console.report(domain.id, crashLines(report, { cpu, walk, kind: domain.kind.name }))
    return report
  }
}

/** What the guest could not take; where it has ended itself, what it took last. */
function exceptionOf(cause: CrashCause, vcpu: Vcpu, context: GuestContext): CrashedException | undefined {
  const note = cause.origin === 'hypervisor' ? cause.exception : cause.origin === 'guest' ? context.lastTrap : undefined
  if (note === undefined || note.vector < 0) return undefined
  return { ...note, code: codeAt(vcpu.access, note.rip) }
}
