/**
 * Framebuffers: the shared page, with its two rings of events and the directory of the pages in which the pixels are, and the events.
 *
 * Reference: xen/include/public/io/fbif.h.
 */
import { i32 as i32At, overlay, u32 as u32At, u8 as u8At } from '../../util/index.ts'
import { array, i32, structure, u32, u8, ulong } from '../structure.ts'

/** Events: `REFRESH_PERIOD` goes to the front-end, the others come from it. */
export const XENFB_TYPE = { REFRESH_PERIOD: 1, UPDATE: 2, RESIZE: 3 } as const

/** The rings of the shared page: bytes of an event, where each ring begins, and how many bytes it has. */
export const XENFB = { IN_EVENT_SIZE: 40, OUT_EVENT_SIZE: 40, IN_RING_OFFS: 1024, IN_RING_SIZE: 1024, IN_RING_LEN: 25, OUT_RING_OFFS: 2048, OUT_RING_SIZE: 2048, OUT_RING_LEN: 51 } as const

/** The head of the shared page. `pd` has the numbers of the pages that have the numbers of the pages of pixels. */
export const XenfbPage = /* @__PURE__ */ structure({
  inCons: u32, inProd: u32, outCons: u32, outProd: u32, width: i32, height: i32, lineLength: u32, memLength: u32, depth: u8, pd: array(ulong, 256),
})

/** A rectangle has been drawn anew. */
export const XenfbUpdate = /* @__PURE__ */ overlay(20, { type: u8At(0), x: i32At(4), y: i32At(8), width: i32At(12), height: i32At(16) })

/** The picture has another size, or lies elsewhere. */
export const XenfbResize = /* @__PURE__ */ overlay(24, { type: u8At(0), width: i32At(4), height: i32At(8), stride: i32At(12), depth: i32At(16), offset: i32At(20) })

/** How often the front-end is to draw anew, in milliseconds; 0 for not at all. */
export const XenfbRefreshPeriod = /* @__PURE__ */ overlay(8, { type: u8At(0), period: u32At(4) })
