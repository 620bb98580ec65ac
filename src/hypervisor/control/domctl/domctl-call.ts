/** A call of domctl, and what its operations work on. */
import { Domctl, ERRNO } from '../../../abi/index.ts'
import { CALL_AGAIN } from '../../time/work-meter.ts'
import type { Domain, Vcpu } from '../../domains/domain.ts'
import type { DomainRegistry } from '../../domains/registry.ts'
import type { EventChannels } from '../../events/index.ts'
import type { GrantTables } from '../../grants/index.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import type { CpuPools } from '../../scheduler/index.ts'
import type { HostClock } from '../../time/host-clock.ts'
import type { TscScale } from '../../time/index.ts'
import type { WorkMeter } from '../../time/work-meter.ts'
import { ControlCall } from '../binary/control-call.ts'
import type { DomainActivity } from '../core/activity.ts'
import type { CpuPoolOperations } from '../core/cpu-pools.ts'
import type { Frames } from '../core/frames.ts'
import type { HypercallPageParts } from '../core/hypercall-page.ts'
import type { DomainLifecycle } from '../core/lifecycle.ts'
import type { LogDirty } from '../core/log-dirty.ts'
import type { Reservation } from '../core/reservation.ts'
import type { Scheduling } from '../core/scheduling.ts'
import type { VcpuOperations } from '../core/vcpus.ts'

/** What domctl works on. */
export interface DomctlParts extends HypercallPageParts {
  readonly memory: GuestMemory
  readonly domains: DomainRegistry
  readonly lifecycle: DomainLifecycle
  readonly activity: DomainActivity
  readonly reservation: Reservation
  readonly hostFrames: Frames
  readonly logDirty: LogDirty
  readonly vcpus: VcpuOperations
  readonly scheduling: Scheduling
  readonly cpuPools: CpuPoolOperations
  readonly scheduler: CpuPools<Vcpu>
  readonly events: EventChannels
  readonly grants: GrantTables<Vcpu>
  readonly clock: HostClock
  readonly tsc: TscScale
  readonly meter: WorkMeter
}

/** Where the argument of an operation lies in the structure. */
export const DOMCTL_ARGUMENT = Domctl.u.offset

/** A call in hand. */
export class DomctlCall extends ControlCall {
  /** The domain that it is about; of createdomain the caller's own. */
  domain!: Domain

  constructor() {
    super(Domctl.size)
  }

  /** True of a domain that asks about itself: it cannot be paused meanwhile. */
  get isOwn(): boolean {
    return this.domain === this.caller.owner
  }

  /** A vCPU of the domain's; undefined where it has none of that number. */
  vcpu(index: number): Vcpu | undefined {
    return this.domain.tools.hasVcpus ? this.domain.vcpus[index] : undefined
  }
}

/** An operation that a domain cannot ask about itself: -EINVAL then. */
export const ofOthers = (run: (call: DomctlCall) => number) => (call: DomctlCall): number => (call.isOwn ? -ERRNO.EINVAL : run(call))

/** What a result of the core is to a caller: positive ones are success. */
export const asZero = (result: number): number => (result === CALL_AGAIN || result < 0 ? result : 0)
