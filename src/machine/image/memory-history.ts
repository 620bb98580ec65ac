/**
 * Captures a machine's memory as images, and brings it back to one: by the pages that were written since the last of
 * either, which a note of each page tells (FRAME_NOTE.KEPT). What writes there are told of - stores of processors, in either
 * tier, and everything that tells by `markWritten` - clears the note; pages that TypeScript writes without a word are named
 * by whoever captures, and compared. No processor runs meanwhile, and none keeps a translation.
 *
 * Decoded code and compiled regions stay where neither a frame's bytes nor the lines that were paid for are others: they
 * are no state, and cost nothing to keep.
 *
 * hot path: nothing is looked at but groups of pages in which one was written; pages that follow each other are copied at once. A
 * thousand pages take about a tenth of a millisecond.
 */
import { PAGE_SHIFT } from '../../x86/index.ts'
import { badState, sameState } from '../../util/index.ts'
import type { MachineMemory } from '../memory/machine-memory.ts'
import { type ImageFacts, MemoryImage } from './memory-image.ts'
import { PageIndex } from './page-index.ts'
import { PageLooks } from './page-looks.ts'
import { PageMarks } from './page-marks.ts'
import { type PagePool, ZERO_PAGE } from './page-pool.ts'

const WORDS_SHIFT = PAGE_SHIFT - 2

/** What was done to bring memory back. */
export interface Restoration {
  /** Pages that were copied. */
  readonly pages: number
  /** Frames whose decoded code was dropped. */
  readonly code: number
}

/** The row that the image before has, where it is the same. */
const kept = (row: Uint32Array, before: Uint32Array): Uint32Array => (sameState(row, before) ? before : row)

/** Images of one memory. */
export class MemoryHistory {
  private readonly memory: MachineMemory
  private readonly pool: PagePool
  /** What the notes are relative to. */
  private base: MemoryImage
  /** Pages of lines: the machine's own that belong to an image. */
  private readonly lines: { readonly from: number; readonly to: number }
  private readonly marks: PageMarks
  private touched: Uint32Array = new Uint32Array(0)
  /** Made for the first image. */
  private looks: PageLooks | undefined

  /** `fresh`: the memory is as it was made; otherwise all counts as written that lies in a group with a page that was. */
  constructor(memory: MachineMemory, pool: PagePool, { fresh }: { readonly fresh: boolean }) {
    this.memory = memory
    this.pool = pool
    const { codeLines, firstFrame, endFrame } = memory.layout
    this.lines = { from: codeLines >>> PAGE_SHIFT, to: ((codeLines + endFrame * 8 - 1) >>> PAGE_SHIFT) + 1 }
    this.marks = new PageMarks(memory, [[this.lines.from, this.lines.to], [firstFrame, endFrame]])
    const none = new Uint32Array(0)
    const handedOut = new Uint32Array(memory.handedOut.save().length)
    this.base = new MemoryImage({ pages: PageIndex.zero(pool, endFrame), silent: none, handedOut, clean: none })
    if (fresh) this.marks.keepAll()
  }

  /**
   * The image of memory as it is now; undefined, and nothing is kept, where it would need more than `room` pages. `silent`:
   * frames that may have been written without a word, ascending.
   */
  capture(silent: Uint32Array, room: number): MemoryImage | undefined {
    const { memory, memory: { words, handedOut }, pool, base, marks } = this
    const { pages } = base
    const looks = (this.looks ??= new PageLooks(memory))
    this.markSilent(silent)
    const written = marks.take()
    this.touched = written.slice()
    const numbers = this.differing(written, looks)
    const ids: number[] = []
    const before = pool.pages
    for (const page of numbers) {
      ids.push(looks.isZero(page) ? ZERO_PAGE : pool.take(words, page << WORDS_SHIFT))
      if (pool.pages - before <= room) continue
      for (const id of ids) pool.drop(id)
      for (const each of written) marks.add(each)
      return undefined
    }
    return this.follow(new MemoryImage({
      pages: pages.edit(Uint32Array.from(numbers), Uint32Array.from(ids)), silent,
      handedOut: kept(handedOut.save(), base.handedOut), clean: kept(this.cleanFrames(), base.clean),
    }))
  }

  /** Those of some pages that are not what the last image has. */
  private differing(written: Uint32Array, looks: PageLooks): number[] {
    const { pool, base: { pages } } = this
    const numbers: number[] = []
    for (const page of written) {
      const id = pages.at(page)
      if (!(id === ZERO_PAGE ? looks.isZero(page) : looks.isSame(page, pool.wordsOf(id)))) numbers.push(page)
    }
    looks.end()
    return numbers
  }

  /** Pages that may have been written between the last image and the one before, whatever they hold; ascending. */
  get written(): Uint32Array {
    return this.touched
  }

  /**
   * An image out of what comes from anywhere, for a memory of this size; it takes the index over. Throws INVALID_STATE for one
   * with pages where none can be, or frames that there are not.
   */
  adopt(facts: ImageFacts): MemoryImage {
    const { lines, memory: { firstFrame, endFrame, handedOut } } = this
    if (facts.pages.length !== endFrame) throw badState(`it has ${facts.pages.length} pages, not ${endFrame}`)
    facts.pages.visit((page) => {
      if (page < lines.from || page >= lines.to) throw badState(`page ${page} is the machine's own`)
    }, { end: firstFrame })
    if (facts.handedOut.length !== handedOut.save().length) throw badState('its map of frames is of another size')
    for (const row of [facts.silent, facts.clean]) {
      if (row.some((mfn, i) => mfn < firstFrame || mfn >= endFrame || (i > 0 && mfn <= row[i - 1]!))) throw badState('frames out of order')
    }
    return new MemoryImage(facts)
  }

  /** Makes memory what it was when the image was captured, of this memory or of another of the same size. */
  restore(image: MemoryImage, silent: ArrayLike<number>): Restoration {
    const { marks, memory } = this
    this.markSilent(silent)
    this.base.pages.compare(image.pages, (page) => marks.add(page))
    const changed = marks.take()
    let code = 0
    for (const page of changed) if (page >= memory.firstFrame && memory.dropCode(page)) code += 1
    this.copyIn(image, changed)
    return this.restoreRest(image, { changed, code })
  }

  /** The same for a memory that nothing has been done with, where somebody has written the image's frames already. */
  restoreFilled(image: MemoryImage): Restoration {
    const { marks, lines } = this
    this.base.pages.compare(image.pages, (page) => marks.add(page), { end: lines.to })
    return this.restoreRest(image, { changed: marks.take(), code: 0 })
  }

  /** Brings back what is not frames; `changed`: pages that differed, `code`: frames whose code was dropped. */
  private restoreRest(image: MemoryImage, { changed, code }: { readonly changed: Uint32Array; readonly code: number }): Restoration {
    const { memory } = this
    // The pages lie in a row that is used again.
    const pages = changed.length
    const dropped = code + this.restoreLines(image, changed)
    memory.handedOut.restore(image.handedOut)
    this.restoreClean(image.clean)
    this.follow(image)
    return { pages, code: dropped }
  }

  /** Lets go of what the notes are relative to: everything counts as written. */
  release(): void {
    this.base.release()
    this.marks.addAll()
  }

  private follow(image: MemoryImage): MemoryImage {
    this.base.release()
    this.base = image.share()
    return image
  }

  /** Marks the pages that are written without a word. */
  private markSilent(silent: ArrayLike<number>): void {
    const { marks, base: { silent: before } } = this
    for (let i = 0; i < silent.length; i += 1) marks.add(silent[i]!)
    for (let i = 0; i < before.length; i += 1) marks.add(before[i]!)
  }

  /** Copies the frames among some pages of an image in, those that follow each other in the pool and in memory at once. */
  private copyIn({ pages }: MemoryImage, changed: Uint32Array): void {
    const { memory: { words, firstFrame }, pool } = this
    for (let i = 0; i < changed.length;) {
      const page = changed[i]!
      const id = pages.at(page)
      let count = 1
      if (id !== ZERO_PAGE) {
        const most = pool.runOf(id)
        while (count < most && changed[i + count] === page + count && pages.at(page + count) === id + count) count += 1
      }
      if (page >= firstFrame) pool.copy(id, { target: words, at: page << WORDS_SHIFT, count })
      i += count
    }
  }

  /** Makes the lines that were paid for those of the image; code of frames whose lines are others goes. How many. */
  private restoreLines({ pages }: MemoryImage, changed: Uint32Array): number {
    const { marks, lines, pool } = this
    let dropped = 0
    const restore = (page: number): void => {
      dropped += this.restoreLinePage(page, pool.wordsOf(pages.at(page)))
      marks.keep(page)
    }
    for (let i = 0; i < changed.length && changed[i]! < lines.to; i += 1) restore(changed[i]!)
    // Those that dropping code has changed just now, too.
    for (const page of marks.take()) restore(page)
    return dropped
  }

  private restoreLinePage(page: number, wanted: Uint32Array): number {
    const { memory } = this
    const { words, layout: { codeLines } } = memory
    const start = page << WORDS_SHIFT
    let dropped = 0
    for (let i = 0; i < wanted.length; i += 2) {
      if (words[start + i] === wanted[i] && words[start + i + 1] === wanted[i + 1]) continue
      if (memory.dropCode((start + i - (codeLines >>> 2)) / 2)) dropped += 1
      words[start + i] = wanted[i]!
      words[start + i + 1] = wanted[i + 1]!
    }
    return dropped
  }

  private cleanFrames(): Uint32Array {
    const { memory } = this
    const found: number[] = []
    if (memory.hasWatched) for (let mfn = memory.firstFrame; mfn < memory.endFrame; mfn += 1) if (memory.isClean(mfn)) found.push(mfn)
    return Uint32Array.from(found)
  }

  private restoreClean(clean: Uint32Array): void {
    const { memory } = this
    if (memory.hasWatched) for (let mfn = memory.firstFrame; mfn < memory.endFrame; mfn += 1) memory.ignoreWrites(mfn)
    for (const mfn of clean) memory.watchWrites(mfn)
  }
}
