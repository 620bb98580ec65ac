/**
 * What the exits of a 64-bit PV vCPU's processor mean: SYSCALL is a hypercall of its kernel or a call of its processes; all
 * others mean what they do for every PV guest.
 * Reference: xen/arch/x86/x86_64/entry.S.
 */
import { FLAT } from '../../../abi/index.ts'
import type { Registers } from '../../../machine/index.ts'
import { GPR, RFLAGS, SEGMENT, VECTOR } from '../../../x86/index.ts'
import { TWO_32 } from '../../../util/index.ts'
import { CALL_SILENT, HypercallArguments, type HypercallTable } from '../../domains/hypercall.ts'
import type { VcpuExit } from '../../domains/vcpu-runner.ts'
import type { Vcpu } from '../../domains/domain.ts'
import { CALL_AGAIN } from '../../time/work-meter.ts'
import { GuestTraps, type GuestTrapParts, entersHypervisor } from '../paravirtual/guest-traps.ts'
import { FLAT_CODE_32, FLAT_CODE_64, FLAT_DATA, type PvVcpu, setFlat } from './pv-vcpu.ts'

/** What the exits need. */
export interface PvExitParts extends GuestTrapParts {
  readonly hypercalls: HypercallTable
}

/** Registers that carry a hypercall's arguments. */
const ARGUMENTS = [GPR.rdi, GPR.rsi, GPR.rdx, GPR.r10, GPR.r8, GPR.r9] as const

/** Gives exits their meaning. One object serves all vCPUs. */
export class PvExits {
  private readonly parts: PvExitParts
  private readonly traps: GuestTraps
  private readonly args = new HypercallArguments()

  constructor(parts: PvExitParts) {
    this.parts = parts
    this.traps = new GuestTraps(parts)
  }

  /** Handles one exit; the vCPU can be entered again afterwards unless its domain has crashed. */
  handle(vcpu: Vcpu, pv: PvVcpu, exit: VcpuExit): void {
    if (entersHypervisor(exit)) pv.processor.takeDebugTrap()
    switch (exit.kind) {
      case 'syscall':
        this.syscall(vcpu, pv)
        return
      case 'exception':
        this.traps.exception(vcpu, pv, exit)
        return
      case 'interrupt':
        this.traps.interrupt(vcpu, pv, exit.vector)
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

  /**
   * SYSCALL enters the hypervisor, which takes it for granted that flat segments were in force: what code and stack
   * segment the guest had is lost. From 64-bit kernel mode it is a hypercall, all else goes to the guest's handler.
   */
  private syscall(vcpu: Vcpu, pv: PvVcpu): void {
    const { registers } = pv.processor
    const flags = registers.flags() & ~RFLAGS.RF
    registers.keepRip(GPR.rcx)
    registers.set(GPR.r11, (flags | RFLAGS.IF) >>> 0, 0)
    const isLong = enterFlatSegments(registers)
    if (pv.inKernel && isLong) this.hypercall(vcpu, pv)
    else if (pv.hasSyscallEntry(isLong)) {
      if (vcpu.guest?.enter({ kind: 'syscall' }) !== true) this.parts.crash(vcpu, 'syscall without a kernel stack')
    } else {
      this.traps.rewind(pv)
      this.traps.inject(vcpu, VECTOR.UD, 0)
    }
  }

  private hypercall(vcpu: Vcpu, pv: PvVcpu): void {
    const { registers } = pv.processor
    const { args } = this
    // Tables that an earlier call has given up are taken apart before anything else; the call is made again.
    if (!this.parts.pageTypes.settle(vcpu.domid)) {
      this.traps.rewind(pv)
      return
    }
    for (let i = 0; i < ARGUMENTS.length; i += 1) {
      args.low[i] = registers.low(ARGUMENTS[i]!)
      args.high[i] = registers.high(ARGUMENTS[i]!)
    }
    const number = registers.high(GPR.rax) === 0 ? registers.low(GPR.rax) : -1
    const result = this.parts.hypercalls.call(vcpu, number, args)
    if (result === CALL_SILENT) return
    if (result === CALL_AGAIN) {
      this.repeat(pv)
      return
    }
    registers.set(GPR.rax, result >>> 0, Math.floor(result / TWO_32) >>> 0)
    // The way back is a SYSRET, behind which the trap comes at once.
    this.traps.stepped(vcpu, pv)
  }

  /** Lets the guest execute its `syscall` once more, with the arguments that are left. */
  private repeat(pv: PvVcpu): void {
    const { registers } = pv.processor
    for (let i = 0; i < ARGUMENTS.length; i += 1) registers.set(ARGUMENTS[i]!, this.args.low[i]!, this.args.high[i]!)
    this.traps.rewind(pv)
  }
}

/** Descriptor bit of 64-bit code, as attributes carry it. */
const CODE_64 = 0x2000

/** CS and SS as SYSCALL leaves them; true when it came from 64-bit code. */
function enterFlatSegments(registers: Registers): boolean {
  const isFlat = registers.selector(SEGMENT.cs) === FLAT.KERNEL_CS64
  const isLong = isFlat || (registers.attributes(SEGMENT.cs) & CODE_64) !== 0
  if (!isFlat) setFlat(registers, SEGMENT.cs, isLong ? FLAT_CODE_64 : FLAT_CODE_32)
  setFlat(registers, SEGMENT.ss, FLAT_DATA)
  return isLong
}
