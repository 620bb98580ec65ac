/**
 * SCHEDOP_watchdog: timers that a domain keeps pushing back, or is shut down by.
 * Reference: xen/common/sched/core.c (domain_watchdog); public/sched.h.
 */
import { ERRNO } from '../../abi/index.ts'
import { type StateOf, type Stateful, shape } from '../../util/index.ts'
import { type Timer, type TimerQueue, timerShape } from './timer-queue.ts'

/** Watchdogs of one domain (NR_DOMAIN_WATCHDOG_TIMERS). */
const COUNT = 2
const SECOND = 1_000_000_000

/** What a domain's saved watchdogs look like: a used one that has fired has no deadline. */
export const watchdogsShape = /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.where(
  /* @__PURE__ */ shape.record({ used: shape.flag, timer: timerShape }),
  ({ used, timer }) => (used || timer === undefined ? undefined : 'is set and not in use'),
), COUNT, COUNT)

/** A domain's watchdogs as plain data. */
export type WatchdogsState = StateOf<typeof watchdogsShape>

/** The watchdogs of one domain. */
export class DomainWatchdogs implements Stateful<WatchdogsState> {
  private readonly queue: TimerQueue
  private readonly timers: readonly Timer[]
  private readonly used: boolean[] = new Array<boolean>(COUNT).fill(false)

  /** `expired` shuts the domain down with reason `watchdog`, unless it is shut down or dying already. */
  constructor(queue: TimerQueue, expired: () => void) {
    this.queue = queue
    this.timers = Array.from({ length: COUNT }, () => queue.create(expired))
  }

  /** SCHEDOP_watchdog: `id` 0 takes a free one and returns its number; a timeout of 0 seconds gives it back. */
  operate(id: number, seconds: number, now: number): number {
    if (id > COUNT) return -ERRNO.EINVAL
    if (id === 0) {
      const free = this.used.indexOf(false)
      if (free < 0) return -ERRNO.ENOSPC
      this.used[free] = true
      this.queue.set(this.timers[free]!, now + seconds * SECOND)
      return free + 1
    }
    if (!this.used[id - 1]) return -ERRNO.EINVAL
    if (seconds !== 0) this.queue.set(this.timers[id - 1]!, now + seconds * SECOND)
    else this.release(id - 1)
    return 0
  }

  /** Gives all back: the domain goes away. */
  stopAll(): void {
    for (let index = 0; index < COUNT; index += 1) this.release(index)
  }

  save(): WatchdogsState {
    return this.timers.map((timer, index) => ({ used: this.used[index]!, timer: timer.save() }))
  }

  isAsSaved(state: WatchdogsState): boolean {
    return this.timers.every((timer, index) => this.used[index] === state[index]!.used && timer.isAsSaved(state[index]!.timer))
  }

  load(state: WatchdogsState): void {
    this.timers.forEach((timer, index) => {
      this.used[index] = state[index]!.used
      timer.load(state[index]!.timer)
    })
  }

  private release(index: number): void {
    this.used[index] = false
    this.queue.stop(this.timers[index]!)
  }
}
