/** What PVH guests are made of, out of a hypervisor's parts. */
import type { GuestAbi } from '../../../abi/index.ts'
import type { EventHub } from '../../../util/index.ts'
import type { HypervisorConsole } from '../../console/console.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { HypercallRow, HypercallTable } from '../../domains/hypercall.ts'
import type { DomainRegistry } from '../../domains/registry.ts'
import type { EventChannels } from '../../events/index.ts'
import type { VcpuExecution } from '../../execution/vcpu-execution.ts'
import type { DomainMemory } from '../../frames/domain-memory.ts'
import type { FrameTable } from '../../frames/frame-table.ts'
import type { FrameTypes } from '../../frames/frame-types.ts'
import type { MachineToPhys } from '../../frames/machine-to-phys.ts'
import type { TlbClock } from '../../frames/tlb-clock.ts'
import type { GrantTables } from '../../grants/index.ts'
import type { HypervisorEvent } from '../../hypervisor-events.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import type { HostClock } from '../../time/host-clock.ts'
import type { GuestTime, TimeRecords, TimerQueue, TscScale, WallClock } from '../../time/index.ts'
import type { WorkMeter } from '../../time/work-meter.ts'
import type { CpuidPolicy } from '../processors/cpuid.ts'
import type { Processors } from '../processors/processors.ts'
import type { Reservation } from '../../control/core/reservation.ts'

/** What PVH guests are made of. */
export interface PvhParts {
  readonly memory: GuestMemory
  readonly frames: FrameTable
  readonly machineToPhys: MachineToPhys
  readonly pageTypes: FrameTypes
  readonly domains: DomainRegistry
  readonly domainMemory: DomainMemory
  readonly reservation: Reservation
  readonly tlb: TlbClock
  readonly meter: WorkMeter
  readonly clock: HostClock
  /** What domains are shown as the time, and back; absent where that is the host's. */
  readonly guestTime?: GuestTime | undefined
  readonly timers: TimerQueue
  readonly tsc: TscScale
  readonly hub: EventHub<HypervisorEvent>
  readonly execution: VcpuExecution
  readonly events: EventChannels
  readonly grants: GrantTables<Vcpu>
  readonly console: HypervisorConsole
  readonly processors: Processors
  updateTime(vcpu: Vcpu): void
  /** The hypercalls of all kinds with some that are the kind's own. */
  tableOf(own: () => readonly HypercallRow[], abi?: GuestAbi): HypercallTable
  readonly timeRecords: TimeRecords
  readonly wallClock: Pick<WallClock, 'bootTime'>
  readonly options: { readonly cpuidPolicy?: CpuidPolicy }
}
