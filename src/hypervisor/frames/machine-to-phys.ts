/**
 * The machine-to-physical table: for each frame the number its owner knows it by. It lies in frames of the
 * hypervisor, which every PV guest sees read-only at 0xffff800000000000 through slot 256 of its top-level table:
 *
 *   guest's L4[256] -> L3[0] -> L2[i] -> L1s -> table frames (one 64-bit entry for each frame of the host)
 *
 * What 32-bit guests see of it is kept beside it (compat-machine-to-phys.ts).
 * Reference: xen/include/public/arch-x86/xen-x86_64.h, MACH2PHYS_VIRT_START.
 */
import { ENTRIES_PER_TABLE, PAGE_SHIFT, PAGE_SIZE, PTE, PTE_HIGH_NX } from '../../x86/index.ts'
import { TWO_32, invariant } from '../../util/index.ts'
import type { FrameTable } from './frame-table.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import { type CompatMachineToPhys, type TableFrames, type MachineToPhysPlace, ownTable, takeCompatMachineToPhys } from './compat-machine-to-phys.ts'

/** Frames of a host from which on its table takes whole superpages of 2 MiB, as Xen's: tools map it by those. 512 MiB. */
const LARGE_HOST = 2 ** 17
const SUPERPAGE_FRAMES = 512

/** Frames the table and its mapping take, given the number of host frames. */
export function machineToPhysFrames(hostFrames: number): { readonly table: number; readonly mapping: number } {
  const exact = Math.ceil((hostFrames * 8) / PAGE_SIZE)
  const table = hostFrames < LARGE_HOST ? exact : Math.ceil(exact / SUPERPAGE_FRAMES) * SUPERPAGE_FRAMES
  return { table, mapping: 2 + Math.ceil(table / ENTRIES_PER_TABLE) }
}

/** Entry of a frame that has no pseudo-physical number. */
const INVALID = 0xffff_ffff

/** Reads and writes the table, and knows the entry that maps it. */
export class MachineToPhys {
  /** Frame of the level-3 table that a guest's slot 256 points to. */
  readonly l3Frame: number
  /** First frame of the table itself. */
  readonly tableFrame: number
  /** Frames of the table. */
  readonly tableFrames: number
  /** The same for 32-bit guests. */
  readonly compat: CompatMachineToPhys
  private readonly own: TableFrames
  private readonly memory: Pick<GuestMemory, 'markWritten'>
  private readonly words: Uint32Array
  private readonly base: number

  /** `frames`: the hypervisor's frames for mapping (L3, L2, L1s) and table. */
  constructor(memory: GuestMemory, frames: TableFrames, compat: CompatMachineToPhys) {
    this.compat = compat
    this.own = frames
    this.memory = memory
    this.words = memory.words
    this.l3Frame = frames.mapping[0]!
    this.tableFrame = frames.table
    this.tableFrames = machineToPhysFrames(memory.endFrame).table
    this.base = frames.table << 10
    if (frames.isThere === true) return
    this.words.fill(INVALID, this.base, this.base + this.tableFrames * 1024)
    this.writeMapping(frames.mapping)
    for (const frame of frames.mapping) memory.markWritten(frame)
    for (let i = 0; i < this.tableFrames; i += 1) memory.markWritten(frames.table + i)
  }

  /** Low half of the top-level entry that shows the table to a guest, read-only. */
  get entryLow(): number {
    return ((this.l3Frame << PAGE_SHIFT) | PTE.PRESENT | PTE.USER | PTE.ACCESSED) >>> 0
  }

  /** The number that the owner has given the frame; 2^32 or more, or not a number of the host, when invalid. */
  get(mfn: number): number {
    const at = this.base + mfn * 2
    return this.words[at + 1]! * TWO_32 + this.words[at]!
  }

  /** The numbers of frames, for `numbers` to hold; 2^32 - 1 for those that have none below, and for what is no frame from `first` to `end` - 1. */
  getAll(frames: Uint32Array, numbers: Uint32Array, { first, end }: { readonly first: number; readonly end: number }): void {
    lookUp(frames, numbers, { words: this.words, base: this.base, first, end })
  }

  /** Sets an entry from its two halves. */
  setParts(mfn: number, low: number, high: number): void {
    const at = this.base + mfn * 2
    this.words[at] = low
    this.words[at + 1] = high
    this.compat.set(mfn, low)
    this.memory.markWritten(at >>> 10)
  }

  /** Sets the entries of the frames from `first` to `end` - 1, one or more, to numbers that follow each other. */
  setRun(first: number, end: number, pfn: number): void {
    const { words, base } = this
    for (let mfn = first; mfn < end; mfn += 1) {
      words[base + mfn * 2] = pfn + mfn - first
      words[base + mfn * 2 + 1] = Math.floor((pfn + mfn - first) / TWO_32)
    }
    for (let page = (base + first * 2) >>> 10; page <= (base + end * 2 - 1) >>> 10; page += 1) this.memory.markWritten(page)
    this.compat.setRun(first, end, pfn)
  }

  /** Sets an entry to a number below 2^32. */
  set(mfn: number, pfn: number): void {
    this.setParts(mfn, pfn, 0)
  }

  /** Makes the frames of both tables the hypervisor's in a frame table where they are free, as they are in that of a new host. */
  claim(table: FrameTable): void {
    const { mapping, table: first } = this.own
    ownTable(table, { mapping, table: first, count: this.tableFrames })
    this.compat.claim(table)
  }

  /** True for a frame of one of the two tables. */
  has(mfn: number): boolean {
    return (mfn >= this.tableFrame && mfn < this.tableFrame + this.tableFrames) || this.compat.has(mfn)
  }

  /** Marks an entry invalid. */
  clear(mfn: number): void {
    this.setParts(mfn, INVALID, INVALID)
  }

  private writeMapping(mapping: readonly number[]): void {
    const table = PTE.PRESENT | PTE.USER | PTE.ACCESSED
    const [l3, l2, ...l1s] = mapping
    for (const frame of mapping) this.words.fill(0, frame << 10, (frame + 1) << 10)
    this.words[l3! << 10] = (l2! << PAGE_SHIFT) | table | PTE.WRITABLE
    l1s.forEach((l1, i) => {
      this.words[(l2! << 10) + i * 2] = (l1 << PAGE_SHIFT) | table | PTE.WRITABLE
    })
    for (let i = 0; i < this.tableFrames; i += 1) {
      const at = (l1s[i >>> 9]! << 10) + (i & 511) * 2
      this.words[at] = ((this.tableFrame + i) << PAGE_SHIFT) | table
      this.words[at + 1] = PTE_HIGH_NX
    }
  }
}

/** Where numbers are looked up. */
interface Entries {
  readonly words: Uint32Array
  readonly base: number
  readonly first: number
  readonly end: number
}

/** hot path: all that a domain's page tables map. It knows nothing but arrays, as what V8 has compiled is thrown away with an object that it knows. */
function lookUp(frames: Uint32Array, numbers: Uint32Array, { words, base, first, end }: Entries): void {
  for (let i = 0; i < frames.length; i += 1) {
    const mfn = frames[i]!
    const at = base + mfn * 2
    numbers[i] = mfn >= first && mfn < end && words[at + 1] === 0 ? words[at]! : INVALID
  }
}

/** Makes the table in frames of its own, aligned to 2 MiB where the host is large enough. */
export function takeMachineToPhys({ memory, allocator, frames, isThere }: MachineToPhysPlace): MachineToPhys {
  const needed = machineToPhysFrames(memory.endFrame)
  const mapping = Array.from({ length: needed.mapping }, () => allocator.take())
  const order = Math.ceil(Math.log2(needed.table))
  const table = allocator.takeRun(order)
  invariant(table >= 0 && !mapping.includes(-1), 'the host is too small for its machine-to-physical table')
  for (let mfn = table + needed.table; mfn < table + 2 ** order; mfn += 1) allocator.give(mfn)
  if (!isThere) ownTable(frames, { mapping, table, count: needed.table })
  return new MachineToPhys(memory, { mapping, table, isThere }, takeCompatMachineToPhys({ memory, allocator, frames, isThere }))
}
