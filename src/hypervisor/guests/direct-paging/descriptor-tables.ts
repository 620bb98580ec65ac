/**
 * A PV vCPU's GDT and LDT. The guest names frames (GDT) or a virtual address (LDT); each frame in use is typed as a
 * descriptor page, so that the guest can only change it through checks. Xen's own flat segments stand behind the
 * guest's part of the GDT.
 * Reference: xen/arch/x86/pv/descriptor-tables.c; xen/arch/x86/pv/mm.c, pv_map_ldt_shadow_page.
 */
import { ERRNO, FIRST_RESERVED_GDT_BYTE, FIRST_RESERVED_GDT_ENTRY } from '../../../abi/index.ts'
import { PAGE_OFFSET, PAGE_SHIFT, PAGE_SIZE, PTE } from '../../../x86/index.ts'
import type { Domain } from '../../domains/domain.ts'
import { FRAME_TYPE, type FrameTable } from '../../frames/frame-table.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import { type DescriptorRules, fixDescriptor } from './descriptors.ts'
import type { FrameTypes } from '../../frames/frame-types.ts'
import { entryFrame } from './page-entries.ts'
import type { PagedVcpu } from './paged-vcpu.ts'
import { isGuestAddress } from '../../memory/guest-address.ts'
import { findLeaf } from '../../memory/virtual-access.ts'

/** Pages of a GDT that a guest may have. */
const GDT_PAGES = 14
const LDT_PAGES = 16

/** What descriptor tables work on. */
export interface DescriptorTableParts {
  readonly memory: GuestMemory
  readonly frames: FrameTable
  readonly pageTypes: FrameTypes
  /** Of the kind of guest. */
  readonly rules: DescriptorRules
}

/** Descriptor tables of all PV vCPUs of a kind. Results: 0 or a negative error number. */
export class DescriptorTables {
  private readonly parts: DescriptorTableParts

  constructor(parts: DescriptorTableParts) {
    this.parts = parts
  }

  /** Gives the vCPU a new GDT; the old one stays when this fails. */
  setGdt(domain: Domain, paged: PagedVcpu, frames: ArrayLike<number>, entries: number): number {
    if (entries > FIRST_RESERVED_GDT_ENTRY) return -ERRNO.EINVAL
    const count = Math.ceil(entries / 512)
    const { pageTypes } = this.parts
    for (let i = 0; i < count; i += 1) {
      if (pageTypes.getPageAndType(frames[i]!, FRAME_TYPE.SEGDESC, domain.id) === 0) continue
      while (i > 0) {
        i -= 1
        pageTypes.putPageAndType(frames[i]!)
      }
      return -ERRNO.EINVAL
    }
    const taken = Array.from({ length: count }, (_, i) => frames[i]!)
    this.dropGdt(paged)
    paged.gdtEntries = entries
    taken.forEach((mfn, i) => { paged.gdtFrames[i] = mfn })
    return 0
  }

  /** Takes the GDT away. */
  dropGdt(paged: PagedVcpu): void {
    paged.gdtEntries = 0
    for (let i = 0; i < GDT_PAGES; i += 1) {
      const mfn = paged.gdtFrames[i]!
      paged.gdtFrames[i] = 0
      if (mfn !== 0) this.parts.pageTypes.putPageAndType(mfn)
    }
  }

  /** Gives back the LDT's pages; they are taken again when they are used. */
  dropLdt(paged: PagedVcpu): void {
    for (let i = 0; i < LDT_PAGES; i += 1) {
      const mfn = paged.ldtFrames[i]!
      paged.ldtFrames[i] = 0
      if (mfn !== 0) this.parts.pageTypes.putPageAndType(mfn)
    }
  }

  /** MMUEXT_SET_LDT. */
  setLdt(paged: PagedVcpu, address: number, entries: number): number {
    if (entries > 8192) return -ERRNO.EINVAL
    if (entries > 0 && ((address & PAGE_OFFSET) !== 0 || !isGuestAddress(address))) return -ERRNO.EINVAL
    const base = entries === 0 ? 0 : address
    if (paged.ldtEntries === entries && paged.ldtBase === base) return 0
    this.dropLdt(paged)
    paged.ldtBase = base
    paged.ldtEntries = entries
    return 0
  }

  /** update_descriptor: writes one descriptor at a machine address. */
  update(domain: Domain, pointer: { readonly low: number; readonly high: number }, low: number, high: number): number {
    const { frames, pageTypes, memory } = this.parts
    const pair = Uint32Array.of(low, high)
    if ((pointer.low & 7) !== 0 || pointer.high !== 0 || !fixDescriptor(pair, 0, this.parts.rules)) return -ERRNO.EINVAL
    const mfn = pointer.low >>> PAGE_SHIFT
    if (!frames.getPage(mfn, domain.id)) return -ERRNO.EINVAL
    const type = frames.type[mfn] === FRAME_TYPE.SEGDESC ? FRAME_TYPE.SEGDESC : FRAME_TYPE.WRITABLE
    const result = pageTypes.getType(mfn, type)
    if (result === 0) {
      const at = (mfn << 10) + ((pointer.low & 0xff8) >> 2)
      memory.words[at] = pair[0]!
      memory.words[at + 1] = pair[1]!
      memory.markWritten(mfn)
      pageTypes.putType(mfn)
    }
    frames.putPage(mfn)
    return result === 0 ? 0 : -ERRNO.EINVAL
  }

  /** Reads the descriptor that a selector names, as the processor does; false when it lies outside its table. */
  read(domain: Domain, paged: PagedVcpu, selector: number, out: Uint32Array): boolean {
    const offset = selector & 0xfff8
    let at: number
    if ((selector & 4) !== 0) at = this.locateLdt(domain, paged, offset)
    else if (offset >= FIRST_RESERVED_GDT_BYTE) return readFlat(this.parts.rules, offset, out)
    else at = offset >>> 3 < paged.gdtEntries ? (paged.gdtFrames[offset >>> PAGE_SHIFT]! << 10) + ((offset & 0xff8) >> 2) : -1
    if (at < 0) return false
    out[0] = this.parts.memory.words[at]!
    out[1] = this.parts.memory.words[at + 1]!
    return true
  }

  /** Whether a selector names one of the hypervisor's own segments, which are always the same. */
  isConstant(selector: number): boolean {
    const offset = selector & 0xfff8
    return (selector & 4) === 0 && offset >= FIRST_RESERVED_GDT_BYTE && this.parts.rules.flat.has((offset - FIRST_RESERVED_GDT_BYTE) >>> 3)
  }

  /** Word index of an LDT entry; its page becomes a descriptor page at first use. */
  private locateLdt(domain: Domain, paged: PagedVcpu, offset: number): number {
    if (offset >>> 3 >= paged.ldtEntries) return -1
    const page = offset >>> PAGE_SHIFT
    if (paged.ldtFrames[page] === 0 && !this.mapLdtPage(domain, paged, page)) return -1
    return (paged.ldtFrames[page]! << 10) + ((offset & 0xff8) >> 2)
  }

  private mapLdtPage(domain: Domain, paged: PagedVcpu, page: number): boolean {
    const { words } = this.parts.memory
    const address = paged.ldtBase + page * PAGE_SIZE
    if (paged.kernelTable === 0 || !isGuestAddress(address)) return false
    const at = findLeaf(this.parts.memory, paged.kernelTable, address)
    if (at < 0 || (words[at]! & PTE.PRESENT) === 0) return false
    const mfn = entryFrame(words[at]!, words[at + 1]!)
    if (this.parts.pageTypes.getPageAndType(mfn, FRAME_TYPE.SEGDESC, domain.id) !== 0) return false
    paged.ldtFrames[page] = mfn
    return true
  }
}

function readFlat({ flat }: DescriptorRules, offset: number, out: Uint32Array): boolean {
  const segment = flat.get((offset - FIRST_RESERVED_GDT_BYTE) >>> 3)
  if (segment === undefined) return false
  out[0] = segment[0]
  out[1] = segment[1]
  return true
}
