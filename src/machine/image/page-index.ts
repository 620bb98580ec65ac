/**
 * Which page of a pool stands at which number: a table of 64-page pieces that indexes share, so that one which differs in a
 * few pages costs those, and two are compared piece by piece. It never changes; a new one is made by an edit.
 */
import { type PageHash, type PagePool, ZERO_PAGE } from './page-pool.ts'

/** Pages of a piece, as a power of two. */
const PIECE_SHIFT = 6
const PIECE_PAGES = 1 << PIECE_SHIFT

/** The pages of a piece, and who holds it. */
class Piece {
  readonly ids: Uint32Array
  holders = 0
  /** The sum of its pages' hashes, once it was asked for. */
  sum: PageHash | undefined

  constructor(ids: Uint32Array) {
    this.ids = ids
  }
}

/** A piece of pages that are all zero, which belongs to everybody. */
const ZEROS = /* @__PURE__ */ new Piece(/* @__PURE__ */ new Uint32Array(PIECE_PAGES))

/** The pieces of indexes that are the same, and how many of these there are. */
class Pieces {
  readonly list: readonly Piece[]
  holders = 0

  constructor(list: readonly Piece[]) {
    this.list = list
    for (const piece of list) if (piece !== ZEROS) piece.holders += 1
  }

  /** Nobody holds them any more. */
  release(pool: PagePool): void {
    for (const piece of this.list) {
      if (piece === ZEROS) continue
      piece.holders -= 1
      if (piece.holders > 0) continue
      for (const id of piece.ids) pool.drop(id)
    }
  }
}

/** Pages by number. */
export class PageIndex {
  /** How many numbers there are. */
  readonly length: number
  private readonly pool: PagePool
  private readonly shared: Pieces
  private readonly pieces: readonly Piece[]
  private isReleased = false

  private constructor(pool: PagePool, length: number, shared: Pieces) {
    this.pool = pool
    this.length = length
    this.shared = shared
    this.pieces = shared.list
    shared.holders += 1
  }

  /** All pages zero. */
  static zero(pool: PagePool, length: number): PageIndex {
    return new PageIndex(pool, length, new Pieces(new Array<Piece>(Math.ceil(length / PIECE_PAGES)).fill(ZEROS)))
  }

  /** The page at a number. */
  at(number: number): number {
    return this.pieces[number >>> PIECE_SHIFT]!.ids[number & (PIECE_PAGES - 1)]!
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
    const pieces = this.pieces.slice()
    for (let i = 0; i < numbers.length;) {
      const which = numbers[i]! >>> PIECE_SHIFT
      const own = pieces[which]!.ids.slice()
      const kept = own.slice()
      for (; i < numbers.length && numbers[i]! >>> PIECE_SHIFT === which; i += 1) {
        const place = numbers[i]! & (PIECE_PAGES - 1)
        own[place] = ids[i]!
        kept[place] = ZERO_PAGE
      }
      // What was held for the piece before is held once more for this one.
      for (let place = 0; place < PIECE_PAGES; place += 1) this.pool.hold(kept[place]!)
      pieces[which] = new Piece(own)
    }
    return new PageIndex(this.pool, this.length, new Pieces(pieces))
  }

  /** Calls `differs` with each number, ascending, at which two indexes of one length have different pages. */
  compare(other: PageIndex, differs: (number: number) => void): void {
    if (this.shared === other.shared) return
    for (let which = 0; which < this.pieces.length; which += 1) {
      const [own, theirs] = [this.pieces[which]!, other.pieces[which]!]
      if (own === theirs) continue
      for (let place = 0; place < PIECE_PAGES; place += 1) {
        if (own.ids[place] !== theirs.ids[place]) differs((which << PIECE_SHIFT) + place)
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

  /** Calls `found` with each number whose page is not zero, ascending. */
  visit(found: (number: number, id: number) => void): void {
    for (let which = 0; which < this.pieces.length; which += 1) {
      const piece = this.pieces[which]!
      if (piece === ZEROS) continue
      for (let place = 0; place < PIECE_PAGES; place += 1) {
        const id = piece.ids[place]!
        if (id !== ZERO_PAGE) found((which << PIECE_SHIFT) + place, id)
      }
    }
  }

  /**
   * A hash of all pages with their numbers: a sum, so that a piece's share is worked out once, and what one page changes is
   * known without the others.
   */
  hash(): PageHash {
    let [first, second] = [0, 0]
    for (let which = 0; which < this.pieces.length; which += 1) {
      const piece = this.pieces[which]!
      if (piece === ZEROS) continue
      const sum = (piece.sum ??= this.sumOf(piece.ids, which << PIECE_SHIFT))
      first = (first + sum.first) >>> 0
      second = (second + sum.second) >>> 0
    }
    return { first, second }
  }

  private sumOf(ids: Uint32Array, from: number): PageHash {
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
