/**
 * Memory of a translated guest as its hypercalls' pointers see it: linear addresses through the guest's own page tables,
 * whatever its paging mode, and from there through its physical map. A walk asks for the rights of ring 0, and of ring 3 not
 * at all, as Xen's copies to and from such guests do; accessed and dirty bits are set as the processor would set them.
 *
 * hot path: returns numbers, allocates nothing.
 * Reference: xen/arch/x86/mm/guest_walk.c, guest_walk_tables; xen/arch/x86/hvm/hvm.c, __hvm_copy; Intel SDM volume 3, 4.3 to 4.5.
 */
import type { Registers } from '../../../machine/index.ts'
import { TWO_32, isCanonical } from '../../../util/index.ts'
import { CR0, CR4, PAGE_OFFSET, PAGE_SHIFT, PAGE_SIZE, PTE } from '../../../x86/index.ts'
import type { PhysicalMap } from '../../frames/physical-map.ts'
import type { GuestAccess } from '../../memory/guest-access.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'

/** What a walk begins with. */
export interface LinearAccessParts {
  readonly memory: GuestMemory
  readonly physmap: PhysicalMap
  readonly registers: Registers
  /** EFER.LMA: pages by four levels. */
  isLong(): boolean
}

/** Bits of a physical address in the high half of an entry of 8 bytes: those that there are, and those that must not be set. */
const [HIGH_ADDRESS, HIGH_RESERVED] = [0xff, 0x000f_ff00] as const
const WRITE_RIGHT = 2
/** The shape of a paging mode: levels, bytes of an entry, bits of an address for each level, the lowest without large pages. */
interface PagingMode {
  readonly levels: number
  readonly entry: number
  readonly bits: number
  readonly largeBelow: number
}

const LEGACY: PagingMode = { levels: 2, entry: 4, bits: 10, largeBelow: 3 }
const LONG: PagingMode = { levels: 4, entry: 8, bits: 9, largeBelow: 4 }
const PAE: PagingMode = { levels: 3, entry: 8, bits: 9, largeBelow: 3 }

/** One vCPU's memory. */
export class LinearAccess implements GuestAccess {
  private readonly parts: LinearAccessParts
  /** Bits above the lowest 32 of the address in the entry that was entered last. */
  private above = 0

  constructor(parts: LinearAccessParts) {
    this.parts = parts
  }

  /** Such guests have all of their addresses to themselves. */
  mayName(address: number): boolean {
    return isCanonical(address)
  }

  locate(address: number, write: boolean): number {
    const physical = this.walk(address, write)
    return physical < 0 ? -1 : this.host(physical, write)
  }

  read(address: number, target: Uint8Array): boolean {
    const { bytes } = this.parts.memory
    for (let done = 0; done < target.length;) {
      const at = this.locate(address + done, false)
      if (at < 0) return false
      const size = Math.min(target.length - done, PAGE_SIZE - (at & PAGE_OFFSET))
      for (let i = 0; i < size; i += 1) target[done + i] = bytes[at + i]!
      done += size
    }
    return true
  }

  write(address: number, source: Uint8Array): boolean {
    const { memory } = this.parts
    for (let done = 0; done < source.length;) {
      const at = this.locate(address + done, true)
      if (at < 0) return false
      const size = Math.min(source.length - done, PAGE_SIZE - (at & PAGE_OFFSET))
      for (let i = 0; i < size; i += 1) memory.bytes[at + i] = source[done + i]!
      memory.markWritten(Math.floor(at / PAGE_SIZE))
      done += size
    }
    return true
  }

  /** The guest-physical address that a linear one leads to, or -1. */
  walk(address: number, write: boolean): number {
    const { registers } = this.parts
    const low = address >>> 0
    if ((registers.controlLow(0) & CR0.PG) === 0) return low
    const long = this.parts.isLong()
    if (long && !isCanonical(address)) return -1
    const high = long ? Math.floor(address / TWO_32) : 0
    const mode = long ? LONG : (registers.controlLow(4) & CR4.PAE) !== 0 ? PAE : LEGACY
    const mayBeLarge = mode !== LEGACY || (registers.controlLow(4) & CR4.PSE) !== 0
    let table = (registers.controlLow(3) & (mode === PAE ? -32 : -PAGE_SIZE)) >>> 0
    for (let level = mode.levels; ; level -= 1) {
      const shift = PAGE_SHIFT + mode.bits * (level - 1)
      const entry = table + indexOf(high, low, shift, mode) * mode.entry
      const found = this.enter(entry, { mode, level, write })
      if (found === -1) return -1
      const above = this.above * TWO_32
      const isLarge = level > 1 && level < mode.largeBelow && mayBeLarge && (found & PTE.LARGE) !== 0
      if (isLarge) return above + ((((found & -(2 ** shift)) >>> 0) | (low & (2 ** shift - 1))) >>> 0)
      if (level === 1) return above + (((found & -PAGE_SIZE) | (low & PAGE_OFFSET)) >>> 0)
      table = above + ((found & -PAGE_SIZE) >>> 0)
    }
  }

  /** The low half of a table's entry at a guest-physical address, marked as used; -1 where it does not allow the access. */
  private enter(
    address: number, { mode, level, write }: { readonly mode: PagingMode; readonly level: number; readonly write: boolean },
  ): number {
    const { memory, registers } = this.parts
    const at = this.host(address, false)
    if (at < 0) return -1
    const word = at >>> 2
    const low = memory.words[word]!
    const high = mode.entry === 8 ? memory.words[word + 1]! : 0
    if ((low & PTE.PRESENT) === 0 || (high & HIGH_RESERVED) !== 0) return -1
    this.above = high & HIGH_ADDRESS
    // The third level of PAE has no rights, and is not marked.
    if (mode === PAE && level === 3) return low
    const mustBeWritable = write && (registers.controlLow(0) & CR0.WP) !== 0
    if (mustBeWritable && (low & PTE.WRITABLE) === 0) return -1
    const isLeaf = level === 1 || (low & PTE.LARGE) !== 0
    const used = write && isLeaf ? PTE.ACCESSED | PTE.DIRTY : PTE.ACCESSED
    if ((low & used) !== used) {
      memory.words[word] = low | used
      memory.markWritten(at >>> PAGE_SHIFT)
    }
    return low
  }

  /** Byte address of the host's of a guest-physical one, or -1. */
  private host(physical: number, write: boolean): number {
    const entry = this.parts.physmap.entry(Math.floor(physical / PAGE_SIZE))
    if (entry === 0 || (write && (entry & WRITE_RIGHT) === 0)) return -1
    return Math.floor(entry / PAGE_SIZE) * PAGE_SIZE + (physical % PAGE_SIZE)
  }
}

function indexOf(high: number, low: number, shift: number, { bits, levels }: PagingMode): number {
  const value = shift >= 32 ? high >>> (shift - 32) : shift === 30 && levels === 4 ? (high << 2) | (low >>> 30) : low >>> shift
  return value & (2 ** bits - 1)
}
