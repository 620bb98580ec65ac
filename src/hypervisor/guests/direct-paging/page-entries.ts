/**
 * What a PV guest may write into page-table entries, and what the hypervisor adds to them. A 64-bit PV kernel runs in
 * ring 3 like its processes, so every present entry gets USER; an entry that the guest wrote without USER is
 * remembered as the kernel's by a bit that the processor ignores, and the others become GLOBAL. A 32-bit PV kernel runs in
 * ring 1 on tables of three levels (PAE), whose entries say themselves what its processes may reach: they stay as they are,
 * but for those of level 3, which in PAE have no rights and to the processor, which sees four levels, give all.
 *
 * Entries are handled as low and high 32-bit halves. hot path: pure functions of integers.
 * Reference: xen/arch/x86/include/asm/x86_64/page.h, adjust_guest_l1e; xen/arch/x86/mm.c, base_disallow_mask, l3_disallow_mask.
 */
import { PAGE_SHIFT, PTE } from '../../../x86/index.ts'

/** Bit 52, in the high half: the guest wrote this entry without USER. */
export const GUEST_KERNEL_HIGH = 1 << 20

/** Low bits that no guest may set at levels 2 to 4: cache attributes, large pages, GLOBAL. */
const TABLE_FORBIDDEN = PTE.PWT | PTE.PCD | PTE.LARGE | PTE.GLOBAL
/** Low bits that an unprivileged guest may not set at level 1: cache attributes. GLOBAL is ignored or meaningful. */
const LEAF_FORBIDDEN = PTE.PWT | PTE.PCD | PTE.PAT

/** True when a level-1 entry has bits that only owners with devices may set. */
export const choosesCaching = (low: number): boolean => (low & LEAF_FORBIDDEN) !== 0

/** True when an entry of level 2 to 4 has bits that no guest may set. */
export const isForbiddenTable = (low: number): boolean => (low & TABLE_FORBIDDEN) !== 0

/** Bits that no guest may set in its level-3 table of PAE; the four entries have no rights but may look as if they had. */
const PAE_TOP_FORBIDDEN = { low: PTE.PWT | PTE.PCD | PTE.LARGE | PTE.GLOBAL, high: 0xfff0_0000 } as const

/** True when an entry of level 3 in PAE has bits that no guest may set. */
export const isForbiddenPaeTop = (low: number, high: number): boolean =>
  (low & PAE_TOP_FORBIDDEN.low) !== 0 || (high & PAE_TOP_FORBIDDEN.high) !== 0

/** Low half of a present level-1 entry as the processor is to see it. `high` is the adjusted high half. */
export const adjustLeafLow = (low: number, high: number): number =>
  (high & GUEST_KERNEL_HIGH) !== 0 ? low | PTE.USER : low | PTE.USER | PTE.GLOBAL

/** High half of a present level-1 entry as the processor is to see it. `low` is what the guest wrote. */
export const adjustLeafHigh = (low: number, high: number): number =>
  (low & PTE.USER) === 0 ? high | GUEST_KERNEL_HIGH : high

/** What the processor is to see in every present entry of a table of level 2 to 4. */
export const addedTableBits = (level: number, isPae: boolean): number =>
  isPae ? (level === 3 ? PTE.USER | PTE.WRITABLE : 0) : PTE.USER

/** Bits of a level-1 entry that may change without new references. */
const LEAF_FAST = PTE.ACCESSED | PTE.DIRTY | PTE.AVAILABLE | PTE.GLOBAL | PTE.USER
/** The same of an entry of level 2 to 4; RW changes need no new references there either, but linear entries care. */
const TABLE_FAST = PTE.ACCESSED | PTE.DIRTY | PTE.AVAILABLE | PTE.USER

/** True when old and new level-1 entry need the same references (NX and software bits may differ). */
export const isSameLeaf = (oldLow: number, oldHigh: number, low: number, high: number): boolean =>
  ((oldLow ^ low) & ~LEAF_FAST) === 0 && ((oldHigh ^ high) & 0x000f_ffff) === 0

/** The same for an entry of level 2 to 4. */
export const isSameTable = (oldLow: number, oldHigh: number, low: number, high: number): boolean =>
  ((oldLow ^ low) & ~TABLE_FAST) === 0 && ((oldHigh ^ high) & 0x000f_ffff) === 0

/** Frame of an entry; -1 when it lies beyond 4 GiB, where no host has memory. */
export const entryFrame = (low: number, high: number): number => (high & 0x000f_ffff) === 0 ? low >>> PAGE_SHIFT : -1

/** True for the frame number of all ones, which guests write for "no machine frame". */
export const isInvalidFrame = (low: number, high: number): boolean =>
  (high & 0x000f_ffff) === 0x000f_ffff && low >>> PAGE_SHIFT === 0xfffff
