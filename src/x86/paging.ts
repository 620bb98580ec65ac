/**
 * Long-mode page tables.
 *
 *   63        48 47    39 38    30 29    21 20    12 11      0
 *  | sign copies |  L4   |   L3   |   L2   |   L1   | offset  |
 *
 * An entry is 64 bits: flags in the low 12, frame number in 51..12, NX in 63. With at most 4 GiB of host memory a
 * present entry's frame fits into bits 31..12, so most code looks at the low half and checks that the rest is zero.
 * Reference: Intel SDM volume 3, chapter 4.
 */
import { XenError } from '../util/index.ts'

/** Bytes in a frame. */
export const PAGE_SIZE = 4096
/** log2 of {@link PAGE_SIZE}. */
export const PAGE_SHIFT = 12
/** Bits of an address within its page. */
export const PAGE_OFFSET = PAGE_SIZE - 1
/** Entries in a page table of any level. */
export const ENTRIES_PER_TABLE = 512

/** Flags in the low half of a page-table entry. */
export const PTE = {
  PRESENT: 1 << 0, WRITABLE: 1 << 1, USER: 1 << 2, PWT: 1 << 3, PCD: 1 << 4, ACCESSED: 1 << 5, DIRTY: 1 << 6,
  /** At level 2 and 3: this entry maps a large page. At level 1: the PAT bit. */
  LARGE: 1 << 7, PAT: 1 << 7, GLOBAL: 1 << 8,
  AVAILABLE: 7 << 9,
} as const

/** NX in the high half of a page-table entry. */
export const PTE_HIGH_NX = 0x8000_0000
/** Frame bits 51..32 in the high half of a page-table entry. */
export const PTE_HIGH_FRAME = 0x000f_ffff
/** Bits 62..52 of an entry, in its high half: available to software. */
export const PTE_HIGH_AVAILABLE = 0x7ff0_0000

/** Index into the table of `level` (1 to 4) for a canonical virtual address given as a signed number. */
export function tableIndex(address: number, level: number): number {
  if (level < 1 || level > 4) throw new XenError('INVALID_ARGUMENT', `page-table level ${level} is not 1 to 4`)
  return Math.floor(address / 2 ** (PAGE_SHIFT + 9 * (level - 1))) & 0x1ff
}
