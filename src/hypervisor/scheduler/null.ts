/**
 * Null: each vCPU has a physical CPU to itself for as long as it exists; one for which there is none waits until
 * another goes. No time is shared and nothing is preempted.
 *
 * Reference: xen/common/sched/null.c.
 */
import { SchedulerBase, type SchedulerUnit } from './base.ts'
import type { Decision } from './types.ts'
import type { VcpuRef } from './vcpu-ref.ts'

/** One vCPU for each CPU. */
export class NullScheduler<V extends VcpuRef> extends SchedulerBase<V> {
  readonly name = 'null'

  constructor(cpuCount: number) {
    super(cpuCount)
  }

  override addVcpu(vcpu: V, now: number): void {
    super.addVcpu(vcpu, now)
    this.assign(this.entryOf(vcpu))
  }

  override removeVcpu(vcpu: V, now: number): number {
    const freed = this.vcpus.get(vcpu)?.numbers['place'] ?? -1
    super.removeVcpu(vcpu, now)
    this.fill()
    return freed
  }

  protected plan(cpu: number, now: number): Decision<V> {
    const previous = this.stop(cpu, now)
    if (previous?.runnable) this.queue.push(previous)
    const next = this.queue.find((entry) => entry.numbers['place'] === cpu)
    this.start(cpu, next, now)
    // One that has been given another CPU: that one does not know yet.
    const elsewhere = this.queue.find(({ numbers: { place } }) => (
      place !== cpu && place! >= 0 && this.running[place!] === undefined && !this.asked[place!]
    ))
    return { vcpu: next?.ref, until: Infinity, alsoAsk: this.ask(elsewhere?.numbers['place'] ?? -1) }
  }

  protected override mayRunOn(entry: SchedulerUnit<V>, cpu: number): boolean {
    return entry.numbers['place'] === cpu
  }

  protected override freshNumbers(): Record<string, number> {
    return { place: -1 }
  }

  protected override judgeNumbers({ place }: Readonly<Record<string, number>>): string | undefined {
    return Number.isInteger(place) && place! >= -1 && place! < this.cpuCount ? undefined : `has CPU ${place} for itself`
  }

  protected enqueue(entry: SchedulerUnit<V>): number {
    this.queue.push(entry)
    return entry.numbers['place']!
  }

  protected charge(entry: SchedulerUnit<V>, now: number): void {
    entry.since = now
  }

  /** A vCPU that may not stay where it is gives its CPU up, perhaps to another, and looks for one. */
  protected override affinityChanged(entry: SchedulerUnit<V>): number {
    const before = entry.numbers['place']!
    if (before >= 0 && entry.usable.has(before)) return -1
    entry.numbers['place'] = -1
    this.assign(entry)
    this.fill()
    return before >= 0 ? before : entry.numbers['place']!
  }

  protected override cpusChanged(): void {
    for (const { numbers, usable } of this.vcpus.values()) if (!usable.has(numbers['place']!)) numbers['place'] = -1
    this.fill()
  }

  /** Gives a vCPU a CPU that nobody has, one of its soft affinity before others. */
  private assign(entry: SchedulerUnit<V>): void {
    const taken = new Set([...this.vcpus.values()].map(({ numbers }) => numbers['place']))
    const free = [...entry.usable].filter((cpu) => !taken.has(cpu))
    entry.numbers['place'] = free.find((cpu) => entry.soft.has(cpu)) ?? free[0] ?? -1
  }

  /** Gives free CPUs to those that wait, the oldest first. */
  private fill(): void {
    for (const entry of this.vcpus.values()) if (entry.numbers['place'] === -1) this.assign(entry)
  }
}
