/**
 * Puts received frames together: one slot of the ring, or several in a row. What the back-end says of a slot is checked.
 *
 * hot path: nothing is allocated for a frame of one slot; figure in transmit.ts.
 * Reference: public/io/netif.h.
 */
import { NETIF_EXTRA_FLAG, NETIF_EXTRA_TYPE, NETRXF, NetifExtraInfo, NetifRxResponse, PAGE_SIZE } from '../../abi/index.ts'
import type { SharedPage } from '../../guest/index.ts'
import { MAX_EXTRAS, MAX_SLOTS } from './protocol.ts'

/** A page of an interface. */
export interface NicPage {
  readonly shared: SharedPage
  /** Its first bytes, as many as the last frame had: frames of one size follow each other, as a rule. */
  head: Uint8Array
}

/** Stands for a part that failed. */
const SPOILT = /* @__PURE__ */ new Uint8Array(0)

/** What received frames are put together for. */
export interface IncomingOptions {
  /** Frames may stand for several segments, and say so in a slot of their own. */
  readonly large: boolean
  /** Gets each frame, with the size of its segments, 0 for a frame that is one; the bytes are valid during the call only. */
  readonly accept: (frame: Uint8Array, checksumBlank: boolean, segmentSize: number) => void
}

/** The frames of one ring. */
export class IncomingFrames {
  private readonly large: boolean
  private readonly accept: IncomingOptions['accept']
  /** Parts of a frame whose other slots are still to come. */
  private parts: Uint8Array[] = []
  /** The frame that these parts belong to has a blank checksum. */
  private blank = false

  private segmentSize = 0
  /** The next slot is extra information of the frame that has begun, and so many were before it. */
  awaitsExtra = false
  private extras = 0
  /** The frame that has begun has no slot but its first and extra information. */
  private isWhole = false

  constructor(options: IncomingOptions) {
    this.large = options.large
    this.accept = options.accept
  }

  /** Forgets a frame that has begun: its ring is gone. */
  forget(): void {
    this.parts = []
    this.blank = false
    this.segmentSize = 0
    this.awaitsExtra = false
    this.extras = 0
  }

  /** Takes one slot's part of a frame, which the response at `address` describes; false when it is impossible. */
  take(page: NicPage, view: DataView, address: number): boolean {
    const offset = NetifRxResponse.offset.get(view, address)
    const flags = NetifRxResponse.flags.get(view, address)
    const status = NetifRxResponse.status.get(view, address)
    if (status > 0 && offset + status > PAGE_SIZE) return false
    const isLast = (flags & NETRXF.more_data) === 0
    if (isLast && this.parts.length === 0 && (flags & NETRXF.extra_info) === 0) {
      if (status > 0) this.accept(partOf(page, offset, status), (flags & NETRXF.csum_blank) !== 0, 0)
      return true
    }
    this.blank ||= (flags & NETRXF.csum_blank) !== 0
    // A part that failed spoils its frame; the slots that follow still belong to it.
    this.parts.push(status > 0 ? partOf(page, offset, status).slice() : SPOILT)
    if ((flags & NETRXF.extra_info) !== 0) {
      // It was not asked for, or stands behind the first slot.
      if (!this.large || this.parts.length > 1) return false
      this.awaitsExtra = true
      this.isWhole = isLast
      return true
    }
    if (!isLast) return this.parts.length <= MAX_SLOTS
    this.finish()
    return true
  }

  /** Takes a slot of extra information; false when it makes no sense. */
  takeExtra(view: DataView, address: number): boolean {
    const size = NetifExtraInfo.gsoSize.get(view, address)
    this.extras += 1
    if (NetifExtraInfo.type.get(view, address) !== NETIF_EXTRA_TYPE.GSO || size === 0 || this.extras > MAX_EXTRAS) return false
    this.segmentSize = size
    this.awaitsExtra = (NetifExtraInfo.flags.get(view, address) & NETIF_EXTRA_FLAG.MORE) !== 0
    if (!this.awaitsExtra && this.isWhole) this.finish()
    return true
  }

  private finish(): void {
    const { parts, blank, segmentSize } = this
    this.forget()
    if (!parts.includes(SPOILT)) this.accept(join(parts), blank, segmentSize)
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
