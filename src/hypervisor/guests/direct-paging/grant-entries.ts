/**
 * Page-table entries that map grants in a PV guest. The grant table holds the rights and takes the references; the
 * entry carries them while it stands.
 * Reference: xen/arch/x86/pv/grant_table.c, create_grant_pv_mapping, replace_grant_pv_mapping.
 */
import { GNTMAP, GNTST } from '../../../abi/index.ts'
import { PAGE_SHIFT, PAGE_SIZE, PTE, PTE_HIGH_NX } from '../../../x86/index.ts'
import type { GrantMapping, GrantMappings } from '../../domains/domain-kind.ts'
import { FRAME_TYPE, type FrameTable } from '../../frames/frame-table.ts'
import type { TlbClock } from '../../frames/tlb-clock.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import type { Vcpu } from '../../domains/domain.ts'
import { adjustLeafHigh, adjustLeafLow } from './page-entries.ts'
import type { PageTables } from './page-tables.ts'
import { pagedOf } from './paged-vcpu.ts'
import { isGuestAddress } from '../../memory/guest-address.ts'
import { findLeaf } from '../../memory/virtual-access.ts'

/** What grant entries work on. */
export interface GrantEntryParts {
  readonly memory: GuestMemory
  readonly frames: FrameTable
  readonly pageTables: PageTables
  readonly tlb: TlbClock
}

/** Flags that must agree when a mapping is taken down. */
const RIGHTS = PTE.PRESENT | PTE.WRITABLE

/** Low half of the entry that a mapping's flags ask for, before adjustment. */
function entryLow(entry: GrantMapping): number {
  let low = (entry.mfn << PAGE_SHIFT) | PTE.PRESENT | PTE.ACCESSED | PTE.DIRTY
  if ((entry.flags & GNTMAP.application_map) !== 0) low |= PTE.USER
  if ((entry.flags & GNTMAP.readonly) === 0) low |= PTE.WRITABLE
  return low | ((entry.flags >>> 16 & 7) << 9)
}

/** Writes and removes such entries for one host. */
export class GrantEntries implements GrantMappings<Vcpu> {
  private readonly parts: GrantEntryParts

  constructor(parts: GrantEntryParts) {
    this.parts = parts
  }

  /** Maps a frame; what stood in the entry is given back. GNTST status. */
  install(vcpu: Vcpu, entry: GrantMapping): number {
    const at = this.locate(vcpu, entry.address, (entry.flags & GNTMAP.contains_pte) !== 0)
    if (at < 0) return GNTST.general_error
    const { words } = this.parts.memory
    const oldLow = words[at]!
    const oldHigh = words[at + 1]!
    const low = entryLow(entry)
    const { hasPae } = vcpu.owner
    const high = hasPae ? PTE_HIGH_NX : adjustLeafHigh(low, PTE_HIGH_NX)
    this.write(at, hasPae ? low : adjustLeafLow(low, high), high)
    this.parts.pageTables.putLeaf(oldLow, oldHigh)
    return GNTST.okay
  }

  /** Takes a mapping's entry away, or moves the entry of `newAddress` there. GNTST status. */
  remove(vcpu: Vcpu, entry: GrantMapping & { readonly newAddress: number }): number {
    const byEntry = (entry.flags & GNTMAP.contains_pte) !== 0
    if (byEntry && entry.newAddress !== 0) return GNTST.general_error
    const at = this.locate(vcpu, entry.address, byEntry)
    if (at < 0) return GNTST.general_error
    const { words } = this.parts.memory
    if (((words[at]! ^ entryLow(entry)) & (RIGHTS | 0xffff_f000)) !== 0) return GNTST.general_error
    let low = 0
    let high = 0
    if (entry.newAddress !== 0) {
      const source = this.locate(vcpu, entry.newAddress, false)
      if (source < 0 || source === at) return GNTST.general_error
      low = words[source]!
      high = words[source + 1]!
      this.write(source, 0, 0)
    }
    this.write(at, low, high)
    return GNTST.okay
  }

  /** Drops the translations of a vCPU's processor. */
  flush(vcpu: Vcpu): void {
    const paged = pagedOf(vcpu)
    if (paged !== undefined) this.parts.tlb.flush(paged)
  }

  /** Word index of a level-1 entry of the caller's own tables, or -1. */
  private locate(vcpu: Vcpu, address: number, isEntry: boolean): number {
    const { memory, frames } = this.parts
    let at = -1
    const isPlace = Number.isInteger(address / 8) && address >= 0 && address < memory.endFrame * PAGE_SIZE
    if (isEntry) at = isPlace ? address / 4 : -1
    else if (isGuestAddress(address)) {
      const root = pagedOf(vcpu)?.kernelTable ?? 0
      at = root === 0 ? -1 : findLeaf(memory, root, address)
    }
    if (at < 0) return -1
    const table = Math.floor(at / 1024)
    const isTable = frames.isValid(table) && frames.owner[table] === vcpu.domid && frames.type[table] === FRAME_TYPE.L1
      && frames.typeCount[table] !== 0
    return isTable ? at : -1
  }

  private write(at: number, low: number, high: number): void {
    const { memory, pageTables } = this.parts
    pageTables.changes.entry(at)
    memory.words[at] = low
    memory.words[at + 1] = high
    memory.markWritten(Math.floor(at / 1024))
  }
}
