/**
 * Pages that images of memory share: 4 KiB each, by number, counted by those that hold them, so that what two images have
 * in common lies there once. Nothing here knows whose pages they are.
 *
 * hot path: a page in or out costs little more than its copy, a tenth of a microsecond.
 */
import { PAGE_SIZE } from '../../x86/index.ts'
import { StateHasher } from '../../util/index.ts'

/** Words of a page, as a power of two. */
const WORDS_SHIFT = 10
const WORDS = PAGE_SIZE / 4
/**
 * Pages of a segment, as a power of two: what is asked of the process at once, and given back when none of it is in use. A quarter of a
 * mebibyte: few enough that what is not in use yet counts for little beside a hundred moments, enough that most copies are of many pages.
 */
const SEGMENT_SHIFT = 6
const SEGMENT_PAGES = 1 << SEGMENT_SHIFT
/** Segments without a page in use that are kept: two mebibytes, what a moment of some hundred pages takes that comes and goes. */
const MOST_SPARE = 8

/** The page that is all zero: it takes no room and is held by nobody. */
export const ZERO_PAGE = 0

/** Where pages are that a pool has not got yet. */
export interface PageSource {
  /** Fills words with whole pages from one on, counted from 0. */
  read(words: Uint32Array, first: number): void
  /** Nobody asks any more. */
  release(): void
}

/** Pages of a segment that come when one of them is asked for. */
interface Awaited {
  readonly first: number
  readonly count: number
  /** Segments of the source that have neither come nor gone. */
  readonly of: { readonly source: PageSource; left: number }
}

/** The two words of a page's hash. */
export interface PageHash {
  readonly first: number
  readonly second: number
}

/** Pages and their counts. */
export class PagePool {
  private readonly segments: (Uint32Array | undefined)[] = []
  /** Pages in use of each segment. */
  private readonly inUse: number[] = []
  private counts = new Uint32Array(SEGMENT_PAGES)
  private hashes = new Uint32Array(2 * SEGMENT_PAGES)
  /** 1 for a page whose hash is known. */
  private hashed = new Uint8Array(SEGMENT_PAGES)
  private free: number[] = []
  private used = 0
  private readonly spare: Uint32Array[] = []
  /** By segment. */
  private readonly awaited = new Map<number, Awaited>()

  /** Pages in use. */
  get pages(): number {
    return this.used
  }

  /** Bytes of pages in use. */
  get bytes(): number {
    return this.used * PAGE_SIZE
  }

  /** Takes the page in that begins at a word of `source`; its number, held once. */
  take(source: Uint32Array, at: number): number {
    const id = this.free.pop() ?? this.grow()
    const segment = id >>> SEGMENT_SHIFT
    this.wordsIn(segment).set(source.subarray(at, at + WORDS), (id & (SEGMENT_PAGES - 1)) << WORDS_SHIFT)
    this.counts[id] = 1
    this.hashed[id] = 0
    this.inUse[segment]! += 1
    this.used += 1
    return id
  }

  /** Takes over whole pages whose memory is nobody else's, without a copy; their numbers, each held once. */
  adopt(words: Uint32Array): number[] {
    const ids: number[] = []
    this.begin()
    for (let at = 0; at < words.length; at += SEGMENT_PAGES * WORDS) {
      const own = words.subarray(at, at + SEGMENT_PAGES * WORDS)
      this.count(ids, this.addSegment(own), own.length >>> WORDS_SHIFT)
    }
    return ids
  }

  /** So many pages whose bytes come when they are asked for, a segment at once; their numbers, each held once. */
  awaitPages(count: number, source: PageSource): number[] {
    const ids: number[] = []
    this.begin()
    const of = { source, left: Math.ceil(count / SEGMENT_PAGES) }
    for (let first = 0; first < count; first += SEGMENT_PAGES) {
      const own = Math.min(SEGMENT_PAGES, count - first)
      const id = this.addSegment(undefined)
      this.awaited.set(id >>> SEGMENT_SHIFT, { first, count: own, of })
      this.count(ids, id, own)
    }
    if (count === 0) source.release()
    return ids
  }

  /** The page of zeros is in the first segment. */
  private begin(): void {
    if (this.segments.length === 0) this.free.push(this.grow())
  }

  /** Pages of a segment from a first one on are there, each held once. */
  private count(ids: number[], first: number, count: number): void {
    this.counts.fill(1, first, first + count)
    this.inUse[first >>> SEGMENT_SHIFT] = count
    this.used += count
    for (let id = first; id < first + count; id += 1) ids.push(id)
  }

  /** The same, and the page of zeros for one that is all zero. */
  store(source: Uint32Array, at: number): number {
    return isZero(source, at) ? ZERO_PAGE : this.take(source, at)
  }

  /** One more holds a page. */
  hold(id: number): void {
    if (id !== ZERO_PAGE) this.counts[id]! += 1
  }

  /** One less holds a page; the last one's is gone. */
  drop(id: number): void {
    if (id === ZERO_PAGE) return
    const count = this.counts[id]! - 1
    this.counts[id] = count
    if (count > 0) return
    const segment = id >>> SEGMENT_SHIFT
    this.used -= 1
    this.inUse[segment]! -= 1
    this.free.push(id)
    if (this.inUse[segment] === 0) this.empty(segment)
  }

  /** The words of a segment. */
  private wordsIn(segment: number): Uint32Array {
    return this.segments[segment] ?? this.fill(segment)
  }

  /** Gives a segment memory: that of one that was emptied, where there is some; and what it is to have in it. */
  private fill(segment: number): Uint32Array {
    const awaited = this.awaited.get(segment)
    const words = this.spare.pop() ?? new Uint32Array(SEGMENT_PAGES * WORDS)
    awaited?.of.source.read(words.subarray(0, awaited.count << WORDS_SHIFT), awaited.first)
    this.segments[segment] = words
    this.forget(segment)
    return words
  }

  /** A segment does not wait for its pages any more. */
  private forget(segment: number): void {
    const awaited = this.awaited.get(segment)
    if (awaited === undefined) return
    this.awaited.delete(segment)
    awaited.of.left -= 1
    if (awaited.of.left === 0) awaited.of.source.release()
  }

  /** Takes a segment's memory away. Some is kept, so that a moment which comes and goes does not ask the process for memory each time. */
  private empty(segment: number): void {
    this.forget(segment)
    const words = this.segments[segment]
    this.segments[segment] = undefined
    // What was taken over from elsewhere may be a piece of more.
    if (words !== undefined && this.spare.length < MOST_SPARE && words.buffer.byteLength === SEGMENT_PAGES * PAGE_SIZE) this.spare.push(words)
  }

  /** How many pages lie behind each other from this one on. */
  runOf(id: number): number {
    return SEGMENT_PAGES - (id & (SEGMENT_PAGES - 1))
  }

  /** Writes `count` pages that lie behind each other (see {@link PagePool.runOf}) to a word of `target`. */
  copy(id: number, { target, at, count = 1 }: { readonly target: Uint32Array; readonly at: number; readonly count?: number }): void {
    if (id === ZERO_PAGE) return void target.fill(0, at, at + count * WORDS)
    const start = (id & (SEGMENT_PAGES - 1)) << WORDS_SHIFT
    target.set(this.wordsIn(id >>> SEGMENT_SHIFT).subarray(start, start + count * WORDS), at)
  }

  /** True when the page at a word of `source` is the same. */
  equals(id: number, source: Uint32Array, at: number): boolean {
    if (id === ZERO_PAGE) return isZero(source, at)
    const words = this.wordsIn(id >>> SEGMENT_SHIFT)
    const start = (id & (SEGMENT_PAGES - 1)) << WORDS_SHIFT
    for (let i = 0; i < WORDS; i += 1) if (words[start + i] !== source[at + i]) return false
    return true
  }

  /** The words of a page, which nobody changes. */
  wordsOf(id: number): Uint32Array {
    if (id === ZERO_PAGE) return ZEROS
    const start = (id & (SEGMENT_PAGES - 1)) << WORDS_SHIFT
    return this.wordsIn(id >>> SEGMENT_SHIFT).subarray(start, start + WORDS)
  }

  /** The hash of a page, worked out once. */
  hash(id: number): PageHash {
    if (id === ZERO_PAGE) return ZERO_HASH
    if (this.hashed[id] === 0) {
      const { first, second } = hashWords(this.wordsOf(id), 0)
      this.hashes[2 * id] = first
      this.hashes[2 * id + 1] = second
      this.hashed[id] = 1
    }
    return { first: this.hashes[2 * id]!, second: this.hashes[2 * id + 1]! }
  }

  /** A page number that was never used. */
  private grow(): number {
    const first = this.addSegment(undefined)
    for (let id = first + SEGMENT_PAGES - 1; id >= first; id -= 1) if (id !== ZERO_PAGE) this.free.push(id)
    return this.free.pop()!
  }

  /** Another segment, with room for it in all rows: the number of its first page. */
  private addSegment(words: Uint32Array | undefined): number {
    const first = this.segments.length << SEGMENT_SHIFT
    this.segments.push(words)
    this.inUse.push(0)
    if (first + SEGMENT_PAGES > this.counts.length) {
      const length = this.counts.length * 2
      this.counts = widened(this.counts, new Uint32Array(length))
      this.hashes = widened(this.hashes, new Uint32Array(2 * length))
      this.hashed = widened(this.hashed, new Uint8Array(length))
    }
    return first
  }
}

const ZEROS = /* @__PURE__ */ new Uint32Array(WORDS)

function widened<T extends Uint8Array | Uint32Array>(from: T, to: T): T {
  to.set(from)
  return to
}

/** True when the page at a word is all zero; eight words at once, which takes half as long as one by one. */
export function isZero(source: Uint32Array, at: number): boolean {
  for (let i = at; i < at + WORDS; i += 8) {
    const first = source[i]! | source[i + 1]! | source[i + 2]! | source[i + 3]!
    if ((first | source[i + 4]! | source[i + 5]! | source[i + 6]! | source[i + 7]!) !== 0) return false
  }
  return true
}

/** The hash of the page at a word. */
export function hashWords(source: Uint32Array, at: number): PageHash {
  const hasher = new StateHasher()
  hasher.words(source, at, WORDS)
  return hasher.pair()
}

const ZERO_HASH: PageHash = /* @__PURE__ */ hashWords(ZEROS, 0)
