/**
 * What a hypervisor consists of once it is put together, and what of it kinds of guests are made of. Each part declares the
 * narrower interface that it works on; these name them all.
 */
import type { GuestAbi } from '../abi/index.ts'
import type { EventHub, Random } from '../util/index.ts'
import type { Finding } from './checks/recount.ts'
import type { HypervisorConsole } from './console/console.ts'
import type { ForeignFrames } from './control/core/foreign-frames.ts'
import type { MachineDevices } from './devices/machine-ports.ts'
import type { DomainLifecycle } from './control/core/lifecycle.ts'
import type { Reservation } from './control/core/reservation.ts'
import type { Access } from './domains/access.ts'
import type { Domain, Vcpu } from './domains/domain.ts'
import type { HypercallRow, HypercallTable } from './domains/hypercall.ts'
import type { GuestKind, GuestKinds } from './domains/guest-kind.ts'
import type { DomainRegistry } from './domains/registry.ts'
import type { EventChannels } from './events/index.ts'
import type { PhysicalCpus } from './execution/physical-cpus.ts'
import type { RunLoop } from './execution/run-loop.ts'
import type { VcpuExecution } from './execution/vcpu-execution.ts'
import type { DomainMemory } from './frames/domain-memory.ts'
import type { FrameAllocator } from './frames/frame-allocator.ts'
import type { FrameTable } from './frames/frame-table.ts'
import type { FrameTypes } from './frames/frame-types.ts'
import type { MachineToPhys } from './frames/machine-to-phys.ts'
import type { TlbClock } from './frames/tlb-clock.ts'
import type { GrantTables } from './grants/index.ts'
import type { PageTables } from './guests/direct-paging/page-tables.ts'
import type { Processors } from './guests/processors/processors.ts'
import type { TypedHypercalls } from './guests/typescript/typed-hypercalls.ts'
import type { TypedHypercallsByDomain } from './guests/typescript/typed-hypercalls-by-domain.ts'
import type { HypervisorEvent } from './hypervisor-events.ts'
import type { HypervisorOptions } from './hypervisor-options.ts'
import type { GuestMemory } from './memory/guest-memory.ts'
import type { CpuPools } from './scheduler/index.ts'
import type { HostClock } from './time/host-clock.ts'
import type { GuestTime, TimeRecords, TimerQueue, TscScale, WallClock } from './time/index.ts'
import type { WorkMeter } from './time/work-meter.ts'
import type { TraceBuffers } from './trace/trace-buffers.ts'

/** Frames: whose they are, and what they are used as. */
export interface MemoryParts {
  readonly memory: GuestMemory
  readonly domains: DomainRegistry
  readonly frames: FrameTable
  readonly allocator: FrameAllocator
  readonly machineToPhys: MachineToPhys
  readonly tlb: TlbClock
  readonly meter: WorkMeter
  readonly domainMemory: DomainMemory
  readonly pageTypes: FrameTypes
  /** Direct paging, which PV guests and guests in TypeScript share. */
  readonly pageTables: PageTables
}

/** What kinds of guests are made of. */
export interface CoreParts extends MemoryParts {
  readonly options: HypervisorOptions
  readonly clock: HostClock
  readonly random: Random
  readonly hub: EventHub<HypervisorEvent>
  readonly scheduler: CpuPools<Vcpu>
  readonly timers: TimerQueue
  /** What domains are shown as the time; absent where all are shown the host's. */
  readonly guestTime?: GuestTime | undefined
  readonly tsc: TscScale
  readonly timeRecords: TimeRecords
  readonly wallClock: WallClock
  /** What is behind I/O ports. */
  readonly devices: MachineDevices
  readonly console: HypervisorConsole
  readonly cpus: PhysicalCpus
  readonly trace: TraceBuffers
  readonly events: EventChannels
  readonly grants: GrantTables<Vcpu>
  readonly execution: VcpuExecution
  readonly kinds: GuestKinds
  /** Who may ask what of whom. */
  readonly access: Access
  readonly processors: Processors
  readonly typedHypercalls: TypedHypercallsByDomain
  /** Frames that the toolstack has mapped. */
  readonly foreignFrames: ForeignFrames
  readonly reservation: Reservation
  readonly lifecycle: DomainLifecycle
  /** How often each hypercall was made by registers, by number. No part of the state. */
  readonly hypercallCounts: Float64Array
  updateTime(vcpu: Vcpu): void
  typedHypercallsOf(domain: Domain): TypedHypercalls
  /** The hypercalls of all kinds of guests with some that are a kind's own, for callers of one ABI: the native one unless given. */
  tableOf(own: () => readonly HypercallRow[], abi?: GuestAbi): HypercallTable
}

/** All parts of one hypervisor. */
export interface HypervisorParts extends CoreParts {
  readonly loop: RunLoop
  /** What does not add up. */
  check(): Finding[]
}

/** Makes a kind of guest of the hypervisor's parts. */
export type GuestKindFactory = (parts: CoreParts) => GuestKind
