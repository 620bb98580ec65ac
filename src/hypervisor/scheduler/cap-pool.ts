/**
 * Caps: how much CPU time a domain may use in each period, in percent of one physical CPU. A vCPU of a capped domain
 * takes an allowance out of its domain's budget before it runs, and gives back what it has not used; without one it
 * does not run.
 *
 * Reference: xen/common/sched/credit2.c (the comment on utilization caps).
 */
import type { DomainEntry, SchedulerUnit } from './base.ts'
import type { VcpuRef } from './vcpu-ref.ts'

/** Shortest allowance, so that a domain with many vCPUs does not cut its budget into crumbs. */
const MIN_ALLOWANCE = 500_000

/** Numbers that a domain needs for its cap. */
export const freshCapNumbers = (): { budget: number; refillAt: number } => ({ budget: 0, refillAt: -1 })

/** Allowance of a vCPU that no cap limits. */
export const UNLIMITED = -1

/** Budgets of capped domains: `parameters.cap` of the domain, `numbers.allowance` of the vCPU. */
export class CapPool<V extends VcpuRef> {
  private readonly period: number

  constructor(period: number) {
    this.period = period
  }

  /** True when the vCPU could run now. */
  mayRun({ domain }: SchedulerUnit<V>, now: number): boolean {
    if (domain.parameters['cap'] === 0) return true
    this.refill(domain, now)
    return domain.numbers['budget']! > 0
  }

  /** Takes an allowance for a vCPU that may run. */
  take(entry: SchedulerUnit<V>): void {
    const { domain, numbers } = entry
    if (domain.parameters['cap'] === 0) {
      numbers['allowance'] = UNLIMITED
      return
    }
    const quota = Math.max(Math.floor(this.total(domain) / domain.vcpuCount), MIN_ALLOWANCE)
    const allowance = Math.min(quota, domain.numbers['budget']!)
    numbers['allowance'] = allowance
    domain.numbers['budget']! -= allowance
  }

  /** Charges a vCPU that has run. */
  use({ numbers }: SchedulerUnit<V>, time: number): void {
    if (numbers['allowance'] !== UNLIMITED) numbers['allowance']! -= time
  }

  /** Gives back what is left of the allowance; what was used beyond it is owed. */
  giveBack({ domain, numbers }: SchedulerUnit<V>): void {
    if (numbers['allowance'] !== UNLIMITED) domain.numbers['budget']! += numbers['allowance']!
    numbers['allowance'] = UNLIMITED
  }

  /** How long the vCPU may run. */
  limit({ numbers }: SchedulerUnit<V>): number {
    return numbers['allowance'] === UNLIMITED ? Infinity : Math.max(numbers['allowance']!, 1)
  }

  /** When the domain of a vCPU that may not run gets its next budget. */
  nextRefill({ domain }: SchedulerUnit<V>): number {
    const { budget, refillAt } = domain.numbers
    const missing = Math.max(1, Math.floor(-budget! / this.total(domain)) + 1)
    return refillAt! + (missing - 1) * this.period
  }

  private total(domain: DomainEntry): number {
    return (this.period * domain.parameters['cap']!) / 100
  }

  private refill(domain: DomainEntry, now: number): void {
    const { numbers } = domain
    const total = this.total(domain)
    if (numbers['refillAt']! < 0) {
      numbers['budget'] = total
      numbers['refillAt'] = now + this.period
    }
    if (now < numbers['refillAt']!) return
    const periods = Math.floor((now - numbers['refillAt']!) / this.period) + 1
    numbers['budget'] = Math.min(numbers['budget']! + periods * total, total)
    numbers['refillAt']! += periods * this.period
  }
}
