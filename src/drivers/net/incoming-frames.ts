/**
 * Puts received frames together: one slot of the ring, or several in a row. What the back-end says of a slot is checked.
 *
 * hot path: nothing is allocated for a frame of one slot; figure in transmit.ts.
 * Reference: public/io/netif.h.
 */
import { NETRXF, NetifRxResponse, PAGE_SIZE } from '../../abi/index.ts'
import type { SharedPage } from '../../guest/index.ts'
import { MAX_SLOTS } from './protocol.ts'

/** A page of an interface. */
export interface NicPage {
  readonly shared: SharedPage
  /** Its first bytes, as many as the last frame had: frames of one size follow each other, as a rule. */
  head: Uint8Array
}

/** Stands for a part that failed. */
const SPOILT = /* @__PURE__ */ new Uint8Array(0)

/** The frames of one ring. */
export class IncomingFrames {
  private readonly accept: (frame: Uint8Array, checksumBlank: boolean) => void
  /** Parts of a frame whose other slots are still to come. */
  private parts: Uint8Array[] = []
  /** The frame that these parts belong to has a blank checksum. */
  private blank = false

  /** `accept` gets each frame; the bytes are valid during the call only. */
  constructor(accept: (frame: Uint8Array, checksumBlank: boolean) => void) {
    this.accept = accept
  }

  /** Forgets a frame that has begun: its ring is gone. */
  forget(): void {
    this.parts = []
    this.blank = false
  }

  /** Takes one slot's part of a frame, which the response at `address` describes; false when it is impossible. */
  take(page: NicPage, view: DataView, address: number): boolean {
    const offset = NetifRxResponse.offset.get(view, address)
    const flags = NetifRxResponse.flags.get(view, address)
    const status = NetifRxResponse.status.get(view, address)
    if (status > 0 && offset + status > PAGE_SIZE) return false
    const isLast = (flags & NETRXF.more_data) === 0
    if (isLast && this.parts.length === 0) {
      if (status > 0) this.accept(partOf(page, offset, status), (flags & NETRXF.csum_blank) !== 0)
      return true
    }
    this.blank ||= (flags & NETRXF.csum_blank) !== 0
    // A part that failed spoils its frame; the slots that follow still belong to it.
    this.parts.push(status > 0 ? partOf(page, offset, status).slice() : SPOILT)
    if (!isLast) return this.parts.length <= MAX_SLOTS
    const { parts, blank } = this
    this.parts = []
    this.blank = false
    if (!parts.includes(SPOILT)) this.accept(join(parts), blank)
    return true
  }
}

/** `length` bytes of a page; a view that the page keeps where it can. */
function partOf(page: NicPage, offset: number, length: number): Uint8Array {
  const { bytes } = page.shared.page
  if (offset !== 0) return bytes.subarray(offset, offset + length)
  if (page.head.length !== length) page.head = bytes.subarray(0, length)
  return page.head
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const frame = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let place = 0
  for (const part of parts) {
    frame.set(part, place)
    place += part.length
  }
  return frame
}
