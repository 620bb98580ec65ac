/**
 * Scheduling and shutdown.
 *
 * Reference: xen/include/public/sched.h.
 */
import { i32, pointer, structure, u16, u32, u64 } from './structure.ts'

/** Operations of sched_op. */
export const SCHEDOP = {
  yield: 0, block: 1, shutdown: 2, poll: 3, remote_shutdown: 4, shutdown_code: 5, watchdog: 6, pin_override: 7,
} as const

/** Why a domain has shut down. */
export const SHUTDOWN = { poweroff: 0, reboot: 1, suspend: 2, crash: 3, watchdog: 4, soft_reset: 5, MAX: 5 } as const

/** Why a domain has shut down, by name. */
export type ShutdownReason = Exclude<keyof typeof SHUTDOWN, 'MAX'>

/** Argument of SCHEDOP.shutdown and SCHEDOP.shutdown_code. */
export const SchedShutdown = /* @__PURE__ */ structure({ reason: u32 })

/** Waits for one of some ports, or for a time. */
export const SchedPoll = /* @__PURE__ */ structure({ ports: pointer, nrPorts: u32, timeout: u64 })

/** Declares another domain to have shut down. */
export const SchedRemoteShutdown = /* @__PURE__ */ structure({ domainId: u16, reason: u32 })

/** Sets a watchdog: id 0 makes a new one; timeout in seconds, 0 destroys. */
export const SchedWatchdog = /* @__PURE__ */ structure({ id: u32, timeout: u32 })

/** Pins the calling vCPU to a physical one; negative undoes it. */
export const SchedPinOverride = /* @__PURE__ */ structure({ pcpu: i32 })
