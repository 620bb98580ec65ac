/**
 * SCHEDOP_watchdog: timers that a domain keeps pushing back, or is shut down by.
 * Reference: xen/common/sched/core.c (domain_watchdog); public/sched.h.
 */
import { ERRNO } from '../../abi/index.ts'
import type { Timer, TimerQueue, TimerState } from './timer-queue.ts'

/** Watchdogs of one domain (NR_DOMAIN_WATCHDOG_TIMERS). */
const COUNT = 2
const SECOND = 1_000_000_000

/** The watchdogs of one domain. */
export class DomainWatchdogs {
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

  /** Deadline of each that is in use, as plain data. A used one that has fired has no deadline. */
  save(): { readonly used: readonly boolean[]; readonly timers: readonly (TimerState | undefined)[] } {
    return { used: [...this.used], timers: this.timers.map((timer) => this.queue.save(timer)) }
  }

  /** Takes over saved watchdogs. */
  load(state: ReturnType<DomainWatchdogs['save']>): void {
    this.timers.forEach((timer, index) => {
      this.used[index] = state.used[index] === true
      this.queue.load(timer, this.used[index] ? state.timers[index] : undefined)
    })
  }

  private release(index: number): void {
    this.used[index] = false
    this.queue.stop(this.timers[index]!)
  }
}
