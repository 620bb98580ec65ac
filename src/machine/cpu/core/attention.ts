/** Whether the driver has to look at what comes between two instructions. */
import type { DebugUnit } from './debug.ts'
import type { EventUnit } from './events.ts'

/** Attention that one processor needs. */
export class Attention {
  private readonly debug: DebugUnit
  private readonly events: EventUnit

  constructor(debug: DebugUnit, events: EventUnit) {
    this.debug = debug
    this.events = events
  }

  /** True while debug traps, breakpoints, hooks, interrupts or a halt may come before the next instruction. */
  get isDue(): boolean {
    return this.debug.isCareful || this.events.isWaiting || this.debug.isTraced
  }
}
