/**
 * Giving frames to domains and taking them back: reservations, limits, frames shared by the hypervisor. A frame comes
 * zeroed, and after every processor that might still see its former use has forgotten it.
 * Reference: xen/common/page_alloc.c, assign_pages, free_domheap_pages.
 */
import { PAGE_SIZE } from '../../x86/index.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { FrameAllocator } from './frame-allocator.ts'
import { FRAME_FLAG, FRAME_TYPE, type FrameTable } from './frame-table.ts'
import type { MachineToPhys } from './machine-to-phys.ts'

/** A domain as far as its frames are concerned. */
export interface FrameOwner {
  readonly id: number
  readonly maxPages: number
  readonly dying: boolean
  /** Frames of its reservation, and frames that the hypervisor shares with it. */
  totalPages: number
  sharedPages: number
  /** Frames that are kept aside for it. */
  outstandingPages: number
}

/** What this part works on. */
export interface DomainMemoryParts {
  readonly memory: GuestMemory
  readonly frames: FrameTable
  readonly allocator: FrameAllocator
  readonly machineToPhys: MachineToPhys
  readonly tlb: { now(): number; flushSince(stamp: number): void }
  domainOf(domid: number): FrameOwner | undefined
}

/** Frames between allocator and domains. */
export class DomainMemory {
  private readonly parts: DomainMemoryParts
  private lastFrameGone: (domid: number) => void = () => undefined
  /** Frames that are kept aside for all domains together. */
  private outstanding = 0

  constructor(parts: DomainMemoryParts) {
    this.parts = parts
    parts.frames.connect({ released: (mfn) => this.released(mfn) })
  }

  /** Who is told when a dying domain has lost its last frame. */
  connect(hooks: { lastFrameGone(domid: number): void }): void {
    this.lastFrameGone = (domid) => hooks.lastFrameGone(domid)
  }

  /** Frames that are free, those kept aside for domains among them. */
  get free(): number {
    return this.parts.allocator.free
  }

  /** Frames that are kept aside for domains: what claims have not been made use of yet. */
  get claimed(): number {
    return this.outstanding
  }

  /** Frames that a domain could be given: not those that are kept aside for others. */
  freeFor(domain: Pick<FrameOwner, 'outstandingPages'>): number {
    return this.free - (this.outstanding - domain.outstandingPages)
  }

  /** Keeps so many frames aside for a domain, of those that are free. */
  keepAside(domain: FrameOwner, pages: number): void {
    this.outstanding += pages - domain.outstandingPages
    domain.outstandingPages = pages
  }

  /** A domain was loaded that has frames kept aside. */
  countClaim({ outstandingPages }: Pick<FrameOwner, 'outstandingPages'>): void {
    this.outstanding += outstandingPages
  }

  /** Gives one zeroed frame to a domain; -1 when its limit is reached or the host has none. */
  allocate(domain: FrameOwner): number {
    return this.allocateRun(domain, 0)
  }

  /** Gives 2^order frames in a row; the first, or -1. */
  allocateRun(domain: FrameOwner, order: number): number {
    const { allocator, frames } = this.parts
    const count = 1 << order
    if (domain.dying || domain.totalPages + count > domain.maxPages) return -1
    if (this.outstanding > 0 && count > this.freeFor(domain)) return -1
    const first = order === 0 ? allocator.take() : allocator.takeRun(order)
    if (first < 0) return -1
    this.prepare(first, first + count)
    frames.assignRun(first, first + count, domain.id)
    this.count(domain, count)
    return first
  }

  /**
   * Gives a domain up to `most` single frames, zeroed, those that are free lowest: how many. `given` hears of them in their order, neighbours together,
   * the first and one past the last.
   */
  allocateSingles(domain: FrameOwner, most: number, given: (first: number, end: number) => void): number {
    const { allocator, frames } = this.parts
    const wanted = domain.dying ? 0 : Math.min(most, domain.maxPages - domain.totalPages, this.freeFor(domain))
    let count = 0
    while (count < wanted) {
      const run = allocator.takeNeighbours(wanted - count)
      if (run === undefined) break
      this.prepare(run.first, run.end)
      frames.assignRun(run.first, run.end, domain.id)
      count += run.end - run.first
      given(run.first, run.end)
    }
    this.count(domain, count)
    return count
  }

  /** A domain was given so many frames more. */
  private count(domain: FrameOwner, frames: number): void {
    domain.totalPages += frames
    if (domain.outstandingPages > 0) this.keepAside(domain, Math.max(0, domain.outstandingPages - frames))
  }

  /** A zeroed frame of the hypervisor's that the domain may map writable; -1 when the host has none. */
  allocateShared(domain: { readonly id: number; sharedPages: number }): number {
    const mfn = this.takeRaw()
    if (mfn < 0) return -1
    this.parts.frames.assignShared(mfn, domain.id)
    domain.sharedPages += 1
    return mfn
  }

  /** A zeroed frame without owner, to be assigned by the caller; -1 when there is none. */
  takeRaw(): number {
    if (this.outstanding > 0 && this.free <= this.outstanding) return -1
    const mfn = this.parts.allocator.take()
    if (mfn >= 0) this.prepare(mfn, mfn + 1)
    return mfn
  }

  /**
   * A guest gives one of its frames back; it is free once nobody else holds it. False for a frame that is not the
   * domain's, and for one that the hypervisor shares with it and writes to for as long as the domain lives.
   */
  release(mfn: number, domid: number): boolean {
    const { frames } = this.parts
    if (!frames.getPage(mfn, domid)) return false
    const mayGo = !frames.hasFlag(mfn, FRAME_FLAG.SHARED)
    if (mayGo) this.giveBack(mfn)
    frames.putPage(mfn)
    return mayGo
  }

  /**
   * Drops the owner's own reference; the frame is free once nobody else holds one. False when it was dropped before.
   */
  giveBack(mfn: number): boolean {
    const { frames } = this.parts
    if (!frames.hasFlag(mfn, FRAME_FLAG.ALLOCATED)) return false
    frames.rows.setFlags(mfn, frames.flags[mfn]! & ~FRAME_FLAG.ALLOCATED)
    frames.putPage(mfn)
    return true
  }

  /** True for a frame of the domain's reservation that nobody uses but by its place. */
  isPlain(mfn: number, domain: FrameOwner): boolean {
    const { frames } = this.parts
    return frames.isValid(mfn) && frames.owner[mfn] === domain.id && frames.references[mfn] === 1
      && frames.hasFlag(mfn, FRAME_FLAG.ALLOCATED) && !frames.hasFlag(mfn, FRAME_FLAG.SHARED | FRAME_FLAG.PINNED)
      && frames.typeCount[mfn] === 0
  }

  /**
   * Takes a frame from its owner without freeing it: only when the owner's own reference is the last. It then belongs
   * to nobody and is counted nowhere. The caller holds no reference of its own.
   */
  steal(mfn: number, domain: FrameOwner): boolean {
    const { frames } = this.parts
    if (!this.isPlain(mfn, domain)) return false
    frames.rows.setStamp(mfn, this.parts.tlb.now())
    frames.clear(mfn)
    domain.totalPages -= 1
    return true
  }

  /** Gives a stolen frame to a domain as it is. False when its limit is reached. */
  adopt(mfn: number, domain: FrameOwner): boolean {
    if (domain.dying || domain.totalPages >= domain.maxPages) return false
    this.parts.tlb.flushSince(this.parts.frames.stamp[mfn]!)
    this.parts.frames.assign(mfn, domain.id)
    domain.totalPages += 1
    return true
  }

  /** Frees a frame that nobody owns: stolen, or taken raw. */
  discard(mfn: number): void {
    this.parts.frames.clear(mfn)
    this.parts.machineToPhys.clear(mfn)
    this.parts.allocator.give(mfn)
  }

  private prepare(first: number, end: number): void {
    const { memory, frames, tlb } = this.parts
    tlb.flushSince(latest(frames.stamp, first, end))
    if (memory.clearFrames !== undefined) return memory.clearFrames(first, end)
    memory.words.fill(0, first * (PAGE_SIZE / 4), end * (PAGE_SIZE / 4))
    for (let mfn = first; mfn < end; mfn += 1) memory.markWritten(mfn)
  }

  private released(mfn: number): void {
    const { frames, allocator, machineToPhys, tlb } = this.parts
    const domain = this.parts.domainOf(frames.owner[mfn]!)
    const isShared = frames.hasFlag(mfn, FRAME_FLAG.SHARED)
    if (!isShared && frames.type[mfn] === FRAME_TYPE.WRITABLE) frames.rows.setType(mfn, FRAME_TYPE.NONE)
    frames.rows.setStamp(mfn, tlb.now())
    frames.clear(mfn)
    machineToPhys.clear(mfn)
    allocator.give(mfn)
    if (domain === undefined) return
    if (isShared) domain.sharedPages -= 1
    else domain.totalPages -= 1
    if (domain.dying && domain.totalPages + domain.sharedPages === 0) this.lastFrameGone(domain.id)
  }
}

/** The latest of the stamps from `first` to `end` - 1: who has flushed since then has done so since all of them. */
function latest(stamps: Readonly<Float64Array>, first: number, end: number): number {
  let time = 0
  for (let mfn = first; mfn < end; mfn += 1) if (stamps[mfn]! > time) time = stamps[mfn]!
  return time
}
