/** Time as a parameter: nothing below the toolstack reads the wall clock. */

/** Monotonic time of one host. */
export interface Clock {
  /** Nanoseconds since the host booted. A whole number; exact for 104 days of host time (2^53 ns). */
  now(): number
}

/** A clock that moves only when told to: the base of deterministic runs and of tests. */
export class ManualClock implements Clock {
  private time: number

  constructor(start = 0) {
    this.time = start
  }

  now(): number {
    return this.time
  }

  /** Moves time forward by `nanoseconds`. */
  advance(nanoseconds: number): void {
    if (!(nanoseconds >= 0)) throw new Error(`time cannot move by ${nanoseconds} ns`)
    this.time += nanoseconds
  }
}

/** Calendar time, needed only where an ABI carries it (wc_sec in shared_info, start times). */
export interface WallClock {
  /** Nanoseconds since 1970-01-01 UTC, as of host boot. */
  readonly bootTime: bigint
}
