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
/** Pages of a segment, as a power of two: what is asked of the process at once, and given back when none of it is in use. */
const SEGMENT_SHIFT = 8
const SEGMENT_PAGES = 1 << SEGMENT_SHIFT

/** The page that is all zero: it takes no room and is held by nobody. */
export const ZERO_PAGE = 0

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
    const words = (this.segments[segment] ??= new Uint32Array(SEGMENT_PAGES * WORDS))
    words.set(source.subarray(at, at + WORDS), (id & (SEGMENT_PAGES - 1)) << WORDS_SHIFT)
    this.counts[id] = 1
    this.hashed[id] = 0
    this.inUse[segment]! += 1
    this.used += 1
    return id
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
    if (this.inUse[segment] === 0) this.segments[segment] = undefined
  }

  /** How many pages lie behind each other from this one on. */
  runOf(id: number): number {
    return SEGMENT_PAGES - (id & (SEGMENT_PAGES - 1))
  }

  /** Writes `count` pages that lie behind each other (see {@link PagePool.runOf}) to a word of `target`. */
  copy(id: number, { target, at, count = 1 }: { readonly target: Uint32Array; readonly at: number; readonly count?: number }): void {
    if (id === ZERO_PAGE) return void target.fill(0, at, at + count * WORDS)
    const start = (id & (SEGMENT_PAGES - 1)) << WORDS_SHIFT
    target.set(this.segments[id >>> SEGMENT_SHIFT]!.subarray(start, start + count * WORDS), at)
  }

  /** True when the page at a word of `source` is the same. */
  equals(id: number, source: Uint32Array, at: number): boolean {
    if (id === ZERO_PAGE) return isZero(source, at)
    const words = this.segments[id >>> SEGMENT_SHIFT]!
    const start = (id & (SEGMENT_PAGES - 1)) << WORDS_SHIFT
    for (let i = 0; i < WORDS; i += 1) if (words[start + i] !== source[at + i]) return false
    return true
  }

  /** The words of a page, which nobody changes. */
  wordsOf(id: number): Uint32Array {
    if (id === ZERO_PAGE) return ZEROS
    const start = (id & (SEGMENT_PAGES - 1)) << WORDS_SHIFT
    return this.segments[id >>> SEGMENT_SHIFT]!.subarray(start, start + WORDS)
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

  /** A page number that was never used; room for it in all rows. */
  private grow(): number {
    const first = this.segments.length << SEGMENT_SHIFT
    this.segments.push(undefined)
    this.inUse.push(0)
    if (first + SEGMENT_PAGES > this.counts.length) {
      const length = this.counts.length * 2
      this.counts = widened(this.counts, new Uint32Array(length))
      this.hashes = widened(this.hashes, new Uint32Array(2 * length))
      this.hashed = widened(this.hashed, new Uint8Array(length))
    }
    for (let id = first + SEGMENT_PAGES - 1; id >= first; id -= 1) if (id !== ZERO_PAGE) this.free.push(id)
    return this.free.pop()!
  }
}

const ZEROS = /* @__PURE__ */ new Uint32Array(WORDS)

function widened<T extends Uint8Array | Uint32Array>(from: T, to: T): T {
  to.set(from)
  return to
}

/** True when the page at a word is all zero. */
export function isZero(source: Uint32Array, at: number): boolean {
  for (let i = at; i < at + WORDS; i += 1) if (source[i] !== 0) return false
  return true
}

/** The hash of the page at a word. */
export function hashWords(source: Uint32Array, at: number): PageHash {
  const hasher = new StateHasher()
  hasher.words(source, at, WORDS)
  return hasher.pair()
}

const ZERO_HASH: PageHash = /* @__PURE__ */ hashWords(ZEROS, 0)
