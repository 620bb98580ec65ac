/** The tools' hypercalls, domctl and sysctl, over the operations of control/core. */
import { DomainActivity } from './core/activity.ts'
import { CpuPoolOperations } from './core/cpu-pools.ts'
import { Frames } from './core/frames.ts'
import { LogDirty, type LogDirtyParts } from './core/log-dirty.ts'
import { Scheduling } from './core/scheduling.ts'
import { SystemPolicies, type SystemPolicyParts } from './core/system-policies.ts'
import { VcpuOperations } from './core/vcpus.ts'
import type { HypercallRow } from '../domains/hypercall.ts'
import type { VcpuExecution } from '../execution/vcpu-execution.ts'
import type { EventHub } from '../../util/index.ts'
import type { HypervisorEvent } from '../hypervisor-events.ts'
import type { MachineToPhys } from '../frames/machine-to-phys.ts'
import type { PhysicalCpus } from '../execution/physical-cpus.ts'
import { domctl } from './domctl/domctl.ts'
import type { DomctlParts } from './domctl/domctl-call.ts'
import { sysctl } from './sysctl/sysctl.ts'
import type { SysctlParts } from './sysctl/sysctl-call.ts'

/** Operations that are made here, of what the others are. */
type Made = 'activity' | 'cpuPools' | 'hostFrames' | 'logDirty' | 'vcpus' | 'scheduling' | 'policies'

/** What the tools' hypercalls work on. */
export interface ControlHypercallParts extends Omit<DomctlParts & SysctlParts, Made> {
  readonly execution: VcpuExecution
  readonly hub: EventHub<HypervisorEvent>
  readonly machineToPhys: MachineToPhys
  readonly cpus: PhysicalCpus
  readonly processors: SystemPolicyParts['processors']
  readonly tlb: LogDirtyParts['tlb']
  readonly options: { readonly memory: LogDirtyParts['tracking'] }
}

/** Makes their rows, which are the same for callers of both widths. */
export function controlHypercalls(parts: ControlHypercallParts): HypercallRow[] {
  const made = {
    ...parts, activity: new DomainActivity(parts), cpuPools: new CpuPoolOperations(parts), hostFrames: new Frames(parts),
    logDirty: new LogDirty({ ...parts, tracking: parts.options.memory }), vcpus: new VcpuOperations(parts), scheduling: new Scheduling(parts),
    policies: new SystemPolicies(parts),
  }
  return [domctl(made), sysctl(made)]
}
