/**
 * Credit2, the default: whoever has most credit runs; running burns credit the faster the smaller a vCPU's weight is;
 * when nobody has any left, all get some. All CPUs share one queue in order of credit.
 *
 * Beside Xen's algorithm, on purpose: debts are never forgiven, and credit in hand is cut only where it would let a
 * vCPU lead all others by more than {@link MAX_LEAD}. So shares come out by weight also where weights differ a
 * thousandfold, where a weight asks for more than one CPU can give, and where vCPUs are pinned. There is no
 * resistance to migration: it costs nothing here.
 *
 * Reference: xen/common/sched/credit2.c.
 */
import type { DomId } from '../../util/index.ts'
import type { DomainEntry, SchedulerUnit } from './base.ts'
import { UNLIMITED, freshCapNumbers } from './cap-pool.ts'
import type { SchedulerState } from './scheduler-state.ts'
import type { SchedulerFault, SchedulerParameters } from './types.ts'
import type { VcpuRef } from './vcpu-ref.ts'
import { type Choice, MICROSECOND, MILLISECOND, RATELIMIT, WeightedScheduler } from './weighted.ts'

/** Credit that everybody gets at a reset, and the longest slice. */
const CREDIT = 10 * MILLISECOND
const MAX_SLICE = 10 * MILLISECOND
const MIN_SLICE = 500 * MICROSECOND
const CAP_PERIOD = 10 * MILLISECOND
/** Most credit by which one vCPU may lead the next. */
const MAX_LEAD = 3 * CREDIT

/** Weighted shares by credit. */
export class Credit2Scheduler<V extends VcpuRef> extends WeightedScheduler<V> {
  readonly name = 'credit2'
  /** The largest weight of a vCPU's domain, and how many have it; 0 while that is not known. */
  private largestWeight = 0
  private heaviest = 0

  constructor(cpuCount: number) {
    super(cpuCount, { capPeriod: CAP_PERIOD, global: RATELIMIT })
  }

  override parametersFault(domid: DomId, values: SchedulerParameters): SchedulerFault | undefined {
    const { vcpuCount } = this.domainOf(domid)
    const limit = 100 * vcpuCount
    const cap = values['cap'] ?? 0
    if (cap <= limit) return super.parametersFault(domid, values)
    const message = `cap must be at most 100 for each of the domain's ${vcpuCount} vCPUs, got ${cap}`
    return { message, details: { name: 'cap', value: cap, max: limit } }
  }

  override setParameters(domid: DomId, values: SchedulerParameters): void {
    const entry = this.domainOf(domid)
    const before = entry.parameters['cap']
    super.setParameters(domid, values)
    if (entry.parameters['cap'] !== before) Object.assign(entry.numbers, freshCapNumbers())
    this.largestWeight = 0
  }

  override addVcpu(vcpu: V, now: number): void {
    super.addVcpu(vcpu, now)
    if (this.largestWeight !== 0) this.weigh(weightOf(this.vcpus.get(vcpu)!.domain))
  }

  override removeVcpu(vcpu: V, now: number): number {
    const entry = this.vcpus.get(vcpu)
    const answer = super.removeVcpu(vcpu, now)
    if (entry !== undefined && weightOf(entry.domain) === this.largestWeight) this.heaviest -= 1
    if (this.heaviest === 0) this.largestWeight = 0
    return answer
  }

  override load(state: SchedulerState): void {
    super.load(state)
    this.largestWeight = 0
  }

  protected override freshNumbers(): Record<string, number> {
    return { credit: CREDIT, started: 0, yields: 0, allowance: UNLIMITED }
  }

  protected override freshDomainNumbers(): Record<string, number> {
    return freshCapNumbers()
  }

  protected enqueue(entry: SchedulerUnit<V>, now: number): number {
    const { numbers } = entry
    if (numbers['credit']! >= MAX_LEAD) numbers['credit'] = Math.max(numbers['credit']!, this.lowestRunning(entry))
    this.insert(entry)
    const idle = this.idleCpuFor(entry)
    if (idle >= 0 || !this.caps.mayRun(entry, now)) return idle
    return this.cpuToTake(entry, now)
  }

  protected charge(entry: SchedulerUnit<V>, now: number): void {
    const time = now - entry.since
    if (time <= 0) return
    entry.since = now
    entry.numbers['credit']! -= (time * this.maxWeight()) / weightOf(entry.domain)
    this.caps.use(entry, time)
  }

  protected choose(cpu: number, { staying, yields, now }: Choice<V>): SchedulerUnit<V> | undefined {
    // An idle CPU that it likes better will be asked to take it.
    let best = staying !== undefined && !staying.soft.has(cpu) && this.hasIdleSoft(staying) ? undefined : staying
    for (const entry of this.queue) {
      if (best !== undefined && !yields && entry.numbers['credit']! <= best.numbers['credit']!) break
      if (!entry.usable.has(cpu) || !this.caps.mayRun(entry, now)) continue
      best = entry
      break
    }
    return best
  }

  /** How long `next` may run: until its credit is used up or another's is equal, within the limits. */
  protected slice(cpu: number, next: SchedulerUnit<V>, now: number): number {
    const waiting = this.queue.find((entry) => entry.usable.has(cpu) && this.caps.mayRun(entry, now))
    const lead = next.numbers['credit']! - Math.max(waiting?.numbers['credit'] ?? 0, 0)
    const time = Math.ceil((Math.max(lead, 0) * weightOf(next.domain)) / this.maxWeight())
    const shortest = Math.max(MIN_SLICE, next.numbers['started']! + this.ratelimit - now)
    return Math.max(Math.min(time, MAX_SLICE), shortest)
  }

  /** Whoever is to run without credit left: all get some. */
  protected override chosen(next: SchedulerUnit<V>, now: number): void {
    if (next.numbers['credit']! <= 0) this.reset(next, now)
  }

  /** Gives everybody as much credit as `next` needs to have some. */
  private reset(next: SchedulerUnit<V>, now: number): void {
    for (const entry of this.running) if (entry?.runnable) this.charge(entry, now)
    const gift = (Math.floor(-next.numbers['credit']! / CREDIT) + 1) * CREDIT
    const leaders: SchedulerUnit<V>[] = []
    for (const entry of this.vcpus.values()) {
      entry.numbers['credit']! += gift
      if (entry.numbers['credit']! <= MAX_LEAD) continue
      if (entry.runnable) leaders.push(entry)
      else entry.numbers['credit'] = MAX_LEAD
    }
    closeGaps(leaders)
  }

  /** Puts a vCPU behind all with as much credit. */
  protected insert(entry: SchedulerUnit<V>): void {
    // hot path: at every wake; the queue is short, and mostly empty.
    const credit = entry.numbers['credit']!
    const { queue } = this
    let at = 0
    while (at < queue.length && queue[at]!.numbers['credit']! >= credit) at += 1
    if (at === queue.length) queue.push(entry)
    else queue.splice(at, 0, entry)
  }

  /**
   * The CPU whose vCPU has least credit, if less than this one's; -1 otherwise. One of the soft affinity goes first.
   */
  private cpuToTake(entry: SchedulerUnit<V>, now: number): number {
    let best = -1
    let bestScore = 0
    for (let cpu = 0; cpu < this.cpuCount; cpu += 1) {
      const running = this.running[cpu]
      if (running === undefined || this.asked[cpu] || !entry.usable.has(cpu)) continue
      if (running.runnable) this.charge(running, now)
      let score = running.runnable ? entry.numbers['credit']! - running.numbers['credit']! : Infinity
      if (score > 0) score += (entry.soft.has(cpu) ? CREDIT : 0) + (running.soft.has(cpu) ? 0 : CREDIT)
      if (score > bestScore) {
        best = cpu
        bestScore = score
      }
    }
    return best
  }

  private lowestRunning(entry: SchedulerUnit<V>): number {
    let lowest = Infinity
    for (const running of this.running) {
      if (running !== undefined && entry.usable.has(running.cpu)) lowest = Math.min(lowest, running.numbers['credit']!)
    }
    return lowest === Infinity ? 0 : lowest
  }

  /** True while an idle CPU of its soft affinity could take it. */
  private hasIdleSoft(entry: SchedulerUnit<V>): boolean {
    const idle = this.idleCpuFor(entry)
    return idle >= 0 && entry.soft.has(idle)
  }

  private maxWeight(): number {
    if (this.largestWeight === 0) {
      this.heaviest = 0
      for (const entry of this.vcpus.values()) this.weigh(weightOf(entry.domain))
    }
    return this.largestWeight
  }

  private weigh(weight: number): void {
    if (weight > this.largestWeight) this.heaviest = 0
    this.largestWeight = Math.max(this.largestWeight, weight)
    if (weight === this.largestWeight) this.heaviest += 1
  }
}

const weightOf = (domain: DomainEntry): number => domain.parameters['weight']!

/**
 * Lowers vCPUs far ahead so that none leads the one below it by more than the limit; their order and small distances
 * stay.
 */
function closeGaps<V extends VcpuRef>(leaders: SchedulerUnit<V>[]): void {
  leaders.sort((a, b) => a.numbers['credit']! - b.numbers['credit']!)
  let below = Infinity
  let level = MAX_LEAD
  for (const { numbers } of leaders) {
    const credit = numbers['credit']!
    level += below === Infinity ? 0 : Math.min(credit - below, MAX_LEAD)
    below = credit
    numbers['credit'] = level
  }
}
