/**
 * Entry points that a guest registers: events, failsafe, system calls.
 *
 * Reference: xen/include/public/callback.h.
 */
import { overlay, u16, u64 } from '../util/index.ts'

/** Operations of callback_op. */
export const CALLBACKOP = { register: 0, unregister: 1 } as const

/** Kinds of entry point. */
export const CALLBACKTYPE = {
  event: 0, failsafe: 1, syscall: 2, sysenter_deprecated: 3, nmi: 4, sysenter: 5, syscall32: 7,
} as const

/** Flags of an entry point. */
export const CALLBACKF = { mask_events: 1 } as const

/** Registers an entry point. */
export const CallbackRegister = /* @__PURE__ */ overlay(16, { type: u16(0), flags: u16(2), address: u64(8) })

/** Removes an entry point. */
export const CallbackUnregister = /* @__PURE__ */ overlay(4, { type: u16(0) })
