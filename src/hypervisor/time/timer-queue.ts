/**
 * The host's timers in the order in which they are due: a binary heap. Timers that are due at the same time fire in
 * the order in which they were set, so that runs repeat exactly.
 *
 * Reference: xen/common/timer.c has the same interface.
 */

/** Something that is to happen at a time. Made by {@link TimerQueue.create}; only the queue changes it. */
export interface Timer {
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

/** Saved deadline of one timer. */
export interface TimerState {
  readonly deadline: number
  readonly sequence: number
}

const before = (a: QueuedTimer, b: QueuedTimer): boolean =>
  a.deadline < b.deadline || (a.deadline === b.deadline && a.sequence < b.sequence)

/** Timers by deadline. */
export class TimerQueue {
  private readonly heap: QueuedTimer[] = []
  private sequence = 0

  /** A timer that is not set yet. */
  create(fire: (now: number) => void): Timer {
    const timer: QueuedTimer = { deadline: -1, sequence: 0, place: -1, fire }
    return timer
  }

  /** Sets a timer, anew if it was set; a deadline in the past is due at once. */
  set(timer: Timer, deadline: number): void {
    this.sequence += 1
    this.insert(timer, { deadline: Math.max(deadline, 0), sequence: this.sequence })
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

  /** A timer's deadline with its place among equals, or undefined while it is not set. */
  save(timer: Timer): TimerState | undefined {
    const { deadline, sequence, place } = this.own(timer)
    return place < 0 ? undefined : { deadline, sequence }
  }

  /** Sets a timer as it was saved. */
  load(timer: Timer, state: TimerState | undefined): void {
    if (state === undefined) {
      this.stop(timer)
      return
    }
    this.sequence = Math.max(this.sequence, state.sequence)
    this.insert(timer, state)
  }

  private insert(timer: Timer, { deadline, sequence }: TimerState): void {
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
