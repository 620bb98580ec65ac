/**
 * The heart of a guest in TypeScript: takes one thing after another that is to be done (posted tasks, due timers,
 * pending ports), runs its handler to completion, and counts what it costs. It never waits; when nothing is left it
 * says so, and the hypervisor blocks the vCPU.
 */
import { shape, type StateOf, type Quiescible, sameFields } from '../util/index.ts'
import type { Charge } from './cost.ts'
import { COST } from './cost.ts'

/** Where the loop stands between two runs: what it took from last, what is on the bill, whether JavaScript is to run. */
export const loopState = /* @__PURE__ */ shape.record({
  source: /* @__PURE__ */ shape.whole(0, 2), spent: shape.time, turnWanted: shape.flag,
})

/** A saved loop. */
export type LoopState = StateOf<typeof loopState>

/** Why the loop came back; see the hypervisor's VcpuExit. */
export type LoopExit = 'budget' | 'block' | 'turn'

/** Who says what goes first, where several things are ready; where nobody does they are taken in turns. */
export interface LoopOrder {
  /** Somebody does. */
  readonly isDirected: boolean
  /** Which of `count` things goes first; 0 for the one that would. */
  first(count: number): number
}

/** Where the loop finds work. */
export interface LoopSources {
  /** A pending port, or 0. */
  takePort(): number
  deliver(port: number): void
  /** Ports that are pending, in the order in which they would be taken; of some ABIs the next alone. */
  readyPorts(): readonly number[]
  /** Takes this one of them. */
  takeThis(port: number): void
  /** Whether a timer is due. */
  isDue(): boolean
  readonly order?: LoopOrder | undefined
  /** The handler of a timer that is due. */
  takeDue(): (() => void) | undefined
  /** Called when a task was posted while the loop was not running: the vCPU must be woken. */
  wake(): void
  /** A handler threw. */
  fail(error: unknown): void
}

/** A handler, or a pending port that has been taken. */
type Work = (() => void) | number

const [TASKS, TIMERS, PORTS, SOURCES] = [0, 1, 2, 3] as const

/** Runs a guest's handlers. */
export class EventLoop implements Quiescible {
  /** Instructions that the last `run` cost, with what was done outside it since the one before. */
  executed = 0
  private readonly sources: LoopSources
  private readonly tasks: (() => void)[] = []
  /** The source that was taken from last. */
  private source = 0
  private spent = 0
  private turnWanted = false
  private holds = 0
  private running = false
  private stopped = false

  constructor(sources: LoopSources) {
    this.sources = sources
  }

  /** Adds to the bill. */
  readonly charge: Charge = (instructions) => {
    this.spent += instructions
  }

  /** Lets JavaScript run before virtual time moves on: a promise was resolved. */
  readonly turn = (): void => {
    this.turnWanted = true
  }

  /** Runs `task` in the guest, soon; may be called from outside. */
  post(task: () => void): void {
    this.tasks.push(task)
    if (!this.running) this.sources.wake()
  }

  /**
   * Virtual time stands still for an idle guest until the returned function is called: for work outside the
   * host, such as reading a file, whose real duration must not show.
   */
  hold(): () => void {
    this.holds += 1
    let released = false
    return () => {
      if (!released) this.holds -= 1
      released = true
    }
  }

  /** What keeps the loop from being saved: a posted task, or work outside that time stands still for. */
  underWay(): string | undefined {
    if (this.tasks.length > 0) return 'a posted task'
    if (this.holds > 0) return 'work outside of the host'
    return this.running || this.stopped ? 'a handler' : undefined
  }

  save(): LoopState {
    return { source: this.source, spent: this.spent, turnWanted: this.turnWanted }
  }

  isAsSaved(state: LoopState): boolean {
    return sameFields(this, state)
  }

  load({ source, spent, turnWanted }: LoopState): void {
    this.source = source
    this.spent = spent
    this.turnWanted = turnWanted
  }

  /** Stops for good, or until `resume`: the domain has shut down. */
  stop(): void {
    this.stopped = true
  }

  /** Goes on after a suspend. */
  resume(): void {
    this.stopped = false
  }

  /** Works until nothing is left or `budget` instructions are spent. */
  run(budget: number): LoopExit {
    this.running = true
    let busy = true
    while (busy && !this.stopped && this.spent < budget) {
      const work = this.sources.order?.isDirected === true ? this.directed(this.sources.order) : this.next()
      if (work === 'turn') break
      busy = this.step(work)
    }
    this.running = false
    this.executed = this.spent
    this.spent = 0
    return this.exit(busy)
  }

  private exit(busy: boolean): LoopExit {
    // Promises come first even when the budget is spent: how soon they run must not depend on the host's speed.
    if (this.turnWanted) {
      this.turnWanted = false
      return 'turn'
    }
    if (this.stopped) return 'block'
    if (busy) return 'budget'
    return this.holds > 0 ? 'turn' : 'block'
  }

  /** Does one thing; false when there is nothing to do. */
  private step(work: Work | undefined): boolean {
    if (work === undefined) return false
    this.spent += COST.handler
    try {
      if (typeof work === 'number') this.sources.deliver(work)
      else work()
    } catch (error) {
      this.sources.fail(error)
    }
    return true
  }

  /** Takes from the three sources in turns, so that none of them can starve the others. */
  private next(): Work | undefined {
    for (let tries = 0; tries < SOURCES; tries += 1) {
      this.source = (this.source + 1) % SOURCES
      const work = this.takeFrom(this.source)
      if (work !== undefined && work !== 0) return work
    }
    return undefined
  }

  /** The same as somebody else has it, who may also let what has been resolved go on first. */
  private directed(order: LoopOrder): Work | 'turn' | undefined {
    const ready = this.ready()
    if (ready.length + Number(this.turnWanted) < 2) return this.next()
    const chosen = order.first(ready.length + Number(this.turnWanted))
    if (chosen === 0 || ready.length === 0) return this.next()
    if (chosen === ready.length) return 'turn'
    const work = ready[chosen]!
    this.source = typeof work === 'number' ? PORTS : work.source
    if (typeof work !== 'number') return this.takeFrom(work.source)
    this.sources.takeThis(work)
    return work
  }

  /** What is ready, in the order in which it would be taken: tasks and timers by their source, ports by their numbers. */
  private ready(): readonly (number | { readonly source: number })[] {
    const { sources, source } = this
    return [1, 2, 3].flatMap((next): readonly (number | { readonly source: number })[] => {
      const from = (source + next) % SOURCES
      if (from === PORTS) return sources.readyPorts()
      return (from === TASKS ? this.tasks.length > 0 : sources.isDue()) ? [{ source: from }] : []
    })
  }

  private takeFrom(source: number): Work | undefined {
    if (source === TASKS) return this.tasks.shift()
    return source === TIMERS ? this.sources.takeDue() : this.sources.takePort()
  }
}
