/**
 * A guest's timers over the one-shot timer that the hypervisor gives a vCPU: a heap ordered by deadline, and by age
 * where deadlines are equal, so that runs are repeatable.
 */

/** One timer; `cancel` may be called at any time, also after it has fired. */
export interface Timer {
  readonly deadline: number
  /** Keeps the handler from running; without effect once it has run. */
  cancel(): void
}

interface Entry extends Timer {
  readonly order: number
  readonly handler: () => void
  cancelled: boolean
}

const before = (a: Entry, b: Entry): boolean =>
  a.deadline < b.deadline || (a.deadline === b.deadline && a.order < b.order)

/** The timers of one guest. */
export class Timers {
  private readonly now: () => number
  private readonly program: (deadline: number) => void
  private readonly heap: Entry[] = []
  private order = 0
  /** What the hypervisor's timer was last set to; 0 when it is off. */
  private programmed = 0

  /** `program` sets the hypervisor's one-shot timer to a host time in nanoseconds; 0 turns it off. */
  constructor(now: () => number, program: (deadline: number) => void) {
    this.now = now
    this.program = program
  }

  /** Calls `handler` once, `nanoseconds` from now. */
  after(nanoseconds: number, handler: () => void): Timer {
    return this.at(this.now() + Math.max(0, nanoseconds), handler)
  }

  /** Calls `handler` once, at host time `deadline`. */
  at(deadline: number, handler: () => void): Timer {
    const entry: Entry = {
      deadline, handler, order: this.order++, cancelled: false,
      cancel: () => {
        entry.cancelled = true
        this.reprogram()
      },
    }
    this.push(entry)
    this.reprogram()
    return entry
  }

  /** Takes the next timer that is due and returns its handler. */
  takeDue(): (() => void) | undefined {
    this.dropCancelled()
    const first = this.heap[0]
    if (first === undefined || first.deadline > this.now()) return undefined
    this.pop()
    // The one-shot timer has fired or is late; it is set again only for a deadline that is still to come.
    this.programmed = 0
    const next = this.heap[0]
    if (next !== undefined && next.deadline > this.now()) this.reprogram()
    return first.handler
  }

  /** Sets the hypervisor's timer again: after the timer interrupt, and after a restore. */
  rearm(): void {
    this.programmed = 0
    this.reprogram()
  }

  private reprogram(): void {
    this.dropCancelled()
    const deadline = this.heap[0]?.deadline ?? 0
    if (deadline === this.programmed) return
    this.programmed = deadline
    this.program(deadline)
  }

  private dropCancelled(): void {
    while (this.heap[0]?.cancelled === true) this.pop()
  }

  private push(entry: Entry): void {
    const heap = this.heap
    let place = heap.push(entry) - 1
    while (place > 0) {
      const parent = (place - 1) >> 1
      if (!before(entry, heap[parent]!)) break
      heap[place] = heap[parent]!
      place = parent
    }
    heap[place] = entry
  }

  private pop(): void {
    const heap = this.heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let place = 0
    for (;;) {
      const left = 2 * place + 1
      if (left >= heap.length) break
      const right = left + 1
      const child = right < heap.length && before(heap[right]!, heap[left]!) ? right : left
      if (!before(heap[child]!, last)) break
      heap[place] = heap[child]!
      place = child
    }
    heap[place] = last
  }
}
