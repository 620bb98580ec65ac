/**
 * Frames that come when they are first asked for, for domains that may have more places than frames: places without a frame,
 * and a store of frames of the domain's own that have no place yet. A guest gives places back by its balloon before it uses
 * them all; one that does not runs out, and ends.
 * Reference: xen/arch/x86/mm/p2m-pod.c, p2m_pod_set_mem_target, p2m_pod_demand_populate, p2m_pod_decrease_reservation.
 */
import { ERRNO } from '../../../abi/index.ts'
import { type StateOf, type Stateful, shape } from '../../../util/index.ts'
import { PAGE_SIZE } from '../../../x86/index.ts'
import type { Domain } from '../../domains/domain.ts'
import type { DomainMemory } from '../../frames/domain-memory.ts'
import { PLACE, type PhysicalMap } from '../../frames/physical-map.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'

/** What it works on. */
export interface OnDemandParts {
  readonly memory: GuestMemory
  readonly domainMemory: DomainMemory
  /** The domain that they belong to, once it is made. */
  domain(): Domain
  /** There is no frame left for a place that is asked for. */
  exhausted(gfn: number): void
}

/** What saved frames without a place look like. */
export const onDemandShape = /* @__PURE__ */ shape.list(shape.word, 2 ** 20)

/** Frames without a place of one domain. */
export class OnDemand implements Stateful<StateOf<typeof onDemandShape>> {
  private readonly physmap: PhysicalMap
  private readonly parts: OnDemandParts
  /** Zeroed frames of the domain's own. */
  private readonly store: number[] = []

  constructor(physmap: PhysicalMap, parts: OnDemandParts) {
    this.physmap = physmap
    this.parts = parts
  }

  /** Frames in store. */
  get stored(): number {
    return this.store.length
  }

  /** Has frames come at so many places: 0, -EINVAL, or -EBUSY where something is, with nothing changed. */
  place(first: number, count: number): number {
    for (let gfn = first; gfn < first + count; gfn += 1) {
      if (!this.physmap.isPlace(gfn)) return -ERRNO.EINVAL
      if (this.physmap.kind(gfn) !== 0) return -ERRNO.EBUSY
    }
    for (let gfn = first; gfn < first + count; gfn += 1) this.physmap.placeOnDemand(gfn)
    return 0
  }

  /**
   * Has the domain own so many frames: the store is filled or emptied. Once the guest runs, the store grows no larger than
   * what is still to come, and does not shrink below what the guest has not given back. 0, or -ENOMEM.
   */
  setTarget(pages: number): number {
    const domain = this.parts.domain()
    const populated = domain.totalPages - this.store.length
    if (populated > 0 && this.physmap.onDemand === 0) return 0
    if (domain.dying || pages < domain.totalPages) return 0
    const wanted = populated > 0 ? Math.min(pages - populated, this.physmap.onDemand) : pages - populated
    while (this.store.length < wanted) {
      const mfn = this.parts.domainMemory.allocate(domain)
      if (mfn < 0) return -ERRNO.ENOMEM
      this.store.push(mfn)
    }
    return 0
  }

  /** Puts a frame at a place that waits for one; false when there is none, and the domain has ended of it. */
  fill(gfn: number): boolean {
    const mfn = this.store.pop() ?? this.reclaim()
    if (mfn < 0) {
      this.parts.exhausted(gfn)
      return false
    }
    this.physmap.place(gfn, mfn)
    return true
  }

  /**
   * Takes what the guest gives back at a place: one that waits for a frame waits no more, and a frame goes to the store, zeroed,
   * while more places wait than there are frames in it. False for a frame that is to go to the host.
   */
  take(gfn: number): boolean {
    const { physmap, store } = this
    if (physmap.kind(gfn) === PLACE.ON_DEMAND) {
      physmap.remove(gfn)
      return true
    }
    const { memory, domainMemory } = this.parts
    const mfn = physmap.frame(gfn)
    if (store.length >= physmap.onDemand || !domainMemory.isPlain(mfn, this.parts.domain())) return false
    physmap.remove(gfn)
    memory.words.fill(0, mfn * WORDS, (mfn + 1) * WORDS)
    memory.markWritten(mfn)
    store.push(mfn)
    return true
  }

  /** A frame that the guest holds only zeros in goes back, and its place waits for one again. */
  private reclaim(): number {
    const { memory, domainMemory } = this.parts
    const domain = this.parts.domain()
    for (const { gfn, mfn, kind } of this.physmap.places()) {
      if (kind !== PLACE.OWN || !domainMemory.isPlain(mfn, domain) || !isZero(memory, mfn)) continue
      this.physmap.remove(gfn)
      this.physmap.placeOnDemand(gfn)
      return mfn
    }
    return -1
  }

  save(): StateOf<typeof onDemandShape> {
    return [...this.store]
  }

  load(state: StateOf<typeof onDemandShape>): void {
    this.store.splice(0, this.store.length, ...state)
  }
}

const WORDS = PAGE_SIZE / 4

function isZero({ words }: GuestMemory, mfn: number): boolean {
  for (let at = mfn * WORDS; at < (mfn + 1) * WORDS; at += 1) if (words[at] !== 0) return false
  return true
}
