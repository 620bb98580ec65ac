/**
 * Finds a PV guest's list from pseudo-physical to machine frames, which the guest itself keeps and describes in
 * shared_info: as a linear list in its address space (p2m_cr3, p2m_vaddr) or as the older three-level tree.
 * The guest may lie; every frame number is checked against what the domain owns.
 *
 *   tree:  pfn_to_mfn_frame_list_list -> page of 512 mfns -> page of 512 mfns -> p2m pages of 512 entries
 *
 * Reference: xen/include/public/arch-x86/xen.h, struct arch_shared_info; start_info's comment in public/xen.h.
 */
import { PAGE_SIZE, SharedInfo } from '../../abi/index.ts'
import type { ControlInterface } from '../../hypervisor/index.ts'
import { type DomId, type Mfn, XenError, isCanonical } from '../../util/index.ts'
import { ENTRIES_PER_TABLE, PAGE_SHIFT, PTE, PTE_HIGH_FRAME, tableIndex } from '../../x86/index.ts'

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

const invalid = (what: string, details: Record<string, unknown>): XenError =>
  new XenError('INVALID_STATE', `the guest's p2m is unusable: ${what}`, { details })

const viewOf = (data: Uint8Array): DataView => new DataView(data.buffer, data.byteOffset, data.byteLength)

/** Reads p2m pages of one domain. */
class P2mReader {
  private readonly control: P2mControl
  private readonly domid: DomId

  constructor(control: P2mControl, domid: DomId) {
    this.control = control
    this.domid = domid
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
    for (let level = 4; level >= 1; level -= 1) {
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
    const entry = (table: DataView, index: number): number => Number(table.getBigUint64(index * 8, true))
    if (Math.ceil(pages / ENTRIES_PER_TABLE) > ENTRIES_PER_TABLE) throw invalid('the tree is too small', { pages })
    return Array.from({ length: pages }, (_, i) => {
      const middle = this.page(entry(top, Math.floor(i / ENTRIES_PER_TABLE)), 'a frame list')
      return entry(middle, i % ENTRIES_PER_TABLE) as Mfn
    })
  }
}

/** Reads the p2m of a PV domain. Throws INVALID_STATE when the guest has not set it up or it is broken. */
export function readP2m(control: P2mControl, domid: DomId): PhysToMachine {
  const info = control.domainInfo(domid)
  const reader = new P2mReader(control, domid)
  const shared = reader.page(info.sharedInfoFrame, 'shared_info')
  const arch = SharedInfo.arch.layout
  const base = SharedInfo.arch.at(0)
  const maxPfn = arch.maxPfn.number(shared, base)
  if (maxPfn === 0 || maxPfn > MAX_PFN) throw invalid(`max_pfn ${maxPfn} is not from 1 to ${MAX_PFN}`, { maxPfn })
  const pages = Math.ceil(maxPfn / ENTRIES_PER_TABLE)
  const cr3 = arch.p2mCr3.number(shared, base)
  const frames = cr3 === 0
    ? reader.tree(arch.pfnToMfnFrameListList.number(shared, base), pages)
    : reader.linear(Math.floor(cr3 / PAGE_SIZE), Number(BigInt.asIntN(64, arch.p2mVaddr.get(shared, base))), pages)
  return { maxPfn, frames, entries: readEntries(reader, { frames, maxPfn, limit: 2 * info.totalPages + SLACK }) }
}

interface P2mFacts {
  readonly frames: readonly Mfn[]
  readonly maxPfn: number
  /** Entries at most that name a frame. */
  readonly limit: number
}

function readEntries(reader: P2mReader, { frames, maxPfn, limit }: P2mFacts): Uint32Array {
  const entries = new Uint32Array(maxPfn).fill(NO_FRAME)
  let named = 0
  frames.forEach((frame, index) => {
    const { buffer, byteOffset } = reader.page(frame, 'the p2m')
    const page = new Uint32Array(buffer, byteOffset, ENTRIES_PER_TABLE * 2)
    const first = index * ENTRIES_PER_TABLE
    const count = Math.min(ENTRIES_PER_TABLE, maxPfn - first)
    for (let i = 0; i < count; i += 1) {
      // Bits 63 and 62 mark foreign and identity entries; such pages are not the domain's own memory.
      if (page[i * 2 + 1] !== 0) continue
      entries[first + i] = page[i * 2]!
      named += 1
    }
    if (named > limit) throw invalid(`it names more than ${limit} frames`, { limit })
  })
  return entries
}
