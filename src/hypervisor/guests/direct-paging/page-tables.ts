/**
 * Page tables of PV guests: a frame becomes one only after every entry in it has been checked and referenced,
 * and stays read-only to its guest for as long as it is one. Entries are put back one by one when it ceases to be.
 *
 *   L4 entry -> reference + L3 type on its frame -> ... -> L1 entry -> reference (+ writable type when RW)
 *
 * Tables may also map tables of their own level (recursive maps), read-only and only one step deep.
 *
 * A 32-bit guest's tables begin at level 3, with four entries (PAE). The table behind the last one holds mappings of the
 * hypervisor's in its upper slots: it has a type of its own (XEN_L2), must be there, and serves one level-3 table only.
 *
 * A tree may have as many tables as its domain has frames, so that both directions pause when the exit's portion of work
 * is spent. A table whose check has paused is PARTIAL: its first `progress` entries hold what they need. A table that
 * loses its last use is FALLING, on a stack of its domain's, until its entries have been given back from the last to the
 * first. Both kinds hold one type reference and one reference of their own meanwhile; whoever asks for a PARTIAL table's
 * type next goes on where it was left. Level-1 tables are done in one step.
 *
 * hot path: halves of entries as integers, nothing allocated. Changing entries of a live table is in page-updates.ts.
 * Reference: xen/arch/x86/mm.c, _get_page_type, _put_page_type, get_page_from_l1e, get_level_linear_pagetable; PGT_partial,
 * put_old_guest_table; promote_l3_table, pae_xen_mappings_check, init_xen_pae_l2_slots.
 */
import { ERRNO } from '../../../abi/index.ts'
import { PTE } from '../../../x86/index.ts'
import type { DomainRegistry } from '../../domains/registry.ts'
import { COMPAT_XEN_SLOTS } from '../../frames/compat-machine-to-phys.ts'
import { FRAME_FLAG, FRAME_TYPE, type FrameTable } from '../../frames/frame-table.ts'
import { type FrameContents, type FrameTypes, isTable, levelOf } from '../../frames/frame-types.ts'
import type { MachineToPhys } from '../../frames/machine-to-phys.ts'
import type { TlbClock } from '../../frames/tlb-clock.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import { CALL_AGAIN, WORK, type WorkMeter } from '../../time/work-meter.ts'
import { RING_1, RING_3, isValidDescriptorPage } from './descriptors.ts'
import { FallingTables } from './falling-tables.ts'
import {
  addedTableBits, adjustLeafHigh, adjustLeafLow, choosesCaching, entryFrame, isForbiddenPaeTop, isForbiddenTable, isInvalidFrame,
} from './page-entries.ts'
import { TableChanges } from './table-changes.ts'
import { ENTRIES, PAE_ENTRIES, XEN_SLOTS, isGuestSlot, type LeafOwners, type TablePlace } from './table-slots.ts'

/** What page tables ask of the hypervisor around them. */
export interface PageTableHost {
  readonly memory: GuestMemory
  readonly frames: FrameTable
  readonly types: FrameTypes
  readonly meter: WorkMeter
  readonly domains: DomainRegistry
  readonly tlb: TlbClock
  readonly machineToPhys: MachineToPhys
}

/** True for a domain that may choose cache attributes and map device memory. */
export const hasDevices = (domains: DomainRegistry, domid: number): boolean => domains.get(domid)?.privileged === true

/** True when a level-1 entry of a domain's tables has bits that it may not set. hot path: hardly any has one, and the domain is asked for then only. */
export const isForbiddenLeaf = (low: number, domains: DomainRegistry, domid: number): boolean => choosesCaching(low) && !hasDevices(domains, domid)

/** True for a domain whose tables have three levels. */
const hasPae = (domains: DomainRegistry, domid: number): boolean => domains.get(domid)?.hasPae === true

/**
 * Takes and gives back what page tables hold, checking contents as Xen does. Results: 0, a negative error number, or
 * CALL_AGAIN when the work has paused.
 */
export class PageTables implements FrameContents {
  readonly host: PageTableHost
  /** Who hears of changes before they are made. */
  readonly changes: TableChanges
  private readonly frames: FrameTable
  private readonly types: FrameTypes
  private readonly words: Uint32Array
  private readonly meter: WorkMeter
  /** Tables that are being taken apart. */
  readonly falling: FallingTables
  private isSettling = false

  constructor(host: PageTableHost) {
    this.host = host
    this.frames = host.frames
    this.falling = new FallingTables(host.frames)
    this.types = host.types
    this.changes = new TableChanges(host)
    host.types.connect(this)
    this.words = host.memory.words
    this.meter = host.meter
  }

  validate(mfn: number, type: number): number {
    return this.check(mfn, type, 0)
  }

  fall(mfn: number): void {
    if (this.frames.type[mfn] === FRAME_TYPE.L4) this.changes.root(mfn)
    this.fallFrom(mfn, ENTRIES)
  }

  /** Goes on with what is left of a domain's falling tables; false when it has paused. */
  settle(domid: number): boolean {
    // Asked before every hypercall, and hardly ever is anything falling.
    if (this.falling.stacks.size === 0) return true
    const stack = this.falling.stacks.get(domid)
    if (stack === undefined) return true
    const wasSettling = this.isSettling
    this.isSettling = true
    while (stack.length > 0 && !this.meter.isSpent) this.takeApart(stack)
    this.isSettling = wasSettling
    if (stack.length > 0) return false
    this.falling.end(domid)
    return true
  }

  /** True while a domain has falling tables. */
  isFalling(domid: number): boolean {
    return this.falling.stacks.has(domid)
  }

  /** Takes back what a paused check has taken: nobody will go on with it. */
  abandon(mfn: number): void {
    const { frames } = this
    if (!frames.hasFlag(mfn, FRAME_FLAG.PARTIAL)) return
    frames.rows.setFlags(mfn, frames.flags[mfn]! & ~FRAME_FLAG.PARTIAL)
    this.fallFrom(mfn, frames.progress[mfn]!)
    frames.putPage(mfn)
  }

  /**
   * Takes what a present level-1 entry needs. `tableOwner` owns the table; `pgOwner` is the domain whose frame it
   * names.
   * The entry is as the guest wrote it or adjusted; only PRESENT entries come here.
   */
  getLeaf(low: number, high: number, owners: LeafOwners): number {
    const { frames, host } = this
    if (isForbiddenLeaf(low, host.domains, owners.table)) return -ERRNO.EINVAL
    const mfn = entryFrame(low, high)
    if (!frames.isValid(mfn)) return isInvalidFrame(low, high) ? -ERRNO.EINVAL : -ERRNO.EPERM
    const owner = frames.owner[mfn]!
    if (owner !== owners.frame) {
      // In whose name it is mapped decides what may be shown.
      if (owners.frame === owners.table || host.domains.get(owner) === undefined || !host.domains.mayControl(owners.frame, owner, 'mmu_update')) return -ERRNO.EBUSY
    }
    if (!frames.addReference(mfn)) return -ERRNO.EBUSY
    if ((low & PTE.WRITABLE) !== 0 && this.types.getType(mfn, FRAME_TYPE.WRITABLE) !== 0) {
      frames.putPage(mfn)
      return -ERRNO.EBUSY
    }
    if ((low & (PTE.PWT | PTE.PCD | PTE.PAT)) !== 0 && frames.hasFlag(mfn, FRAME_FLAG.SHARED)) {
      this.putLeaf(low, high)
      return -ERRNO.EACCES
    }
    return 0
  }

  /** Gives back what a level-1 entry held. */
  putLeaf(low: number, high: number): void {
    if ((low & PTE.PRESENT) === 0) return
    const mfn = entryFrame(low, high)
    if (!this.frames.isValid(mfn)) return
    if ((low & PTE.WRITABLE) !== 0) this.types.putType(mfn)
    this.frames.putPage(mfn)
  }

  /** Takes what a present entry of level 2 to 4 in the table `parent` needs: a table one level below it. */
  getTable(low: number, high: number, place: TablePlace): number {
    if (place.isPae && place.level === 3) return this.getPaeTable(low, high, place)
    if (isForbiddenTable(low)) return -ERRNO.EINVAL
    const mfn = entryFrame(low, high)
    const result = this.types.getPageAndType(mfn, place.level - 1, place.domid)
    if (result !== -ERRNO.EINVAL) return result
    return this.getLinear(low, mfn, place) ? 0 : result
  }

  /** The same for an entry of a level-3 table in PAE: the last one's table is of a kind of its own, and no other's. */
  private getPaeTable(low: number, high: number, { slot, domid }: TablePlace): number {
    if (isForbiddenPaeTop(low, high)) return -ERRNO.EINVAL
    const mfn = entryFrame(low, high)
    const isLast = slot === PAE_ENTRIES - 1
    const result = this.types.getPageAndType(mfn, isLast ? FRAME_TYPE.XEN_L2 : FRAME_TYPE.L2, domid)
    if (result !== 0 || !isLast || this.frames.typeCount[mfn] === 1) return result
    this.types.putPageAndType(mfn)
    return -ERRNO.EINVAL
  }

  /** Gives back what an entry of level 2 to 4 in the table `parent` held. */
  putTable(low: number, high: number, parent: number): void {
    if ((low & PTE.PRESENT) === 0) return
    const mfn = entryFrame(low, high)
    if (mfn === parent) return
    const { frames } = this
    const type = frames.type[mfn]!
    if (isTable(type) && levelOf(frames.type[parent]!) === levelOf(type)) {
      frames.rows.setLinear(mfn, frames.linear[mfn]! + 1)
      frames.rows.setLinear(parent, frames.linear[parent]! - 1)
    }
    this.types.putPageAndType(mfn)
  }

  /** Writes the hypervisor's slots into a top-level table; some domains find the machine-to-physical table there. */
  writeXenSlots(mfn: number): void {
    const { domains, machineToPhys } = this.host
    const base = (mfn << 10) + XEN_SLOTS.first * 2
    this.words.fill(0, base, base + (XEN_SLOTS.last - XEN_SLOTS.first + 1) * 2)
    this.words[base] = domains.get(this.frames.owner[mfn]!)?.hidesMachineToPhys === true ? machineToPhys.entryLow : 0
  }

  /** Shows or hides the machine-to-physical table in one top-level table. */
  setMachineToPhysSlot(mfn: number, low: number): void {
    const at = (mfn << 10) + XEN_SLOTS.first * 2
    if (this.words[at] !== low) this.changes.entry(at)
    this.words[at] = low
    this.words[at + 1] = 0
    this.host.memory.markWritten(mfn)
  }

  /**
   * Ends a table's validity although it is still referenced: how recursive maps of a dying domain are taken apart. The
   * caller knows that nothing runs on the table any more, and settles afterwards.
   */
  invalidate(mfn: number): void {
    const { frames } = this
    const type = frames.type[mfn]!
    if (!isTable(type) || !frames.hasFlag(mfn, FRAME_FLAG.VALIDATED)) return
    if (!frames.addReference(mfn)) return
    this.changes.tables(mfn)
    frames.rows.setFlags(mfn, frames.flags[mfn]! & ~FRAME_FLAG.VALIDATED)
    const wasSettling = this.isSettling
    this.isSettling = true
    if (type === FRAME_TYPE.L1) this.putLeaves(mfn)
    else for (let slot = ENTRIES - 1; slot >= 0; slot -= 1) this.putSlot(mfn, type, slot)
    this.isSettling = wasSettling
    frames.putPage(mfn)
  }

  /** A type that is asked for while the frame's table is neither checked nor free. */
  goOn(mfn: number, type: number): number {
    const { frames } = this
    if (frames.hasFlag(mfn, FRAME_FLAG.FALLING)) {
      // Its domain settles before its next hypercall; this is another domain's, or the toolstack's.
      if (!this.isSettling && this.settle(frames.owner[mfn]!)) return this.types.getType(mfn, type)
      return isTable(type) && !this.isSettling ? CALL_AGAIN : -ERRNO.EINVAL
    }
    if (frames.type[mfn] !== type || !frames.hasFlag(mfn, FRAME_FLAG.PARTIAL)) return -ERRNO.EINVAL
    frames.rows.setFlags(mfn, frames.flags[mfn]! & ~FRAME_FLAG.PARTIAL)
    const result = this.check(mfn, type, frames.progress[mfn]!)
    frames.putPage(mfn)
    return result
  }

  /** Checks a frame's contents from entry `from` on. */
  private check(mfn: number, type: number, from: number): number {
    const { frames } = this
    const domid = frames.owner[mfn]!
    let result: number
    if (type === FRAME_TYPE.L1) result = this.validateLeaves(mfn, domid)
    else if (type === FRAME_TYPE.SEGDESC) {
      result = isValidDescriptorPage(this.words, mfn, hasPae(this.host.domains, domid) ? RING_1 : RING_3) ? 0 : -ERRNO.EINVAL
      this.meter.charge(WORK.table + ENTRIES * WORK.entry)
    } else result = this.validateTables(mfn, { type, domid, from })
    this.host.memory.markWritten(mfn)
    if (result === 0) frames.rows.setFlags(mfn, frames.flags[mfn]! | FRAME_FLAG.VALIDATED)
    else if (result !== CALL_AGAIN && !frames.hasFlag(mfn, FRAME_FLAG.FALLING)) this.forget(mfn)
    return result
  }

  /** A refused table, with nothing left of it. */
  private forget(mfn: number): void {
    const { frames } = this
    frames.rows.setType(mfn, FRAME_TYPE.NONE)
    frames.rows.setTypeCount(mfn, 0)
    frames.rows.setLinear(mfn, 0)
  }

  private validateLeaves(mfn: number, domid: number): number {
    const { words } = this
    const base = mfn << 10
    const isPae = hasPae(this.host.domains, domid)
    const owners = { table: domid, frame: domid, isPae }
    let present = 0
    for (let at = base; at < base + 1024; at += 2) {
      const low = words[at]!
      if ((low & PTE.PRESENT) === 0) continue
      present += 1
      const high = words[at + 1]!
      const result = this.getLeaf(low, high, owners)
      if (result < 0) {
        for (let back = at - 2; back >= base; back -= 2) this.putLeaf(words[back]!, words[back + 1]!)
        this.meter.charge(WORK.table + 2 * present * WORK.entry)
        return result
      }
      if (isPae) continue
      const adjusted = adjustLeafHigh(low, high)
      words[at] = adjustLeafLow(low, adjusted)
      words[at + 1] = adjusted
    }
    this.meter.charge(WORK.table + present * WORK.entry)
    return 0
  }

  /**
   * Checks the entries of a table of level 2 to 4 from one on. Work is paid for when it has been noted, so that each
   * portion, however small, comes further.
   */
  private validateTables(mfn: number, what: { readonly type: number; readonly domid: number; readonly from: number }): number {
    const { words, meter } = this
    const { type, domid, from } = what
    const level = levelOf(type)
    const isPae = hasPae(this.host.domains, domid)
    if (isPae && level > 2 && !this.isPaeTop(mfn, level)) return -ERRNO.EINVAL
    const place = { parent: mfn, level, slot: from, domid, isPae }
    const added = addedTableBits(level, isPae)
    for (let slot = from; slot < ENTRIES; slot += 1) {
      const at = (mfn << 10) + slot * 2
      const low = words[at]!
      if ((low & PTE.PRESENT) === 0 || !isGuestSlot(type, slot)) continue
      place.slot = slot
      const result = meter.isSpent ? CALL_AGAIN : this.getTable(low, words[at + 1]!, place)
      if (result === CALL_AGAIN) return this.pause(mfn, slot)
      if (result < 0) {
        this.frames.rows.setFlags(mfn, this.frames.flags[mfn]! | FRAME_FLAG.REFUSED)
        this.fallFrom(mfn, slot)
        return result
      }
      words[at] = low | added
      meter.charge(WORK.entry)
    }
    if (level === 4) this.writeXenSlots(mfn)
    else if (type === FRAME_TYPE.XEN_L2) this.writeCompatSlots(mfn)
    meter.charge(WORK.table)
    return 0
  }

  /** A 32-bit guest's top-level table: of level 3, with all it needs in four entries; the processor looks at the others too. */
  private isPaeTop(mfn: number, level: number): boolean {
    const base = mfn << 10
    if (level !== 3 || (this.words[base + (PAE_ENTRIES - 1) * 2]! & PTE.PRESENT) === 0) return false
    this.words.fill(0, base + PAE_ENTRIES * 2, base + 1024)
    return true
  }

  /** Writes the hypervisor's slots into the last level-2 table of a 32-bit guest. */
  private writeCompatSlots(mfn: number): void {
    for (let slot: number = COMPAT_XEN_SLOTS.first; slot <= COMPAT_XEN_SLOTS.last; slot += 1) {
      this.words[(mfn << 10) + slot * 2] = this.host.machineToPhys.compat.slotLow(slot)
      this.words[(mfn << 10) + slot * 2 + 1] = 0
    }
  }

  private pause(mfn: number, progress: number): number {
    const { frames } = this
    // The caller holds a reference, so that there is one more to be had.
    frames.rows.setReferences(mfn, frames.references[mfn]! + 1)
    frames.rows.setFlags(mfn, frames.flags[mfn]! | FRAME_FLAG.PARTIAL)
    frames.rows.setProgress(mfn, progress)
    return CALL_AGAIN
  }

  /** A table's first `progress` entries are to be given back, and then its type. */
  private fallFrom(mfn: number, progress: number): void {
    const { frames } = this
    frames.rows.setReferences(mfn, frames.references[mfn]! + 1)
    frames.rows.setFlags(mfn, (frames.flags[mfn]! & ~FRAME_FLAG.VALIDATED) | FRAME_FLAG.FALLING)
    frames.rows.setProgress(mfn, progress)
    this.falling.push(mfn)
    if (!this.isSettling) this.settle(frames.owner[mfn]!)
  }

  /** One step: an entry that was the last use of another table puts that one on top. */
  private takeApart(stack: number[]): void {
    const { frames, meter } = this
    const height = stack.length
    const mfn = stack[height - 1]!
    const type = frames.type[mfn]!
    if (type === FRAME_TYPE.L1) {
      this.putLeaves(mfn)
      this.fallen(stack)
      return
    }
    let progress = frames.progress[mfn]!
    while (progress > 0) {
      progress -= 1
      frames.rows.setProgress(mfn, progress)
      if (this.putSlot(mfn, type, progress)) meter.charge(WORK.entry)
      if (stack.length > height || meter.isSpent) return
    }
    meter.charge(WORK.table)
    this.fallen(stack)
  }

  private putLeaves(mfn: number): void {
    const { words } = this
    const base = mfn << 10
    let present = 0
    for (let at = base; at < base + 1024; at += 2) {
      const low = words[at]!
      if ((low & PTE.PRESENT) === 0) continue
      present += 1
      this.putLeaf(low, words[at + 1]!)
    }
    this.meter.charge(WORK.table + present * WORK.entry)
  }

  /** Gives back what one slot of a table of level 2 to 4 holds; false when that is nothing. */
  private putSlot(mfn: number, type: number, slot: number): boolean {
    if (!isGuestSlot(type, slot)) return false
    const at = (mfn << 10) + slot * 2
    const low = this.words[at]!
    if ((low & PTE.PRESENT) === 0) return false
    this.putTable(low, this.words[at + 1]!, mfn)
    return true
  }

  /** The table on top has given everything back. */
  private fallen(stack: number[]): void {
    const { frames } = this
    const mfn = stack.pop()!
    const isRefused = frames.hasFlag(mfn, FRAME_FLAG.REFUSED)
    frames.rows.setFlags(mfn, frames.flags[mfn]! & ~(FRAME_FLAG.FALLING | FRAME_FLAG.REFUSED))
    frames.rows.setStamp(mfn, this.host.tlb.now())
    if (isRefused) this.forget(mfn)
    else frames.rows.setTypeCount(mfn, frames.typeCount[mfn]! - 1)
    frames.putPage(mfn)
  }

  /**
   * A read-only entry that maps a validated table of the same level as `parent`: the recursive maps of some kernels.
   */
  private getLinear(low: number, mfn: number, place: TablePlace): boolean {
    const { frames } = this
    const { parent, level, domid } = place
    if ((low & PTE.WRITABLE) !== 0) return false
    if (mfn === parent) return true
    if (!frames.isValid(mfn) || frames.owner[parent] !== domid || !frames.getPage(mfn, domid)) return false
    const isUsable = frames.linear[parent]! >= 0 && frames.linear[mfn]! <= 0 && levelOf(frames.type[mfn]!) === level
      && frames.hasFlag(mfn, FRAME_FLAG.VALIDATED) && frames.typeCount[mfn]! > 0 && frames.typeCount[mfn]! < 0xffff_ffff
    if (!isUsable) {
      frames.putPage(mfn)
      return false
    }
    frames.rows.setLinear(parent, frames.linear[parent]! + 1)
    frames.rows.setLinear(mfn, frames.linear[mfn]! - 1)
    frames.rows.setTypeCount(mfn, frames.typeCount[mfn]! + 1)
    return true
  }
}
