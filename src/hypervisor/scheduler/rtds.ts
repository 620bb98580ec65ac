/**
 * RTDS: real-time shares. Each vCPU has a budget in each period of its own; of those with budget left, the one whose
 * period ends first runs. A vCPU with extra time goes on after its budget, behind all that have theirs; one without
 * waits for its next period.
 *
 * Reference: xen/common/sched/rt.c.
 */
import type { DomId } from '../../util/index.ts'
import { SchedulerBase, type DomainEntry, type SchedulerUnit } from './base.ts'
import { changed, defaults, throwFault } from './parameters.ts'
import type { Decision, SchedulerFault, SchedulerParameters } from './types.ts'
import type { VcpuRef } from './vcpu-ref.ts'

const MICROSECOND = 1000

/** Per vCPU; of a domain, what its new vCPUs get. Microseconds. */
const DOMAIN = {
  period: { min: 10, max: 4_294_967_295, default: 10_000 },
  budget: { min: 10, max: 4_294_967_295, default: 4000 },
  extratime: { min: 0, max: 1, default: 1 },
} as const

/** Earliest deadline first, with budgets. */
export class RtdsScheduler<V extends VcpuRef> extends SchedulerBase<V> {
  readonly name = 'rtds'

  constructor(cpuCount: number) {
    super(cpuCount, DOMAIN)
  }

  /** Those of one vCPU, or what new vCPUs of the domain get. */
  override parameters(domid: DomId, vcpu?: number): SchedulerParameters {
    if (vcpu === undefined) return super.parameters(domid)
    throwFault(this.vcpuFault(domid, vcpu))
    const { period, budget, extratime } = this.find(domid, vcpu)!.numbers
    return { period: period! / MICROSECOND, budget: budget! / MICROSECOND, extratime: extratime! }
  }

  override parametersFault(domid: DomId, values: SchedulerParameters, vcpu?: number): SchedulerFault | undefined {
    const fault = this.vcpuFault(domid, vcpu) ?? super.parametersFault(domid, values)
    if (fault !== undefined) return fault
    const { budget, period } = this.wanted(domid, values, vcpu)
    if (budget <= period) return undefined
    const message = `a budget of ${budget} does not fit into a period of ${period}`
    return { message, details: { name: 'budget', value: budget, max: period } }
  }

  /** Changes one vCPU, or all of a domain and those to come. */
  override setParameters(domid: DomId, values: SchedulerParameters, vcpu?: number): void {
    const entry = this.domainOf(domid)
    throwFault(this.parametersFault(domid, values, vcpu))
    const wanted = this.wanted(domid, values, vcpu)
    const entries = vcpu === undefined
      ? [...this.vcpus.values()].filter((candidate) => candidate.domain === entry) : [this.find(domid, vcpu)!]
    if (vcpu === undefined) entry.parameters = wanted
    for (const { numbers } of entries) {
      Object.assign(numbers, {
        period: wanted.period * MICROSECOND, budget: wanted.budget * MICROSECOND, extratime: wanted.extratime,
      })
    }
  }

  protected plan(cpu: number, now: number): Decision<V> {
    const previous = this.stop(cpu, now)
    if (previous?.runnable) this.queue.push(previous)
    for (const entry of this.queue) renew(entry, now)
    const next = this.best(cpu)
    this.start(cpu, next, now)
    const alsoAsk = this.askFor(previous?.runnable && previous !== next ? previous : undefined, cpu)
    const wakeUp = this.nextPeriod(cpu)
    if (next === undefined) return { vcpu: undefined, until: wakeUp, alsoAsk }
    const { left, deadline } = next.numbers
    return { vcpu: next.ref, until: Math.min(now + left!, deadline!, wakeUp), alsoAsk }
  }

  protected override freshNumbers({ parameters }: DomainEntry, now: number): Record<string, number> {
    const period = parameters['period']! * MICROSECOND
    const budget = parameters['budget']! * MICROSECOND
    return { period, budget, extratime: parameters['extratime']!, deadline: now + period, left: budget, level: 0 }
  }

  protected override judgeNumbers({ period, budget }: Readonly<Record<string, number>>): string | undefined {
    const isSound = budget! >= DOMAIN.budget.min * MICROSECOND && budget! <= period!
    return isSound ? undefined : `has a budget of ${budget} in a period of ${period}`
  }

  protected enqueue(entry: SchedulerUnit<V>, now: number): number {
    renew(entry, now)
    this.queue.push(entry)
    if (entry.numbers['left']! <= 0) return this.idleCpuFor(entry)
    const idle = this.idleCpuFor(entry)
    if (idle >= 0) return idle
    let worst: SchedulerUnit<V> | undefined
    for (const running of this.running) {
      if (running === undefined || this.asked[running.cpu] || !entry.usable.has(running.cpu)) continue
      if (!isBefore(entry, running)) continue
      if (worst === undefined || isBefore(worst, running)) worst = running
    }
    return worst?.cpu ?? -1
  }

  protected charge(entry: SchedulerUnit<V>, now: number): void {
    const time = now - entry.since
    if (time <= 0) return
    entry.since = now
    const { numbers } = entry
    numbers['left']! -= time
    if (numbers['left']! > 0) return
    if (numbers['extratime'] === 1) {
      numbers['level']! += 1
      numbers['left'] = numbers['budget']!
    } else numbers['left'] = 0
  }

  private best(cpu: number): SchedulerUnit<V> | undefined {
    let best: SchedulerUnit<V> | undefined
    for (const entry of this.queue) {
      if (!entry.usable.has(cpu) || entry.numbers['left']! <= 0) continue
      if (best === undefined || isBefore(entry, best)) best = entry
    }
    return best
  }

  /** When the next period of a waiting vCPU begins, which may then take this CPU. */
  private nextPeriod(cpu: number): number {
    let next = Infinity
    for (const entry of this.queue) if (entry.usable.has(cpu)) next = Math.min(next, entry.numbers['deadline']!)
    return next
  }

  private vcpuFault(domid: DomId, vcpu: number | undefined): SchedulerFault | undefined {
    if (vcpu === undefined || this.find(domid, vcpu) !== undefined) return undefined
    return { message: `domain ${domid} has no vCPU ${vcpu}`, details: { domid, vcpu } }
  }

  /** What the parameters come to with changes that hold no fault. */
  private wanted(domid: DomId, values: SchedulerParameters, vcpu: number | undefined) {
    return changed(DOMAIN, { ...defaults(DOMAIN), ...this.parameters(domid, vcpu) }, values)
  }

  private find(domid: DomId, vcpu: number): SchedulerUnit<V> | undefined {
    for (const entry of this.vcpus.values()) if (entry.ref.domid === domid && entry.ref.vcpu === vcpu) return entry
    return undefined
  }
}

/** Begins the period that `now` lies in, if the last one is over: with a full budget. */
function renew<V extends VcpuRef>({ numbers }: SchedulerUnit<V>, now: number): void {
  const { deadline, period, budget } = numbers
  if (now < deadline!) return
  numbers['deadline'] = deadline! + (Math.floor((now - deadline!) / period!) + 1) * period!
  numbers['left'] = budget!
  numbers['level'] = 0
}

/** True when `a` goes before `b`: within its budget first, then the earlier deadline. */
function isBefore<V extends VcpuRef>(a: SchedulerUnit<V>, b: SchedulerUnit<V>): boolean {
  const difference = a.numbers['level']! - b.numbers['level']!
  return difference !== 0 ? difference < 0 : a.numbers['deadline']! < b.numbers['deadline']!
}
