/**
 * The host's time: a whole number of nanoseconds since boot that follows the instructions which guests execute, and
 * jumps over idle time. A clock that follows the wall instead implements the same interface (in the toolstack).
 */
import { type Clock, FRACTION, type Stateful, shape } from '../../util/index.ts'

/** Position of a clock. */
export interface ClockState {
  /** Nanoseconds since boot. */
  readonly time: number
  /** Parts of a nanosecond that are not yet in `time`. */
  readonly rest: number
}

/** What there is to save of a clock. */
export const clockShape = /* @__PURE__ */ shape.record<ClockState>({ time: shape.time, rest: /* @__PURE__ */ shape.real(0, 1) })

/** Time of one host as the run loop drives it. */
export interface HostClock extends Clock, Stateful<ClockState> {
  /** `instructions` have been executed on one physical CPU. */
  charge(instructions: number): void
  /** What `now` will be when further `instructions` are charged; without this, time stands still within a run. */
  after?(instructions: number): number
  /** Instructions that fit between now and `time`, at least 1. */
  instructionsUntil(time: number): number
  /** Nothing is to be done before `time`: true when time stands there now, false when it has to be waited for. */
  skipTo(time: number): boolean
  /** Puts time where a physical CPU stands that lags behind the others; never before the last `charge` of that CPU. */
  set(time: number): void
}

/** Deterministic time: executed instructions at a fixed rate. */
export class VirtualClock implements HostClock {
  /** Instructions per second of each physical CPU. */
  readonly instructionsPerSecond: number
  private time = FRACTION
  /** Parts of a nanosecond that are not yet in `time`. */
  private rest = FRACTION
  private readonly nanosecondsEach: number

  constructor(options: { readonly instructionsPerSecond?: number; readonly start?: number } = {}) {
    this.instructionsPerSecond = options.instructionsPerSecond ?? 1e9
    this.nanosecondsEach = 1e9 / this.instructionsPerSecond
    this.time = options.start ?? 0
    this.rest = 0
  }

  now(): number {
    return this.time
  }

  charge(instructions: number): void {
    const passed = this.rest + instructions * this.nanosecondsEach
    const whole = Math.floor(passed)
    this.time += whole
    this.rest = passed - whole
  }

  after(instructions: number): number {
    return this.time + Math.floor(this.rest + instructions * this.nanosecondsEach)
  }

  instructionsUntil(time: number): number {
    return Math.max(1, Math.ceil((time - this.time) / this.nanosecondsEach))
  }

  skipTo(time: number): boolean {
    if (time > this.time) this.set(time)
    return true
  }

  set(time: number): void {
    this.time = time
    this.rest = 0
  }

  save(): ClockState {
    return { time: this.time, rest: this.rest }
  }

  isAsSaved({ time, rest }: ClockState): boolean {
    return this.time === time && this.rest === rest
  }

  load(state: ClockState): void {
    this.time = state.time
    this.rest = state.rest
  }
}
