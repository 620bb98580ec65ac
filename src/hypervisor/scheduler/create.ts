/** Making a scheduler by its name, as Xen's `sched=` option does. */
import { unreachable } from '../../util/index.ts'
import { CreditScheduler } from './credit.ts'
import { Credit2Scheduler } from './credit2.ts'
import { NullScheduler } from './null.ts'
import { RoundRobinScheduler } from './round-robin.ts'
import { RtdsScheduler } from './rtds.ts'
import type { SchedulerName } from './names.ts'
import type { Scheduler } from './types.ts'
import type { VcpuRef } from './vcpu-ref.ts'

/** A scheduler for `cpuCount` physical CPUs. */
export function createScheduler<V extends VcpuRef>(name: SchedulerName, cpuCount: number): Scheduler<V> {
  switch (name) {
    case 'credit2': return new Credit2Scheduler(cpuCount)
    case 'credit': return new CreditScheduler(cpuCount)
    case 'rtds': return new RtdsScheduler(cpuCount)
    case 'null': return new NullScheduler(cpuCount)
    case 'round-robin': return new RoundRobinScheduler(cpuCount)
    default: return unreachable(name)
  }
}
