/**
 * The framebuffer protocol as both halves need it: names in XenStore, rings, limits.
 *
 *   device/vfb/ID           page-ref, event-channel, protocol, feature-update, state    (front-end)
 *   backend/vfb/DOMAIN/ID   vnc, vnclisten, ...; feature-resize, request-update, state    (back-end)
 *
 * The front-end names its shared page by the frame's number: it grants nothing, and only a domain that may control it can serve it.
 *
 * Reference: public/io/fbif.h; Linux, drivers/video/fbdev/xen-fbfront.c; QEMU, hw/display/xenfb.c.
 */
import { IO_PROTO_ABI, PAGE_SIZE, XENFB, XenfbPage } from '../../abi/index.ts'
import type { EventRing } from '../../rings/index.ts'

/** As XenStore's paths have the device. */
export const FRAMEBUFFER_TYPE = 'vfb'

/** Bytes of pixels that are mapped at most: 4096 x 4096 of 4 bytes. */
export const MAX_VIDEO_MEMORY = 64 << 20
/** Pixels of a side. */
export const MAX_SIDE = 8192
/** Bits of a pixel that there are. */
export const DEPTHS = [8, 16, 24, 32] as const

/** Events of the front-end, and to it. */
export const OUT_RING: EventRing = /* @__PURE__ */ (() => ({
  count: XENFB.OUT_RING_LEN, bytes: XENFB.OUT_EVENT_SIZE, offset: XENFB.OUT_RING_OFFS, produced: XenfbPage.outProd, consumed: XenfbPage.outCons,
}))()
/** The other one. */
export const IN_RING: EventRing = /* @__PURE__ */ (() => ({
  count: XENFB.IN_RING_LEN, bytes: XENFB.IN_EVENT_SIZE, offset: XENFB.IN_RING_OFFS, produced: XenfbPage.inProd, consumed: XenfbPage.inCons,
}))()

/** Bytes of a frame's number in the directory of a guest. */
export const wordOf = (protocol: string | undefined): 4 | 8 => (protocol === IO_PROTO_ABI.X86_32 ? 4 : 8)
/** Numbers of frames that a page has room for. */
export const numbersPerPage = (word: 4 | 8): number => PAGE_SIZE / word
