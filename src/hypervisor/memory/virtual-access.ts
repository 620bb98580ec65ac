/**
 * A PV guest's memory by virtual address: a walk of four levels through the page tables that are in force, which only
 * hold what the hypervisor has validated. Accessed and dirty bits are set as the processor would set them.
 *
 *   L4[47..39] -> L3[38..30] -> L2[29..21] -> L1[20..12] -> frame + offset
 *
 * hot path: returns numbers, allocates nothing. Reference: Intel SDM volume 3, 4.5; xen/arch/x86/usercopy.c.
 */
import { TWO_32 } from '../../util/index.ts'
import { PAGE_OFFSET, PAGE_SHIFT, PAGE_SIZE, PTE } from '../../x86/index.ts'
import type { GuestAccess } from './guest-access.ts'
import { LOWER_END, isGuestAddress } from './guest-address.ts'
import type { GuestMemory } from './guest-memory.ts'

const TABLE_USED = PTE.PRESENT | PTE.ACCESSED

/** Memory in which bits of tables are set. */
type MarkedWords = Pick<GuestMemory, 'words' | 'markWritten'>

/**
 * Word index of the level-1 entry that maps `address` in the tables under `root`, or -1 when an entry above it has
 * not all of `rights`. Through a recursive map it may be an entry of a higher table: who writes where it leads has to
 * ask for PTE.WRITABLE, which such a map never grants.
 */
export function findLeaf(memory: MarkedWords, root: number, address: number, rights: number = PTE.PRESENT): number {
  const { words } = memory
  const high = Math.floor(address / TWO_32)
  const low = address >>> 0
  let table = root
  for (let shift = 39; shift > 12; shift -= 9) {
    const bits = shift > 32 ? high >> (shift - 32) : shift > 23 ? (high << (32 - shift)) | (low >>> shift) : low >>> shift
    const at = (table << 10) + (bits & 0x1ff) * 2
    const entry = words[at]!
    if ((entry & rights) !== rights) return -1
    if ((entry & TABLE_USED) !== TABLE_USED) {
      words[at] = entry | PTE.ACCESSED
      memory.markWritten(table)
    }
    table = entry >>> PAGE_SHIFT
  }
  return (table << 10) + ((low >>> PAGE_SHIFT) & 0x1ff) * 2
}

/** Memory as the vCPU's current page tables show it; `root` gives the frame of the top-level table, 0 for none. */
export class VirtualAccess implements GuestAccess {
  private readonly memory: GuestMemory
  private readonly root: () => number
  private readonly end: number

  /** `end`: first address behind the lower half that the guest may name. */
  constructor(memory: GuestMemory, root: () => number, end = LOWER_END) {
    this.memory = memory
    this.root = root
    this.end = end
  }

  mayName(address: number): boolean {
    return isGuestAddress(address) && address < this.end
  }

  locate(address: number, write: boolean): number {
    if (!isGuestAddress(address) || address >= this.end) return -1
    const root = this.root()
    if (root === 0) return -1
    const { words } = this.memory
    const needed = write ? PTE.PRESENT | PTE.WRITABLE : PTE.PRESENT
    const at = findLeaf(this.memory, root, address, needed)
    if (at < 0) return -1
    const low = words[at]!
    if ((low & needed) !== needed) return -1
    const used = write ? PTE.ACCESSED | PTE.DIRTY : PTE.ACCESSED
    if ((low & used) !== used) {
      words[at] = low | used
      this.memory.markWritten(at >>> 10)
    }
    return (low >>> PAGE_SHIFT) * PAGE_SIZE + (address & PAGE_OFFSET)
  }

  read(address: number, target: Uint8Array): boolean {
    for (let done = 0; done < target.length;) {
      const at = this.locate(address + done, false)
      if (at < 0) return false
      const size = Math.min(target.length - done, PAGE_SIZE - (at & PAGE_OFFSET))
      copyBytes(this.memory.bytes, at, target, done, size)
      done += size
    }
    return true
  }

  write(address: number, source: Uint8Array): boolean {
    for (let done = 0; done < source.length;) {
      const at = this.locate(address + done, true)
      if (at < 0) return false
      const size = Math.min(source.length - done, PAGE_SIZE - (at & PAGE_OFFSET))
      copyBytes(source, done, this.memory.bytes, at, size)
      this.memory.markWritten(Math.floor(at / PAGE_SIZE))
      done += size
    }
    return true
  }
}

/** Copies a few bytes one by one (cheaper than a subarray each), many at once. */
function copyBytes(from: Uint8Array, fromAt: number, to: Uint8Array, toAt: number, size: number): void {
  if (size > 64) to.set(from.subarray(fromAt, fromAt + size), toAt)
  else for (let i = 0; i < size; i += 1) to[toAt + i] = from[fromAt + i]!
}
