/**
 * Which page of a pool stands at which number: a tree of spans of pieces of 32 pages that indexes share, so that one which differs in a
 * few pages costs those, and two are compared by what they do not share. It never changes; a new one is made by an edit.
 *
 * hot path: a piece is a list of small numbers, which takes half of what a row of numbers with memory of its own does, and is made in a tenth of the time.
 */
import { type PageHash, type PagePool, ZERO_PAGE } from './page-pool.ts'

/** Pages of a piece, as a power of two. */
const PIECE_SHIFT = 5
const PIECE_PAGES = 1 << PIECE_SHIFT
/** Pieces of a span, as a power of two. */
const SPAN_SHIFT = 6
const SPAN_PIECES = 1 << SPAN_SHIFT

/** The pages of a piece, and how many spans have it. */
class Piece {
  readonly ids: readonly number[]
  holders = 0
  /** The sum of its pages' hashes, once it was asked for. */
  sum: PageHash | undefined

  constructor(ids: readonly number[]) {
    this.ids = ids
  }

  release(pool: PagePool): void {
    if (this === ZEROS) return
    this.holders -= 1
    if (this.holders === 0) for (const id of this.ids) pool.drop(id)
  }
}

/** Pieces behind each other, and how many tables have them. */
class Span {
  readonly pieces: readonly Piece[]
  holders = 0

  constructor(pieces: readonly Piece[]) {
    this.pieces = pieces
    for (const piece of pieces) if (piece !== ZEROS) piece.holders += 1
  }

  release(pool: PagePool): void {
    if (this === ZERO_SPAN) return
    this.holders -= 1
    if (this.holders === 0) for (const piece of this.pieces) piece.release(pool)
  }
}

/** A piece of pages that are all zero, and a span of those, which belong to everybody. */
const ZEROS = /* @__PURE__ */ new Piece(/* @__PURE__ */ new Array<number>(PIECE_PAGES).fill(ZERO_PAGE))
const ZERO_SPAN = /* @__PURE__ */ new Span(/* @__PURE__ */ new Array<Piece>(SPAN_PIECES).fill(ZEROS))

/** The spans of indexes that are the same, and how many of these there are. */
class Spans {
  readonly list: readonly Span[]
  holders = 0

  constructor(list: readonly Span[]) {
    this.list = list
    for (const span of list) if (span !== ZERO_SPAN) span.holders += 1
  }

  /** Nobody holds them any more. */
  release(pool: PagePool): void {
    for (const span of this.list) span.release(pool)
  }
}

/** Pages by number. */
export class PageIndex {
  /** How many numbers there are. */
  readonly length: number
  private readonly pool: PagePool
  private readonly shared: Spans
  private readonly spans: readonly Span[]
  private isReleased = false

  private constructor(pool: PagePool, length: number, shared: Spans) {
    this.pool = pool
    this.length = length
    this.shared = shared
    this.spans = shared.list
    shared.holders += 1
  }

  /** All pages zero. */
  static zero(pool: PagePool, length: number): PageIndex {
    return new PageIndex(pool, length, new Spans(new Array<Span>(Math.ceil(length / (PIECE_PAGES * SPAN_PIECES))).fill(ZERO_SPAN)))
  }

  /** The page at a number. */
  at(number: number): number {
    const piece = this.spans[number >>> (PIECE_SHIFT + SPAN_SHIFT)]!.pieces[(number >>> PIECE_SHIFT) & (SPAN_PIECES - 1)]!
    return piece.ids[number & (PIECE_PAGES - 1)]!
  }

  /** Another one that is held by itself. */
  share(): PageIndex {
    return new PageIndex(this.pool, this.length, this.shared)
  }

  /**
   * Another one with some other pages; each of `ids` is held once for it already. `numbers` ascend.
   */
  edit(numbers: Uint32Array, ids: Uint32Array): PageIndex {
    if (numbers.length === 0) return this.share()
    const spans = this.spans.slice()
    for (let i = 0; i < numbers.length;) {
      const which = numbers[i]! >>> (PIECE_SHIFT + SPAN_SHIFT)
      const pieces = spans[which]!.pieces.slice()
      for (; i < numbers.length && numbers[i]! >>> (PIECE_SHIFT + SPAN_SHIFT) === which;) i = this.editPiece(pieces, { numbers, ids, from: i })
      spans[which] = new Span(pieces)
    }
    return new PageIndex(this.pool, this.length, new Spans(spans))
  }

  /** Replaces the piece in which the number at `from` is by one with all its other pages; the place of the first number behind it. */
  private editPiece(pieces: Piece[], { numbers, ids, from }: { readonly numbers: Uint32Array; readonly ids: Uint32Array; readonly from: number }): number {
    const which = numbers[from]! >>> PIECE_SHIFT
    const before = pieces[which & (SPAN_PIECES - 1)]!
    const own = before.ids.slice()
    let at = from
    let place = 0
    for (; at < numbers.length && numbers[at]! >>> PIECE_SHIFT === which; at += 1) {
      const changed = numbers[at]! & (PIECE_PAGES - 1)
      // What was held for the piece before is held once more for this one.
      for (; place < changed; place += 1) this.pool.hold(own[place]!)
      own[changed] = ids[at]!
      place = changed + 1
    }
    for (; place < PIECE_PAGES; place += 1) this.pool.hold(own[place]!)
    pieces[which & (SPAN_PIECES - 1)] = new Piece(own)
    return at
  }

  /** Calls `differs` with each number, ascending, at which two indexes of one length have different pages; where `end` is given, of those below it. */
  compare(other: PageIndex, differs: (number: number) => void, { end = this.length }: { readonly end?: number } = {}): void {
    if (this.shared === other.shared) return
    for (let span = 0; span << (PIECE_SHIFT + SPAN_SHIFT) < end; span += 1) {
      const [own, theirs] = [this.spans[span]!, other.spans[span]!]
      if (own === theirs) continue
      for (let piece = 0; piece < SPAN_PIECES; piece += 1) {
        const [mine, yours] = [own.pieces[piece]!, theirs.pieces[piece]!]
        const first = ((span << SPAN_SHIFT) | piece) << PIECE_SHIFT
        if (first >= end) return
        if (mine === yours) continue
        for (let place = 0; place < PIECE_PAGES && first + place < end; place += 1) if (mine.ids[place] !== yours.ids[place]) differs(first + place)
      }
    }
  }

  /** The numbers, ascending, at which another index has other pages, by their hashes: it may be of another pool. At most `most`. */
  differences(other: PageIndex, most: number): number[] {
    const found: number[] = []
    for (let number = 0; number < Math.max(this.length, other.length) && found.length < most; number += 1) {
      const [own, theirs] = [this.hashAt(number), other.hashAt(number)]
      if (own.first !== theirs.first || own.second !== theirs.second) found.push(number)
    }
    return found
  }

  private hashAt(number: number): PageHash {
    return this.pool.hash(number < this.length ? this.at(number) : ZERO_PAGE)
  }

  /** Calls `found` with each number whose page is not zero, ascending; where `end` is given, of those below it. */
  visit(found: (number: number, id: number) => void, { end = this.length }: { readonly end?: number } = {}): void {
    this.eachPiece(({ ids }, first) => {
      for (let place = 0; place < PIECE_PAGES && first + place < end; place += 1) if (ids[place] !== ZERO_PAGE) found(first + place, ids[place]!)
    }, end)
  }

  /** Calls `found` with each piece below `end` that is not zero, ascending, and the number of its first page. */
  private eachPiece(found: (piece: Piece, first: number) => void, end = this.length): void {
    for (let which = 0; which << (SPAN_SHIFT + PIECE_SHIFT) < end; which += 1) {
      const span = this.spans[which]!
      for (let place = 0; span !== ZERO_SPAN && place < SPAN_PIECES; place += 1) {
        const first = ((which << SPAN_SHIFT) | place) << PIECE_SHIFT
        if (first >= end) return
        const piece = span.pieces[place]!
        if (piece !== ZEROS) found(piece, first)
      }
    }
  }

  /**
   * A hash of all pages with their numbers: a sum, so that a piece's share is worked out once, and what one page changes is
   * known without the others.
   */
  hash(): PageHash {
    let [first, second] = [0, 0]
    this.eachPiece((piece, from) => {
      const sum = (piece.sum ??= this.sumOf(piece.ids, from))
      first = (first + sum.first) >>> 0
      second = (second + sum.second) >>> 0
    })
    return { first, second }
  }

  private sumOf(ids: readonly number[], from: number): PageHash {
    let [first, second] = [0, 0]
    for (let place = 0; place < PIECE_PAGES; place += 1) {
      const id = ids[place]!
      if (id === ZERO_PAGE) continue
      const share = placed(this.pool.hash(id), from + place)
      first = (first + share.first) >>> 0
      second = (second + share.second) >>> 0
    }
    return { first, second }
  }

  /** Lets its pages go; once. */
  release(): void {
    if (this.isReleased) return
    this.isReleased = true
    this.shared.holders -= 1
    if (this.shared.holders === 0) this.shared.release(this.pool)
  }
}

/** The hash of a page at a number, as a share of a sum. */
export function placed({ first, second }: PageHash, number: number): PageHash {
  return { first: spread(first, number), second: spread(second, number ^ 0x9e37_79b9) }
}

function spread(hash: number, number: number): number {
  let value = Math.imul(hash ^ Math.imul(number + 1, 0x9e37_79b1), 0x85eb_ca6b)
  value = Math.imul(value ^ (value >>> 15), 0xc2b2_ae35)
  return (value ^ (value >>> 13)) >>> 0
}
