/**
 * Which pages may have been written since memory was last captured or restored: those of some ranges whose note does not say that
 * they are as they were. Groups of pages in which no note was cleared are passed by.
 *
 * hot path: a machine of 512 MiB has 600 groups, which are looked at by fours; a page that was written costs a few nanoseconds.
 */
import { FRAME_NOTE, NOTE_GROUP_SHIFT } from '../memory/layout.ts'
import type { MachineMemory } from '../memory/machine-memory.ts'

const GROUP_PAGES = 1 << NOTE_GROUP_SHIFT
/** Four notes that say KEPT, whatever else. */
const ALL_KEPT = FRAME_NOTE.KEPT * 0x0101_0101

/** A range of pages: the first, and the one behind the last. */
export type PageRange = readonly [from: number, to: number]

/** The marks of one memory. */
export class PageMarks {
  private readonly memory: MachineMemory
  /** Ascending, and none touches another. */
  private readonly ranges: readonly PageRange[]
  private found = new Uint32Array(1024)
  private count = 0

  constructor(memory: MachineMemory, ranges: readonly PageRange[]) {
    this.memory = memory
    this.ranges = ranges
  }

  /** Marks a page. */
  add(page: number): void {
    this.memory.touch(page)
  }

  /** Marks all pages. */
  addAll(): void {
    for (const [from, to] of this.ranges) for (let page = from; page < to; page += 1) this.memory.touch(page)
  }

  /** A page is as it was. */
  keep(page: number): void {
    this.memory.bytes[this.memory.layout.frameNotes + page]! |= FRAME_NOTE.KEPT
  }

  /** All pages of a memory that nothing has been done with are as they were. */
  keepAll(): void {
    const { bytes, layout: { frameNotes } } = this.memory
    for (const [from, to] of this.ranges) bytes.fill(FRAME_NOTE.KEPT, frameNotes + from, frameNotes + to)
  }

  /** The marked pages, ascending, until it is called again; none is marked any more. */
  take(): Uint32Array {
    const { memory: { bytes, words, endFrame, layout: { noteGroups } } } = this
    this.count = 0
    const groups = (endFrame + GROUP_PAGES - 1) >>> NOTE_GROUP_SHIFT
    for (let four = 0; four < groups; four += 4) {
      if (words[(noteGroups + four) >> 2] === 0) continue
      for (let group = four; group < Math.min(four + 4, groups); group += 1) {
        if (bytes[noteGroups + group] === 0) continue
        bytes[noteGroups + group] = 0
        this.takeGroup(group << NOTE_GROUP_SHIFT)
      }
    }
    return this.found.subarray(0, this.count)
  }

  private takeGroup(first: number): void {
    if (this.count + GROUP_PAGES > this.found.length) {
      const wider = new Uint32Array(this.found.length * 2)
      wider.set(this.found)
      this.found = wider
    }
    for (const [from, to] of this.ranges) this.takeRange(Math.max(from, first), Math.min(to, first + GROUP_PAGES))
  }

  private takeRange(from: number, to: number): void {
    const { found, memory: { bytes, words, layout: { frameNotes } } } = this
    for (let page = from; page < to; page += 1) {
      const at = frameNotes + page
      if ((at & 3) === 0 && (words[at >> 2]! & ALL_KEPT) === ALL_KEPT) {
        page += 3
        continue
      }
      const note = bytes[at]!
      if ((note & FRAME_NOTE.KEPT) !== 0) continue
      bytes[at] = note | FRAME_NOTE.KEPT
      found[this.count++] = page
    }
  }
}
