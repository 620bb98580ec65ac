/**
 * Request and response rings of the split drivers: one page, two sides. The front end writes requests and takes
 * responses, the back end the reverse; an entry holds a request first and then its response.
 *
 *     byte 0      4         8        12        16          64
 *     | req_prod | req_event | rsp_prod | rsp_event | pad ... | entry 0 | entry 1 | ...
 *
 * The other side is hostile: its producer index is checked each time, and a ring that overran is broken for good.
 * hot path: entries are addressed in place; whoever takes one reads each field once, or copies it first (40 ns).
 *
 * Reference: xen/include/public/io/ring.h.
 */
import { shape, type StateOf } from '../util/index.ts'
import { PAGE_SIZE, Sring } from '../abi/index.ts'
import { ahead, advance, mustNotify, roundDownToPowerOfTwo } from './ring-index.ts'

/** Where a ring lies in host memory and how large its entries are. */
export interface RingPlace {
  readonly view: DataView
  /** Byte offset of the shared page in `view`. */
  readonly base: number
  /** Bytes of one entry: the larger of request and response, rounded as C does. */
  readonly entrySize: number
  /** Bytes of the ring, header included. Default: one page. */
  readonly size?: number
}

/** Why a ring is broken: the other side's index claims more entries than the ring can hold. */
export interface RingOverrun {
  readonly index: 'req_prod' | 'rsp_prod'
  /** What the shared page said. */
  readonly produced: number
  /** The entry up to which this side had finished. */
  readonly consumed: number
  readonly entries: number
}

/** One side's private indexes, as plain data. */
export interface RingPosition {
  /** Next entry to produce. */
  readonly produced: number
  /** Next entry to consume. */
  readonly consumed: number
}

/** One side of a ring. */
export const ringState = /* @__PURE__ */ shape.record({
  produced: shape.word, consumed: shape.word,
  overrun: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.record<RingOverrun>({
    index: /* @__PURE__ */ shape.oneOf('req_prod', 'rsp_prod'), produced: shape.word, consumed: shape.word, entries: shape.word,
  })),
})

/** A saved side of a ring. */
export type RingState = StateOf<typeof ringState>

/** Answer of the `take` and `next` calls when there is no entry. */
export const NO_ENTRY = -1

/** Where the entries begin: offsetof(struct NAME_sring, ring). */
const ENTRIES_OFFSET = 64

/** What both sides have: the page, the entries, and the mark of a broken ring. */
class RingSide {
  /** Entries of the ring, a power of two. */
  readonly entries: number
  /** Set once the other side has overrun the ring; from then on there is nothing to take. */
  overrun: RingOverrun | undefined
  protected readonly view: DataView
  private readonly entryViews: (Uint8Array | undefined)[]
  protected readonly base: number
  protected readonly entrySize: number
  protected produced: number
  protected consumed: number

  constructor(place: RingPlace, position: RingPosition) {
    this.view = place.view
    this.base = place.base
    this.entrySize = place.entrySize
    this.entries = roundDownToPowerOfTwo(Math.floor(((place.size ?? PAGE_SIZE) - ENTRIES_OFFSET) / place.entrySize))
    if (this.entries === 0) throw new Error('the ring is too small for one entry')
    this.entryViews = new Array<Uint8Array | undefined>(this.entries).fill(undefined)
    this.produced = position.produced >>> 0
    this.consumed = position.consumed >>> 0
  }

  /** True when the other side overran the ring; see `overrun`. */
  get broken(): boolean {
    return this.overrun !== undefined
  }

  /** Byte offset in `view` of the entry with this index. */
  entryAddress(index: number): number {
    return this.base + ENTRIES_OFFSET + (index & (this.entries - 1)) * this.entrySize
  }

  /** The private indexes, and why the ring is broken. */
  save(): RingState {
    const { produced, consumed, overrun } = this
    return { produced, consumed, overrun: overrun && { ...overrun } }
  }

  load({ produced, consumed, overrun }: RingState): void {
    this.produced = produced
    this.consumed = consumed
    this.overrun = overrun
  }

  /** Copies an entry that starts at byte `address` out of shared memory, cut to the smaller of entry and target. */
  protected copyEntry(address: number, target: Uint8Array): void {
    const { view, entrySize } = this
    const index = (address - this.base - ENTRIES_OFFSET) / entrySize
    // One view for each entry, made when it is first copied: making one costs more than copying through it.
    const entry = (this.entryViews[index] ??= new Uint8Array(view.buffer, view.byteOffset + address, entrySize))
    target.set(target.length < entrySize ? entry.subarray(0, target.length) : entry)
  }

  /** Notes the overrun; always 0, so that callers see an empty ring. */
  protected refuse(index: RingOverrun['index'], produced: number, consumed: number): number {
    this.overrun ??= { index, produced, consumed, entries: this.entries }
    return 0
  }
}

/** The side that sends requests. */
export class FrontRing extends RingSide {
  /** Joins a ring at `position`; use {@link FrontRing.create} for a new one. */
  constructor(place: RingPlace, position: RingPosition = { produced: 0, consumed: 0 }) {
    super(place, position)
  }

  /** Initialises the shared header and the front side of it; `start` is where both counters begin, 0 in practice. */
  static create(place: RingPlace, start = 0): FrontRing {
    const { view, base } = place
    new Uint8Array(view.buffer, view.byteOffset + base, ENTRIES_OFFSET).fill(0)
    Sring.reqProd.set(view, base, start)
    Sring.rspProd.set(view, base, start)
    Sring.reqEvent.set(view, base, advance(start, 1))
    Sring.rspEvent.set(view, base, advance(start, 1))
    return new FrontRing(place, { produced: start, consumed: start })
  }

  /** Requests that can still be written before responses must be taken. */
  freeRequests(): number {
    return this.broken ? 0 : this.entries - ahead(this.produced, this.consumed)
  }

  /** Address of the next request to fill, which then counts as written; NO_ENTRY when the ring is full. */
  nextRequest(): number {
    if (this.freeRequests() === 0) return NO_ENTRY
    const address = this.entryAddress(this.produced)
    this.produced = advance(this.produced, 1)
    return address
  }

  /** Shows the written requests to the back end; true when it wants to be notified. */
  pushRequestsAndCheckNotify(): boolean {
    const old = Sring.reqProd.get(this.view, this.base)
    Sring.reqProd.set(this.view, this.base, this.produced)
    return mustNotify(Sring.reqEvent.get(this.view, this.base), old, this.produced)
  }

  /** Responses waiting. 0 on a broken ring. */
  unconsumedResponses(): number {
    if (this.broken) return 0
    const produced = Sring.rspProd.get(this.view, this.base)
    const waiting = ahead(produced, this.consumed)
    if (waiting > ahead(this.produced, this.consumed)) return this.refuse('rsp_prod', produced, this.consumed)
    return waiting
  }

  /** Address of the next response, which then counts as taken; NO_ENTRY when there is none. */
  takeResponse(): number {
    if (this.unconsumedResponses() === 0) return NO_ENTRY
    const address = this.entryAddress(this.consumed)
    this.consumed = advance(this.consumed, 1)
    return address
  }

  /** Takes the next response by copying its first bytes into `target`; false when there is none. */
  copyResponse(target: Uint8Array): boolean {
    const address = this.takeResponse()
    if (address !== NO_ENTRY) this.copyEntry(address, target)
    return address !== NO_ENTRY
  }

  /** Before going to sleep: asks to be woken by the next response; true when one is there already. */
  finalCheckForResponses(): boolean {
    if (this.unconsumedResponses() > 0) return true
    Sring.rspEvent.set(this.view, this.base, advance(this.consumed, 1))
    return this.unconsumedResponses() > 0
  }
}

/** The side that serves requests. */
export class BackRing extends RingSide {
  /** Joins a ring that the front end has initialised; `position` is where an earlier back end stopped. */
  constructor(place: RingPlace, position: RingPosition = { produced: 0, consumed: 0 }) {
    super(place, position)
  }

  /** Requests waiting that also have room for their response. 0 on a broken ring. */
  unconsumedRequests(): number {
    if (this.broken) return 0
    const produced = Sring.reqProd.get(this.view, this.base)
    const unanswered = ahead(produced, this.produced)
    if (unanswered > this.entries || this.owedResponses() > unanswered) {
      return this.refuse('req_prod', produced, this.consumed)
    }
    return ahead(produced, this.consumed)
  }

  /** Address of the next request, which then counts as taken; NO_ENTRY when there is none. Copy before checking it. */
  takeRequest(): number {
    if (this.unconsumedRequests() === 0) return NO_ENTRY
    const address = this.entryAddress(this.consumed)
    this.consumed = advance(this.consumed, 1)
    return address
  }

  /** Takes the next request by copying its first bytes into `target`; false when there is none. */
  copyRequest(target: Uint8Array): boolean {
    const address = this.takeRequest()
    if (address !== NO_ENTRY) this.copyEntry(address, target)
    return address !== NO_ENTRY
  }

  /** Requests taken that have no response yet. */
  owedResponses(): number {
    return ahead(this.consumed, this.produced)
  }

  /** Address of the next response to fill, which then counts as written; NO_ENTRY when no request is owed one. */
  nextResponse(): number {
    if (this.owedResponses() === 0) return NO_ENTRY
    const address = this.entryAddress(this.produced)
    this.produced = advance(this.produced, 1)
    return address
  }

  /** Shows the written responses to the front end; true when it wants to be notified. */
  pushResponsesAndCheckNotify(): boolean {
    const old = Sring.rspProd.get(this.view, this.base)
    Sring.rspProd.set(this.view, this.base, this.produced)
    return mustNotify(Sring.rspEvent.get(this.view, this.base), old, this.produced)
  }

  /** Before going to sleep: asks to be woken by the next request; true when one is there already. */
  finalCheckForRequests(): boolean {
    if (this.unconsumedRequests() > 0) return true
    Sring.reqEvent.set(this.view, this.base, advance(this.consumed, 1))
    return this.unconsumedRequests() > 0
  }
}
