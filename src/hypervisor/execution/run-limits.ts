/**
 * How far a run of the host goes, and why it came back.
 */

/** Why a run of the host came back. */
export type RunResult =
  /** The limit of instructions or time was reached. */
  | { readonly kind: 'limit' }
  /** Nothing is runnable and no timer is armed: only something from outside can go on. */
  | { readonly kind: 'idle' }
  /** With a real-time clock: nothing is runnable before `deadline` (host nanoseconds). */
  | { readonly kind: 'wait'; readonly deadline: number }
  /** A TypeScript guest wants a turn of JavaScript's event loop before time moves on. */
  | { readonly kind: 'turn' }

/** Limits of one `run`. */
export interface RunLimits {
  /** Host time to which it moves on before it begins, for a host that follows a clock outside; never back. */
  readonly at?: number
  /** Instructions after which it comes back. Default 1,000,000. */
  readonly instructions?: number
  /** Host time beyond which it does not go. */
  readonly until?: number
  /** Nanoseconds by which a host with nothing to do moves its clock on at most. Default: as far as the next timer. */
  readonly idle?: number
}
