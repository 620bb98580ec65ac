/**
 * One domain's grant table: the frames it shares with the domain, the entries in them, and our own record of each
 * entry that is in use ("active entry"), which holds what was checked when it came into use. The guest may rewrite
 * its entries at any time; what is in use is judged by the record.
 *
 *   version 1   entry: flags | domid | frame (8 bytes); GTF_reading and GTF_writing stand in the flags
 *   version 2   entry of 16 bytes: full page, sub-page or transitive; the two bits stand in a status word of its own
 *
 * Reference: public/grant_table.h; xen/common/grant_table.c (struct active_grant_entry, _set_status_v1,
 * _set_status_v2).
 */
import { PAGE_SHIFT, PAGE_SIZE } from '../../x86/index.ts'
import { GNTST, GTF, GrantEntryV1, GrantEntryV2 } from '../../abi/index.ts'
import { type Stateful, sameEntries, sameState } from '../../util/index.ts'
import type { DomainGrantState } from './grant-state.ts'
import { Maptrack } from './maptrack.ts'
import { isWritePinned, type ActiveEntry } from './pins.ts'
import type { GrantDomain, GrantHost } from './types.ts'

const STATUS_SIZE = 2
/** Entries of version 1 in a frame, a power of two. */
const ENTRIES_PER_FRAME = PAGE_SIZE / GrantEntryV1.size
const ENTRIES_SHIFT = 31 - Math.clz32(ENTRIES_PER_FRAME)
/** Bytes of an entry, as powers of two. */
const ENTRY_SHIFT_V1 = 31 - Math.clz32(GrantEntryV1.size)
const ENTRY_SHIFT_V2 = 31 - Math.clz32(GrantEntryV2.size)

/** How an entry is about to be used. */
export interface Use {
  readonly readOnly: boolean
  /** To be mapped, not only copied from: neither sub-page nor transitive. */
  readonly map: boolean
  /** Who uses it. */
  readonly domid: number
}

/** Status frames that go with `frames` frames of version 2 entries. */
const statusFramesFor = (frames: number): number =>
  Math.ceil((frames * (PAGE_SIZE / GrantEntryV2.size)) / (PAGE_SIZE / STATUS_SIZE))

/** Entries, frames and records of one domain. */
export class GrantTable implements Stateful<DomainGrantState> {
  readonly domain: GrantDomain
  readonly maptrack: Maptrack
  /** Frames of the table, and of the status words of version 2. */
  readonly frames: number[] = []
  readonly statusFrames: number[] = []
  version: 1 | 2 = 1
  /** Its domain is dead and its frames are gone; only the records of what others still map are left. */
  retired = false
  readonly active = new Map<number, ActiveEntry>()
  private readonly host: GrantHost
  private readonly view: DataView
  /** Entries when the frames were still there. */
  private entriesAtEnd = 0

  constructor(host: GrantHost, domain: GrantDomain) {
    this.host = host
    this.view = host.memory.view
    this.domain = domain
    this.maptrack = new Maptrack(domain.maxMaptrackFrames)
  }

  /** Entries that the table has. */
  get entryCount(): number {
    return this.retired ? this.entriesAtEnd : this.frames.length * (PAGE_SIZE / this.entrySize)
  }

  /**
   * Makes the table `count` frames large, never smaller; false when there is no memory, and nothing has changed then.
   */
  grow(count: number): boolean {
    const wanted = Math.max(count, this.frames.length, 1)
    const wantedStatus = this.version === 1 ? 0 : statusFramesFor(wanted)
    const frames = this.allocate(wanted - this.frames.length)
    if (frames === undefined) return false
    const status = this.allocate(Math.max(0, wantedStatus - this.statusFrames.length))
    if (status === undefined) {
      for (const mfn of frames) this.host.frames.freeShared(mfn)
      return false
    }
    this.frames.push(...frames)
    this.statusFrames.push(...status)
    return true
  }

  /** Adds the status frames that version 2 needs; false when there is no memory. */
  addStatusFrames(): boolean {
    const status = this.allocate(statusFramesFor(this.frames.length) - this.statusFrames.length)
    if (status === undefined) return false
    this.statusFrames.push(...status)
    return true
  }

  /** Gives the status frames back; false while the guest maps one. */
  dropStatusFrames(): boolean {
    if (!this.statusFrames.every((mfn) => this.host.frames.isUnmapped(mfn))) return false
    for (const mfn of this.statusFrames.splice(0)) this.host.frames.freeShared(mfn)
    return true
  }

  /** The domain dies: gives all frames back and keeps only the records of what others map. */
  retire(): void {
    if (this.retired) return
    this.markRetired(this.entryCount)
    for (const mfn of [...this.frames.splice(0), ...this.statusFrames.splice(0)]) this.host.frames.freeShared(mfn)
  }

  save(): DomainGrantState {
    return {
      domid: this.domain.id, version: this.version, frames: [...this.frames], statusFrames: [...this.statusFrames],
      retiredWith: this.retired ? this.entriesAtEnd : -1,
      active: [...this.active].map(([ref, entry]) => [ref, { ...entry }] as const),
      maptrack: this.maptrack.save(),
    }
  }

  isAsSaved(state: DomainGrantState): boolean {
    return state.domid === this.domain.id && state.version === this.version && state.retiredWith === (this.retired ? this.entriesAtEnd : -1)
      && sameState(this.frames, state.frames) && sameState(this.statusFrames, state.statusFrames)
      && sameEntries<number, unknown>(this.active, state.active) && this.maptrack.isAsSaved(state.maptrack)
  }

  /** Takes over what {@link checkGrantState} has checked; its frames are still referenced. */
  load(state: DomainGrantState): void {
    this.maptrack.load(state.maptrack)
    this.version = state.version
    this.frames.splice(0, this.frames.length, ...state.frames)
    this.statusFrames.splice(0, this.statusFrames.length, ...state.statusFrames)
    this.active.clear()
    for (const [ref, entry] of state.active) this.active.set(ref, { ...entry })
    if (state.retiredWith >= 0) this.markRetired(state.retiredWith)
  }

  /** Zeroes all entries. */
  clearEntries(): void {
    for (const mfn of this.frames) this.host.memory.words.fill(0, mfn * (PAGE_SIZE / 4), (mfn + 1) * (PAGE_SIZE / 4))
  }

  /** Byte address of an entry of the version in force. */
  entryAt(ref: number): number {
    const perFrame = PAGE_SHIFT - (this.version === 1 ? ENTRY_SHIFT_V1 : ENTRY_SHIFT_V2)
    return this.frames[ref >>> perFrame]! * PAGE_SIZE + ((ref & ((1 << perFrame) - 1)) << (PAGE_SHIFT - perFrame))
  }

  /** Byte address of the word with GTF_reading and GTF_writing, or -1 when it has gone with the table. */
  statusAt(ref: number): number {
    if (this.retired || ref >= this.entryCount) return -1
    if (this.version === 1) return this.entryAt(ref)
    const perPage = PAGE_SIZE / STATUS_SIZE
    return this.statusFrames[Math.floor(ref / perPage)]! * PAGE_SIZE + (ref % perPage) * STATUS_SIZE
  }

  /** Flags of an entry. */
  flagsOf(ref: number): number {
    return this.view.getUint16(this.entryAt(ref), true)
  }

  /** Whom an entry is for. */
  domainOf(ref: number): number {
    return this.view.getUint16(this.entryAt(ref) + GrantEntryV1.domid.offset, true)
  }

  /** The host's frame that a frame number of the domain's names; -1 for none. */
  machineFrame(gfn: number): number {
    const { physmap } = this.domain
    return physmap === undefined ? gfn : physmap.frame(gfn)
  }

  /** What the guest knows a frame of its table by: all ones, -1, for one that has no place in its memory. */
  guestFrame(mfn: number): number {
    return this.domain.physmap === undefined ? mfn : this.domain.physmap.placeOf(mfn)
  }

  /** Frame number in an entry that grants a page or a part of one. */
  frameOf(ref: number): number {
    const at = this.entryAt(ref)
    return this.version === 1 ? GrantEntryV1.frame.get(this.view, at) : GrantEntryV2.fullPageFrame.number(this.view, at)
  }

  /**
   * Checks that the entry allows the use, and sets GTF_reading (and GTF_writing) so that the guest sees it. GNTST
   * status. An entry in use is only checked for writing: whom it is for was checked when it came into use.
   */
  announce(ref: number, use: Use): number {
    const { view } = this
    const at = this.entryAt(ref)
    const flags = view.getUint16(at, true)
    if (!this.active.has(ref) && !this.permits(at, flags, use)) return GNTST.general_error
    if (!use.readOnly && (flags & GTF.readonly) !== 0) return GNTST.general_error
    const bits = use.readOnly ? GTF.reading : GTF.reading | GTF.writing
    const status = this.version === 1 ? at : this.statusAt(ref)
    this.note(status, view.getUint16(status, true) | bits)
    return GNTST.okay
  }

  /** Clears the bits of {@link GrantTable.announce} that no remaining use needs, and forgets an entry without uses. */
  settle(ref: number, readOnly: boolean): void {
    const pin = this.active.get(ref)?.pin ?? 0
    if (pin === 0) this.active.delete(ref)
    let bits = pin === 0 ? GTF.reading : 0
    if (!readOnly && !isWritePinned(pin)) bits |= GTF.writing
    const status = this.statusAt(ref)
    if (bits !== 0 && status >= 0) this.note(status, this.view.getUint16(status, true) & ~bits)
  }

  /**
   * Brings an entry of version 1 that has no record into use until {@link GrantTable.leave}, for something that ends
   * before anything else runs: the checks and the bits of {@link GrantTable.announce}, and no record. The entry's
   * address, or a GNTST status.
   */
  enter(ref: number, user: number, write: boolean): number {
    if (this.retired || !(ref >= 0 && ref < this.frames.length * ENTRIES_PER_FRAME)) return GNTST.bad_gntref
    const at = this.frames[ref >>> ENTRIES_SHIFT]! * PAGE_SIZE + (ref & (ENTRIES_PER_FRAME - 1)) * GrantEntryV1.size
    const flags = this.view.getUint16(at, true)
    if ((flags & GTF.type_mask) !== GTF.permit_access) return GNTST.general_error
    if (this.view.getUint16(at + GrantEntryV1.domid.offset, true) !== user) return GNTST.general_error
    if (write && (flags & GTF.readonly) !== 0) return GNTST.general_error
    const bits = write ? GTF.reading | GTF.writing : GTF.reading
    // Nobody looks before the use ends, and then the entry is what it was, unless its guest had such a bit in it.
    if ((flags & bits) === 0) this.view.setUint16(at, flags | bits, true)
    else this.note(at, flags | bits)
    return at
  }

  /** Ends the use of an entry at `at`, where {@link GrantTable.enter} found it, and told of what this changes. */
  leave(at: number, write: boolean): void {
    this.view.setUint16(at, this.view.getUint16(at, true) & ~(write ? GTF.reading | GTF.writing : GTF.reading), true)
  }

  /** Writes a word of the table where the guest sees it, and may even execute it. */
  private note(at: number, word: number): void {
    this.view.setUint16(at, word, true)
    this.host.memory.markWritten(at >>> PAGE_SHIFT)
  }

  /** Frame of an entry of version 1 at byte `at`. */
  frameAt(at: number): number {
    return this.view.getUint32(at + GrantEntryV1.frame.offset, true)
  }

  /** Notes that the domain is dead, and how many entries it had. */
  private markRetired(entries: number): void {
    this.entriesAtEnd = entries
    this.retired = true
  }

  private get entrySize(): number {
    return this.version === 1 ? GrantEntryV1.size : GrantEntryV2.size
  }

  /** Whether the entry at `at`, with these flags, is there for the use. */
  private permits(at: number, flags: number, use: Use): boolean {
    const type = flags & (use.map ? GTF.type_mask | GTF.sub_page : GTF.type_mask)
    const isTransitive = this.version === 2 && !use.map && type === GTF.transitive
    return (type === GTF.permit_access || isTransitive) && this.view.getUint16(at + GrantEntryV1.domid.offset, true) === use.domid
  }

  private allocate(count: number): number[] | undefined {
    const frames: number[] = []
    while (frames.length < count) {
      const mfn = this.host.frames.allocateShared(this.domain.id)
      if (mfn < 0) {
        for (const taken of frames) this.host.frames.freeShared(taken)
        return undefined
      }
      frames.push(mfn)
    }
    return frames
  }
}
