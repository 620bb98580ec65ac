/**
 * What the exits of a PV vCPU's processor mean, as far as both kinds of PV guests agree: traps for the guest's own
 * handlers, writes to page tables, instructions to carry out in the guest's place. Hypercalls come to each kind its own way.
 * Reference: xen/arch/x86/traps.c, do_trap, do_general_protection, fixup_page_fault.
 */
import { RFLAGS, VECTOR, describeException, exceptionName } from '../../../x86/index.ts'
import { TWO_32, type EventHub } from '../../../util/index.ts'
import type { HypervisorEvent } from '../../hypervisor-events.ts'
import type { PrivilegedOperation, VcpuExit } from '../../domains/vcpu-runner.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { TrapNote } from '../../domains/crash-report.ts'
import { WORK, type WorkMeter } from '../../time/work-meter.ts'
import type { FrameTypes } from '../../frames/frame-types.ts'
import { noteSingleStep, setTaskSwitched } from './debug-registers.ts'
import { type ParavirtualVcpu, paravirtualOf } from './paravirtual-vcpu.ts'
import type { PrivilegedOperations } from './privileged.ts'
import type { WritableTables } from '../direct-paging/writable-tables.ts'

/** What traps need. */
export interface GuestTrapParts {
  readonly privileged: PrivilegedOperations
  readonly writableTables: WritableTables
  readonly hub: EventHub<HypervisorEvent>
  readonly pageTypes: FrameTypes
  readonly meter: WorkMeter
  crash(vcpu: Vcpu, reason: string, exception?: TrapNote): void
}

/** Bytes of `syscall` and of `int n`. */
const SHORT_INSTRUCTION = 2

/** Gives these exits their meaning. One object serves all vCPUs of a kind. */
export class GuestTraps {
  private readonly parts: GuestTrapParts

  constructor(parts: GuestTrapParts) {
    this.parts = parts
  }

  /** Sends a trap to the guest's handler; without one the domain crashes. */
  inject(vcpu: Vcpu, vector: number, errorCode: number, address = 0): void {
    const { hub } = this.parts
    if (hub.wants('trap-bounced')) {
      hub.emit({ type: 'trap-bounced', domid: vcpu.domid, vcpu: vcpu.vcpu, vector, errorCode, address })
    }
    // A bounce that fails may have changed modes already.
    paravirtualOf(vcpu)?.noteTrap(vector, errorCode, address)
    this.parts.meter.charge(WORK.trap)
    const entered = vcpu.guest?.enter({ kind: 'trap', vector, errorCode, address }) ?? false
    if (!entered) this.crashOver(vcpu, vector)
  }

  /** The guest cannot take an exception. */
  private crashOver(vcpu: Vcpu, vector: number): void {
    const pv = paravirtualOf(vcpu)
    const lacksHandler = pv === undefined || (pv.trapLow[vector] === 0 && pv.trapHigh[vector] === 0)
    const why = lacksHandler ? 'the guest has no handler for it' : 'there is no stack for its handler'
    const note = pv === undefined ? undefined : { ...pv.lastTrap }
    this.parts.crash(vcpu, `${note === undefined ? exceptionName(vector) : describeException(note)}; ${why}`, note)
  }

  /** An instruction has been carried out in the guest's place: a guest that single-steps is told. */
  stepped(vcpu: Vcpu, pv: ParavirtualVcpu): void {
    if ((pv.processor.registers.systemFlags() & RFLAGS.TF) === 0) return
    noteSingleStep(pv)
    this.inject(vcpu, VECTOR.DB, -1)
  }

  /** An instruction that the guest may not execute itself. */
  privileged(vcpu: Vcpu, pv: ParavirtualVcpu, request: PrivilegedOperation): void {
    const { privileged, pageTypes, meter } = this.parts
    // What was begun for the domain before comes first; the instruction is executed again.
    if (!pageTypes.settle(vcpu.domid)) return
    meter.charge(WORK.emulation)
    if (privileged.emulate(vcpu, pv, request)) this.stepped(vcpu, pv)
    else if (!privileged.hasPaused) this.inject(vcpu, privileged.fault, 0)
  }

  /** Goes back over the `syscall` or `int n` that was executed last. */
  rewind(pv: ParavirtualVcpu): void {
    const rip = pv.processor.registers.rip() - SHORT_INSTRUCTION
    pv.processor.registers.setRip(rip >>> 0, Math.floor(rip / TWO_32) >>> 0)
  }

  /** An exception of the guest's. */
  exception(
    vcpu: Vcpu, pv: ParavirtualVcpu, exit: { readonly vector: number; readonly errorCode: number; readonly address: number },
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
  interrupt(vcpu: Vcpu, pv: ParavirtualVcpu, vector: number): void {
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
export const entersHypervisor = (exit: VcpuExit): boolean =>
  exit.kind === 'syscall' || exit.kind === 'exception' || exit.kind === 'interrupt' ||
  (exit.kind === 'privileged' && !NATIVE.has(exit.request.operation))
