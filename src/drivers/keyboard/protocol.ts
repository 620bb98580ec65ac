/**
 * The protocol of keyboards and pointers as both halves need it: names in XenStore, rings, events, limits.
 *
 *   device/vkbd/ID           page-gref, page-ref, event-channel, request-abs-pointer, state    (front-end)
 *   backend/vkbd/DOMAIN/ID   feature-abs-pointer, feature-raw-pointer, width, height, ..., state    (back-end)
 *
 * Reference: public/io/kbdif.h; Linux, drivers/input/misc/xen-kbdfront.c; QEMU, hw/display/xenfb.c.
 */
import { XENKBD, XENKBD_TYPE, XenkbdKey, XenkbdMotion, XenkbdPage, XenkbdPosition } from '../../abi/index.ts'
import type { EventRing } from '../../rings/index.ts'
import { shape, type StateOf } from '../../util/index.ts'

/** As XenStore's paths have the device. */
export const KEYBOARD_TYPE = 'vkbd'

/** Events that wait for a guest which takes none: more are refused. */
export const WAITING_LIMIT = 1024
/** Keys and buttons by Linux's numbers: KEY_MAX. */
export const MAX_KEY = 0x2ff
/** Where a pointer can be, and how far it goes or its wheel turns at once. */
export const MAX_PLACE = 0xffff

/** Events to the front-end. */
export const IN_RING: EventRing = /* @__PURE__ */ (() => ({
  count: XENKBD.IN_RING_LEN, bytes: XENKBD.IN_EVENT_SIZE, offset: XENKBD.IN_RING_OFFS, produced: XenkbdPage.inProd, consumed: XenkbdPage.inCons,
}))()
/** Events of the front-end, of which there are none so far. */
export const OUT_RING: EventRing = /* @__PURE__ */ (() => ({
  count: XENKBD.OUT_RING_LEN, bytes: XENKBD.OUT_EVENT_SIZE, offset: XENKBD.OUT_RING_OFFS, produced: XenkbdPage.outProd, consumed: XenkbdPage.outCons,
}))()

/** A key or a button, by Linux's number (`linux/input-event-codes.h`: KEY_A is 30, BTN_LEFT 272), goes down or up. */
export interface KeyInput {
  readonly type: 'key'
  readonly code: number
  readonly pressed: boolean
}

/** The pointer is at a pixel of the picture; `wheel` is by how many steps its wheel has turned away from the hand. */
export interface PointerInput {
  readonly type: 'pointer'
  readonly x: number
  readonly y: number
  readonly wheel?: number | undefined
}

/** What somebody at a keyboard and a pointer does. */
export type ScreenInput = KeyInput | PointerInput

const place = /* @__PURE__ */ shape.whole(0, MAX_PLACE)
/** The same, saved: a key by its number, or a place with the wheel. */
export const inputState = /* @__PURE__ */ shape.record({
  code: /* @__PURE__ */ shape.whole(-1, MAX_KEY), pressed: shape.flag, x: place, y: place, wheel: /* @__PURE__ */ shape.whole(-MAX_PLACE, MAX_PLACE),
})
/** An event as it waits and is saved; `code` is -1 for the pointer. */
export type WaitingInput = StateOf<typeof inputState>

/** What an input is while it waits. */
export const waitingOf = (input: ScreenInput): WaitingInput => (input.type === 'key'
  ? { code: input.code, pressed: input.pressed, x: 0, y: 0, wheel: 0 }
  : { code: -1, pressed: false, x: input.x, y: input.y, wheel: input.wheel ?? 0 })

/** Where the pointer was last. */
export interface PointerPlace {
  readonly x: number
  readonly y: number
}

/** An event of the protocol: a key, a place, or how far it is from the last place for a front-end that asked for no places. */
export function eventOf({ code, pressed, x, y, wheel }: WaitingInput, { isAbsolute, last }: { readonly isAbsolute: boolean; readonly last: PointerPlace }): Uint8Array {
  const bytes = new Uint8Array(XenkbdPosition.size)
  const view = new DataView(bytes.buffer)
  // Down is positive on a wheel of the protocol, as in QEMU.
  if (code >= 0) XenkbdKey.encode(view, 0, { type: XENKBD_TYPE.KEY, pressed: pressed ? 1 : 0, keycode: code })
  else if (isAbsolute) XenkbdPosition.encode(view, 0, { type: XENKBD_TYPE.POS, absX: x, absY: y, relZ: -wheel })
  else XenkbdMotion.encode(view, 0, { type: XENKBD_TYPE.MOTION, relX: x - last.x, relY: y - last.y, relZ: -wheel })
  return bytes
}
