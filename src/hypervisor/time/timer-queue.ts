/**
 * The host's timers in the order in which they are due: a binary heap. Timers that are due at the same time fire in
 * the order in which they were set, so that runs repeat exactly.
 *
 * Reference: xen/common/timer.c has the same interface.
 */

import { FRACTION, type StateOf, type Stateful, badState, shape } from '../../util/index.ts'

/** A timer that is set, and its place among those that are due at the same time; undefined for one that is not set. */
export const timerShape = /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.record({
  /** A guest's deadline may lie further away than nanoseconds are exact. */
  deadline: /* @__PURE__ */ shape.real(0, 2 ** 64), sequence: shape.time,
}))

/** A timer's state. */
export type TimerState = StateOf<typeof timerShape>

/** What the queue itself has to save: timers belong to whoever made them. */
export const timerQueueShape = /* @__PURE__ */ shape.record({ sequence: shape.time })

/** A queue's state. */
export type TimerQueueState = StateOf<typeof timerQueueShape>

/** Something that is to happen at a time. Made by {@link TimerQueue.create}; only the queue changes it. */
export interface Timer extends Stateful<TimerState> {
  isAsSaved(state: TimerState): boolean
  /** Host time at which it is due, or -1 while it is not set. */
  readonly deadline: number
  readonly fire: (now: number) => void
}

/** A timer as its queue sees it. */
interface QueuedTimer extends Timer {
  deadline: number
  /** Order of setting. */
  sequence: number
  /** Place in the heap, or -1. */
  place: number
}

const before = (a: QueuedTimer, b: QueuedTimer): boolean =>
  a.deadline < b.deadline || (a.deadline === b.deadline && a.sequence < b.sequence)

/** Timers by deadline. A queue is loaded before its timers. */
export class TimerQueue implements Stateful<TimerQueueState> {
  private readonly heap: QueuedTimer[] = []
  private sequence = 0
  /** Makes timers of vCPUs come late, where somebody wants to see what guests make of it. */
  lateness: ((now: number) => number) | undefined

  /** A timer that is not set yet. */
  create(fire: (now: number) => void): Timer {
    const timer: QueuedTimer = {
      deadline: FRACTION, sequence: 0, place: -1, fire,
      save: () => (timer.place < 0 ? undefined : { deadline: timer.deadline, sequence: timer.sequence }),
      isAsSaved: (state) => (state === undefined ? timer.place < 0 : timer.place >= 0 && timer.deadline === state.deadline && timer.sequence === state.sequence),
      load: (state) => this.loadTimer(timer, state),
    }
    timer.deadline = -1
    return timer
  }

  /** Sets a timer, anew if it was set; a deadline in the past is due at once. */
  set(timer: Timer, deadline: number): void {
    this.sequence += 1
    this.insert(timer, Math.max(deadline, 0), this.sequence)
  }

  /** The same for a guest's timer, which may come later than it was asked for: a host is never that punctual. */
  setForGuest(timer: Timer, deadline: number, now: number): void {
    this.set(timer, this.lateness === undefined ? deadline : deadline + this.lateness(now))
  }

  /** Unsets a timer; it does not matter whether it was set. */
  stop(timer: Timer): void {
    const queued = this.own(timer)
    if (queued.place < 0) return
    const { place } = queued
    const last = this.heap.pop()!
    queued.place = -1
    queued.deadline = -1
    if (last === queued) return
    this.put(last, place)
    this.siftDown(last)
    this.siftUp(last)
  }

  /** When the next timer is due, or Infinity. */
  get next(): number {
    return this.heap[0]?.deadline ?? Infinity
  }

  /** Timers that are set. */
  get size(): number {
    return this.heap.length
  }

  /** Fires all timers that are due at `now`, also those that are set meanwhile; returns how many. */
  run(now: number): number {
    let fired = 0
    for (let timer = this.heap[0]; timer !== undefined && timer.deadline <= now; timer = this.heap[0]) {
      this.stop(timer)
      timer.fire(now)
      fired += 1
    }
    return fired
  }

  save(): TimerQueueState {
    return { sequence: this.sequence }
  }

  isAsSaved({ sequence }: TimerQueueState): boolean {
    return this.sequence === sequence
  }

  load({ sequence }: TimerQueueState): void {
    this.sequence = sequence
  }

  private loadTimer(timer: Timer, state: TimerState): void {
    if (state === undefined) {
      this.stop(timer)
      return
    }
    if (state.sequence > this.sequence) throw badState('a timer was set after the last one')
    this.insert(timer, state.deadline, state.sequence)
  }

  private insert(timer: Timer, deadline: number, sequence: number): void {
    this.stop(timer)
    const queued = this.own(timer)
    queued.deadline = deadline
    queued.sequence = sequence
    this.put(queued, this.heap.length)
    this.siftUp(queued)
  }

  /** Every Timer was made by `create`, so it is one of ours. */
  private own(timer: Timer): QueuedTimer {
    return timer as QueuedTimer
  }

  private put(timer: QueuedTimer, place: number): void {
    this.heap[place] = timer
    timer.place = place
  }

  private siftUp(timer: QueuedTimer): void {
    while (timer.place > 0) {
      const { place } = timer
      const parent = this.heap[(place - 1) >> 1]!
      if (!before(timer, parent)) return
      const above = parent.place
      this.put(parent, place)
      this.put(timer, above)
    }
  }

  private siftDown(timer: QueuedTimer): void {
    for (;;) {
      const { place } = timer
      const left = this.heap[place * 2 + 1]
      const right = this.heap[place * 2 + 2]
      const child = right !== undefined && left !== undefined && before(right, left) ? right : left
      if (child === undefined || !before(child, timer)) return
      const below = child.place
      this.put(child, place)
      this.put(timer, below)
    }
  }
}
