/**
 * How far a run of the host goes, and why it came back.
 */
import type { DomId } from '../../util/index.ts'

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
  /** It stands in its midst, see {@link RunLimits.stand}; the next run goes on with it as if it had not, within its limits. */
  | StandingRun

/** A run that stands in the midst of a vCPU's execution. */
export interface StandingRun {
  readonly kind: 'standing'
  readonly domid: DomId
  /** Whose instruction comes next. */
  readonly vcpu: number
  /** A hook of a trace has asked for it. */
  readonly isStopped: boolean
}

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
  /**
   * Instructions of guests after which the run stands, between two instructions; it stands also where a hook of a trace answers 'stop', which
   * then pauses nothing. Guests cannot tell: whoever looks at them there, and lets the run go on, changes nothing.
   */
  readonly stand?: number
}
