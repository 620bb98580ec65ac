/**
 * Request and response rings of the split drivers: one page or several, two sides. The front end writes requests and
 * takes responses, the back end the reverse; an entry holds a request first and then its response.
 *
 *     byte 0      4         8        12        16          64
 *     | req_prod | req_event | rsp_prod | rsp_event | pad ... | entry 0 | entry 1 | ...
 *
 * Several pages are one ring to both sides and lie anywhere in host memory, so that an entry may be split: it begins in
 * one page and ends in another. Such an entry is read and written in a private place, `staged`.
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
  /**
   * Byte offsets in `view` of all pages of the ring in their order, the first of which is `base`: of a ring of several
   * pages. Default: one page.
   */
  readonly pages?: readonly number[]
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
/** Answer of the `take` and `next` calls when the entry is split between two pages: it is in `staged`. */
export const SPLIT_ENTRY = -2

/** Where the entries begin: offsetof(struct NAME_sring, ring). */
const ENTRIES_OFFSET = 64

/** What both sides have: the page, the entries, and the mark of a broken ring. */
class RingSide {
  /** Entries of the ring, a power of two. */
  readonly entries: number
  /** Set once the other side has overrun the ring; from then on there is nothing to take. */
  overrun: RingOverrun | undefined
  protected readonly view: DataView
  /** Where a split entry is read and written: its bytes from 0 on. */
  readonly staged: DataView
  private readonly entryViews: (Uint8Array | undefined)[]
  protected readonly base: number
  protected readonly entrySize: number
  /** The pages of the ring where they do not lie in a row. */
  private readonly scattered: readonly number[] | undefined
  protected produced: number
  protected consumed: number

  constructor(place: RingPlace, position: RingPosition) {
    this.view = place.view
    this.base = place.base
    this.entrySize = place.entrySize
    const { pages = [place.base] } = place
    this.entries = roundDownToPowerOfTwo(Math.floor((pages.length * PAGE_SIZE - ENTRIES_OFFSET) / place.entrySize))
    if (this.entries === 0) throw new Error('the ring is too small for one entry')
    this.scattered = pages.every((page, index) => page === place.base + index * PAGE_SIZE) ? undefined : pages
    this.staged = new DataView(new ArrayBuffer(place.entrySize))
    this.entryViews = new Array<Uint8Array | undefined>(this.entries).fill(undefined)
    this.produced = position.produced >>> 0
    this.consumed = position.consumed >>> 0
  }

  /** True when the other side overran the ring; see `overrun`. */
  get broken(): boolean {
    return this.overrun !== undefined
  }

  /** Byte offset in `view` of the entry with this index; SPLIT_ENTRY for one that lies in two pages. */
  entryAddress(index: number): number {
    const offset = ENTRIES_OFFSET + (index & (this.entries - 1)) * this.entrySize
    return this.scattered === undefined ? this.base + offset : this.scatteredAddress(this.scattered, offset)
  }

  private scatteredAddress(pages: readonly number[], offset: number): number {
    const within = offset % PAGE_SIZE
    const page = (offset - within) / PAGE_SIZE
    const fits = within + this.entrySize <= PAGE_SIZE || pages[page + 1] === pages[page]! + PAGE_SIZE
    return fits ? pages[page]! + within : SPLIT_ENTRY
  }

  /** The two pieces of a split entry, in host memory. */
  private piecesOf(index: number): readonly [Uint8Array, Uint8Array] {
    const { view: { buffer, byteOffset }, scattered = [], entrySize } = this
    const offset = ENTRIES_OFFSET + (index & (this.entries - 1)) * entrySize
    const within = offset % PAGE_SIZE
    const page = (offset - within) / PAGE_SIZE
    const first = PAGE_SIZE - within
    return [
      new Uint8Array(buffer, byteOffset + scattered[page]! + within, first),
      new Uint8Array(buffer, byteOffset + scattered[page + 1]!, entrySize - first),
    ]
  }

  /** Copies a split entry into its private place. */
  protected stage(index: number): void {
    const [first, second] = this.piecesOf(index)
    const { buffer } = this.staged
    new Uint8Array(buffer, 0, first.length).set(first)
    new Uint8Array(buffer, first.length).set(second)
  }

  /** Writes the entry that SPLIT_ENTRY was answered for last, from `staged`; only its first `length` bytes. */
  writeStaged(length = this.entrySize): void {
    const [first, second] = this.piecesOf(this.produced - 1)
    const bytes = new Uint8Array(this.staged.buffer, 0, length)
    first.set(bytes.subarray(0, first.length))
    second.set(bytes.subarray(first.length))
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

  /** Copies the entry that was taken last, at `address`, out of shared memory, cut to the smaller of entry and target. */
  protected copyEntry(address: number, target: Uint8Array): void {
    const { view, entrySize } = this
    const slot = (this.consumed - 1) & (this.entries - 1)
    // One view for each entry, made when it is first copied: making one costs more than copying through it.
    const entry = (this.entryViews[slot] ??= address === SPLIT_ENTRY
      ? new Uint8Array(this.staged.buffer)
      : new Uint8Array(view.buffer, view.byteOffset + address, entrySize))
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

  /**
   * Address of the next request to fill, which then counts as written; NO_ENTRY when the ring is full. SPLIT_ENTRY: it
   * is to be filled in `staged`, and written by `writeStaged`.
   */
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

  /** Address of the next response, which then counts as taken; NO_ENTRY when there is none. SPLIT_ENTRY: it is in `staged`. */
  takeResponse(): number {
    if (this.unconsumedResponses() === 0) return NO_ENTRY
    const address = this.entryAddress(this.consumed)
    if (address === SPLIT_ENTRY) this.stage(this.consumed)
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

  /**
   * Address of the next request, which then counts as taken; NO_ENTRY when there is none. Copy before checking it.
   * SPLIT_ENTRY: a copy of it is in `staged`.
   */
  takeRequest(): number {
    if (this.unconsumedRequests() === 0) return NO_ENTRY
    const address = this.entryAddress(this.consumed)
    if (address === SPLIT_ENTRY) this.stage(this.consumed)
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

  /**
   * Address of the next response to fill, which then counts as written; NO_ENTRY when no request is owed one.
   * SPLIT_ENTRY: it is to be filled in `staged`, and written by `writeStaged`.
   */
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

  /** Before going to sleep: asks to be woken when `count` requests wait, by the next one unless told otherwise; true when they do already. */
  finalCheckForRequests(count = 1): boolean {
    if (this.unconsumedRequests() >= count) return true
    Sring.reqEvent.set(this.view, this.base, advance(this.consumed, count))
    return this.unconsumedRequests() >= count
  }
}
