/**
 * Scheduling and shutdown.
 *
 * Reference: xen/include/public/sched.h.
 */
import { i32, overlay, u16, u32, u64 } from '../util/index.ts'

/** Operations of sched_op. */
export const SCHEDOP = {
  yield: 0, block: 1, shutdown: 2, poll: 3, remote_shutdown: 4, shutdown_code: 5, watchdog: 6, pin_override: 7,
} as const

/** Why a domain has shut down. */
export const SHUTDOWN = { poweroff: 0, reboot: 1, suspend: 2, crash: 3, watchdog: 4, soft_reset: 5, MAX: 5 } as const

/** Why a domain has shut down, by name. */
export type ShutdownReason = Exclude<keyof typeof SHUTDOWN, 'MAX'>

/** Argument of SCHEDOP.shutdown and SCHEDOP.shutdown_code. */
export const SchedShutdown = /* @__PURE__ */ overlay(4, { reason: u32(0) })

/** Waits for one of some ports, or for a time. */
export const SchedPoll = /* @__PURE__ */ overlay(24, { ports: u64(0), nrPorts: u32(8), timeout: u64(16) })

/** Declares another domain to have shut down. */
export const SchedRemoteShutdown = /* @__PURE__ */ overlay(8, { domainId: u16(0), reason: u32(4) })

/** Sets a watchdog: id 0 makes a new one; timeout in seconds, 0 destroys. */
export const SchedWatchdog = /* @__PURE__ */ overlay(8, { id: u32(0), timeout: u32(4) })

/** Pins the calling vCPU to a physical one; negative undoes it. */
export const SchedPinOverride = /* @__PURE__ */ overlay(4, { pcpu: i32(0) })
