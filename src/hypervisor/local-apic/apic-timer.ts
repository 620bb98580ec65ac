/**
 * The timer of a local APIC: counts down from TMICT in bus cycles of 10 ns times the divisor, once or again and again. What
 * the guest reads of it follows from the time at which it was last started.
 * Reference: xen/arch/x86/hvm/vlapic.c, vlapic_update_timer and vlapic_get_tmcct; vpt.c, create_periodic_time.
 */
import { type StateOf, type Stateful, shape } from '../../util/index.ts'
import { type Timer, type TimerQueue, timerShape } from '../time/timer-queue.ts'

/** Nanoseconds of a bus cycle. */
const CYCLE = 10
/** A shorter period would have the host do nothing else. */
const SHORTEST_PERIOD = 100_000
/** Modes in LVTT. */
const MODE = { ONE_SHOT: 0, PERIODIC: 0x2_0000 } as const
const MODE_BITS = 0x6_0000

const DIVISORS = [1, 2, 4, 8, 16, 32, 64, 128] as const

/** A timer as plain data. */
export const apicTimerShape = /* @__PURE__ */ shape.record({
  divisor: /* @__PURE__ */ shape.oneOf(...DIVISORS), timer: timerShape,
  /** Time at which the count began, had it always had its divisor; none while the timer is off. */
  started: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.real(-(2 ** 53), 2 ** 53)),
})

/** What a write changes of it. */
export interface TimerSetting {
  /** LVTT as it will be. */
  readonly lvtt: number
  readonly initial: number
  /** TDCR as it will be. */
  readonly divide: number
}

/** How its domain's time goes. */
export interface ApicTime {
  /** The domain's time in nanoseconds. */
  readonly now: () => number
  /** Host time of a time of the domain's, by which timers are set; absent where that is the same. */
  readonly hostTime?: ((shown: number) => number) | undefined
}

/** Timer of one local APIC. */
export class ApicTimer implements Stateful<StateOf<typeof apicTimerShape>> {
  /** Bus cycles of one step. */
  divisor: StateOf<typeof apicTimerShape>['divisor'] = 2
  private started: number | undefined
  private readonly timers: TimerQueue
  private readonly now: () => number
  private readonly hostTime: (shown: number) => number
  private readonly timer: Timer
  private readonly setting: () => TimerSetting

  constructor(parts: ApicTime & { readonly timers: TimerQueue; readonly fire: () => void; readonly setting: () => TimerSetting }) {
    this.timers = parts.timers
    this.now = parts.now
    this.hostTime = parts.hostTime ?? ((shown) => shown)
    this.setting = parts.setting
    this.timer = parts.timers.create((due) => {
      const { lvtt, initial } = this.setting()
      if ((lvtt & MODE_BITS) === MODE.PERIODIC) {
        const began = parts.hostTime === undefined ? due : this.now()
        this.started = began
        this.timers.set(this.timer, this.hostTime(began + Math.max(initial * CYCLE * this.divisor, SHORTEST_PERIOD)))
      }
      parts.fire()
    })
  }

  /** TDCR has been written: bits 0, 1 and 3 count. */
  setDivide(divide: number): void {
    const value = ((divide & 3) | ((divide & 8) >> 1)) + 1
    this.divisor = DIVISORS[value & 7]!
  }

  /** What is left of the count: 0 when the timer is off, or done. */
  current(): number {
    const { lvtt, initial } = this.setting()
    if (initial === 0 || this.started === undefined) return 0
    const passed = Math.floor((this.now() - this.started) / (CYCLE * this.divisor))
    const count = (lvtt & MODE_BITS) === MODE.PERIODIC ? passed % initial : passed
    return count < initial ? initial - count : 0
  }

  /** The count has been written: it begins. */
  start({ lvtt, initial }: TimerSetting): void {
    this.arm(lvtt, initial * CYCLE * this.divisor, this.now())
  }

  /** Mode or divisor change: the rest of the count goes on, in steps of the new divisor. `before`: LVTT until now. */
  change({ lvtt, initial, divide }: TimerSetting, before: number): void {
    const old = this.divisor
    const period = initial * CYCLE * old
    let passed = this.started === undefined ? period : this.now() - this.started
    if (period > 0 && (before & MODE_BITS) === MODE.PERIODIC) passed %= period
    this.setDivide(divide)
    const left = passed < period ? Math.floor(((period - passed) * this.divisor) / old) : 0
    this.arm(lvtt, left, this.now() - (initial * CYCLE * this.divisor - left))
  }

  private arm(lvtt: number, left: number, started: number): void {
    const mode = lvtt & MODE_BITS
    if (left > 0 && (mode === MODE.ONE_SHOT || mode === MODE.PERIODIC)) {
      this.started = started
      this.timers.set(this.timer, this.hostTime(this.now() + left))
    } else this.stop()
  }

  /** Sets it to another host time: the domain's time goes otherwise from now on. */
  move(change: (deadline: number) => number): void {
    if (this.timer.deadline >= 0) this.timers.set(this.timer, change(this.timer.deadline))
  }

  /** Nothing comes any more. */
  stop(): void {
    this.started = undefined
    this.timers.stop(this.timer)
  }

  save(): StateOf<typeof apicTimerShape> {
    return { divisor: this.divisor, started: this.started, timer: this.timer.save() }
  }

  load({ divisor, started, timer }: StateOf<typeof apicTimerShape>): void {
    this.timer.load(timer)
    Object.assign(this, { divisor, started })
  }
}
