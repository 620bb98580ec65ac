/**
 * What comes between two instructions of a processor: debug traps, interrupts, breakpoints, and for a bare one their
 * delivery. The driver asks only while there is something to look for.
 * Reference: Intel SDM volume 3, section 6.9.
 */
import { RFLAGS, SEGMENT, VECTOR, hasErrorCode } from '../../../x86/index.ts'
import { EXIT } from '../../interface/processor.ts'
import type { ExitReason } from '../../interface/processor.ts'
import type { Core } from '../core/core.ts'
import { State } from '../layout/state.ts'
import { deliver, notePageFault } from './delivery.ts'
import type { Outcome } from './delivery.ts'
import type { Delivery } from './gates.ts'

/** The exception that a run ends with or that is delivered. */
export interface ExceptionFields {
  vector: number
  errorCode: number
  address: number
}

/** Boundary between instructions of one core. */
export class Boundary {
  private readonly core: Core
  private readonly result: ExceptionFields
  /** Budget left of the running run. */
  left = 0
  /** Set when something has been delivered, so that execution goes on elsewhere. */
  hasDelivered = false

  constructor(core: Core, result: ExceptionFields) {
    this.core = core
    this.result = result
  }

  /** Instructions done since the processor was made. */
  get done(): number {
    return this.core.progress.totalExecuted + this.core.progress.startBudget - this.left
  }

  /**
   * What comes between two instructions: debug traps, interrupts, breakpoints on the next instruction; in this order.
   * The exit that it leads to; undefined to go on.
   */
  attend(): ExitReason | undefined {
    const { core } = this
    const { debug, events } = core
    this.hasDelivered = false
    for (;;) {
      const shadow = events.interruptShadow(this.done)
      const waiting = core.bare ? events.deliverable(shadow) : -1
      let due: Partial<Delivery> | undefined
      if (events.raised !== undefined) due = { ...events.raised }
      else if (debug.pending !== 0 && shadow !== 'ss') {
        if (!core.bare) return this.debugException(debug.pending)
        due = { vector: VECTOR.DB }
      } else if (waiting >= 0) due = { vector: waiting, kind: 'external' }
      else if (events.activity !== 'running') return events.activity === 'halted' ? EXIT.HALT : EXIT.SHUTDOWN
      else if (shadow !== 'ss' && this.left > 0) {
        const bits = this.breakpointHere()
        if (bits === 0) return undefined
        if (!core.bare) return this.debugException(bits)
        debug.pending = bits
        due = { vector: VECTOR.DB }
      }
      if (due === undefined || this.left <= 0) return undefined
      const reason = this.exitOf(this.deliverDue(due))
      if (reason !== undefined) return reason
    }
  }

  private breakpointHere(): number {
    const { core } = this
    const { view, base } = core.registers
    if (!core.debug.watchesCode || (State.systemFlags.get(view, base) & RFLAGS.RF) !== 0) return 0
    const start = core.registers.long ? 0 : core.registers.segment(SEGMENT.cs).baseLow
    return core.debug.atInstruction(this.core.registers.rip + start)
  }

  /** Ends a hosted run with #DB; DR6 tells why. */
  private debugException(bits: number): ExitReason {
    this.core.debug.raised(bits)
    Object.assign(this.result, { vector: VECTOR.DB, errorCode: 0, address: 0 })
    this.tellException()
    return EXIT.EXCEPTION
  }

  /** Delivers a debug trap, an exception of the host's or an external interrupt of a bare processor, which ends a halt. */
  private deliverDue(due: Partial<Delivery>): Outcome {
    const { core } = this
    const { debug, events, registers } = core
    const { vector = 0, kind = 'exception', errorCode } = due
    const { pending } = debug
    const isRaised = events.raised !== undefined
    if (kind === 'exception') {
      if (!isRaised) debug.raised(pending)
      Object.assign(this.result, { vector, errorCode: errorCode ?? 0, address: 0 })
      this.tellException()
    }
    const flags = isRaised ? registers.flags() | RFLAGS.RF : registers.flags()
    const outcome = this.send({ vector, kind, errorCode, rip: registers.rip, flags })
    if (outcome === 'physical') {
      // It still waits.
      debug.pending = pending
      return outcome
    }
    if (isRaised) events.raised = undefined
    else if (kind === 'external') this.taken(vector)
    events.activity = 'running'
    return outcome
  }

  /** An interrupt is on its way. */
  private taken(vector: number): void {
    const { events } = this.core
    if (vector === VECTOR.NMI && events.nmi && !events.nmiBlocked) {
      events.nmi = false
      events.nmiBlocked = true
    } else events.take(vector)
  }

  /** Delivers the fault that `result` tells; RF is set in the flags that its handler returns to. The exit that it leads to, if any. */
  deliverFault(): ExitReason | undefined {
    const { core } = this
    const { vector, errorCode } = this.result
    if (vector === VECTOR.PF) notePageFault(core.registers)
    return this.exitOf(this.send({
      vector, kind: 'exception', errorCode: hasErrorCode(vector) ? errorCode : undefined, rip: this.core.registers.rip,
      flags: core.registers.flags() | RFLAGS.RF,
    }))
  }

  /** A delivery counts as an instruction. */
  private send(delivery: Delivery): Outcome {
    this.left -= 1
    this.hasDelivered = true
    const outcome = deliver(this.core, delivery)
    if (outcome === 'physical') this.left += 1
    return outcome
  }

  private exitOf(outcome: Outcome): ExitReason | undefined {
    if (outcome === 'delivered') return undefined
    return outcome === 'physical' ? EXIT.PHYSICAL : this.shutDown()
  }

  private shutDown(): ExitReason {
    this.core.events.activity = 'shutdown'
    return EXIT.SHUTDOWN
  }

  /** Tells hooks of the exception in `result`. */
  tellException(): void {
    const { vector, errorCode, address } = this.result
    if (this.core.debug.isTraced) this.core.debug.observer!.exception({ vector, errorCode, address })
  }
}
