/**
 * Round-robin: every runnable vCPU in turn, one slice each, on any CPU that it may use. The plainest scheduler there
 * is; it knows no weights.
 */
import { SchedulerBase, type SchedulerUnit } from './base.ts'
import type { Decision } from './types.ts'
import type { VcpuRef } from './vcpu-ref.ts'

const MICROSECOND = 1000

const GLOBAL = {
  /** Length of a slice in microseconds. */
  slice: { min: 100, max: 1_000_000, default: 10_000 },
} as const

/** All vCPUs in turn. */
export class RoundRobinScheduler<V extends VcpuRef> extends SchedulerBase<V> {
  readonly name = 'round-robin'

  constructor(cpuCount: number) {
    super(cpuCount, {}, GLOBAL)
  }

  protected plan(cpu: number, now: number): Decision<V> {
    const previous = this.stop(cpu, now)
    if (previous?.runnable) this.queue.push(previous)
    const next = this.queue.find((entry) => entry.usable.has(cpu))
    this.start(cpu, next, now)
    if (next === undefined) return { vcpu: undefined, until: Infinity, alsoAsk: -1 }
    const displaced = previous?.runnable && previous !== next ? previous : undefined
    return {
      vcpu: next.ref, until: now + this.global['slice']! * MICROSECOND, alsoAsk: this.askFor(displaced, cpu),
    }
  }

  protected enqueue(entry: SchedulerUnit<V>): number {
    this.queue.push(entry)
    return this.idleCpuFor(entry)
  }

  protected charge(entry: SchedulerUnit<V>, now: number): void {
    entry.since = now
  }
}
