/**
 * The frame table's fields, a row each by frame number, in one piece of memory that images keep by pages. Every write passes by a
 * setter here, which marks the page that it goes to, so that whoever keeps images looks at no other; the rows are read as they lie.
 * What may be written is the frame table's affair.
 *
 * hot path: a write is one store and its mark. Each row begins on a page.
 */
import { PAGE_SIZE } from '../../x86/index.ts'
import { FRAME_FLAG, OWNER_FREE } from './frame-facts.ts'

/** Bytes of all fields of a frame. */
const ROW_BYTES = 26
/** Frames whose rows fill whole pages: those of a page of the narrowest field. */
const ROUND = PAGE_SIZE
/** Frames on a page of a field of one byte, two, four and eight, as powers of two. */
const BYTES_SHIFT = 12
const HALVES_SHIFT = 11
const WORDS_SHIFT = 10
const DOUBLES_SHIFT = 9

/** The rows. */
export class FrameRows {
  readonly owner: Readonly<Uint16Array>
  readonly type: Readonly<Uint8Array>
  readonly flags: Readonly<Uint8Array>
  readonly references: Readonly<Uint32Array>
  readonly typeCount: Readonly<Uint32Array>
  readonly linear: Readonly<Int32Array>
  readonly progress: Readonly<Uint16Array>
  readonly stamp: Readonly<Float64Array>
  /** All of it, in whole pages. Whoever writes here calls {@link FrameRows.restored}. */
  readonly words: Uint32Array
  /** Not zero for a page that may have been written since whoever keeps images cleared it. */
  readonly touched: Uint8Array
  /** First page of each row. */
  private readonly referencesPage: number
  private readonly typeCountPage: number
  private readonly linearPage: number
  private readonly ownerPage: number
  private readonly progressPage: number
  private readonly typePage: number
  private readonly flagsPage: number
  /** Frames with the flag SHARED of each page of flags, where they are known. */
  private readonly shared: (readonly number[] | undefined)[]

  /** For the frames from 0 to `end` - 1, all free. */
  constructor(end: number) {
    const room = Math.ceil(end / ROUND) * ROUND
    const buffer = new ArrayBuffer(room * ROW_BYTES)
    this.words = new Uint32Array(buffer)
    this.touched = new Uint8Array(buffer.byteLength / PAGE_SIZE).fill(1)
    this.stamp = new Float64Array(buffer, 0, end)
    this.references = new Uint32Array(buffer, 8 * room, end)
    this.typeCount = new Uint32Array(buffer, 12 * room, end)
    this.linear = new Int32Array(buffer, 16 * room, end)
    this.owner = new Uint16Array(buffer, 20 * room, end).fill(OWNER_FREE)
    this.progress = new Uint16Array(buffer, 22 * room, end)
    this.type = new Uint8Array(buffer, 24 * room, end)
    this.flags = new Uint8Array(buffer, 25 * room, end)
    const pageOf = (row: { readonly byteOffset: number }): number => row.byteOffset / PAGE_SIZE
    this.referencesPage = pageOf(this.references)
    this.typeCountPage = pageOf(this.typeCount)
    this.linearPage = pageOf(this.linear)
    this.ownerPage = pageOf(this.owner)
    this.progressPage = pageOf(this.progress)
    this.typePage = pageOf(this.type)
    this.flagsPage = pageOf(this.flags)
    this.shared = new Array<undefined>(room / ROUND).fill(undefined)
  }

  /** Writes a frame's stamp of the clock of flushes. */
  setStamp(mfn: number, stamp: number): void {
    writable(this.stamp)[mfn] = stamp
    this.touched[mfn >>> DOUBLES_SHIFT] = 1
  }

  /** Writes how many references a frame has. */
  setReferences(mfn: number, count: number): void {
    writable(this.references)[mfn] = count
    this.touched[this.referencesPage + (mfn >>> WORDS_SHIFT)] = 1
  }

  /** Writes how many uses of its type a frame has. */
  setTypeCount(mfn: number, count: number): void {
    writable(this.typeCount)[mfn] = count
    this.touched[this.typeCountPage + (mfn >>> WORDS_SHIFT)] = 1
  }

  /** Writes a frame's recursive entries: positive counts those in it, negative its uses as one. */
  setLinear(mfn: number, count: number): void {
    writable(this.linear)[mfn] = count
    this.touched[this.linearPage + (mfn >>> WORDS_SHIFT)] = 1
  }

  /** Writes the number of the domain that owns a frame. */
  setOwner(mfn: number, owner: number): void {
    writable(this.owner)[mfn] = owner
    this.touched[this.ownerPage + (mfn >>> HALVES_SHIFT)] = 1
  }

  /** Writes how far the validation of a table has come. */
  setProgress(mfn: number, progress: number): void {
    writable(this.progress)[mfn] = progress
    this.touched[this.progressPage + (mfn >>> HALVES_SHIFT)] = 1
  }

  /** Writes a frame's type. */
  setType(mfn: number, type: number): void {
    writable(this.type)[mfn] = type
    this.touched[this.typePage + (mfn >>> BYTES_SHIFT)] = 1
  }

  /** Writes a frame's flags. */
  setFlags(mfn: number, flags: number): void {
    if (((this.flags[mfn]! ^ flags) & FRAME_FLAG.SHARED) !== 0) this.shared[mfn >>> BYTES_SHIFT] = undefined
    writable(this.flags)[mfn] = flags
    this.touched[this.flagsPage + (mfn >>> BYTES_SHIFT)] = 1
  }

  /** Writes that the frames from `first` to `end` - 1 are one owner's, with a reference each, these flags, which are not SHARED, and no use yet. */
  give(first: number, end: number, { owner, flags }: { readonly owner: number; readonly flags: number }): void {
    writable(this.owner).fill(owner, first, end)
    writable(this.references).fill(1, first, end)
    writable(this.flags).fill(flags, first, end)
    writable(this.type).fill(0, first, end)
    writable(this.typeCount).fill(0, first, end)
    writable(this.linear).fill(0, first, end)
    const touch = (page: number, shift: number): void => void this.touched.fill(1, page + (first >>> shift), page + ((end - 1) >>> shift) + 1)
    touch(this.ownerPage, HALVES_SHIFT)
    for (const page of [this.flagsPage, this.typePage]) touch(page, BYTES_SHIFT)
    for (const page of [this.referencesPage, this.typeCountPage, this.linearPage]) touch(page, WORDS_SHIFT)
  }

  /** All rows have been written. */
  touchAll(): void {
    this.touched.fill(1)
    this.shared.fill(undefined)
  }

  /** A page was brought to what an image of it holds. */
  restored(page: number): void {
    this.touched[page] = 0
    if (page >= this.flagsPage) this.shared[page - this.flagsPage] = undefined
  }

  /** Frames of the hypervisor's that it shares with their owners, ascending. */
  sharedFrames(): number[] {
    const { shared } = this
    const all: number[] = []
    for (let page = 0; page < shared.length; page += 1) for (const mfn of (shared[page] ??= this.findShared(page))) all.push(mfn)
    return all
  }

  /** Frames that have a flag, ascending. They are looked at by fours. */
  framesWith(flag: number): number[] {
    return this.findIn(0, this.flags.length, flag)
  }

  private findShared(page: number): readonly number[] {
    const first = page << BYTES_SHIFT
    return this.findIn(first, Math.min(first + PAGE_SIZE, this.flags.length), FRAME_FLAG.SHARED)
  }

  private findIn(from: number, to: number, flag: number): number[] {
    const { flags, words } = this
    const found: number[] = []
    const start = flags.byteOffset
    const mask = (flag * 0x0101_0101) | 0
    for (let four = from; four < to; four += 4) {
      // Mostly none of very many has it.
      while (four + TOGETHER <= to && isNone(words, (start + four) >> 2, mask)) four += TOGETHER
      if (four >= to || (words[(start + four) >> 2]! & mask) === 0) continue
      for (let mfn = four; mfn < Math.min(four + 4, to); mfn += 1) if ((flags[mfn]! & flag) !== 0) found.push(mfn)
    }
    return found
  }
}

/** Flags that are looked at together. */
const TOGETHER = 32

/** Whether none of these flags has a bit of the mask; they begin at a word. */
function isNone(words: Uint32Array, at: number, mask: number): boolean {
  const first = words[at]! | words[at + 1]! | words[at + 2]! | words[at + 3]!
  return ((first | words[at + 4]! | words[at + 5]! | words[at + 6]! | words[at + 7]!) & mask) === 0
}

/** A row as the setters write it. */
const writable = <T>(row: Readonly<T>): T => row as T
