/**
 * One ring of a front-end: requests are put in, and responses are taken out and checked. An identifier that is not under
 * way, another operation than was asked for or an impossible index breaks it; it never reaches another request.
 * hot path; figure in server.ts.
 *
 * Reference: public/io/blkif.h.
 */
import { BLKIF_OP } from '../../abi/index.ts'
import type { Page, SharedPage } from '../../guest/index.ts'
import { FrontRing, NO_ENTRY, SPLIT_ENTRY } from '../../rings/index.ts'
import { DIRECT_SEGMENTS, LAYOUT_64, SEGMENT_AT } from './protocol.ts'

/** A page of the guest that its back-end may use. */
export type DataPage = SharedPage

/** One segment of a request: sectors `first` to `last` of a page. */
export interface Segment {
  readonly data: DataPage
  readonly first: number
  readonly last: number
}

/** One ring entry's worth of work: up to `maxSegments` segments of the client. */
export interface BlockRequest {
  readonly operation: number
  readonly sector: number
  readonly segments: readonly Segment[]
  /** For a discard: how many sectors. */
  readonly count?: number
  /** Called with a BLKIF_RSP status, or undefined when the connection ended first. */
  done(status: number | undefined): void
}

/** Where a ring is, and how its back-end is woken. */
export interface RingPages {
  /** The pages of the ring, in their order. */
  readonly pages: readonly Page[]
  /** Wakes the back-end: requests were published that it asked to hear of. */
  notify(): void
}

/** The ring, and the requests in it. */
export class RequestQueue {
  private readonly place: RingPages
  private readonly view: DataView
  private readonly ring: FrontRing
  /** Requests under way by their identifier, which is a number below the ring's size. */
  private readonly slots: (BlockRequest | undefined)[]
  /** The pages that hold the segments of indirect requests under way. */
  private readonly lists: (DataPage | undefined)[]
  private readonly freeSlots: number[]
  private wrote = false

  /** Makes a new ring in these pages; there is at least one. */
  constructor(place: RingPages) {
    const [first] = place.pages
    if (first === undefined) throw new Error('a ring has a page')
    this.place = place
    this.view = first.view
    this.ring = FrontRing.create({
      view: first.view, base: first.base, pages: place.pages.map(({ base }) => base), entrySize: LAYOUT_64.entrySize,
    })
    const { entries } = this.ring
    this.slots = new Array<BlockRequest | undefined>(entries).fill(undefined)
    this.lists = new Array<DataPage | undefined>(entries).fill(undefined)
    this.freeSlots = Array.from({ length: entries }, (_, index) => entries - 1 - index)
  }

  /** Requests that are in the ring. */
  get underWay(): number {
    return this.ring.entries - this.freeSlots.length
  }

  /** True when a request can be put in. */
  get hasRoom(): boolean {
    return this.freeSlots.length > 0
  }

  /** Puts a request in, where there is room; `list` is the page for its segments, where they are more than an entry holds. */
  put(request: BlockRequest, list: DataPage | undefined): void {
    const { ring } = this
    const address = ring.nextRequest()
    // There are as many slots as entries, and one of them was free.
    const slot = this.freeSlots.pop()!
    this.slots[slot] = request
    this.lists[slot] = list
    if (address === SPLIT_ENTRY) {
      fill(ring.staged, 0, { slot, request, list })
      ring.writeStaged()
    } else fill(this.view, address, { slot, request, list })
    this.wrote = true
  }

  /** Shows the back-end what was put in. */
  push(): void {
    if (!this.wrote) return
    this.wrote = false
    if (this.ring.pushRequestsAndCheckNotify()) this.place.notify()
  }

  /** Takes all responses; `end` hears of each request that one ends. False when the back-end has broken the ring. */
  take(end: (request: BlockRequest, list: DataPage | undefined, status: number) => void): boolean {
    const { ring } = this
    do {
      for (let address = ring.takeResponse(); address !== NO_ENTRY; address = ring.takeResponse()) {
        if (!this.accept(address, end)) return false
      }
    } while (ring.finalCheckForResponses())
    return !ring.broken
  }

  /** Ends the request that a response names; false when there is none such, or another operation was answered. */
  private accept(address: number, end: (request: BlockRequest, list: DataPage | undefined, status: number) => void): boolean {
    const view = address === SPLIT_ENTRY ? this.ring.staged : this.view
    const at = address === SPLIT_ENTRY ? 0 : address
    const slot = LAYOUT_64.response.id.low(view, at)
    const status = LAYOUT_64.response.status.get(view, at)
    const request = LAYOUT_64.response.id.high(view, at) === 0 ? this.slots[slot] : undefined
    if (request === undefined || LAYOUT_64.response.operation.get(view, at) !== request.operation) return false
    const list = this.lists[slot]
    this.slots[slot] = undefined
    this.lists[slot] = undefined
    this.freeSlots.push(slot)
    end(request, list, status)
    return true
  }

  /** Gives up all requests that are under way; them, and the pages that held their segments. */
  abandon(): { readonly requests: readonly BlockRequest[]; readonly lists: readonly DataPage[] } {
    const requests = this.slots.filter((request) => request !== undefined)
    const lists = this.lists.filter((list) => list !== undefined)
    this.slots.fill(undefined)
    this.lists.fill(undefined)
    return { requests, lists }
  }
}

/** What is written into an entry. */
interface Entry {
  readonly slot: number
  readonly request: BlockRequest
  readonly list: DataPage | undefined
}

function fill(view: DataView, address: number, entry: Entry): void {
  const { slot, request: { operation, sector, segments, count } } = entry
  const { request, discard } = LAYOUT_64
  request.operation.set(view, address, operation)
  request.id.setParts(view, address, slot, 0)
  request.handle.set(view, address, 0)
  request.sectorNumber.setNumber(view, address, sector)
  if (count !== undefined) {
    discard.flag.set(view, address, 0)
    discard.nrSectors.setNumber(view, address, count)
    return
  }
  if (segments.length > DIRECT_SEGMENTS) {
    fillIndirect(view, address, entry)
    return
  }
  request.nrSegments.set(view, address, segments.length)
  writeSegments(view, request.seg.at(address, 0), segments)
}

function fillIndirect(view: DataView, address: number, { request: { operation, sector, segments }, list }: Entry): void {
  const { indirect } = LAYOUT_64
  // A request with that many segments was given its page before it was given its entry.
  const { page, ref } = list!
  writeSegments(page.view, page.base, segments)
  indirect.operation.set(view, address, BLKIF_OP.INDIRECT)
  indirect.indirectOp.set(view, address, operation)
  indirect.nrSegments.set(view, address, segments.length)
  indirect.handle.set(view, address, 0)
  indirect.sectorNumber.setNumber(view, address, sector)
  view.setUint32(indirect.indirectGrefs.at(address, 0), ref, true)
}

/** Writes segments one behind the other, as they stand in a request and in the page of an indirect one. */
function writeSegments(view: DataView, start: number, segments: readonly Segment[]): void {
  const { gref, firstSect, lastSect, size } = SEGMENT_AT
  let place = start
  for (let index = 0; index < segments.length; index += 1) {
    const { data, first, last } = segments[index]!
    view.setUint32(place + gref, data.ref, true)
    view.setUint8(place + firstSect, first)
    view.setUint8(place + lastSect, last)
    place += size
  }
}
