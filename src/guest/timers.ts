/**
 * A guest's timers over the one-shot timer that the hypervisor gives a vCPU: a heap ordered by deadline, and by age
 * where deadlines are equal, so that runs are repeatable.
 */
import { badState, shape, type StateOf, type Quiescible } from '../util/index.ts'

/** One timer; `cancel` may be called at any time, also after it has fired. */
export interface Timer {
  readonly deadline: number
  /** Its number among all timers of the guest, by which it is attached again. */
  readonly order: number
  /** Keeps the handler from running; without effect once it has run. */
  cancel(): void
  /** Says that whoever set it saves its number, and attaches its handler again after a load. Gives the timer itself. */
  keep(): Timer
}

interface Entry extends Timer {
  /** Undefined in a timer that was loaded and not attached yet. */
  handler: (() => void) | undefined
  cancelled: boolean
  kept: boolean
}

const deadline = /* @__PURE__ */ shape.real(0, Number.MAX_SAFE_INTEGER)

/** The timers that are set, the earliest first. */
export const timersState = /* @__PURE__ */ shape.record({
  order: shape.time,
  programmed: deadline,
  timers: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({ deadline, order: shape.time })),
})

/** Saved timers. */
export type TimersState = StateOf<typeof timersState>

const before = (a: Entry, b: Entry): boolean =>
  a.deadline < b.deadline || (a.deadline === b.deadline && a.order < b.order)

/** The timers of one guest. */
export class Timers implements Quiescible {
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
    const entry = this.entry(deadline, this.order++, handler)
    this.push(entry)
    this.reprogram()
    return entry
  }

  private entry(deadline: number, order: number, handler: (() => void) | undefined): Entry {
    const entry: Entry = {
      deadline, handler, order, cancelled: false, kept: false,
      cancel: () => {
        entry.cancelled = true
        this.reprogram()
      },
      keep: () => {
        entry.kept = true
        return entry
      },
    }
    return entry
  }

  /** Timers that are set, but for those of services that would take them up again in a loaded kernel. */
  get loose(): number {
    return this.live().filter(({ kept }) => !kept).length
  }

  // State

  /** Timers whose handlers nobody would attach again; undefined when there are none. */
  underWay(): string | undefined {
    return this.live().some(({ kept }) => !kept) ? 'a timer of code that cannot be saved' : undefined
  }

  save(): TimersState {
    const timers = this.live().map(({ deadline, order }) => ({ deadline, order }))
    return { order: this.order, programmed: this.programmed, timers }
  }

  isAsSaved({ order, programmed, timers }: TimersState): boolean {
    if (order !== this.order || programmed !== this.programmed) return false
    const live = this.live()
    return live.length === timers.length && live.every((timer, i) => timer.deadline === timers[i]!.deadline && timer.order === timers[i]!.order)
  }

  load(state: TimersState): void {
    const { order, programmed, timers } = state
    const orders = new Set(timers.map((timer) => timer.order))
    if (orders.size < timers.length || timers.some((timer) => timer.order >= order)) throw badState('two timers have one number')
    this.order = order
    this.programmed = programmed
    for (const timer of timers) this.push(this.entry(timer.deadline, timer.order, undefined))
  }

  /** The timers are those that were saved. */
  bringBack({ order, programmed }: TimersState): void {
    this.order = order
    this.programmed = programmed
  }

  /** Gives a timer that was loaded its handler again. */
  attach(order: number, handler: () => void): Timer {
    const entry = this.heap.find((each) => each.order === order)
    if (entry === undefined || entry.handler !== undefined) throw badState(`there is no timer ${order} to be attached`)
    entry.handler = handler
    return entry.keep()
  }

  /** Timers that were loaded and that nobody has attached. */
  unattached(): readonly number[] {
    return this.heap.filter(({ handler }) => handler === undefined).map(({ order }) => order)
  }

  private live(): Entry[] {
    return this.heap.filter(({ cancelled }) => !cancelled).sort((a, b) => (before(a, b) ? -1 : 1))
  }

  // Heap

  /** Whether a timer is due. */
  isDue(): boolean {
    this.dropCancelled()
    const first = this.heap[0]
    return first !== undefined && first.deadline <= this.now()
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
