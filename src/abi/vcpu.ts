/**
 * Virtual processors: operations, run state, timers.
 *
 * Reference: xen/include/public/vcpu.h.
 */
import { array, i32, overlay, u32, u64 } from '../util/index.ts'

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
export const VcpuRunstateInfo = /* @__PURE__ */ overlay(48, {
  state: i32(0), stateEntryTime: u64(8), time: array(16, u64, 4),
})

/** Virtual address where Xen keeps the run state up to date. */
export const VcpuRegisterRunstateMemoryArea = /* @__PURE__ */ overlay(8, { addr: u64(0) })

/** Period in nanoseconds. */
export const VcpuSetPeriodicTimer = /* @__PURE__ */ overlay(8, { periodNs: u64(0) })

/** Deadline in nanoseconds of system time. */
export const VcpuSetSingleshotTimer = /* @__PURE__ */ overlay(16, { timeoutAbsNs: u64(0), flags: u32(8) })

/** Where a vCPU wants its vcpu_info. */
export const VcpuRegisterVcpuInfo = /* @__PURE__ */ overlay(16, { mfn: u64(0), offset: u32(8) })

/** The physical processor that a pinned vCPU runs on: APIC id low, ACPI id high. */
export const VcpuGetPhysid = /* @__PURE__ */ overlay(8, { physId: u64(0) })

/** Virtual address where Xen keeps a second time record. */
export const VcpuRegisterTimeMemoryArea = /* @__PURE__ */ overlay(8, { addr: u64(0) })
