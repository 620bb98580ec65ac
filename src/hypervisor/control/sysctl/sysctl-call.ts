/** A call of sysctl, and what its operations work on. */
import { Sysctl } from '../../../abi/index.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { GuestKinds } from '../../domains/guest-kind.ts'
import type { DomainRegistry } from '../../domains/registry.ts'
import type { HypervisorConsole } from '../../console/console.ts'
import type { FrameTable } from '../../frames/frame-table.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import type { CpuPools } from '../../scheduler/index.ts'
import type { HostClock } from '../../time/host-clock.ts'
import type { TscScale } from '../../time/index.ts'
import type { WorkMeter } from '../../time/work-meter.ts'
import type { TraceBuffers } from '../../trace/trace-buffers.ts'
import { ControlCall } from '../binary/control-call.ts'
import type { CpuPoolOperations } from '../core/cpu-pools.ts'
import type { DomainLifecycle } from '../core/lifecycle.ts'
import type { SystemPolicies } from '../core/system-policies.ts'

/** What sysctl works on. */
export interface SysctlParts {
  readonly memory: GuestMemory
  readonly frames: FrameTable
  readonly domainMemory: { readonly free: number; readonly claimed: number }
  readonly domains: DomainRegistry
  readonly lifecycle: DomainLifecycle
  readonly kinds: GuestKinds
  readonly cpuPools: CpuPoolOperations
  readonly scheduler: CpuPools<Vcpu>
  readonly console: HypervisorConsole
  readonly policies: SystemPolicies
  readonly clock: HostClock
  readonly tsc: TscScale
  readonly meter: WorkMeter
  readonly trace: TraceBuffers
}

/** Where the argument of an operation lies in the structure. */
export const SYSCTL_ARGUMENT = Sysctl.u.offset

/** A call in hand. */
export class SysctlCall extends ControlCall {
  constructor() {
    super(Sysctl.size)
  }

  /** Copies a number of 32 bits to the caller: 0, or -EFAULT. */
  writeWord(address: number, value: number): number {
    return this.write(address, new Uint8Array(Uint32Array.of(value).buffer))
  }
}
