/**
 * Operations of memory_op on physical maps: what translated guests, or their tools, place in them and take out of them.
 * Reference: xen/common/memory.c, do_memory_op, xenmem_add_to_physmap; xen/arch/x86/mm/p2m.c, xenmem_add_to_physmap_one.
 */
import { ERRNO, type GuestAbi, XENMAPSPACE, XENMEM, XenAddToPhysmap, XenAddToPhysmapBatch, XenPodTarget, XenRemoveFromPhysmap } from '../../abi/index.ts'
import { signedFromParts } from '../../util/index.ts'
import type { Reservation } from '../control/core/reservation.ts'
import type { Domain, Vcpu } from '../domains/domain.ts'
import type { HypercallArguments } from '../domains/hypercall.ts'
import type { DomainRegistry } from '../domains/registry.ts'
import { FRAME_FLAG, type FrameTable } from '../frames/frame-table.ts'
import { PLACE } from '../frames/physical-map.ts'
import type { GrantTables } from '../grants/index.ts'
import { FULL, type Operation, type Operations, partial } from '../domains/hypercall-rows.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import { CALL_AGAIN, WORK, type WorkMeter } from '../time/work-meter.ts'

/** What these operations work on. */
export interface PhysmapOpParts {
  readonly domains: DomainRegistry
  readonly frames: FrameTable
  readonly grants: GrantTables<Vcpu>
  readonly reservation: Reservation
  readonly meter: WorkMeter
}

/** Where the command counts what is done. */
const EXTENT_SHIFT = 64

/** What is to be placed: the frame by its space and number there, and where. */
interface Placement {
  readonly space: number
  readonly index: number
  readonly gfn: number
}

/** The rows of these operations; of a domain without a physical map what it owns can be asked to go, and nothing else. */
export function physmapOperations(parts: PhysmapOpParts, abi: GuestAbi): Pick<Operations<typeof XENMEM, Operation>, 'add_to_physmap' | 'add_to_physmap_batch' | 'remove_from_physmap' | 'set_pod_target' | 'get_pod_target'> {
  const operations = new PhysmapOperations(parts, abi)
  const foreign = partial('frames of other domains are for a translated hardware domain only, which there is not')
  const target = partial('how many of the frames in store there are is told as 0')
  return {
    add_to_physmap: { support: FULL, run: (caller, args) => operations.add(caller, args) },
    add_to_physmap_batch: { support: foreign, run: (caller, args) => operations.addBatch(caller, args) },
    remove_from_physmap: { support: FULL, run: (caller, args) => operations.remove(caller, args.address(1)) },
    set_pod_target: { support: target, run: (caller, args) => operations.target(caller, args.address(1), 'set') },
    get_pod_target: { support: target, run: (caller, args) => operations.target(caller, args.address(1), 'get') },
  }
}

class PhysmapOperations {
  private readonly parts: PhysmapOpParts
  private readonly abi: GuestAbi
  private readonly scratch = new Scratch(XenPodTarget.size)
  private readonly entry = new Scratch(8)

  constructor(parts: PhysmapOpParts, abi: GuestAbi) {
    this.parts = parts
    this.abi = abi
  }

  add(caller: Vcpu, args: HypercallArguments): number {
    const { view } = this.scratch
    const at = this.abi.of(XenAddToPhysmap)
    if (!readInto(caller.access, args.address(1), this.scratch, at.size)) return -ERRNO.EFAULT
    const space = at.space.get(view, 0)
    if (space === XENMAPSPACE.gmfn_foreign) return -ERRNO.ENOSYS
    const domain = this.subject(caller, at.domid.get(view, 0))
    if (typeof domain === 'number') return domain
    const placement = { space, index: at.idx.number(view, 0), gfn: at.gpfn.number(view, 0) }
    if (space !== XENMAPSPACE.gmfn_range) return this.place(domain, placement)
    return this.addRange(domain, { ...placement, count: at.count.get(view, 0) }, args)
  }

  /** A row of frames; goes on later when it takes long. */
  private addRange(domain: Domain, { index, gfn, count }: Placement & { readonly count: number }, args: HypercallArguments): number {
    for (let done = Math.floor(args.number(0) / EXTENT_SHIFT); done < count; done += 1) {
      if (this.parts.meter.isSpent) {
        args.set(0, XENMEM.add_to_physmap + done * EXTENT_SHIFT)
        return CALL_AGAIN
      }
      const error = this.place(domain, { space: XENMAPSPACE.gmfn, index: index + done, gfn: gfn + done })
      if (error < 0) return error
    }
    return 0
  }

  addBatch(caller: Vcpu, args: HypercallArguments): number {
    const { view } = this.scratch
    const at = this.abi.of(XenAddToPhysmapBatch)
    if (!readInto(caller.access, args.address(1), this.scratch, at.size)) return -ERRNO.EFAULT
    const space = at.space.get(view, 0)
    if (space === XENMAPSPACE.gmfn_range) return -ERRNO.EOPNOTSUPP
    const domain = this.subject(caller, at.domid.get(view, 0))
    if (typeof domain === 'number') return domain
    const count = at.count.get(view, 0)
    const [indexes, gfns, errors] = [at.idxs, at.gpfns, at.errs].map((field) => signedFromParts(field.low(view, 0), field.high(view, 0))) as [number, number, number]
    for (let done = Math.floor(args.number(0) / EXTENT_SHIFT); done < count; done += 1) {
      if (this.parts.meter.isSpent) {
        args.set(0, XENMEM.add_to_physmap_batch + done * EXTENT_SHIFT)
        return CALL_AGAIN
      }
      const index = this.number(caller, indexes + done * this.abi.word.size)
      const gfn = this.number(caller, gfns + done * this.abi.word.size)
      if (index < 0 || gfn < 0) return -ERRNO.EFAULT
      this.entry.view.setInt32(0, this.place(domain, { space, index, gfn }), true)
      if (!caller.access.write(errors + done * 4, this.entry.bytes.subarray(0, 4))) return -ERRNO.EFAULT
    }
    return 0
  }

  /** A frame of the domain's own loses its place, and stays the domain's. */
  remove(caller: Vcpu, address: number): number {
    const { view } = this.scratch
    const at = this.abi.of(XenRemoveFromPhysmap)
    if (!readInto(caller.access, address, this.scratch, at.size)) return -ERRNO.EFAULT
    const { domains, frames } = this.parts
    const domain = domains.resolve(caller.owner, at.domid.get(view, 0))
    if (domain === undefined) return -ERRNO.ESRCH
    if (!domains.mayControl(caller.domid, domain.id, 'memory_op.remove_from_physmap')) return -ERRNO.EPERM
    const gfn = at.gpfn.number(view, 0)
    // A PV guest's physical map is its own: there is nothing to take away but the proof that the frame is its own.
    if (domain.guest === undefined) return frames.isValid(gfn) && frames.owner[gfn] === domain.id ? 0 : -ERRNO.ENOENT
    if (domain.frameOf(gfn) < 0) return -ERRNO.ENOENT
    domain.guest.physmap.remove(gfn)
    this.parts.meter.charge(WORK.flush)
    return 0
  }

  /** How many frames a domain is to have, those that come on demand among them: set, and told. */
  target(caller: Vcpu, address: number, way: 'set' | 'get'): number {
    const { view, bytes } = this.scratch
    const at = this.abi.of(XenPodTarget)
    const { domains } = this.parts
    if (!readInto(caller.access, address, this.scratch, at.size)) return -ERRNO.EFAULT
    const domain = domains.resolve(caller.owner, at.domid.get(view, 0))
    if (domain === undefined) return -ERRNO.ESRCH
    if (domain.guest === undefined) return -ERRNO.EINVAL
    if (!domains.mayDo(caller.domid, `memory_op.${way}_pod_target`, domain.id)) return -ERRNO.EPERM
    const wanted = at.targetPages.number(view, 0)
    const result = way === 'get' ? 0 : wanted > domain.maxPages ? -ERRNO.EINVAL : domain.guest.setOnDemandTarget(wanted)
    if (result < 0) return result
    at.totPages.setNumber(view, 0, domain.totalPages)
    at.podCachePages.setNumber(view, 0, 0)
    at.podEntries.setNumber(view, 0, domain.guest.physmap.onDemandPlaces().length)
    return caller.access.write(address, bytes.subarray(0, at.size)) ? 0 : -ERRNO.EFAULT
  }

  /** A number of a list, or -1 where it cannot be read. */
  private number(caller: Vcpu, address: number): number {
    const { word } = this.abi
    return readInto(caller.access, address, this.entry, word.size) ? word.number(this.entry.view, 0) : -1
  }

  private subject(caller: Vcpu, id: number): Domain | number {
    const domain = this.parts.domains.resolve(caller.owner, id)
    if (domain === undefined) return -ERRNO.ESRCH
    if (!this.parts.domains.mayControl(caller.domid, domain.id, 'memory_op.add_to_physmap')) return -ERRNO.EPERM
    return domain.guest === undefined ? -ERRNO.EACCES : domain
  }

  /** Places one frame: what lay there is given back, unless the hypervisor shares it with the domain. */
  private place(domain: Domain, placement: Placement): number {
    const { gfn, index, space } = placement
    const { physmap } = domain.guest!
    this.parts.meter.charge(WORK.flush)
    if (space === XENMAPSPACE.gmfn_foreign) return -ERRNO.EPERM
    const mfn = this.frameOf(domain, placement)
    if (mfn < 0 || !physmap.isPlace(gfn)) return -ERRNO.EINVAL
    if (space === XENMAPSPACE.gmfn && index === gfn) return 0
    const kind = physmap.kind(gfn)
    if (kind === PLACE.OWN && !this.parts.frames.hasFlag(physmap.present(gfn), FRAME_FLAG.SHARED)) {
      const error = this.parts.reservation.decrease(domain, gfn, 0)
      if (error < 0) return error
      this.parts.reservation.changed(domain)
    } else if (kind !== PLACE.NONE && kind !== PLACE.OWN && kind !== PLACE.ON_DEMAND) return -ERRNO.ENXIO
    return physmap.place(gfn, mfn)
  }

  private frameOf(domain: Domain, { space, index }: Placement): number {
    switch (space) {
      case XENMAPSPACE.shared_info: return index === 0 ? domain.sharedInfoFrame : -1
      case XENMAPSPACE.grant_table: return this.parts.grants.frameToPlace(domain.id, index)
      case XENMAPSPACE.gmfn: return domain.frameOf(index)
      default: return -1
    }
  }
}
