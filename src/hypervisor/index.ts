/**
 * The hypervisor: domains, virtual CPUs, frames and their types, event channels, grants, time, hypercalls, and the
 * privileged control interface that a toolstack is built on.
 *
 * @module
 */
export type {
  ControlInterface, CreateDomainOptions, DomainInfo, FrameInfo, HostInfo, RunLimits, RunResult, RunnerFactory,
  TrapInfoEntry, VcpuContext, VcpuInfoSnapshot, VcpuUserRegisters,
} from './control.ts'
export type { HypervisorEvent } from './hypervisor-events.ts'
export type { HypercallPort, PortCopy, PortCopySide } from './hypercall-port.ts'
export type { GuestMemory } from './guest-memory.ts'
export type { PrivilegedOperation, VcpuEntry, VcpuExit, VcpuRunner } from './vcpu-runner.ts'
export { VirtualClock } from './host-clock.ts'
export type { HostClock } from './host-clock.ts'
export { decodeVcpuContext, encodeVcpuContext } from './pv/vcpu-context.ts'
