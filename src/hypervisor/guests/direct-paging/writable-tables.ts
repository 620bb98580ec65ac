/**
 * Writable page tables: a guest that has asked for it may write into its level-1 tables as if they were writable. The
 * write faults; the processor executes the one instruction with its store going aside; the entry as it would be then
 * goes through the checks that every other way of changing an entry takes. If it is refused, or the instruction is not
 * one whose only store lies within one entry, registers are as before and the guest gets its page fault.
 *
 * Why no way is left from here to a frame that is not the guest's:
 * - The live table is written by PageUpdates alone, whose checks hold for every entry. It is never mapped writable, not
 *   even for the one instruction: no walk of this processor or another can find it so, by this address or by an alias.
 * - What the instruction stores goes to eight bytes of the processor's own, which no translation leads to. Its other
 *   accesses (sources, code, tables of segments) are walks through tables that hold checked entries only, so whatever
 *   they leave behind in the TLB the guest could have had by a plain access.
 * - The store is compared and swapped: if the instruction's own walks have set an accessed bit in the entry, nothing is
 *   changed, and the guest executes it again.
 * - Stale translations of what stood in the entry before are what they are behind every change of an entry: the frame
 *   stays what it is for as long as somebody may hold one. What ends its use stamps it (FrameTypes.putType,
 *   DomainMemory), and its next use begins behind a full flush of whoever has not flushed since (TlbClock); a grant's
 *   end flushes at once. So no change of an entry flushes by itself, as in Xen. What a processor keeps of tables that are not in
 *   force hears of each (table-changes.ts).
 * Reference: xen/arch/x86/pv/ro-page-fault.c, ptwr_emulated_update, for what is let through.
 */
import { VMASST_TYPE } from '../../../abi/index.ts'
import { PAGE_FAULT, PAGE_OFFSET, PTE } from '../../../x86/index.ts'
import { FRAME_FLAG, FRAME_TYPE, type FrameTable } from '../../frames/frame-table.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import type { Vcpu } from '../../domains/domain.ts'
import { WORK } from '../../time/work-meter.ts'
import { entryFrame } from './page-entries.ts'
import type { PageTables } from './page-tables.ts'
import { PageUpdates } from './page-updates.ts'
import type { PagedVcpu } from './paged-vcpu.ts'
import { isGuestAddress } from '../../memory/guest-address.ts'
import { findLeaf } from '../../memory/virtual-access.ts'

/** Bytes of an entry. */
const ENTRY = 8

/** What this part works on. */
export interface WritableTableParts {
  readonly memory: GuestMemory
  readonly frames: FrameTable
  readonly pageTables: PageTables
}

/** A page fault of the guest's. */
export interface PageFault {
  readonly errorCode: number
  readonly address: number
}

/** How an attempt ended. */
export type WriteOutcome =
  /** Not a write to a level-1 table, or one that is refused: an ordinary fault. */
  | 'refused'
  /** Done; the guest goes on behind the instruction. */
  | 'done'
  /** Nothing has changed but an accessed bit; the guest is to execute the instruction again. */
  | 'again'

/** Carries out such writes. One object serves all vCPUs. */
export class WritableTables {
  private readonly parts: WritableTableParts
  private readonly updates: PageUpdates
  private readonly entry = new Uint32Array(2)

  constructor(parts: WritableTableParts) {
    this.parts = parts
    this.updates = new PageUpdates(parts.pageTables)
  }

  /** Tries to carry out the instruction that faulted at `address`. */
  attempt(vcpu: Vcpu, paged: PagedVcpu, { errorCode, address }: PageFault): WriteOutcome {
    if (!isPlainWrite(vcpu, paged, errorCode) || !isGuestAddress(address)) return 'refused'
    const { words } = this.parts.memory
    const leaf = findLeaf(this.parts.memory, paged.kernelTable, address)
    if (leaf < 0 || (words[leaf]! & (PTE.PRESENT | PTE.WRITABLE)) !== PTE.PRESENT) return 'refused'
    const table = entryFrame(words[leaf]!, words[leaf + 1]!)
    if (!this.isOwnTable(vcpu, table)) return 'refused'
    const place = Math.floor(address / ENTRY) * ENTRY
    return this.execute(vcpu, paged, { at: (table << 10) + ((place & PAGE_OFFSET) >> 2), place })
  }

  private isOwnTable(vcpu: Vcpu, mfn: number): boolean {
    const { frames } = this.parts
    return frames.isValid(mfn) && frames.owner[mfn] === vcpu.domid && frames.typeCount[mfn] !== 0
      && frames.type[mfn] === FRAME_TYPE.L1 && frames.hasFlag(mfn, FRAME_FLAG.VALIDATED)
  }

  /** `at`: word index of the entry; `place`: the linear address that the guest knows it by. */
  private execute(vcpu: Vcpu, paged: PagedVcpu, { at, place }: { readonly at: number; readonly place: number }): WriteOutcome {
    const { words } = this.parts.memory
    const { entry } = this
    const { processor } = paged
    const low = words[at]!
    const high = words[at + 1]!
    entry[0] = low
    entry[1] = high
    this.parts.pageTables.host.meter.charge(WORK.tableStore)
    if (!processor.storeAside(place, entry)) return 'refused'
    const isUnchanged = words[at] === low && words[at + 1] === high
    const owners = { table: vcpu.domid, frame: vcpu.domid, preserve: false, isPae: vcpu.owner.hasPae }
    if (isUnchanged && this.updates.changeLeaf(at, entry[0], entry[1], owners) === 0) return 'done'
    processor.undoAside()
    return isUnchanged ? 'refused' : 'again'
  }
}

/** A write by the guest's kernel to a page that is present, in a domain that has asked for writable tables. */
function isPlainWrite(vcpu: Vcpu, paged: PagedVcpu, errorCode: number): boolean {
  const wanted = PAGE_FAULT.PRESENT | PAGE_FAULT.WRITE
  const relevant = wanted | PAGE_FAULT.RESERVED | PAGE_FAULT.FETCH
  return paged.inKernel && (errorCode & relevant) === wanted && vcpu.owner.hasAssist(VMASST_TYPE.writable_pagetables)
}
