/**
 * The hypervisor: domains, virtual CPUs, frames and their types, event channels, grants, time, hypercalls, and the
 * privileged control interface that a toolstack is built on.
 *
 * @module
 */
export type {
  ControlInterface, CreateDomainOptions, DomainInfo, FrameInfo, HostInfo, MemoryRange, RunLimits, RunResult,
  RunnerFactory, TrapInfoEntry, VcpuContext, VcpuInfoSnapshot, VcpuUserRegisters,
} from './control.ts'
export { FRAME_KIND } from './control.ts'
export { Hypervisor } from './hypervisor.ts'
export type { HypervisorOptions } from './composition.ts'
export type { Finding } from './invariants.ts'
export type { DomainPort } from './port.ts'
export type { ProcessorFactory } from './pv/pv-vcpus.ts'
export type { CpuidPolicy } from './pv/cpuid.ts'
export type { CpuPolicy, CpuidLeaf, MsrEntry } from './pv/cpu-policy.ts'
export type { CpuidAnswer } from '../x86/index.ts'
export type { SchedulerName } from './scheduler/index.ts'
export type { WriteTracking } from './write-tracking.ts'
export type { CrashReport, CrashState, CrashedCode, CrashedException, CrashedStack } from './crash-report.ts'
export type { HypervisorEvent } from './hypervisor-events.ts'
export type { GrantCopy, GrantCopySide, HypercallPort } from '../abi/index.ts'
export type { GuestMemory } from './guest-memory.ts'
export type { PrivilegedOperation, VcpuEntry, VcpuExit, VcpuRunner } from './vcpu-runner.ts'
export { VirtualClock } from './host-clock.ts'
export type { HostClock } from './host-clock.ts'
export { XEN_VERSION } from './hypercalls/version.ts'
export { decodeVcpuContext, encodeVcpuContext } from './pv/vcpu-context.ts'
