/**
 * Page types of PV guests: a frame becomes a page table only after every entry in it has been checked and referenced,
 * and stays read-only to its guest for as long as it is one. Entries are put back one by one when it ceases to be.
 *
 *   L4 entry -> reference + L3 type on its frame -> ... -> L1 entry -> reference (+ writable type when RW)
 *
 * Tables may also map tables of their own level (recursive maps), read-only and only one step deep.
 * hot path: halves of entries as integers, nothing allocated. Changing entries of a live table is in page-updates.ts.
 * Reference: xen/arch/x86/mm.c, _get_page_type, _put_page_type, get_page_from_l1e, get_level_linear_pagetable.
 */
import { ERRNO } from '../../abi/index.ts'
import { invariant } from '../../util/index.ts'
import { PTE } from '../../x86/index.ts'
import { FRAME_FLAG, FRAME_TYPE, type FrameTable } from '../frames/frame-table.ts'
import type { GuestMemory } from '../guest-memory.ts'
import { isValidDescriptorPage } from './descriptors.ts'
import {
  adjustLeafHigh, adjustLeafLow, adjustTableLow, entryFrame, isForbiddenLeaf, isForbiddenTable, isInvalidFrame,
} from './page-entries.ts'

/** What page types ask of the hypervisor around them. */
export interface PageTypeHost {
  readonly memory: GuestMemory
  readonly frames: FrameTable
  /** True when mappings made on behalf of `pgOwner` may show frames of `realOwner`. */
  mayMapFrames(pgOwner: number, realOwner: number): boolean
  /** True for a domain that may choose cache attributes and map device memory. */
  hasDevices(domid: number): boolean
  /** Present TLB time, for stamps. */
  tlbTime(): number
  /** Drops translations of every vCPU that has not flushed since `stamp`. */
  flushSince(stamp: number): void
  /** Low half of the entry for slot 256 of this domain's top-level tables; 0 for none. */
  machineToPhysEntry(domid: number): number
}

/** First and last slot of a top-level table that belong to the hypervisor. */
export const XEN_SLOTS = { first: 256, last: 271 } as const

/** True for a top-level slot that the guest may use. */
export const isGuestSlot = (slot: number): boolean => slot < XEN_SLOTS.first || slot > XEN_SLOTS.last

/** Takes and gives back types of frames, checking contents as Xen does. Results: 0 or a negative error number. */
export class PageTypes {
  readonly host: PageTypeHost
  /** Tables checked and taken apart since the host was made: what a batch measures its work by. */
  tablesVisited = 0
  private readonly frames: FrameTable
  private readonly words: Uint32Array

  constructor(host: PageTypeHost) {
    this.host = host
    this.frames = host.frames
    this.words = host.memory.words
  }

  /** Takes a type reference; the caller holds a reference. Checks the contents when the type is new. */
  getType(mfn: number, type: number): number {
    const { frames } = this
    const count = frames.typeCount[mfn]!
    const before = frames.type[mfn]!
    if (count !== 0) {
      if (before !== type || (frames.flags[mfn]! & FRAME_FLAG.VALIDATED) === 0) return -ERRNO.EINVAL
      if (count >= 0xffff_ffff) return -ERRNO.EINVAL
      frames.typeCount[mfn] = count + 1
      return 0
    }
    frames.typeCount[mfn] = 1
    if (before !== type) {
      frames.type[mfn] = type
      frames.flags[mfn]! &= ~FRAME_FLAG.VALIDATED
      // No vCPU may go on writing through an old translation to what is to become a table.
      if (before === FRAME_TYPE.WRITABLE) this.host.flushSince(frames.stamp[mfn]!)
    }
    if (type === FRAME_TYPE.WRITABLE) frames.flags[mfn]! |= FRAME_FLAG.VALIDATED
    return (frames.flags[mfn]! & FRAME_FLAG.VALIDATED) !== 0 ? 0 : this.validate(mfn, type)
  }

  /** Takes a reference and a type reference of a frame that `domid` owns. */
  getPageAndType(mfn: number, type: number, domid: number): number {
    if (!this.frames.getPage(mfn, domid)) return -ERRNO.EINVAL
    const result = this.getType(mfn, type)
    if (result !== 0) this.frames.putPage(mfn)
    return result
  }

  /**
   * Gives a type reference back; the last one of a table gives back what its entries hold. `parent`: see linear maps.
   */
  putType(mfn: number, parent = -1): void {
    const { frames } = this
    const count = frames.typeCount[mfn]!
    // The message is put together for a failure only.
    if (count <= 0) invariant(false, `frame ${mfn} has no type reference to give back`)
    const type = frames.type[mfn]!
    const isLinear = parent >= 0 && frames.type[parent] === type && type <= FRAME_TYPE.L4 && type !== FRAME_TYPE.NONE
    if (count === 1) {
      if (isTable(type) && (frames.flags[mfn]! & FRAME_FLAG.VALIDATED) !== 0) {
        frames.flags[mfn]! &= ~FRAME_FLAG.VALIDATED
        this.devalidate(mfn, type)
      }
      frames.stamp[mfn] = this.host.tlbTime()
    }
    if (isLinear) {
      frames.linear[mfn]! += 1
      frames.linear[parent]! -= 1
    }
    frames.typeCount[mfn]! -= 1
  }

  /** Gives back a type reference and a reference. */
  putPageAndType(mfn: number, parent = -1): void {
    this.putType(mfn, parent)
    this.frames.putPage(mfn)
  }

  /**
   * Takes what a present level-1 entry needs. `tableOwner` owns the table; `pgOwner` is the domain whose frame it
   * names.
   * The entry is as the guest wrote it or adjusted; only PRESENT entries come here.
   */
  getLeaf(low: number, high: number, owners: LeafOwners): number {
    const { frames, host } = this
    if (isForbiddenLeaf(low, host.hasDevices(owners.table))) return -ERRNO.EINVAL
    const mfn = entryFrame(low, high)
    if (!frames.isValid(mfn)) return isInvalidFrame(low, high) ? -ERRNO.EINVAL : -ERRNO.EPERM
    const owner = frames.owner[mfn]!
    if (owner !== owners.frame) {
      if (owners.frame === owners.table || !host.mayMapFrames(owners.frame, owner)) return -ERRNO.EBUSY
    }
    if (!frames.addReference(mfn)) return -ERRNO.EBUSY
    if ((low & PTE.WRITABLE) !== 0 && this.getType(mfn, FRAME_TYPE.WRITABLE) !== 0) {
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
    if ((low & PTE.WRITABLE) !== 0) this.putType(mfn)
    this.frames.putPage(mfn)
  }

  /** Takes what a present entry of level 2 to 4 in the table `parent` needs: a table one level below it. */
  getTable(low: number, high: number, place: TablePlace): number {
    if (isForbiddenTable(low)) return -ERRNO.EINVAL
    const mfn = entryFrame(low, high)
    const result = this.getPageAndType(mfn, place.level - 1, place.domid)
    if (result !== -ERRNO.EINVAL) return result
    return this.getLinear(low, mfn, place) ? 0 : result
  }

  /** Gives back what an entry of level 2 to 4 in the table `parent` held. */
  putTable(low: number, high: number, parent: number): void {
    if ((low & PTE.PRESENT) === 0) return
    const mfn = entryFrame(low, high)
    if (mfn === parent) return
    this.putPageAndType(mfn, parent)
  }

  /** Writes the hypervisor's slots into a top-level table. */
  writeXenSlots(mfn: number): void {
    const base = (mfn << 10) + XEN_SLOTS.first * 2
    this.words.fill(0, base, base + (XEN_SLOTS.last - XEN_SLOTS.first + 1) * 2)
    this.words[base] = this.host.machineToPhysEntry(this.frames.owner[mfn]!)
  }

  /** Shows or hides the machine-to-physical table in one top-level table. */
  setMachineToPhysSlot(mfn: number, low: number): void {
    const at = (mfn << 10) + XEN_SLOTS.first * 2
    this.words[at] = low
    this.words[at + 1] = 0
  }

  /**
   * Ends a table's validity although it is still referenced: how recursive maps of a dying domain are taken apart. The
   * caller knows that nothing runs on the table any more.
   */
  invalidate(mfn: number): void {
    const { frames } = this
    const type = frames.type[mfn]!
    if (!isTable(type) || !frames.hasFlag(mfn, FRAME_FLAG.VALIDATED)) return
    if (!frames.addReference(mfn)) return
    frames.flags[mfn]! &= ~FRAME_FLAG.VALIDATED
    this.devalidate(mfn, type)
    frames.putPage(mfn)
  }

  private validate(mfn: number, type: number): number {
    const domid = this.frames.owner[mfn]!
    this.tablesVisited += 1
    let result: number
    if (type === FRAME_TYPE.L1) result = this.validateLeaves(mfn, domid)
    else if (type === FRAME_TYPE.SEGDESC) result = isValidDescriptorPage(this.words, mfn) ? 0 : -ERRNO.EINVAL
    else result = this.validateTables(mfn, type, domid)
    this.host.memory.markWritten(mfn)
    if (result === 0) {
      this.frames.flags[mfn]! |= FRAME_FLAG.VALIDATED
      return 0
    }
    this.frames.type[mfn] = FRAME_TYPE.NONE
    this.frames.typeCount[mfn] = 0
    this.frames.linear[mfn] = 0
    return result
  }

  private validateLeaves(mfn: number, domid: number): number {
    const { words } = this
    const base = mfn << 10
    const owners = { table: domid, frame: domid }
    for (let at = base; at < base + 1024; at += 2) {
      const low = words[at]!
      if ((low & PTE.PRESENT) === 0) continue
      const high = words[at + 1]!
      const result = this.getLeaf(low, high, owners)
      if (result < 0) {
        for (let back = at - 2; back >= base; back -= 2) this.putLeaf(words[back]!, words[back + 1]!)
        return result
      }
      const adjusted = adjustLeafHigh(low, high)
      words[at] = adjustLeafLow(low, adjusted)
      words[at + 1] = adjusted
    }
    return 0
  }

  private validateTables(mfn: number, level: number, domid: number): number {
    const { words } = this
    const base = mfn << 10
    const place = { parent: mfn, level, domid }
    for (let at = base; at < base + 1024; at += 2) {
      const low = words[at]!
      if (level === 4 && !isGuestSlot((at - base) >> 1)) continue
      if ((low & PTE.PRESENT) === 0) continue
      const result = this.getTable(low, words[at + 1]!, place)
      if (result < 0) {
        this.putTables(mfn, level, at - 2)
        return result
      }
      words[at] = adjustTableLow(low)
    }
    if (level === 4) this.writeXenSlots(mfn)
    return 0
  }

  private devalidate(mfn: number, type: number): void {
    this.tablesVisited += 1
    const base = mfn << 10
    if (type !== FRAME_TYPE.L1) {
      this.putTables(mfn, type, base + 1022)
      return
    }
    for (let at = base; at < base + 1024; at += 2) this.putLeaf(this.words[at]!, this.words[at + 1]!)
  }

  private putTables(mfn: number, level: number, last: number): void {
    const base = mfn << 10
    for (let at = last; at >= base; at -= 2) {
      if (level === 4 && !isGuestSlot((at - base) >> 1)) continue
      this.putTable(this.words[at]!, this.words[at + 1]!, mfn)
    }
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
    const isUsable = frames.linear[parent]! >= 0 && frames.linear[mfn]! <= 0 && frames.type[mfn] === level
      && frames.hasFlag(mfn, FRAME_FLAG.VALIDATED) && frames.typeCount[mfn]! > 0 && frames.typeCount[mfn]! < 0xffff_ffff
    if (!isUsable) {
      frames.putPage(mfn)
      return false
    }
    frames.linear[parent]! += 1
    frames.linear[mfn]! -= 1
    frames.typeCount[mfn]! += 1
    return true
  }
}

/** Who is concerned by a level-1 entry. */
export interface LeafOwners {
  /** Owner of the table that holds the entry. */
  readonly table: number
  /** Domain in whose name the frame is mapped. */
  readonly frame: number
}

/** Where an entry of level 2 to 4 stands. */
export interface TablePlace {
  /** Frame of the table that holds it, and that table's level and owner. */
  readonly parent: number
  readonly level: number
  readonly domid: number
}

/** True for the types of page tables. */
export const isTable = (type: number): boolean => type >= FRAME_TYPE.L1 && type <= FRAME_TYPE.L4
