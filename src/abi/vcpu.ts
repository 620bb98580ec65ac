/**
 * Virtual processors: operations, run state, timers.
 *
 * Reference: xen/include/public/vcpu.h.
 */
import { array, gap, i32, structure, u32, u64 } from './structure.ts'

/** Operations of vcpu_op. */
export const VCPUOP = {
  initialise: 0, up: 1, down: 2, is_up: 3, get_runstate_info: 4, register_runstate_memory_area: 5,
  set_periodic_timer: 6, stop_periodic_timer: 7, set_singleshot_timer: 8, stop_singleshot_timer: 9,
  register_vcpu_info: 10, send_nmi: 11, get_physid: 12, register_vcpu_time_memory_area: 13,
} as const

/** Run states: each is an index into the times of vcpu_runstate_info. */
export const RUNSTATE = { running: 0, runnable: 1, blocked: 2, offline: 3 } as const

/** Flags of a one-shot timer. */
export const VCPU_SSHOTTMR = { future: 1 } as const

/** How long a vCPU has been in each state, in nanoseconds. */
export const VcpuRunstateInfo = /* @__PURE__ */ structure({ state: i32, stateEntryTime: u64, time: array(u64, 4) })

/** Virtual address where Xen keeps the run state up to date. */
export const VcpuRegisterRunstateMemoryArea = /* @__PURE__ */ structure({ addr: u64 })

/** Period in nanoseconds. */
export const VcpuSetPeriodicTimer = /* @__PURE__ */ structure({ periodNs: u64 })

/** Deadline in nanoseconds of system time. */
export const VcpuSetSingleshotTimer = /* @__PURE__ */ structure({ timeoutAbsNs: u64, flags: u32 })

/** Where a vCPU wants its vcpu_info. */
export const VcpuRegisterVcpuInfo = /* @__PURE__ */ structure({ mfn: u64, offset: u32, rsvd: gap(4) })

/** The physical processor that a pinned vCPU runs on: APIC id low, ACPI id high. */
export const VcpuGetPhysid = /* @__PURE__ */ structure({ physId: u64 })

/** Virtual address where Xen keeps a second time record. */
export const VcpuRegisterTimeMemoryArea = /* @__PURE__ */ structure({ addr: u64 })
