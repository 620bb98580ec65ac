/**
 * What the exits of a PV vCPU's processor mean: hypercalls, traps for the guest's own handlers, writes to page tables,
 * instructions to carry out in the guest's place.
 * Reference: xen/arch/x86/traps.c, do_trap, do_general_protection, fixup_page_fault; x86_64/entry.S.
 */
import { FLAT } from '../../../abi/index.ts'
import type { Registers } from '../../../machine/index.ts'
import { GPR, RFLAGS, SEGMENT, VECTOR, describeException, exceptionName } from '../../../x86/index.ts'
import { TWO_32, type EventHub } from '../../../util/index.ts'
import { CALL_SILENT, HypercallArguments, type HypercallTable } from '../../domains/hypercall.ts'
import type { HypervisorEvent } from '../../hypervisor-events.ts'
import type { VcpuExit } from '../../domains/vcpu-runner.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { TrapNote } from '../../domains/crash-report.ts'
import { CALL_AGAIN, WORK, type WorkMeter } from '../../time/work-meter.ts'
import type { FrameTypes } from '../../frames/frame-types.ts'
import type { PrivilegedOperations } from './privileged.ts'
import { noteSingleStep, setTaskSwitched } from './pv-hypercalls.ts'
import { FLAT_CODE_32, FLAT_CODE_64, FLAT_DATA, type PvVcpu, pvOf } from './pv-vcpu.ts'
import type { WritableTables } from '../direct-paging/writable-tables.ts'

/** What the exits need. */
export interface PvExitParts {
  readonly hypercalls: HypercallTable
  readonly privileged: PrivilegedOperations
  readonly writableTables: WritableTables
  readonly hub: EventHub<HypervisorEvent>
  readonly pageTypes: FrameTypes
  readonly meter: WorkMeter
  crash(vcpu: Vcpu, reason: string, exception?: TrapNote): void
}

/** Registers that carry a hypercall's arguments. */
const ARGUMENTS = [GPR.rdi, GPR.rsi, GPR.rdx, GPR.r10, GPR.r8, GPR.r9] as const
/** Bytes of `syscall` and of `int n`. */
const SHORT_INSTRUCTION = 2

/** Gives exits their meaning. One object serves all vCPUs. */
export class PvExits {
  private readonly parts: PvExitParts
  private readonly args = new HypercallArguments()

  constructor(parts: PvExitParts) {
    this.parts = parts
  }

  /** Handles one exit; the vCPU can be entered again afterwards unless its domain has crashed. */
  handle(vcpu: Vcpu, pv: PvVcpu, exit: VcpuExit): void {
    if (entersHypervisor(exit)) pv.processor.takeDebugTrap()
    switch (exit.kind) {
      case 'syscall':
        this.syscall(vcpu, pv)
        return
      case 'exception':
        this.exception(vcpu, pv, exit)
        return
      case 'interrupt':
        this.interrupt(vcpu, pv, exit.vector)
        return
      case 'privileged':
        // What was begun for the domain before comes first; the instruction is executed again.
        if (!this.parts.pageTypes.settle(vcpu.domid)) return
        this.parts.meter.charge(WORK.emulation)
        if (this.parts.privileged.emulate(vcpu, pv, exit.request)) this.stepped(vcpu, pv)
        else if (this.parts.privileged.hasPaused) return
        else this.inject(vcpu, this.parts.privileged.fault, 0)
        return
      default:
    }
  }

  /** Sends a trap to the guest's handler; without one the domain crashes. */
  inject(vcpu: Vcpu, vector: number, errorCode: number, address = 0): void {
    const { hub } = this.parts
    if (hub.wants('trap-bounced')) {
      hub.emit({ type: 'trap-bounced', domid: vcpu.domid, vcpu: vcpu.vcpu, vector, errorCode, address })
    }
    // A bounce that fails may have changed modes already.
    pvOf(vcpu)?.noteTrap(vector, errorCode, address)
    this.parts.meter.charge(WORK.trap)
    const entered = vcpu.guest?.enter({ kind: 'trap', vector, errorCode, address }) ?? false
    if (!entered) this.crashOver(vcpu, vector)
  }

  /** The guest cannot take an exception. */
  private crashOver(vcpu: Vcpu, vector: number): void {
    const pv = pvOf(vcpu)
    const lacksHandler = pv === undefined || (pv.trapLow[vector] === 0 && pv.trapHigh[vector] === 0)
    const why = lacksHandler ? 'the guest has no handler for it' : 'there is no stack for its handler'
    const note = pv === undefined ? undefined : { ...pv.lastTrap }
    this.parts.crash(vcpu, `${note === undefined ? exceptionName(vector) : describeException(note)}; ${why}`, note)
  }

  /** An instruction has been carried out in the guest's place: a guest that single-steps is told. */
  private stepped(vcpu: Vcpu, pv: PvVcpu): void {
    if ((pv.processor.registers.systemFlags() & RFLAGS.TF) === 0) return
    noteSingleStep(pv)
    this.inject(vcpu, VECTOR.DB, -1)
  }

  /**
   * SYSCALL enters the hypervisor, which takes it for granted that flat segments were in force: what code and stack
   * segment the guest had is lost. From 64-bit kernel mode it is a hypercall, all else goes to the guest's handler.
   */
  private syscall(vcpu: Vcpu, pv: PvVcpu): void {
    const { registers } = pv.processor
    const rip = registers.rip()
    const flags = registers.flags() & ~RFLAGS.RF
    registers.set(GPR.rcx, rip >>> 0, Math.floor(rip / TWO_32) >>> 0)
    registers.set(GPR.r11, (flags | RFLAGS.IF) >>> 0, 0)
    const isLong = enterFlatSegments(registers)
    if (pv.inKernel && isLong) this.hypercall(vcpu, pv)
    else if (pv.hasSyscallEntry(isLong)) {
      if (vcpu.guest?.enter({ kind: 'syscall' }) !== true) this.parts.crash(vcpu, 'syscall without a kernel stack')
    } else {
      this.rewind(pv)
      this.inject(vcpu, VECTOR.UD, 0)
    }
  }

  private hypercall(vcpu: Vcpu, pv: PvVcpu): void {
    const { registers } = pv.processor
    const { args } = this
    // Tables that an earlier call has given up are taken apart before anything else; the call is made again.
    if (!this.parts.pageTypes.settle(vcpu.domid)) {
      this.rewind(pv)
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
    this.stepped(vcpu, pv)
  }

  /** Lets the guest execute its `syscall` once more, with the arguments that are left. */
  private repeat(pv: PvVcpu): void {
    const { registers } = pv.processor
    for (let i = 0; i < ARGUMENTS.length; i += 1) registers.set(ARGUMENTS[i]!, this.args.low[i]!, this.args.high[i]!)
    this.rewind(pv)
  }

  private rewind(pv: PvVcpu): void {
    const rip = pv.processor.registers.rip() - SHORT_INSTRUCTION
    pv.processor.registers.setRip(rip >>> 0, Math.floor(rip / TWO_32) >>> 0)
  }

  private exception(
    vcpu: Vcpu,
    pv: PvVcpu,
    exit: { readonly vector: number; readonly errorCode: number; readonly address: number },
  ): void {
    const { vector, errorCode, address } = exit
    if (vector === VECTOR.PF) {
      const outcome = this.parts.writableTables.attempt(vcpu, pv, exit)
      if (outcome === 'done') this.stepped(vcpu, pv)
      if (outcome !== 'refused') return
    } else if (vector === VECTOR.UD) {
      if (this.parts.privileged.emulateForced(vcpu, pv)) {
        this.parts.meter.charge(WORK.emulation)
        this.stepped(vcpu, pv)
        return
      }
    } else if (vector === VECTOR.NM && pv.taskSwitched) setTaskSwitched(pv, false)
    this.inject(vcpu, vector, errorCode, address)
  }

  /** `int n`: #BP and #OF always, the others as far as the guest's trap table lets the mode call them. */
  private interrupt(vcpu: Vcpu, pv: PvVcpu, vector: number): void {
    const level = pv.trapFlags[vector]! & 3
    const isAllowed = vector === VECTOR.BP || vector === VECTOR.OF || (pv.inKernel ? level >= 1 : level === 3)
    if (isAllowed) {
      this.inject(vcpu, vector, -1)
      return
    }
    this.rewind(pv)
    // The error code names the gate in the interrupt table.
    this.inject(vcpu, VECTOR.GP, vector * 8 + 2)
  }
}

/** Instructions that a PV guest executes itself on Xen, and that only here are the hypervisor's. */
const NATIVE = new Set<string>(['cpuid', 'rdtsc', 'rdtscp'])

/**
 * Whether the guest's instruction enters Xen. A debug trap that MOV SS or POP SS holds back over such an instruction comes
 * on the hypervisor's first one (CVE-2018-8897), and Xen drops it there: the guest must not be told, for it would be
 * told in its kernel's entry.
 * Reference: xen/arch/x86/traps.c, do_debug.
 */
const entersHypervisor = (exit: VcpuExit): boolean =>
  exit.kind === 'syscall' || exit.kind === 'exception' || exit.kind === 'interrupt' ||
  (exit.kind === 'privileged' && !NATIVE.has(exit.request.operation))

/** Descriptor bit of 64-bit code, as attributes carry it. */
const CODE_64 = 0x2000

/** CS and SS as SYSCALL leaves them; true when it came from 64-bit code. */
function enterFlatSegments(registers: Registers): boolean {
  const isLong = (registers.attributes(SEGMENT.cs) & CODE_64) !== 0
  // Behind the hypervisor's own selectors there is never anything but its flat segments.
  if (registers.selector(SEGMENT.cs) !== FLAT.KERNEL_CS64) registers.setSegment(SEGMENT.cs, isLong ? FLAT_CODE_64 : FLAT_CODE_32)
  if (registers.selector(SEGMENT.ss) !== FLAT.KERNEL_SS) registers.setSegment(SEGMENT.ss, FLAT_DATA)
  return isLong
}
