/** Time as a fleet's parts see it: the wall, or a simulation's. */

/** A clock that never goes back. */
export interface FleetClock {
  /** Milliseconds from any beginning. */
  now(): number
  /** Does something so many milliseconds from now; the returned function calls it off. */
  after(milliseconds: number, act: () => void): () => void
}

/** The monotonic clock of the process. */
export const WALL: FleetClock = {
  now: () => performance.now(),
  after: (milliseconds, act) => {
    const timer = setTimeout(act, milliseconds)
    return () => clearTimeout(timer)
  },
}

/** Resolves so many milliseconds from now. */
export const rest = (clock: FleetClock, milliseconds: number): Promise<void> => new Promise((resolve) => void clock.after(milliseconds, resolve))
