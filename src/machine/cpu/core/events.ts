/**
 * What waits to interrupt a processor, and what holds it back: requested vectors, the NMI, the interrupt shadow, halt
 * and shutdown.
 * Reference: Intel SDM volume 3, sections 6.3, 6.7, 6.8 and 10.8.
 */
import { RFLAGS, VECTOR } from '../../../x86/index.ts'
import type { InterruptSource } from '../../interface/sources.ts'
import { State } from '../layout/state.ts'
import type { RegisterFile } from './register-file.ts'

/** What the processor does between instructions. */
export const ACTIVITIES = ['running', 'halted', 'shutdown'] as const
type Activity = (typeof ACTIVITIES)[number]

/** What an instruction holds back until the next one is done: STI interrupts, a load of SS debug traps as well. */
export const INTERRUPT_SHADOWS = ['none', 'sti', 'ss'] as const
/** One of the {@link INTERRUPT_SHADOWS}. */
export type InterruptShadow = (typeof INTERRUPT_SHADOWS)[number]

/** An exception that the host has raised. */
export interface RaisedException {
  readonly vector: number
  readonly errorCode: number | undefined
}

/** Events of one core. */
export class EventUnit {
  private readonly registers: RegisterFile
  private readonly requested = new Uint32Array(8)
  private count = 0
  private readonly source: InterruptSource | undefined
  /** Comes before anything else. */
  raised: RaisedException | undefined
  nmi = false
  /** An NMI is being handled: the next waits for IRET. */
  nmiBlocked = false
  activity: Activity = 'running'
  /** Number of the instruction behind which the interrupt shadow ends, counted from the processor's making. */
  private shadowEnd = -1
  private shadowKind: InterruptShadow = 'none'

  constructor(registers: RegisterFile, source: InterruptSource | undefined) {
    this.registers = registers
    this.source = source
  }

  /** Requests an external interrupt; a vector that waits already is not noted twice. */
  request(vector: number): void {
    const bit = 1 << (vector & 31)
    if ((this.requested[vector >>> 5]! & bit) !== 0) return
    this.requested[vector >>> 5]! |= bit
    this.count += 1
  }

  /** Takes an interrupt away, because it is delivered: a request, or the controller's. */
  take(vector: number): void {
    if (this.count === 0) {
      this.source!.acknowledge(vector)
      return
    }
    this.requested[vector >>> 5]! &= ~(1 << (vector & 31))
    this.count -= 1
  }

  /** Vectors that wait, lowest first. */
  waiting(): number[] {
    return Array.from({ length: 256 }, (_, i) => i).filter((i) => (this.requested[i >>> 5]! & (1 << (i & 31))) !== 0)
  }

  /** Forgets everything that waits. */
  clear(): void {
    this.requested.fill(0)
    this.count = 0
    this.raised = undefined
    this.nmi = false
    this.nmiBlocked = false
    this.activity = 'running'
    this.shadowEnd = -1
  }

  /** True when the driver has to look before it goes on. */
  get isWaiting(): boolean {
    return this.count !== 0 || this.nmi || this.activity !== 'running' || this.raised !== undefined ||
      (this.source !== undefined && this.source.pending() >= 0)
  }

  /** Begins the interrupt shadow of the instruction that is the `executed`th. */
  beginInterruptShadow(kind: InterruptShadow, executed: number): void {
    this.shadowKind = kind
    this.shadowEnd = executed
  }

  /** Interrupt shadow in force once `executed` instructions are done. */
  interruptShadow(executed: number): InterruptShadow {
    return this.shadowEnd === executed ? this.shadowKind : 'none'
  }

  /** Vector to be delivered now: that of the NMI, an external one, or -1. */
  deliverable(shadow: InterruptShadow): number {
    if (shadow !== 'none' || this.activity === 'shutdown') return -1
    if (this.nmi && !this.nmiBlocked) return VECTOR.NMI
    const { registers } = this
    if ((State.systemFlags.get(registers.view, registers.base) & RFLAGS.IF) === 0) return -1
    if (this.count === 0) return this.source === undefined ? -1 : this.source.pending()
    const highest = this.highest()
    // CR8 holds back classes of sixteen vectors.
    return highest >> 4 > registers.controlLow(8) || registers.controlLow(8) === 0 ? highest : -1
  }

  private highest(): number {
    for (let word = 7; word >= 0; word -= 1) {
      const bits = this.requested[word]!
      if (bits !== 0) return word * 32 + 31 - Math.clz32(bits)
    }
    return -1
  }
}
