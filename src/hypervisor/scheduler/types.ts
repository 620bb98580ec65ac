/**
 * The scheduler interface: who runs next on a physical CPU, and until when. Schedulers are pure data and arithmetic:
 * time comes in as a parameter, they own no timer, and the same calls give the same answers.
 *
 * The caller asks `schedule(cpu, now)` whenever a CPU has reached its decision's `until`, when what runs there has
 * gone to sleep or yielded, and when `wake` names the CPU. Between two questions the CPU runs what it was told.
 */
import type { DomId, Stateful, XenErrorDetails } from '../../util/index.ts'
import type { Director } from './director.ts'
import type { SchedulerName } from './names.ts'
import type { SchedulerState } from './scheduler-state.ts'
import type { VcpuRef } from './vcpu-ref.ts'

/** What a CPU is to do. */
export interface Decision<V extends VcpuRef> {
  /** Undefined: stay idle. */
  readonly vcpu: V | undefined
  /** Host time at which to ask again at the latest; Infinity when only an event changes the answer. */
  readonly until: number
  /** Another CPU that should be asked now, because it idles and could take what was displaced here; or -1. */
  readonly alsoAsk: number
}

/** CPUs that a vCPU may run on (`hard`) and should run on while it can (`soft`). */
export interface Affinity {
  readonly hard: readonly number[]
  readonly soft: readonly number[]
}

/** Values by their names in the toolstack: weight, cap, period, budget ... */
export type SchedulerParameters = Readonly<Record<string, number>>

/** Why a scheduler does not take what it was asked for. */
export interface SchedulerFault {
  readonly message: string
  readonly details: XenErrorDetails
}

/** What is asked of whoever decides which vCPU runs where: one scheduler, or one for each pool of CPUs. */
export interface VcpuScheduling<V extends VcpuRef = VcpuRef> {
  readonly name: SchedulerName
  /** Number of physical CPUs of the host. */
  readonly cpuCount: number
  addDomain(domid: DomId): void
  /** Its vCPUs have been removed before. */
  removeDomain(domid: DomId): void
  /** A new vCPU sleeps until woken. */
  addVcpu(vcpu: V, now: number): void
  /** The CPU to ask again because of it, or -1. */
  removeVcpu(vcpu: V, now: number): number
  /** The vCPU can run. The CPU that should be asked again because of it, or -1. */
  wake(vcpu: V, now: number): number
  /** The vCPU cannot run any more (blocked, paused, offline). If it was running, ask its CPU again. */
  sleep(vcpu: V, now: number): void
  /** The vCPU lets others go first; ask its CPU again. */
  yield(vcpu: V, now: number): void
  /** Lets somebody else decide, or nobody any more. All CPUs are to be asked then. */
  direct(director: Director | undefined): void
  /** What `cpu` is to do from `now` on. Charges what ran there. */
  schedule(cpu: number, now: number): Decision<V>
  affinity(vcpu: V): Affinity
  /**
   * The CPU to ask again because of it, or -1. Throws INVALID_ARGUMENT for CPUs that do not exist and for an empty
   * hard set.
   */
  setAffinity(vcpu: V, affinity: Partial<Affinity>, now: number): number
  /** Why a vCPU is refused such an affinity; undefined when it is not. */
  affinityFault(vcpu: V, affinity: Partial<Affinity>): SchedulerFault | undefined
  /** Why such parameters are refused, none included; undefined when they are not. The domain exists. */
  parametersFault(domid: DomId, values: SchedulerParameters, vcpu?: number): SchedulerFault | undefined
  /** The domain's parameters; per-vCPU ones where the algorithm has them and `vcpu` is given. */
  parameters(domid: DomId, vcpu?: number): SchedulerParameters
  /** Changes some of them. Throws INVALID_ARGUMENT for names it does not know and values out of range. */
  setParameters(domid: DomId, values: SchedulerParameters, vcpu?: number): void
}

/** Decides which vCPU runs where, on those of the host's CPUs that it serves: all unless told otherwise. */
export interface Scheduler<V extends VcpuRef = VcpuRef> extends VcpuScheduling<V>, Stateful<SchedulerState> {
  isAsSaved(state: SchedulerState): boolean
  /** CPUs that it serves, ascending. */
  readonly cpus: readonly number[]
  /**
   * Serves other CPUs from now on. What runs on one that is taken away waits from then on, and runs there no more; a vCPU whose
   * hard affinity has none of them left may use all. All CPUs that it serves are to be asked again.
   */
  setCpus(cpus: readonly number[], now: number): void
  /** Why such parameters of the scheduler as a whole are refused; undefined when they are not. */
  globalFault(values: SchedulerParameters): SchedulerFault | undefined
  /** Parameters of the scheduler as a whole: slices, rate limits. */
  globalParameters(): SchedulerParameters
  setGlobalParameters(values: SchedulerParameters): void
}
