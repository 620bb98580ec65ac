/**
 * Finds a PV guest's list from pseudo-physical to machine frames, which the guest itself keeps and describes in
 * shared_info: as a linear list in its address space (p2m_cr3, p2m_vaddr) or as the older three-level tree.
 * The guest may lie; every frame number is checked against what the domain owns.
 *
 *   tree:  pfn_to_mfn_frame_list_list -> page of 512 mfns -> page of 512 mfns -> p2m pages of 512 entries
 *
 * In a 32-bit guest these are words of 4 bytes, 1,024 in a page.
 *
 * Reference: xen/include/public/arch-x86/xen.h, struct arch_shared_info; start_info's comment in public/xen.h.
 */
import { type GuestAbi, PAGE_SIZE, SharedInfo, guestAbiOf } from '../../abi/index.ts'
import type { ControlInterface } from '../../hypervisor/index.ts'
import { type DomId, type Mfn, XenError, isCanonical } from '../../util/index.ts'
import { PAGE_SHIFT, PTE, PTE_HIGH_FRAME, tableIndex } from '../../x86/index.ts'

/**
 * Most pages a p2m may describe: what fits into 4 GiB of host memory, tenfold. Stops a lying max_pfn from costing time.
 */
export const MAX_PFN = 10 * 2 ** 20

/**
 * Stale entries that a small guest may have beside those of its own frames. Stops one frame from being saved a million
 * times.
 */
const SLACK = 1024

/** What is used of the control interface. */
export type P2mControl = Pick<ControlInterface, 'domainInfo' | 'frameBytes' | 'framePfns'>

/** A guest's p2m: the frames that hold it, and its entries. */
export interface PhysToMachine {
  /** One past the highest pfn. */
  readonly maxPfn: number
  /** Frames of the list's pages, in order. */
  readonly frames: readonly Mfn[]
  /** mfn of each pfn, which may be any number; NO_FRAME where the guest has none. */
  readonly entries: Uint32Array
}

/** What stands in a list where the guest has no frame. */
export const NO_FRAME = 0xffff_ffff

/** In a word of 32 bits, a number from here on is none of a frame's. */
const MARKS = 0x4000_0000

const invalid = (what: string, details: Record<string, unknown>): XenError =>
  new XenError('INVALID_STATE', `the guest's p2m is unusable: ${what}`, { details })

const viewOf = (data: Uint8Array): DataView => new DataView(data.buffer, data.byteOffset, data.byteLength)

/** Reads p2m pages of one domain. */
class P2mReader {
  private readonly control: P2mControl
  private readonly domid: DomId
  private readonly abi: GuestAbi
  /** Words in a page. */
  readonly perPage: number

  constructor(control: P2mControl, domid: DomId, abi: GuestAbi) {
    this.control = control
    this.domid = domid
    this.abi = abi
    this.perPage = PAGE_SIZE / abi.word.size
  }

  page(frame: number, what: string): DataView {
    try {
      return viewOf(this.control.frameBytes(this.domid, frame as Mfn))
    } catch (cause) {
      throw invalid(`${what} names frame ${frame}, which is not the domain's`, { what, frame, cause })
    }
  }

  /** Frames of the list given by `root` table and virtual address. */
  linear(root: number, address: number, pages: number): Mfn[] {
    return Array.from({ length: pages }, (_, i) => this.walk(root, address + i * 2 ** PAGE_SHIFT))
  }

  private walk(root: number, address: number): Mfn {
    if (!isCanonical(address)) throw invalid(`p2m_vaddr 0x${address.toString(16)} is not canonical`, { address })
    let frame = root
    for (let level = this.abi.width === 64 ? 4 : 3; level >= 1; level -= 1) {
      const table = this.page(frame, `level ${level} of the p2m's page tables`)
      const at = tableIndex(address, level) * 8
      const low = table.getUint32(at, true)
      if ((low & PTE.PRESENT) === 0) throw invalid(`p2m_vaddr is not mapped at level ${level}`, { address, level })
      frame = (table.getUint32(at + 4, true) & PTE_HIGH_FRAME) * 2 ** 20 + (low >>> PAGE_SHIFT)
    }
    return frame as Mfn
  }

  /** Frames of the list given by the tree. */
  tree(root: number, pages: number): Mfn[] {
    const top = this.page(root, 'pfn_to_mfn_frame_list_list')
    const { perPage, abi: { word } } = this
    if (Math.ceil(pages / perPage) > perPage) throw invalid('the tree is too small', { pages })
    const frames: Mfn[] = []
    for (let first = 0; first < pages; first += perPage) {
      const middle = this.page(word.number(top, first / perPage * word.size), 'a frame list')
      for (let i = 0; i < Math.min(perPage, pages - first); i += 1) frames.push(word.number(middle, i * word.size) as Mfn)
    }
    return frames
  }

  /** Takes what entries of the list name, NO_FRAME where that is none or not the domain's own memory; how many name a frame. */
  entries(frame: number, into: Uint32Array): number {
    const { buffer, byteOffset } = this.page(frame, 'the p2m')
    // A page lies at words. The two upper bits of an entry mark foreign and identity entries.
    const words = new Uint32Array(buffer, byteOffset, PAGE_SIZE / 4)
    return (this.abi.word.size === 8 ? takeWide : takeNarrow)(words, into)
  }
}

/**
 * Entries of 64 bits. hot path: as all loops over a domain's pages it knows nothing but its arrays, as what V8 has compiled is thrown away when an object that it knows is:
 * a host, or what calls its hypervisor.
 */
function takeWide(words: Uint32Array, into: Uint32Array): number {
  let named = 0
  for (let i = 0; i < into.length; i += 1) {
    const mfn = words[2 * i + 1] === 0 ? words[2 * i]! : NO_FRAME
    into[i] = mfn
    if (mfn !== NO_FRAME) named += 1
  }
  return named
}

/** Entries of 32 bits. hot path. */
function takeNarrow(words: Uint32Array, into: Uint32Array): number {
  let named = 0
  for (let i = 0; i < into.length; i += 1) {
    const mfn = words[i]! < MARKS ? words[i]! : NO_FRAME
    into[i] = mfn
    if (mfn !== NO_FRAME) named += 1
  }
  return named
}

/** Where the list lies, as shared_info says. `generation` is another one when the guest has changed how it is mapped. */
interface P2mPlace {
  readonly maxPfn: number
  readonly cr3: number
  readonly address: bigint
  readonly generation: bigint
  readonly root: number
}

/** Throws INVALID_STATE for a number of pages that cannot be. */
function placeOf(reader: P2mReader, abi: GuestAbi, sharedInfo: Mfn): P2mPlace {
  const shared = reader.page(sharedInfo, 'shared_info')
  const { arch: { layout: arch, offset: base } } = abi.of(SharedInfo)
  const maxPfn = arch.maxPfn.number(shared, base)
  if (maxPfn === 0 || maxPfn > MAX_PFN) throw invalid(`max_pfn ${maxPfn} is not from 1 to ${MAX_PFN}`, { maxPfn })
  return {
    maxPfn, cr3: arch.p2mCr3.number(shared, base), address: BigInt.asIntN(64, arch.p2mVaddr.get(shared, base)),
    generation: arch.p2mGeneration.get(shared, base), root: arch.pfnToMfnFrameListList.number(shared, base),
  }
}

/**
 * The p2m of a PV domain, read again and again: all of it, or, of a linear list that lies where it lay, only the pages that were written meanwhile.
 */
export class P2mReading implements PhysToMachine {
  maxPfn = 0
  frames: readonly Mfn[] = []
  entries = new Uint32Array(0)
  private readonly control: P2mControl
  private readonly domid: DomId
  private place: P2mPlace | undefined
  /** Entries that name a frame, by page of the list. */
  private named = new Uint16Array(0)

  /** Throws INVALID_STATE when the guest has not set it up or it is broken. */
  constructor(control: P2mControl, domid: DomId) {
    this.control = control
    this.domid = domid
    this.refresh()
  }

  /** Reads it anew. `written`: whether a page of the guest's may have been written since the last time; without it everything is read. Throws INVALID_STATE, as above and when the list itself has moved. */
  refresh(written?: (pfn: number) => boolean): void {
    const { control, domid } = this
    const info = control.domainInfo(domid)
    const abi = guestAbiOf(info.addressSize)
    const reader = new P2mReader(control, domid, abi)
    const place = placeOf(reader, abi, info.sharedInfoFrame)
    const stays = written !== undefined && this.isWhereItWas(place)
    const frames = stays ? this.frames : this.find(reader, abi, place)
    const pfns = stays ? control.framePfns(Uint32Array.from(frames)) : undefined
    // A page whose number the guest's own tables do not agree on is in no log of writes that could be asked.
    const isAsItWas = (i: number): boolean => pfns !== undefined && this.entries[pfns[i]!] === frames[i] && written?.(pfns[i]!) === false
    const limit = 2 * info.totalPages + SLACK
    let named = 0
    for (let i = 0; i < frames.length; i += 1) {
      const first = i * reader.perPage
      if (!isAsItWas(i)) this.named[i] = reader.entries(frames[i]!, this.entries.subarray(first, first + reader.perPage))
      named += this.named[i]!
      if (named > limit) throw invalid(`it names more than ${limit} frames`, { limit })
    }
    this.frames = frames
    this.place = place
  }

  /** A tree has nothing that tells of its changes. */
  private isWhereItWas({ maxPfn, cr3, address, generation }: P2mPlace): boolean {
    const { place } = this
    return cr3 !== 0 && maxPfn === place?.maxPfn && cr3 === place.cr3 && address === place.address && generation === place.generation
  }

  /** The pages of the list, and room for what they hold. */
  private find(reader: P2mReader, abi: GuestAbi, { maxPfn, cr3, address, root }: P2mPlace): readonly Mfn[] {
    const pages = Math.ceil(maxPfn / reader.perPage)
    const frames = cr3 === 0 ? reader.tree(root, pages) : reader.linear(abi.frameOfCr3(cr3), Number(address), pages)
    if (this.place === undefined) {
      this.maxPfn = maxPfn
      this.entries = new Uint32Array(maxPfn)
      this.named = new Uint16Array(pages)
    } else if (maxPfn !== this.maxPfn || frames.some((frame, i) => frame !== this.frames[i])) {
      throw new XenError('INVALID_STATE', 'the guest has moved its p2m while it was being copied', { details: { domid: this.domid } })
    }
    return frames
  }
}

/** Reads the p2m of a PV domain. Throws INVALID_STATE when the guest has not set it up or it is broken. */
export function readP2m(control: P2mControl, domid: DomId): PhysToMachine {
  const { maxPfn, frames, entries } = new P2mReading(control, domid)
  return { maxPfn, frames, entries }
}
