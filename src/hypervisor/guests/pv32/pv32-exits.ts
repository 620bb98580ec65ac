/**
 * What the exits of a 32-bit PV vCPU's processor mean: `int $0x82` of the kernel is a hypercall, SYSCALL goes to the guest's
 * own handler; all others mean what they do for every PV guest.
 * Reference: xen/arch/x86/pv/hypercall.c, pv_hypercall; xen/arch/x86/x86_64/compat/entry.S.
 */
import { COMPAT_FLAT } from '../../../abi/index.ts'
import { GPR, RFLAGS, SEGMENT, VECTOR } from '../../../x86/index.ts'
import { CALL_SILENT, HypercallArguments, type HypercallTable } from '../../domains/hypercall.ts'
import type { VcpuExit } from '../../domains/vcpu-runner.ts'
import type { Vcpu } from '../../domains/domain.ts'
import { CALL_AGAIN, WORK } from '../../time/work-meter.ts'
import { GuestTraps, type GuestTrapParts, entersHypervisor } from '../paravirtual/guest-traps.ts'
import type { CallGates } from './call-gates.ts'
import type { Pv32Vcpu } from './pv32-vcpu.ts'

/** What the exits need. */
export interface Pv32ExitParts extends GuestTrapParts {
  readonly hypercalls: HypercallTable
  readonly gates: CallGates
}

/** Registers that carry a hypercall's arguments, and the vector that makes one. */
const ARGUMENTS = [GPR.rbx, GPR.rcx, GPR.rdx, GPR.rsi, GPR.rdi, GPR.rbp] as const
const HYPERCALL_VECTOR = 0x82
/** Bits of an error code that names no descriptor of the guest's. */
const IDT_OR_EXTERNAL = 3

const FLAT = { baseLow: 0, baseHigh: 0, limit: 0xffff_ffff } as const
/** Segments that a guest has behind SYSCALL, whatever it had before. */
const USER_CODE = { ...FLAT, selector: COMPAT_FLAT.USER_CS, attributes: 0xc0fb } as const
const USER_STACK = { ...FLAT, selector: COMPAT_FLAT.USER_SS, attributes: 0xc0f3 } as const

/** Gives exits their meaning. One object serves all vCPUs. */
export class Pv32Exits {
  private readonly parts: Pv32ExitParts
  private readonly traps: GuestTraps
  private readonly args = new HypercallArguments()

  constructor(parts: Pv32ExitParts) {
    this.parts = parts
    this.traps = new GuestTraps(parts)
  }

  /** Handles one exit; the vCPU can be entered again afterwards unless its domain has crashed. */
  handle(vcpu: Vcpu, pv: Pv32Vcpu, exit: VcpuExit): void {
    if (entersHypervisor(exit)) pv.processor.takeDebugTrap()
    switch (exit.kind) {
      case 'syscall':
        this.syscall(vcpu, pv)
        return
      case 'exception':
        this.exception(vcpu, pv, exit)
        return
      case 'interrupt':
        if (exit.vector === HYPERCALL_VECTOR && pv.inKernel) this.hypercall(vcpu, pv)
        else this.traps.interrupt(vcpu, pv, exit.vector)
        return
      case 'privileged':
        this.traps.privileged(vcpu, pv, exit.request)
        return
      default:
    }
  }

  /** Sends a trap to the guest's handler; without one the domain crashes. */
  inject(vcpu: Vcpu, vector: number, errorCode: number): void {
    this.traps.inject(vcpu, vector, errorCode)
  }

  /** A protection fault over a selector may be a call gate's, which is passed here; one of `int n` names the interrupt table. */
  private exception(vcpu: Vcpu, pv: Pv32Vcpu, exit: Extract<VcpuExit, { kind: 'exception' }>): void {
    if (exit.vector !== VECTOR.GP || exit.errorCode === 0 || (exit.errorCode & IDT_OR_EXTERNAL) !== 0) {
      this.traps.exception(vcpu, pv, exit)
      return
    }
    this.parts.meter.charge(WORK.emulation)
    const fault = this.parts.gates.pass(vcpu, pv, exit.errorCode)
    if (fault === undefined) this.traps.stepped(vcpu, pv)
    else this.traps.inject(vcpu, fault.vector, fault.errorCode, fault.address)
  }

  /** SYSCALL takes it for granted that it comes from flat segments of ring 3. Without a handler it is a protection fault. */
  private syscall(vcpu: Vcpu, pv: Pv32Vcpu): void {
    const { registers } = pv.processor
    const eip = registers.rip()
    registers.set(GPR.rcx, eip >>> 0, 0)
    registers.setFlags(((registers.flags() & ~RFLAGS.RF) | RFLAGS.IF) >>> 0)
    registers.setSegment(SEGMENT.cs, USER_CODE)
    registers.setSegment(SEGMENT.ss, USER_STACK)
    registers.setRip(eip >>> 0, 0)
    if ((pv.syscall32Selector & 0xfffc) === 0) {
      this.traps.rewind(pv)
      this.traps.inject(vcpu, VECTOR.GP, 0)
    } else if (vcpu.guest?.enter({ kind: 'syscall' }) !== true) this.parts.crash(vcpu, 'syscall without a kernel stack')
  }

  private hypercall(vcpu: Vcpu, pv: Pv32Vcpu): void {
    const { registers } = pv.processor
    const { args } = this
    // Tables that an earlier call has given up are taken apart before anything else; the call is made again.
    if (!this.parts.pageTypes.settle(vcpu.domid)) {
      this.traps.rewind(pv)
      return
    }
    for (let i = 0; i < ARGUMENTS.length; i += 1) {
      args.low[i] = registers.low(ARGUMENTS[i]!)
      args.high[i] = 0
    }
    const result = this.parts.hypercalls.call(vcpu, registers.low(GPR.rax), args)
    if (result === CALL_SILENT) return
    if (result === CALL_AGAIN) {
      for (let i = 0; i < ARGUMENTS.length; i += 1) registers.set(ARGUMENTS[i]!, args.low[i]!, 0)
      this.traps.rewind(pv)
      return
    }
    registers.set(GPR.rax, result >>> 0, 0)
    this.traps.stepped(vcpu, pv)
  }
}
