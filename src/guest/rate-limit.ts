/**
 * A limit on how much a back-end does for a front-end in an interval: a budget that is filled anew when each interval ends. What goes
 * beyond it is owed. While it is spent the back-end stops looking at the ring; a timer of the kernel's has it go on.
 *
 * hot path: asked once for each request or frame of a limited device, and never for others.
 * Reference: Linux, drivers/net/xen-netback/netback.c, tx_credit_exceeded.
 */
import { shape, type StateOf } from '../util/index.ts'
import type { Attachments } from './attachments.ts'
import type { Timer } from './timers.ts'

/** How much may be done. */
export interface Rate {
  /** Bytes, requests or whatever is counted, at least 1. */
  readonly amount: number
  /** Nanoseconds after which as much may be done again. */
  readonly interval: number
}

const positive = /* @__PURE__ */ shape.whole(1, Number.MAX_SAFE_INTEGER)

/** A limit as it is saved, with its timer where it waits. */
export const rateLimitState = /* @__PURE__ */ shape.record({
  amount: positive, interval: positive, left: shape.number, endsAt: shape.time, timer: /* @__PURE__ */ shape.optional(shape.time),
})

/** A saved limit. */
export type RateLimitState = StateOf<typeof rateLimitState>

/** What a limit needs of the kernel in which it works. */
export interface RateServices {
  /** Nanoseconds. */
  now(): number
  /** Calls once that time has passed. */
  after(nanoseconds: number, handler: () => void): Timer
}

/** One limit. */
export class RateLimit {
  readonly rate: Rate
  private readonly services: RateServices
  private readonly goOn: () => void
  private left: number
  private endsAt: number
  private timer: Timer | undefined

  /** `goOn` is called when there is something left again, after it was asked in vain. */
  constructor(rate: Rate, services: RateServices, goOn: () => void) {
    this.rate = rate
    this.services = services
    this.goOn = goOn
    this.left = rate.amount
    this.endsAt = services.now() + rate.interval
  }

  /** True when nothing is left now; `goOn` is called then when there is. */
  isSpent(): boolean {
    if (this.left > 0) return false
    const now = this.services.now()
    this.refill(now)
    if (this.left > 0) return false
    this.timer ??= this.services.after(this.nextAt - now, this.fire).keep()
    return true
  }

  /** Takes from what is left; more than there is makes a debt. */
  spend(amount: number): void {
    // A budget that was not asked for in a while is full, and no more than that.
    if (this.left < this.rate.amount) this.refill(this.services.now())
    else if (this.services.now() >= this.endsAt) this.endsAt = this.services.now() + this.rate.interval
    this.left -= amount
  }

  /** Does not wait any more. */
  stop(): void {
    this.timer?.cancel()
    this.timer = undefined
  }

  /** What has been used of the present interval, and what waits. */
  save(): RateLimitState {
    return { ...this.rate, left: this.left, endsAt: this.endsAt, timer: this.timer?.order }
  }

  /** Goes on where the saved one was, which had the same rate. */
  load({ left, endsAt, timer }: RateLimitState, { attachTimer }: Pick<Attachments, 'attachTimer'>): void {
    this.left = left
    this.endsAt = endsAt
    if (timer !== undefined) this.timer = attachTimer(timer, this.fire).keep()
  }

  private readonly fire = (): void => {
    this.timer = undefined
    this.goOn()
  }

  /** When debts are paid. */
  private get nextAt(): number {
    const { amount, interval } = this.rate
    return this.endsAt + Math.floor(-this.left / amount) * interval
  }

  private refill(now: number): void {
    const { amount, interval } = this.rate
    if (now < this.endsAt) return
    const intervals = Math.floor((now - this.endsAt) / interval) + 1
    this.left = Math.min(amount, this.left + intervals * amount)
    this.endsAt += intervals * interval
  }
}
