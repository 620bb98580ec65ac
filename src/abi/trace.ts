/**
 * The trace buffers that the hypervisor shares with its tools: for each CPU some pages with two offsets in front and records behind, and
 * a page that says where they are.
 *
 * Reference: xen/include/public/trace.h.
 */
import { overlay, u16, u32 } from '../util/index.ts'

/** Classes of events, and events. */
export const TRC = {
  ALL: 0x0fff_f000, GEN: 0x1_f000, SCHED: 0x2_f000, DOM0OP: 0x4_f000, PV: 0x20_f000,
  LOST_RECORDS: 0x1_f001, TRACE_WRAP_BUFFER: 0x1_f002,
  SCHED_RUNSTATE_CHANGE: 0x2_1001, SCHED_WAKE: 0x2_8004, SCHED_YIELD: 0x2_8005, SCHED_BLOCK: 0x2_8006, SCHED_SWITCH: 0x2_800a,
  DOM0_DOM_ADD: 0x4_1001, DOM0_DOM_REM: 0x4_1002, PV_HYPERCALL_V2: 0x20_100d,
  CLS_SHIFT: 16, SUBCLS_SHIFT: 12,
} as const

/** How a record's head counts the words behind it. */
export const TRACE_EXTRA = { MAX: 7, SHIFT: 28 } as const

/** In front of a CPU's buffer: what has been read of it, and what has been written, modulo twice the bytes of its records. */
export const TBuf = /* @__PURE__ */ overlay(8, { cons: u32(0), prod: u32(4) })

/** The page that says where the buffers are: pages of each; behind it for each CPU the place, in words, of the list of its frames. */
export const TInfo = /* @__PURE__ */ overlay(2, { tbufSize: u16(0) })
