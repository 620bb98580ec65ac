/**
 * What the two schedulers by weight share: weights and caps of domains, the rate limit, and the course of a decision.
 * Who goes first, how time is charged and how long a slice is, they say themselves.
 */
import { SchedulerBase, type SchedulerUnit } from './base.ts'
import { CapPool } from './cap-pool.ts'
import type { ParameterTable } from './parameters.ts'
import type { Decision } from './types.ts'
import type { VcpuRef } from './vcpu-ref.ts'

/** Nanoseconds in a microsecond and in a millisecond: the units that parameters come in. */
export const MICROSECOND = 1000
export const MILLISECOND = 1_000_000

const DOMAIN = {
  weight: { min: 1, max: 65535, default: 256 },
  /** Percent of one CPU; 0 is no cap. */
  cap: { min: 0, max: 65535, default: 0 },
} as const

/** Parameter of both schedulers as a whole. */
export const RATELIMIT = {
  /** Microseconds that a vCPU runs before another takes its place; 0 switches the limit off. */
  ratelimit: { min: 100, max: 500_000, default: 1000, also: [0] },
} as const

/** What a choice is made of beside the CPU. */
export interface Choice<V extends VcpuRef> {
  /** The one that ran here, may go on here, and has not yielded for good; or undefined. */
  readonly staying: SchedulerUnit<V> | undefined
  readonly yields: boolean
  readonly now: number
}

/** Schedulers with weights, caps and a rate limit. */
export abstract class WeightedScheduler<V extends VcpuRef> extends SchedulerBase<V> {
  protected readonly caps: CapPool<V>

  constructor(cpuCount: number, options: { readonly capPeriod: number; readonly global: ParameterTable }) {
    super(cpuCount, DOMAIN, options.global)
    this.caps = new CapPool<V>(options.capPeriod)
  }

  override yield(vcpu: V): void {
    const entry = this.entryOf(vcpu)
    if (entry.cpu >= 0) entry.numbers['yields'] = 1
  }

  protected override mayRunOn(entry: SchedulerUnit<V>, cpu: number, now: number): boolean {
    return super.mayRunOn(entry, cpu, now) && (entry.cpu >= 0 ? this.caps.limit(entry) > 1 : this.caps.mayRun(entry, now))
  }

  protected override requeue(entry: SchedulerUnit<V>): void {
    this.insert(entry)
  }

  protected override putOn(entry: SchedulerUnit<V>, now: number): number {
    this.caps.take(entry)
    entry.numbers['started'] = now
    return now + this.caps.limit(entry)
  }

  protected plan(cpu: number, now: number): Decision<V> {
    const previous = this.stop(cpu, now)
    const yields = previous?.numbers['yields'] === 1
    if (previous !== undefined) this.takenOff(previous)
    this.beforeChoice(now)
    const contender = previous?.runnable ? previous : undefined
    const next = this.decide(cpu, contender, { yields, now })
    const displaced = contender !== next ? contender : undefined
    if (displaced !== undefined) this.insert(displaced)
    if (next === undefined) {
      return { vcpu: undefined, until: this.nextRefill(cpu, now), alsoAsk: this.askFor(displaced, cpu) }
    }
    this.chosen(next, now)
    this.start(cpu, next, now)
    this.caps.take(next)
    if (next !== previous) next.numbers['started'] = now
    const slice = Math.min(this.slice(cpu, next, now), this.caps.limit(next))
    const until = Math.min(now + slice, this.nextRefill(cpu, now))
    return { vcpu: next.ref, until, alsoAsk: this.askFor(displaced, cpu) }
  }

  /** The vCPU to run on `cpu`: `staying`, one of the queue, or nobody. */
  protected abstract choose(cpu: number, choice: Choice<V>): SchedulerUnit<V> | undefined
  /** How long `next` may run, its cap aside. */
  protected abstract slice(cpu: number, next: SchedulerUnit<V>, now: number): number
  /** Puts a vCPU into the queue, behind its equals. */
  protected abstract insert(entry: SchedulerUnit<V>): void

  protected override takenOff(previous: SchedulerUnit<V>): void {
    previous.numbers['yields'] = 0
    this.caps.giveBack(previous)
  }

  /** Called before each choice. */
  protected beforeChoice(_now: number): void {}

  /** Called before the chosen one starts. */
  protected chosen(_next: SchedulerUnit<V>, _now: number): void {}

  protected get ratelimit(): number {
    return this.global['ratelimit']! * MICROSECOND
  }

  /** The one that ran before stays within the rate limit; otherwise the algorithm chooses. */
  private decide(
    cpu: number, contender: SchedulerUnit<V> | undefined,
    { yields, now }: { readonly yields: boolean; readonly now: number },
  ): SchedulerUnit<V> | undefined {
    const mayStay = contender !== undefined && contender.usable.has(cpu) && this.caps.mayRun(contender, now)
    const staying = mayStay ? contender : undefined
    if (staying !== undefined && !yields && now - staying.numbers['started']! < this.ratelimit) return staying
    return this.choose(cpu, { staying, yields, now })
  }

  /** When a vCPU that waits for its domain's budget could take this CPU. */
  private nextRefill(cpu: number, now: number): number {
    let next = Infinity
    for (const entry of this.queue) {
      if (entry.domain.parameters['cap'] === 0 || !entry.usable.has(cpu) || this.caps.mayRun(entry, now)) continue
      next = Math.min(next, this.caps.nextRefill(entry))
    }
    return next
  }
}
