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
export type P2mControl = Pick<ControlInterface, 'domainInfo' | 'frameBytes'>

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

/** Reads the p2m of a PV domain; `spare` is memory for its entries, where it has room for just them. Throws INVALID_STATE when the guest has not set it up or it is broken. */
export function readP2m(control: P2mControl, domid: DomId, spare?: Uint32Array): PhysToMachine {
  const info = control.domainInfo(domid)
  const abi = guestAbiOf(info.addressSize)
  const reader = new P2mReader(control, domid, abi)
  const shared = reader.page(info.sharedInfoFrame, 'shared_info')
  const { arch: { layout: arch, offset: base } } = abi.of(SharedInfo)
  const maxPfn = arch.maxPfn.number(shared, base)
  if (maxPfn === 0 || maxPfn > MAX_PFN) throw invalid(`max_pfn ${maxPfn} is not from 1 to ${MAX_PFN}`, { maxPfn })
  const pages = Math.ceil(maxPfn / reader.perPage)
  const cr3 = arch.p2mCr3.number(shared, base)
  const frames = cr3 === 0
    ? reader.tree(arch.pfnToMfnFrameListList.number(shared, base), pages)
    : reader.linear(abi.frameOfCr3(cr3), Number(BigInt.asIntN(64, arch.p2mVaddr.get(shared, base))), pages)
  const into = spare?.length === maxPfn ? spare : new Uint32Array(maxPfn)
  return { maxPfn, frames, entries: readEntries(reader, { frames, limit: 2 * info.totalPages + SLACK }, into) }
}

interface P2mFacts {
  readonly frames: readonly Mfn[]
  /** Entries at most that name a frame. */
  readonly limit: number
}

function readEntries(reader: P2mReader, { frames, limit }: P2mFacts, entries: Uint32Array): Uint32Array {
  let named = 0
  frames.forEach((frame, index) => {
    const first = index * reader.perPage
    named += reader.entries(frame, entries.subarray(first, first + reader.perPage))
    if (named > limit) throw invalid(`it names more than ${limit} frames`, { limit })
  })
  return entries
}
