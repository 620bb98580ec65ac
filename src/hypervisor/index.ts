/**
 * The hypervisor: domains, virtual CPUs, frames and their types, event channels, grants, time, hypercalls, and the
 * privileged control interface that a toolstack is built on.
 *
 * @module
 */
export type {
  ControlInterface, DomainControl, HostControl, MemoryControl, SharingControl, VcpuControl,
} from './control/typed/control-interface.ts'
export type {
  CreateDomainOptions, DomainInfo, FrameInfo, GuestKindName, HostInfo, MemoryRange, VcpuInfoSnapshot,
} from './control/core/records.ts'
export type { TrapInfoEntry, VcpuContext, VcpuUserRegisters } from './domains/vcpu-registers.ts'
export type { RunLimits, RunResult } from './execution/run-limits.ts'
export { FRAME_KIND } from './control/core/records.ts'
export { Hypervisor } from './hypervisor.ts'
export type { LoadOptions, SaveOptions } from './state/hypervisor-state.ts'
export { FrameRows } from './frames/frame-table.ts'
export type { HypervisorOptions } from './hypervisor-options.ts'
export type { Finding } from './checks/recount.ts'
export type { DomainHypercalls } from './guests/typescript/typed-hypercalls.ts'
export type { ProcessorFactory } from './guests/processors/processors.ts'
export type { CpuidPolicy } from './guests/processors/cpuid.ts'
export type { CpuPolicy, CpuidLeaf, MsrEntry } from './domains/cpu-policy.ts'
export type { CpuidAnswer } from '../x86/index.ts'
export { SCHEDULER_NAMES } from './scheduler/index.ts'
export type { SchedulerName } from './scheduler/index.ts'
export type { WriteTracking } from './memory/write-tracking.ts'
export type { CrashedCode, CrashedException, CrashedStack, CrashRegisters, CrashReport, CrashState } from './domains/crash-report.ts'
export type { HypervisorEvent } from './hypervisor-events.ts'
export type { GrantCopy, GrantCopySide, HypercallPort } from '../abi/index.ts'
export type { GuestMemory } from './memory/guest-memory.ts'
export type { PrivilegedOperation, RunnerFactory, VcpuEntry, VcpuExit, VcpuRunner } from './domains/vcpu-runner.ts'
export { VirtualClock } from './time/host-clock.ts'
export type { ClockState, HostClock } from './time/host-clock.ts'
export { XEN_VERSION } from './identity.ts'
export { decodeVcpuContext, encodeVcpuContext } from './domains/vcpu-context.ts'
export { vcpuContextCodec } from './domains/vcpu-context-codec.ts'
export type { VcpuContextCodec } from './domains/vcpu-context-codec.ts'
