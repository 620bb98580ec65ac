/**
 * Keyboards and pointers: the shared page with its two rings of events, and the events. Nothing comes from the front-end so far.
 *
 * Reference: xen/include/public/io/kbdif.h.
 */
import { i32, overlay, u32, u8 } from '../../util/index.ts'

/** Events to the front-end. */
export const XENKBD_TYPE = { MOTION: 1, RESERVED: 2, KEY: 3, POS: 4, MTOUCH: 5 } as const

/** The rings of the shared page: bytes of an event, where each ring begins, and how many bytes it has. */
export const XENKBD = { IN_EVENT_SIZE: 40, OUT_EVENT_SIZE: 40, IN_RING_OFFS: 1024, IN_RING_SIZE: 2048, IN_RING_LEN: 51, OUT_RING_OFFS: 3072, OUT_RING_SIZE: 1024, OUT_RING_LEN: 25 } as const

/** The head of the shared page. */
export const XenkbdPage = /* @__PURE__ */ overlay(16, { inCons: u32(0), inProd: u32(4), outCons: u32(8), outProd: u32(12) })

/** The pointer has moved by so much. */
export const XenkbdMotion = /* @__PURE__ */ overlay(16, { type: u8(0), relX: i32(4), relY: i32(8), relZ: i32(12) })

/** A key or button, by Linux's number (linux/input-event-codes.h). */
export const XenkbdKey = /* @__PURE__ */ overlay(8, { type: u8(0), pressed: u8(1), keycode: u32(4) })

/** The pointer is at a place, and its wheel has turned. */
export const XenkbdPosition = /* @__PURE__ */ overlay(16, { type: u8(0), absX: i32(4), absY: i32(8), relZ: i32(12) })
