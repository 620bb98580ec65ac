/**
 * The guest's receive ring, served: frames for the guest are copied by the hypervisor into the pages that it has
 * put up, in the order of the ring, as front-ends expect. What finds no page waits, up to a limit, and is dropped
 * beyond it.
 *
 * hot path: one hypercall for a batch, and nothing allocated for a frame that lies in an own page; figure in
 * transmit.ts.
 * Reference: public/io/netif.h.
 */
import {
  GNTST, NETIF_EXTRA_TYPE, NETIF_GSO_TYPE, NETIF_RSP, NetifExtraInfo, NetifRxRequest, NetifRxResponse, NETRXF, PAGE_SIZE,
} from '../../abi/index.ts'
import type { GrantCopy } from '../../guest/index.ts'
import { BackRing, ringState } from '../../rings/index.ts'
import { badState, shape, type GrantRef, type StateOf, type Quiescible } from '../../util/index.ts'
import type { NetFrame } from './frame.ts'
import { completeChecksum, isIpv6, withOwnBytes } from './frame.ts'
import { RX_ENTRY } from './protocol.ts'
import type { CopyOut } from './staging.ts'
import { RECEIVE_PAGES, copyOut } from './staging.ts'
import type { RingServices } from './transmit.ts'

/** Frames that wait for a guest which has put up no pages: stops a guest from filling its driver domain's memory. */
export const RECEIVE_QUEUE_LIMIT = 512
/** Bytes of these frames: the largest frames reach it before the count does. */
export const RECEIVE_QUEUE_BYTES = 4 << 20

/** Where a receive ring is, and the frames that have found no page. */
export const receiveState = /* @__PURE__ */ shape.record({
  ring: ringState,
  queue: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({
    bytes: /* @__PURE__ */ shape.array(Uint8Array, 0, RECEIVE_QUEUE_BYTES), checksumBlank: shape.flag, validated: shape.flag,
    segmentSize: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.whole(1, 0xffff)),
  }), RECEIVE_QUEUE_LIMIT),
})

/** What the front-end can take. */
export interface ReceiveFeatures {
  /** Frames of more than one page. */
  readonly scatter: boolean
  /** Blank checksums. */
  readonly checksumBlank: boolean
  /** Blank checksums over IPv6. */
  readonly checksumBlankIpv6: boolean
  /** Frames whose TCP is still to be cut into segments, over IPv4; they have blank checksums. */
  readonly large: boolean
  /** The same over IPv6. */
  readonly largeIpv6: boolean
}

/** The features as they are saved. */
export const receiveFeatures = /* @__PURE__ */ shape.record<ReceiveFeatures>({
  scatter: shape.flag, checksumBlank: shape.flag, checksumBlankIpv6: shape.flag, large: shape.flag, largeIpv6: shape.flag,
})

/** True where such a front-end takes a frame whose TCP is still to be cut. */
export const takesLarge = ({ scatter, checksumBlank, checksumBlankIpv6, large, largeIpv6 }: ReceiveFeatures, { bytes }: NetFrame): boolean =>
  scatter && checksumBlank && (isIpv6(bytes) ? largeIpv6 && checksumBlankIpv6 : large)

/** The pieces of a batch of frames in columns, one for each slot of the ring. */
class Pieces {
  readonly id: Uint16Array
  readonly length: Uint16Array
  readonly flags: Uint16Array
  /** Of a slot of extra information, which stands behind one whose flags say so, how large segments are. */
  readonly segment: Uint16Array
  /** Which kind of segments. */
  readonly kind: Uint8Array
  count = 0

  constructor(capacity: number) {
    this.id = new Uint16Array(capacity)
    this.length = new Uint16Array(capacity)
    this.flags = new Uint16Array(capacity)
    this.segment = new Uint16Array(capacity)
    this.kind = new Uint8Array(capacity)
  }
}

/** Serves a receive ring. */
export class ReceiveServer implements Quiescible {
  private readonly services: RingServices
  private readonly features: ReceiveFeatures
  private readonly notify: () => void
  private readonly ring: BackRing
  private readonly view: DataView
  private readonly queue: NetFrame[] = []
  private queuedBytes = 0
  /** So many of the queue's first frames have bytes of their own: they have outlived the batch that brought them. */
  private owned = 0
  private readonly pieces: Pieces
  /** One past the last piece of each frame in the batch. */
  private readonly ends: number[] = []
  /** Pages for frames from elsewhere that the batch has used. */
  private staged = 0
  private readonly copySlots: readonly CopyOut[]
  private readonly copies: GrantCopy[] = []

  /** `base` is the byte offset of the ring's page. */
  constructor(services: RingServices, base: number, options: { readonly features: ReceiveFeatures; notify(): void }) {
    this.services = services
    this.features = options.features
    this.notify = () => options.notify()
    this.view = services.grants.memory.view
    this.ring = new BackRing({ view: this.view, base, entrySize: RX_ENTRY })
    this.pieces = new Pieces(this.ring.entries)
    this.copySlots = Array.from({ length: this.ring.entries }, () => copyOut(services.domid))
  }

  /** True when the front-end has broken the rules of the ring; nothing is served any more. */
  get broken(): boolean {
    return this.ring.broken
  }

  /** What keeps it from being saved: frames of a batch that is not over. */
  underWay(): string | undefined {
    return this.owned < this.queue.length ? 'frames on their way' : undefined
  }

  /** The position in the ring and the frames that wait, for a save of its back-end. */
  save(): StateOf<typeof receiveState> {
    return { ring: this.ring.save(), queue: this.queue.map(({ bytes, checksumBlank, validated, segmentSize }) => ({ bytes: bytes.slice(), checksumBlank, validated, segmentSize })) }
  }

  /** Goes on where the saved one was. */
  load({ ring, queue }: StateOf<typeof receiveState>): void {
    const bytes = queue.reduce((sum, frame) => sum + frame.bytes.length, 0)
    if (bytes > RECEIVE_QUEUE_BYTES) throw badState('more frames wait than may')
    this.ring.load(ring)
    this.queue.push(...queue.map(withOwnBytes))
    this.queuedBytes = bytes
    this.owned = queue.length
  }

  /** Takes a frame for the guest; it is on its way with the next `serve`. */
  deliver(frame: NetFrame): void {
    const { length } = frame.bytes
    const fits = (length <= PAGE_SIZE || this.features.scatter) && (frame.segmentSize === undefined || takesLarge(this.features, frame))
    const hasRoom = this.queue.length < RECEIVE_QUEUE_LIMIT && this.queuedBytes + length <= RECEIVE_QUEUE_BYTES
    if (!fits || !hasRoom) {
      this.services.statistics.dropped += 1
      return
    }
    this.queue.push(this.readable(frame))
    this.queuedBytes += length
  }

  /** Gives the guest what waits, as far as it has put up pages; what stays is kept. */
  serve(): void {
    const { queue } = this
    let next = 0
    do {
      for (let given = this.give(next); given > 0; given = this.give(next)) next += given
    } while (next < queue.length && this.ring.finalCheckForRequests(this.slotsOf(queue[next]!)))
    for (let index = 0; index < next; index += 1) this.queuedBytes -= queue[index]!.bytes.length
    if (next === queue.length) queue.length = 0
    else if (next > 0) queue.splice(0, next)
    for (let index = Math.max(0, this.owned - next); index < queue.length; index += 1) {
      queue[index] = withOwnBytes(queue[index]!)
    }
    this.owned = queue.length
  }

  /** The frame as this guest can read it: with a whole checksum where it would not understand a blank one. */
  private readable(frame: NetFrame): NetFrame {
    if (!frame.checksumBlank) return frame
    const { checksumBlank, checksumBlankIpv6 } = this.features
    if (checksumBlank && (checksumBlankIpv6 || !isIpv6(frame.bytes))) return frame
    const whole = withOwnBytes(frame)
    completeChecksum(whole.bytes)
    return { ...whole, checksumBlank: false }
  }

  private pagesOf(frame: NetFrame): number {
    return Math.ceil(frame.bytes.length / PAGE_SIZE)
  }

  private slotsOf(frame: NetFrame): number {
    return this.pagesOf(frame) + (frame.segmentSize === undefined ? 0 : 1)
  }

  private fits(frame: NetFrame): boolean {
    return this.ring.unconsumedRequests() >= this.slotsOf(frame)
  }

  /** Gives a batch of frames from number `start` of the queue on; how many. */
  private give(start: number): number {
    const { queue, copies, pieces, ends } = this
    copies.length = 0
    ends.length = 0
    pieces.count = 0
    this.staged = 0
    for (let index = start; index < queue.length; index += 1) {
      const frame = queue[index]!
      const pages = frame.place === undefined ? this.pagesOf(frame) : 0
      if (this.staged + pages > RECEIVE_PAGES || !this.fits(frame)) break
      this.plan(frame)
      ends.push(pieces.count)
    }
    if (pieces.count > 0) this.answer(this.services.grants.copyGrants(copies))
    return ends.length
  }

  /** Takes slots for a frame and notes what is to be copied into them. */
  private plan(frame: NetFrame): void {
    const { copies, pieces, view } = this
    const { bytes, checksumBlank, validated, segmentSize } = frame
    const size = bytes.length
    const extra = segmentSize === undefined ? 0 : NETRXF.extra_info
    let flags = extra | (checksumBlank ? NETRXF.csum_blank : 0) | (validated || checksumBlank ? NETRXF.data_validated : 0)
    for (let done = 0; done < size; done += PAGE_SIZE) {
      const length = Math.min(PAGE_SIZE, size - done)
      // `fits` has counted the slots.
      const address = this.ring.takeRequest()
      const copy = this.copySlots[copies.length]!
      copy.destination.ref = NetifRxRequest.gref.get(view, address) as GrantRef
      copy.length = length
      this.placeSource(copy, frame, done)
      copies.push(copy)
      if (done + length < size) flags |= NETRXF.more_data
      else flags &= ~NETRXF.more_data
      pieces.id[pieces.count] = NetifRxRequest.id.get(view, address)
      pieces.length[pieces.count] = length
      pieces.flags[pieces.count] = flags
      pieces.count += 1
      if (done === 0 && segmentSize !== undefined) this.planExtra(frame, segmentSize)
      flags = 0
    }
  }

  /** Takes the slot behind a frame's first one for what says how large its segments are; the page that the guest has put up there stays as it is. */
  private planExtra({ bytes }: NetFrame, segmentSize: number): void {
    const { pieces } = this
    this.ring.takeRequest()
    pieces.segment[pieces.count] = segmentSize
    pieces.kind[pieces.count] = isIpv6(bytes) ? NETIF_GSO_TYPE.TCPV6 : NETIF_GSO_TYPE.TCPV4
    pieces.count += 1
  }

  /** Says where a piece of a frame is copied from: where it lies, or a page that it is put into. */
  private placeSource({ source, length }: CopyOut, { bytes, place }: NetFrame, start: number): void {
    if (place !== undefined) {
      // A frame that lies in an own page is at most that page long.
      source.frame = place.mfn
      source.offset = place.offset
      return
    }
    const page = this.services.staging.receive[this.staged]!
    this.staged += 1
    page.bytes.set(length === bytes.length ? bytes : bytes.subarray(start, start + length))
    source.frame = page.frame
    source.offset = 0
  }

  /** Answers each slot; a frame of which one slot failed counts as dropped. */
  private answer(statuses: readonly number[]): void {
    const { view, pieces, ends, services: { statistics } } = this
    let piece = 0
    let copy = 0
    for (const end of ends) {
      let okay = true
      let size = 0
      const isLarge = (pieces.flags[piece]! & NETRXF.extra_info) !== 0
      for (; piece < end; piece += 1) {
        const isCopied = statuses[copy++] === GNTST.okay
        const length = pieces.length[piece]!
        this.respond(view, piece, isCopied ? length : NETIF_RSP.ERROR)
        okay &&= isCopied
        size += length
        if ((pieces.flags[piece]! & NETRXF.extra_info) !== 0) this.respondExtra(view, piece += 1)
      }
      if (okay) {
        statistics.framesOut += 1
        statistics.bytesOut += size
        if (isLarge) statistics.largeOut += 1
      } else {
        statistics.dropped += 1
      }
    }
    if (this.ring.pushResponsesAndCheckNotify()) this.notify()
  }

  private respond(view: DataView, piece: number, status: number): void {
    const address = this.ring.nextResponse()
    if (address < 0) return
    NetifRxResponse.id.set(view, address, this.pieces.id[piece]!)
    NetifRxResponse.offset.set(view, address, 0)
    NetifRxResponse.flags.set(view, address, this.pieces.flags[piece]!)
    NetifRxResponse.status.set(view, address, status)
  }

  private respondExtra(view: DataView, piece: number): void {
    const address = this.ring.nextResponse()
    if (address < 0) return
    NetifExtraInfo.type.set(view, address, NETIF_EXTRA_TYPE.GSO)
    NetifExtraInfo.flags.set(view, address, 0)
    NetifExtraInfo.gsoSize.set(view, address, this.pieces.segment[piece]!)
    NetifExtraInfo.gsoType.set(view, address, this.pieces.kind[piece]!)
    // The byte of nothing between them, too.
    view.setUint8(address + 5, 0)
    NetifExtraInfo.gsoFeatures.set(view, address, 0)
  }
}
