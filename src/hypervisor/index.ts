/**
 * The hypervisor: domains, virtual CPUs, frames and their types, event channels, grants, time, hypercalls, and the
 * privileged control interface that a toolstack is built on.
 *
 * @example
 * import { SeededRandom } from 'paravirt'
 * import { Hypervisor, VirtualClock } from 'paravirt/hypervisor'
 * import { Machine } from 'paravirt/machine'
 *
 * const machine = new Machine({ memoryBytes: 64 << 20 })
 * const hypervisor = new Hypervisor({
 *   memory: machine.memory, clock: new VirtualClock(), random: new SeededRandom(1), createProcessor: (options) => machine.createProcessor(options),
 * })
 * console.log(hypervisor.createDomain({ kind: 'pv', maxPages: 1024 }))
 *
 * @module
 */
export type {
  ControlInterface, CpuPoolControl, DomainControl, HostControl, MemoryControl, SharingControl, VcpuControl,
} from './control/typed/control-interface.ts'
export type {
  CpuPoolInfo, CreateDomainOptions, DomainInfo, EndedDomain, FrameInfo, GuestKindName, HostInfo, MemoryRange, VcpuInfoSnapshot,
} from './control/core/records.ts'
export type { TrapInfoEntry, VcpuContext, VcpuUserRegisters } from './domains/vcpu-registers.ts'
export type { RunLimits, RunResult, StandingRun } from './execution/run-limits.ts'
export type { PortRecord, PortState } from './events/index.ts'
export type { GrantRecord } from './grants/index.ts'
export { FRAME_KIND } from './control/core/records.ts'
export { Hypervisor } from './hypervisor.ts'
export { HYPERCALL_CLASSES } from './domains/access.ts'
export type { AccessDenied, AccessFacts, HypercallClass, Policy, PolicyChoice, PolicyDomain, SharingHook } from './domains/access.ts'
export type { LoadOptions, SaveOptions } from './state/hypervisor-state.ts'
export { FrameRows } from './frames/frame-rows.ts'
export { MEMORY_AT } from './frames/physical-map.ts'
export type { EventFacts, GrantFacts, HypercallFacts, HypervisorInterference, InterferenceSeat } from './interference.ts'
export type { HypervisorOptions } from './hypervisor-options.ts'
export type { Finding } from './checks/recount.ts'
export type { HypercallName } from './domains/hypercall.ts'
export type { DomainHypercalls } from './guests/typescript/typed-hypercalls.ts'
export type { ProcessorFactory } from './guests/processors/processors.ts'
export type { CpuidPolicy } from './guests/processors/cpuid.ts'
export type { CompatEntries, CompatEntry } from './domains/guest-vcpu.ts'
export type { Runstate, TscInfo } from './time/index.ts'
export type { CpuPolicy, CpuidLeaf, MsrEntry } from './domains/cpu-policy.ts'
export type { CpuidAnswer } from '../x86/index.ts'
export { SCHEDULER_NAMES } from './scheduler/index.ts'
export { MOST_LATE } from './scheduler/index.ts'
export type { Director, DirectorQuestion, Order, ReadyQuestion, SchedulerName, VcpuRef } from './scheduler/index.ts'
export type { WriteTracking } from './memory/write-tracking.ts'
export type { CrashedCode, CrashedException, CrashedStack, CrashRegisters, CrashReport, CrashState } from './domains/crash-report.ts'
export type { HypervisorEvent, VcpuName } from './hypervisor-events.ts'
export type { GrantCopy, GrantCopySide, HypercallPort } from '../abi/index.ts'
export type { GuestMemory } from './memory/guest-memory.ts'
export type { PrivilegedOperation, ReadyOrder, RunnerFactory, VcpuEntry, VcpuExit, VcpuRunner } from './domains/vcpu-runner.ts'
export { VirtualClock } from './time/host-clock.ts'
export type { ClockState, HostClock } from './time/host-clock.ts'
export { MACHINE_CHECK_BANKS, XEN_VERSION } from './identity.ts'
export { decodeVcpuContext, encodeVcpuContext } from './domains/vcpu-context.ts'
export { vcpuContextCodec } from './domains/vcpu-context-codec.ts'
export type { VcpuContextCodec } from './domains/vcpu-context-codec.ts'
