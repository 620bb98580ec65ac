/**
 * A kernel that can be started as a PVH guest: an ELF file of 32 or 64 bits whose note PHYS32_ENTRY says where it begins.
 * Its segments lie at their physical addresses; it makes its own page tables. Where the domain has memory is the
 * builder's to look at.
 * Reference: xen/include/public/elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY; arch-x86/hvm/start_info.h.
 */
import { imageError, parseElf, type ElfSegment } from './elf.ts'
import { parseFeatures } from './features.ts'
import { extent } from './segments.ts'
import { requireXenNotes, type XenNotes } from './xen-notes.ts'

/** What the domain builder needs to know of a PVH kernel: physical addresses. */
export interface PvhImage {
  readonly segments: readonly ElfSegment[]
  /** First loaded byte. */
  readonly start: number
  /** One past the last loaded byte. */
  readonly end: number
  readonly entry: number
  readonly notes: XenNotes
}

/** Physical addresses that the entry state reaches. */
const FOUR_GIB = 2 ** 32

/** Reads an uncompressed ELF kernel. Throws INVALID_IMAGE naming the field at fault. */
export function parsePvhImage(file: Uint8Array): PvhImage {
  const elf = parseElf(file)
  const notes = requireXenNotes(elf)
  const entry = notes.physicalEntry
  if (entry === undefined) {
    throw imageError('notes', 'PHYS32_ENTRY', 'is not among them: the kernel can be started as a PV guest alone, with type="pv"')
  }
  const [start, end] = extent(elf.segments)
  if (start < 0 || end > FOUR_GIB) throw imageError('p_paddr', BigInt.asUintN(64, BigInt(start)), 'lies outside of the first 4 GiB')
  const isLoaded = elf.segments.some(({ physical, size }) => entry >= physical && entry < physical + size)
  if (!isLoaded) throw imageError('note PHYS32_ENTRY', entry, 'lies outside the loaded segments')
  // Unknown features that it cannot do without are refused for every kind of guest.
  parseFeatures(notes.features ?? '')
  return { segments: elf.segments, start, end, entry, notes }
}
