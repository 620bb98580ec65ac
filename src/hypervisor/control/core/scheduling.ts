/**
 * What a toolstack asks of the scheduler: weights, caps and the like, and the physical CPUs of a vCPU. Nothing throws;
 * what the scheduler does not take it says itself, in `told`.
 * Reference: xen/common/sched/core.c, sched_adjust, vcpu_affinity_domctl.
 */
import { ERRNO } from '../../../abi/index.ts'
import type { Domain, Vcpu } from '../../domains/domain.ts'
import type { Affinity, SchedulerFault, SchedulerParameters, VcpuScheduling } from '../../scheduler/index.ts'

/** What scheduling works on. */
export interface SchedulingParts {
  readonly scheduler: Pick<VcpuScheduling<Vcpu>, 'affinity' | 'affinityFault' | 'parametersFault' | 'parameters' | 'setParameters'>
  readonly execution: {
    /** Changes the physical CPUs that a vCPU may use; the scheduler takes them. */
    setAffinity(vcpu: Vcpu, affinity: Partial<Affinity>): void
  }
}

/** Takes why something was refused. */
export interface Told {
  fault?: SchedulerFault | undefined
}

/** Changes how vCPUs are scheduled. */
export class Scheduling {
  private readonly parts: SchedulingParts

  constructor(parts: SchedulingParts) {
    this.parts = parts
  }

  /** XEN_DOMCTL_setvcpuaffinity: 0, or -EINVAL for physical CPUs that there are not, and for none. */
  setAffinity(vcpu: Vcpu, affinity: Partial<Affinity>, told: Told = {}): number {
    told.fault = this.parts.scheduler.affinityFault(vcpu, affinity)
    if (told.fault !== undefined) return -ERRNO.EINVAL
    this.parts.execution.setAffinity(vcpu, affinity)
    return 0
  }

  /** XEN_DOMCTL_getvcpuaffinity; of a vCPU that has stopped for good, nothing. */
  affinity(vcpu: Vcpu): Affinity {
    return vcpu.owner.dying ? { hard: [], soft: [] } : this.parts.scheduler.affinity(vcpu)
  }

  /** XEN_DOMCTL_SCHEDOP_getinfo, getvcpuinfo: the parameters in force, or -EINVAL. */
  parameters(domain: Domain, vcpu: number | undefined, told: Told = {}): SchedulerParameters | number {
    const { scheduler } = this.parts
    told.fault = scheduler.parametersFault(domain.id, {}, vcpu)
    return told.fault === undefined ? scheduler.parameters(domain.id, vcpu) : -ERRNO.EINVAL
  }

  /** XEN_DOMCTL_SCHEDOP_putinfo, putvcpuinfo: changes those that `wishes` name: 0, or -EINVAL. */
  setParameters(domain: Domain, { values, vcpu }: SchedulingWishes, told: Told = {}): number {
    const { scheduler } = this.parts
    told.fault = scheduler.parametersFault(domain.id, values, vcpu)
    if (told.fault !== undefined) return -ERRNO.EINVAL
    scheduler.setParameters(domain.id, values, vcpu)
    return 0
  }
}

/** Parameters to be changed: of a whole domain, or of one vCPU where the scheduler has such. */
export interface SchedulingWishes {
  readonly values: SchedulerParameters
  readonly vcpu?: number | undefined
}
