/**
 * Changes of single entries in live page tables: references for the new entry are taken first, then it is written,
 * then the old entry's are given back, so that a refused change leaves everything as it was.
 * hot path: halves of entries as integers, nothing allocated.
 * Reference: xen/arch/x86/mm.c, mod_l1_entry to mod_l4_entry.
 */
import { ERRNO } from '../../../abi/index.ts'
import { PTE } from '../../../x86/index.ts'
import { FRAME_TYPE, type FrameTable } from '../../frames/frame-table.ts'
import { levelOf } from '../../frames/frame-types.ts'
import {
  addedTableBits, adjustLeafHigh, adjustLeafLow, isForbiddenPaeTop, isForbiddenTable, isSameLeaf, isSameTable,
} from './page-entries.ts'
import { type PageTables, isForbiddenLeaf } from './page-tables.ts'
import { type LeafOwners, PAE_ENTRIES, isGuestSlot } from './table-slots.ts'

const KEPT = PTE.ACCESSED | PTE.DIRTY

/** Changes entries on behalf of guests. Results: 0 or a negative error number. */
export class PageUpdates {
  private readonly tables: PageTables
  private readonly frames: FrameTable
  private readonly words: Uint32Array

  constructor(tables: PageTables) {
    this.tables = tables
    this.frames = tables.host.frames
    this.words = tables.host.memory.words
  }

  /**
   * Changes the level-1 entry at word index `at`. The caller holds a reference to the table and knows its type.
   * `preserve` keeps accessed and dirty bits that the processor has set meanwhile.
   */
  changeLeaf(at: number, low: number, high: number, options: LeafOwners & { readonly preserve: boolean }): number {
    const { words, tables } = this
    const oldLow = words[at]!
    const oldHigh = words[at + 1]!
    if ((low & PTE.PRESENT) === 0) {
      this.write(at, low, high)
      tables.putLeaf(oldLow, oldHigh)
      return 0
    }
    if (isForbiddenLeaf(low, tables.host.domains, options.table)) return -ERRNO.EINVAL
    const newHigh = options.isPae ? high : adjustLeafHigh(low, high)
    let newLow = options.isPae ? low : adjustLeafLow(low, newHigh)
    if (isSameLeaf(oldLow, oldHigh, newLow, newHigh)) {
      if (options.preserve) newLow |= oldLow & KEPT
      this.write(at, newLow, newHigh)
      return 0
    }
    const result = tables.getLeaf(newLow, newHigh, options)
    if (result < 0) return result
    if (options.preserve) newLow |= oldLow & KEPT
    this.write(at, newLow, newHigh)
    tables.putLeaf(oldLow, oldHigh)
    return 0
  }

  /** Changes the entry of level 2 to 4 at word index `at`, of a domain whose tables have three levels or four. */
  changeTable(at: number, low: number, high: number, { preserve, isPae }: { readonly preserve: boolean; readonly isPae: boolean }): number {
    const { words, tables, frames } = this
    const parent = at >>> 10
    const type = frames.type[parent]!
    const slot = (at & 1023) >> 1
    if (!isGuestSlot(type, slot)) return type === FRAME_TYPE.L4 ? -ERRNO.EINVAL : -ERRNO.EPERM
    const level = levelOf(type)
    const isTop = isPae && level === 3
    // The table with the hypervisor's mappings stays for as long as the one above it is valid.
    if (isTop && slot >= PAE_ENTRIES - 1) return -ERRNO.EINVAL
    const oldLow = words[at]!
    const oldHigh = words[at + 1]!
    if ((low & PTE.PRESENT) === 0) {
      this.write(at, low, high)
      tables.putTable(oldLow, oldHigh, parent)
      return 0
    }
    if (isTop ? isForbiddenPaeTop(low, high) : isForbiddenTable(low)) return -ERRNO.EINVAL
    let newLow = low | addedTableBits(level, isPae)
    if (!isSameTable(oldLow, oldHigh, newLow, high)) {
      const result = tables.getTable(newLow, high, { parent, level, slot, domid: frames.owner[parent]!, isPae })
      if (result < 0) return result
      if (preserve) newLow |= oldLow & KEPT
      this.write(at, newLow, high)
      tables.putTable(oldLow, oldHigh, parent)
      return 0
    }
    if (preserve) newLow |= oldLow & KEPT
    this.write(at, newLow, high)
    return 0
  }

  private write(at: number, low: number, high: number): void {
    this.tables.changes.entry(at)
    this.words[at] = low
    this.words[at + 1] = high
    this.tables.host.memory.markWritten(at >>> 10)
  }
}
