/**
 * Whoever decides in a scheduler's place: tests that want one certain interleaving of many. It is asked when the scheduler would be, and
 * when a vCPU wakes; how long what it says holds, it says in host time, so that between two questions nothing is looked at. A scheduler
 * without one does not know of it; one that says nothing has CPUs asked more often than without it.
 *
 * Bounds that hold whatever a director says: affinity, caps, and that a vCPU runs at all where one can.
 */
import type { VcpuRef } from './vcpu-ref.ts'

/** A CPU asks what it is to do. */
export interface DirectorQuestion {
  readonly cpu: number
  /** Host time in nanoseconds. */
  readonly now: number
  /** What ran there and could go on; undefined where nothing could. */
  readonly current: VcpuRef | undefined
  /** All that may run there, `current` first; never empty. */
  readonly candidates: readonly VcpuRef[]
}

/** What a CPU is to do. */
export interface Order {
  /** One of the candidates; undefined: the one that the scheduler takes. */
  readonly vcpu?: VcpuRef | undefined
  /** Host time at which to ask again at the latest. */
  readonly until: number
}

/** Several things are ready in a guest in TypeScript: ports that are pending, a timer that is due, a task, promises that have been resolved. */
export interface ReadyQuestion {
  readonly domid: number
  /** How many. */
  readonly count: number
}

/** Decides in a scheduler's place. */
export interface Director {
  /** Undefined: as the scheduler has it. */
  decide(question: DirectorQuestion): Order | undefined
  /** By how many nanoseconds a vCPU's timer comes late, {@link MOST_LATE} at most; asked whenever one is set. */
  lateness?(now: number): number
  /** Which of these things goes first: 0 for the one that would, up to `count` - 1. */
  first?(question: ReadyQuestion): number
}

/** Nanoseconds by which a timer may come late: what a busy host does to one without being out of order. */
export const MOST_LATE = 1_000_000
