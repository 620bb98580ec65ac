/** Schedulers: one interface, several algorithms. */
export { SCHEDULER_NAMES, createScheduler } from './create.ts'
export { RoundRobinScheduler } from './round-robin.ts'
export type {
  Affinity, Decision, SavedVcpu, Scheduler, SchedulerName, SchedulerParameters, SchedulerState, VcpuRef, VcpuResolver,
} from './types.ts'
