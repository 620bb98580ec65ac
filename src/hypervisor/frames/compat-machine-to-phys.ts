/**
 * The machine-to-physical table as 32-bit guests see it: entries of four bytes, read-only at 0xf5800000, where the
 * hypervisor's hole in their address space begins:
 *
 *   guest's L3[3] -> its L2, slots 428 on (written by the hypervisor) -> L1s of the hypervisor's -> table frames
 *
 * Only kernels reach it: no entry has USER.
 * Reference: xen/include/public/arch-x86/xen-x86_32.h, MACH2PHYS_VIRT_START; xen/arch/x86/x86_64/mm.c, paging_init.
 */
import { ENTRIES_PER_TABLE, PAGE_SHIFT, PAGE_SIZE, PTE, PTE_HIGH_NX } from '../../x86/index.ts'
import { invariant } from '../../util/index.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { FrameAllocator } from './frame-allocator.ts'
import { type FrameTable, OWNER_XEN } from './frame-table.ts'

/** Slots of the last level-2 table that belong to the hypervisor: 0xf5800000 to the end. */
export const COMPAT_XEN_SLOTS = { first: 428, last: 511 } as const

/** Frames the table and its level-1 tables take, given the number of host frames. */
export function compatMachineToPhysFrames(hostFrames: number): { readonly table: number; readonly mapping: number } {
  const table = Math.ceil((hostFrames * 4) / PAGE_SIZE)
  return { table, mapping: Math.ceil(table / ENTRIES_PER_TABLE) }
}

/** Keeps the table and knows the entries that map it. */
export class CompatMachineToPhys {
  /** First frame of the table, and how many there are. */
  readonly tableFrame: number
  readonly tableFrames: number
  private readonly memory: Pick<GuestMemory, 'markWritten'>
  private readonly words: Uint32Array
  private readonly base: number
  private readonly l1Frames: readonly number[]

  /** `frames`: the hypervisor's frames for level-1 tables, and the table's. */
  constructor(memory: GuestMemory, frames: TableFrames) {
    this.memory = memory
    this.words = memory.words
    this.tableFrame = frames.table
    this.tableFrames = compatMachineToPhysFrames(memory.endFrame).table
    this.base = frames.table << 10
    this.l1Frames = frames.mapping
    if (frames.isThere === true) return
    this.words.fill(0xffff_ffff, this.base, this.base + this.tableFrames * 1024)
    for (const l1 of frames.mapping) this.words.fill(0, l1 << 10, (l1 + 1) << 10)
    for (let i = 0; i < this.tableFrames; i += 1) {
      const at = (frames.mapping[i >>> 9]! << 10) + (i & 511) * 2
      this.words[at] = ((this.tableFrame + i) << PAGE_SHIFT) | PTE.PRESENT | PTE.ACCESSED
      this.words[at + 1] = PTE_HIGH_NX
    }
    for (const frame of frames.mapping) memory.markWritten(frame)
    for (let i = 0; i < this.tableFrames; i += 1) memory.markWritten(frames.table + i)
  }

  /** Sets an entry. */
  set(mfn: number, pfn: number): void {
    const at = this.base + mfn
    this.words[at] = pfn
    this.memory.markWritten(at >>> 10)
  }

  /** Sets the entries of the frames from `first` to `end` - 1 to numbers that follow each other. */
  setRun(first: number, end: number, pfn: number): void {
    const { words, base } = this
    for (let mfn = first; mfn < end; mfn += 1) words[base + mfn] = pfn + mfn - first
    for (let page = (base + first) >>> 10; page <= (base + end - 1) >>> 10; page += 1) this.memory.markWritten(page)
  }

  /** Low half of what stands in the hypervisor's slot `slot` of a guest's last level-2 table; the high half is 0. */
  slotLow(slot: number): number {
    const l1 = this.l1Frames[slot - COMPAT_XEN_SLOTS.first]
    return l1 === undefined ? 0 : ((l1 << PAGE_SHIFT) | PTE.PRESENT | PTE.WRITABLE | PTE.ACCESSED) >>> 0
  }

  /** Makes its frames the hypervisor's in a frame table where they are free. */
  claim(table: FrameTable): void {
    ownTable(table, { mapping: this.l1Frames, table: this.tableFrame, count: this.tableFrames })
  }

  /** True for a frame of the table. */
  has(mfn: number): boolean {
    return mfn >= this.tableFrame && mfn < this.tableFrame + this.tableFrames
  }
}

/** Frames of a table and of what maps it; the table's are contiguous, from `table` on. `isThere`: memory holds both already. */
export interface TableFrames {
  readonly mapping: readonly number[]
  readonly table: number
  readonly isThere?: boolean
}

/** What a table is made in; `isThere`: memory and frame table hold it already, of a hypervisor before. */
export interface MachineToPhysPlace {
  readonly memory: GuestMemory
  readonly allocator: FrameAllocator
  readonly frames: FrameTable
  readonly isThere: boolean
}

/** Makes frames the hypervisor's: those of a table, and those that map it. */
export function ownTable(frames: FrameTable, { mapping, table, count }: { mapping: readonly number[]; table: number; count: number }): void {
  for (const mfn of mapping) frames.rows.setOwner(mfn, OWNER_XEN)
  for (let mfn = table; mfn < table + count; mfn += 1) {
    frames.assign(mfn, OWNER_XEN)
    // A type reference that nobody gives back: it is never writable for anyone.
    frames.rows.setTypeCount(mfn, 1)
  }
}

/** Makes the table in frames of its own. */
export function takeCompatMachineToPhys({ memory, allocator, frames, isThere }: MachineToPhysPlace): CompatMachineToPhys {
  const needed = compatMachineToPhysFrames(memory.endFrame)
  const mapping = Array.from({ length: needed.mapping }, () => allocator.take())
  const order = Math.ceil(Math.log2(needed.table))
  const table = allocator.takeRun(order)
  invariant(table >= 0 && !mapping.includes(-1), 'the host is too small for its machine-to-physical table of 32 bits')
  for (let mfn = table + needed.table; mfn < table + 2 ** order; mfn += 1) allocator.give(mfn)
  if (!isThere) ownTable(frames, { mapping, table, count: needed.table })
  return new CompatMachineToPhys(memory, { mapping, table, isThere })
}
