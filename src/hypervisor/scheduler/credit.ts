/**
 * Credit: every accounting period the host's CPU time is dealt out to the active domains by weight, and running uses
 * it up. vCPUs with credit left (UNDER) take turns before those without (OVER), of whom the one with the smallest
 * debt goes first; one that wakes with credit left goes before all (BOOST) until it has run once. A domain's weight
 * is for all its vCPUs together.
 *
 * Beside Xen's algorithm, on purpose: time is measured and not sampled, credit that a vCPU cannot use goes to the
 * others instead of being lost, and debts are kept and put in order. So shares are exact over time.
 *
 * Reference: xen/common/sched/credit.c.
 */
import type { DomainEntry, SchedulerUnit } from './base.ts'
import { UNLIMITED, freshCapNumbers } from './cap-pool.ts'
import type { VcpuRef } from './vcpu-ref.ts'
import { type Choice, MILLISECOND, RATELIMIT, WeightedScheduler } from './weighted.ts'

const CAP_PERIOD = 30 * MILLISECOND

const GLOBAL = {
  /** Length of a slice and of an accounting period in milliseconds. */
  tslice: { min: 1, max: 1000, default: 30 },
  ...RATELIMIT,
} as const

/** A share of something that is dealt out by weight, with the most that it can take. */
interface Claim {
  readonly weight: number
  readonly limit: number
  share: number
}

/** Deals `amount` out by weight, nobody getting more than its limit; returns what is left when all have theirs. */
function deal(claims: readonly Claim[], amount: number): number {
  let open = claims.filter((claim) => claim.limit > 0)
  let left = amount
  while (open.length > 0 && left > 0) {
    const weight = open.reduce((sum, claim) => sum + claim.weight, 0)
    const each = left / weight
    const full = open.filter((claim) => claim.limit <= each * claim.weight)
    if (full.length === 0) {
      for (const claim of open) claim.share = each * claim.weight
      return 0
    }
    for (const claim of full) {
      claim.share = claim.limit
      left -= claim.limit
    }
    open = open.filter((claim) => !full.includes(claim))
  }
  return left
}

/** Weighted shares, dealt out in advance. */
export class CreditScheduler<V extends VcpuRef> extends WeightedScheduler<V> {
  readonly name = 'credit'
  protected override readonly numbers = { accountAt: 0, surplus: 0 }

  constructor(cpuCount: number) {
    super(cpuCount, { capPeriod: CAP_PERIOD, global: GLOBAL })
  }

  protected override freshNumbers(): Record<string, number> {
    return { credit: 0, boost: 0, used: 0, started: 0, yields: 0, allowance: UNLIMITED }
  }

  protected override freshDomainNumbers(): Record<string, number> {
    return freshCapNumbers()
  }

  protected enqueue(entry: SchedulerUnit<V>, now: number): number {
    this.account(now)
    if (entry.numbers['credit']! > 0) entry.numbers['boost'] = 1
    this.insert(entry)
    const idle = this.idleCpuFor(entry)
    if (idle >= 0 || !this.caps.mayRun(entry, now)) return idle
    let best = -1
    for (let cpu = 0; cpu < this.cpuCount; cpu += 1) {
      const running = this.running[cpu]
      if (running === undefined || this.asked[cpu] || !entry.usable.has(cpu)) continue
      if (running.runnable) this.charge(running, now)
      if (!running.runnable || classOf(running) > classOf(entry)) best = best < 0 || entry.soft.has(cpu) ? cpu : best
    }
    return best
  }

  protected charge(entry: SchedulerUnit<V>, now: number): void {
    const time = now - entry.since
    if (time <= 0) return
    entry.since = now
    entry.numbers['credit']! -= time
    entry.numbers['used']! += time
    this.caps.use(entry, time)
  }

  protected override takenOff(previous: SchedulerUnit<V>): void {
    super.takenOff(previous)
    previous.numbers['boost'] = 0
  }

  protected override beforeChoice(now: number): void {
    this.account(now)
  }

  /** The first of the best class that may run here. The one that ran before stays only when nobody else is as good. */
  protected choose(cpu: number, { staying, yields, now }: Choice<V>): SchedulerUnit<V> | undefined {
    const other = this.queue.find((entry) => entry.usable.has(cpu) && this.caps.mayRun(entry, now))
    if (staying === undefined || other === undefined) return other ?? staying
    return yields || !goesBefore(staying, other) ? other : staying
  }

  /** Until the slice ends; a better class that waits only lets the rate limit pass. */
  protected slice(_cpu: number, next: SchedulerUnit<V>, now: number): number {
    const rest = next.numbers['started']! + this.ratelimit - now
    const waiting = this.queue[0]
    if (waiting !== undefined && classOf(waiting) < classOf(next) && rest > 0) return rest
    return Math.max(this.period, rest)
  }

  /** Deals out the time of all periods that have passed. */
  private account(now: number): void {
    const { numbers } = this
    if (now < numbers.accountAt) return
    for (const entry of this.running) if (entry?.runnable) this.charge(entry, now)
    const periods = Math.min(Math.floor((now - numbers.accountAt) / this.period) + 1, 10)
    const capacity = periods * this.period * this.served.count
    const claims = new Map<DomainEntry, SchedulerUnit<V>[]>()
    for (const entry of this.vcpus.values()) {
      if (!entry.runnable && entry.numbers['used'] === 0) continue
      claims.set(entry.domain, [...(claims.get(entry.domain) ?? []), entry])
    }
    const left = this.dealToDomains(claims, capacity + numbers.surplus)
    numbers.surplus = Math.min(left, capacity)
    numbers.accountAt = now - ((now - numbers.accountAt) % this.period) + this.period
    this.sortQueue()
  }

  private dealToDomains(active: ReadonlyMap<DomainEntry, readonly SchedulerUnit<V>[]>, amount: number): number {
    // One that waits may save up for as many turns as it takes until all others have had theirs.
    const savings = this.period * (2 + this.vcpus.size)
    const room = ({ runnable, numbers }: SchedulerUnit<V>): number =>
      Math.max((runnable ? savings : this.period) - numbers['credit']!, 0)
    const domains = [...active].map(([domain, entries]) => ({
      entries, weight: domain.parameters['weight']!, share: 0,
      limit: entries.reduce((sum, entry) => sum + room(entry), 0),
    }))
    const left = deal(domains, amount)
    for (const { entries, share } of domains) {
      const parts = entries.map((entry) => ({ entry, weight: 1, limit: room(entry), share: 0 }))
      deal(parts, share)
      for (const part of parts) {
        part.entry.numbers['credit']! += part.share
        part.entry.numbers['used'] = 0
      }
    }
    return left
  }

  protected insert(entry: SchedulerUnit<V>): void {
    const at = this.queue.findIndex((other) => goesBefore(entry, other))
    this.queue.splice(at < 0 ? this.queue.length : at, 0, entry)
  }

  /** After accounting, classes and debts have changed: those that stood first among equals still do. */
  private sortQueue(): void {
    this.queue.sort((a, b) => Number(goesBefore(b, a)) - Number(goesBefore(a, b)))
  }

  private get period(): number {
    return this.global['tslice']! * MILLISECOND
  }
}

/** 0 BOOST, 1 UNDER, 2 OVER. */
function classOf<V extends VcpuRef>({ numbers }: SchedulerUnit<V>): number {
  if (numbers['credit']! <= 0) return 2
  return numbers['boost'] === 1 ? 0 : 1
}

/** True when `a` goes before `b`; equals go in turns. */
function goesBefore<V extends VcpuRef>(a: SchedulerUnit<V>, b: SchedulerUnit<V>): boolean {
  const [classA, classB] = [classOf(a), classOf(b)]
  if (classA !== classB) return classA < classB
  return classA === 2 && a.numbers['credit']! > b.numbers['credit']!
}
