/**
 * What a domain owns and may own: growing and shrinking its reservation, one extent at a time, whoever asks for it: a
 * toolstack, memory_op, or a guest in TypeScript. Nothing throws; a refused operation has changed nothing.
 * Reference: xen/common/memory.c, populate_physmap, decrease_reservation; xen/common/domctl.c, XEN_DOMCTL_max_mem.
 */
import { ERRNO } from '../../../abi/index.ts'
import type { EventHub, Mfn } from '../../../util/index.ts'
import type { Domain } from '../../domains/domain.ts'
import type { PhysicalMap } from '../../frames/physical-map.ts'
import type { HypervisorEvent } from '../../hypervisor-events.ts'

/** What reservations work on. */
export interface ReservationParts {
  readonly domainMemory: {
    /** Frames that the host has free. */
    readonly free: number
    /** Those that a domain could be given. */
    freeFor(domain: Domain): number
    keepAside(domain: Domain, pages: number): void
    /** Gives 2^order zeroed frames in a row; the first, or -1. */
    allocateRun(domain: Domain, order: number): number
    /** Gives up to `most` zeroed frames, and tells of them in their order, neighbours together: how many. */
    allocateSingles(domain: Domain, most: number, given: (first: number, end: number) => void): number
    /** Takes a frame back; false when it is not the domain's to give. */
    release(mfn: number, domid: number): boolean
  }
  readonly machineToPhys: {
    /** Gives the frames from `first` to `end` - 1 numbers that follow each other. */
    setRun(first: number, end: number, pfn: number): void
  }
  /** Who hears that a reservation has changed. */
  readonly hub: Pick<EventHub<HypervisorEvent>, 'wants' | 'emit'>
}

/** Frames to be given to a domain. */
export interface Population {
  readonly count: number
  /** Pseudo-physical number of the first frame; those of the others follow. Absent: they get none. */
  readonly firstPfn?: number | undefined
}

/** Changes what domains own. */
export class Reservation {
  private readonly parts: ReservationParts

  constructor(parts: ReservationParts) {
    this.parts = parts
  }

  /** Limits what a domain may own; what it has above a lowered limit stays. 0, or -EINVAL for what is no number of pages. */
  setMaximum(domain: Domain, pages: number): number {
    if (!Number.isInteger(pages) || pages < 0) return -ERRNO.EINVAL
    domain.maxPages = pages
    return 0
  }

  /**
   * XENMEM_claim_pages: keeps frames aside until the domain has `pages`; 0 gives up what is left of a claim. 0; -EINVAL for a second
   * claim, for what it has already and for what it may not have; -ENOMEM.
   */
  claim(domain: Domain, pages: number): number {
    const { domainMemory } = this.parts
    if (!Number.isInteger(pages) || pages < 0) return -ERRNO.EINVAL
    if (pages === 0) {
      domainMemory.keepAside(domain, 0)
      return 0
    }
    const more = pages - domain.totalPages
    if (domain.dying || domain.outstandingPages > 0 || more <= 0 || pages > domain.maxPages) return -ERRNO.EINVAL
    if (more > domainMemory.freeFor(domain)) return -ERRNO.ENOMEM
    domainMemory.keepAside(domain, more)
    return 0
  }

  /** Pages that a domain could be given now. */
  room(domain: Domain): number {
    if (domain.dying) return 0
    return Math.max(0, Math.min(domain.maxPages - domain.totalPages, this.parts.domainMemory.freeFor(domain)))
  }

  /**
   * Gives a domain an extent of 2^order frames, which get pseudo-physical numbers from `pfn` on where it is not -1, and lie
   * there in a translated domain: the first frame, -ENOMEM, or -EINVAL where none can lie. `changed` is to be called when all extents are done.
   */
  increase(domain: Domain, order: number, pfn: number): number {
    const physmap = domain.guest?.physmap
    const count = 1 << order
    if (physmap !== undefined && pfn !== -1 && !mayPlace(physmap, pfn, count)) return -ERRNO.EINVAL
    const first = this.parts.domainMemory.allocateRun(domain, order)
    if (first < 0) return -ERRNO.ENOMEM
    if (pfn !== -1) this.number(domain, { first, end: first + count }, pfn)
    return first
  }

  /** Gives frames pseudo-physical numbers from `pfn` on; in a translated domain they lie there: false where one cannot. */
  private number(domain: Domain, { first, end }: { readonly first: number; readonly end: number }, pfn: number): boolean {
    const physmap = domain.guest?.physmap
    if (physmap === undefined) {
      this.parts.machineToPhys.setRun(first, end, pfn)
      return true
    }
    for (let mfn = first; mfn < end; mfn += 1) if (physmap.place(pfn + mfn - first, mfn) < 0) return false
    return true
  }

  /**
   * Takes back an extent of 2^order frames by the guest's numbers: 0, or -ENXIO when one of them is not the domain's to give;
   * those before it are gone all the same, as in Xen. Where frames come on demand, none will come there, or those given come elsewhere.
   */
  decrease(domain: Domain, first: number, order: number): number {
    const { guest } = domain
    for (let number = first; number < first + 2 ** order; number += 1) {
      if (guest?.giveBack(number) !== true && !this.release(domain, domain.frameOf(number))) return -ERRNO.ENXIO
    }
    return 0
  }

  /** Takes one frame back, out of its place too. */
  private release(domain: Domain, mfn: number): boolean {
    const physmap = domain.guest?.physmap
    const place = physmap?.placeOf(mfn) ?? -1
    if (!this.parts.domainMemory.release(mfn, domain.id)) return false
    if (place >= 0) physmap?.remove(place)
    return true
  }

  /** Tells that a domain's reservation has changed: once for all extents of a call. */
  changed(domain: Domain): void {
    const { hub } = this.parts
    if (hub.wants('reservation')) hub.emit({ type: 'reservation', domid: domain.id, pages: domain.totalPages })
  }

  /** Gives a domain all of these frames, which `frames` then names in order, or none: how many, -ENOMEM, or -EINVAL where they cannot lie. */
  populate(domain: Domain, { count, firstPfn }: Population, frames: Mfn[]): number {
    if (!Number.isInteger(count) || count < 0 || count > this.room(domain) || domain.dying) return -ERRNO.ENOMEM
    const physmap = domain.guest?.physmap
    if (physmap !== undefined && firstPfn !== undefined && !mayPlace(physmap, firstPfn, count)) return -ERRNO.EINVAL
    const before = frames.length
    let lies = true
    const given = this.parts.domainMemory.allocateSingles(domain, count, (first, end) => {
      if (firstPfn !== undefined) lies &&= this.number(domain, { first, end }, firstPfn + frames.length - before)
      addRun(frames, first, end)
    })
    if (given < count || !lies) {
      for (const mfn of frames.splice(before)) this.release(domain, mfn)
      return lies ? -ERRNO.ENOMEM : -ERRNO.EINVAL
    }
    this.changed(domain)
    return count
  }

  /** Gives a domain up to so many single frames, without pseudo-physical numbers, and names them: how many. */
  grow(domain: Domain, count: number, frames: Mfn[]): number {
    this.parts.domainMemory.allocateSingles(domain, count, (first, end) => addRun(frames, first, end))
    if (frames.length > 0) this.changed(domain)
    return frames.length
  }

  /** Takes single frames back, up to the first that is not the domain's to give: how many. */
  shrink(domain: Domain, frames: readonly number[]): number {
    let done = 0
    while (done < frames.length && this.release(domain, frames[done]!)) done += 1
    if (done > 0) this.changed(domain)
    return done
  }
}

/** Names the frames from `first` to `end` - 1. hot path: it is compiled once, other than a function that is made for each call. */
function addRun(frames: Mfn[], first: number, end: number): void {
  for (let mfn = first; mfn < end; mfn += 1) frames.push(mfn as Mfn)
}

/** Whether frames can lie at so many numbers: not where others' do. */
function mayPlace(physmap: PhysicalMap, first: number, count: number): boolean {
  for (let gfn = first; gfn < first + count; gfn += 1) if (!physmap.mayPlace(gfn)) return false
  return true
}
