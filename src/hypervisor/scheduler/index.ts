/** Schedulers: one interface, several algorithms. */
export { createScheduler } from './create.ts'
export { SCHEDULER_NAMES } from './names.ts'
export type { SchedulerName } from './names.ts'
export { schedulerShape } from './scheduler-state.ts'
export type { SchedulerState } from './scheduler-state.ts'
export { RoundRobinScheduler } from './round-robin.ts'
export type {
  Affinity, Decision, Scheduler, SchedulerFault, SchedulerParameters, VcpuRef,
} from './types.ts'
