/**
 * XENMEM_acquire_resource: frames that the hypervisor keeps for a domain, for its tools to map: those of its grant table.
 * Reference: public/memory.h, struct xen_mem_acquire_resource; xen/common/memory.c, acquire_resource; xen/common/grant_table.c,
 * gnttab_acquire_resource, gnttab_resource_max_frames.
 */
import { DOMID, ERRNO, type GuestAbi, XENMEM_RESOURCE, XenMemAcquireResource } from '../../abi/index.ts'
import { signedFromParts } from '../../util/index.ts'
import type { HypercallArguments } from '../domains/hypercall.ts'
import type { Domain, Vcpu } from '../domains/domain.ts'
import type { DomainRegistry } from '../domains/registry.ts'
import type { GrantTables } from '../grants/index.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import { CALL_AGAIN, WORK, type WorkMeter } from '../time/work-meter.ts'

/** What resources are read from. */
export interface ResourceParts {
  readonly domains: DomainRegistry
  readonly meter: WorkMeter
  readonly grants: GrantTables<Vcpu>
}

/** Where the command counts the frames that are done. */
const EXTENT_SHIFT = 64
/** Kinds of frames of a grant table, by the structure's number. */
const KINDS = ['shared', 'status'] as const

/** Tells frames of resources; structures are at guest addresses of the caller's. */
export class Resources {
  private readonly parts: ResourceParts
  private readonly abi: GuestAbi
  private readonly scratch = new Scratch(XenMemAcquireResource.size)

  constructor(parts: ResourceParts, abi: GuestAbi) {
    this.parts = parts
    this.abi = abi
  }

  /** Writes the machine frames of a resource into the caller's list, or how many there may be. */
  acquire(caller: Vcpu, args: HypercallArguments): number {
    const start = Math.floor(args.number(0) / EXTENT_SHIFT)
    const layout = this.abi.of(XenMemAcquireResource)
    const { view } = this.scratch
    const address = args.address(1)
    if (!readInto(caller.access, address, this.scratch, layout.size)) return -ERRNO.EFAULT
    const count = layout.nrFrames.get(view, 0)
    const first = layout.frame.number(view, 0)
    if (layout.pad.get(view, 0) !== 0 || first + count >= 2 ** 32) return -ERRNO.EINVAL
    const domain = this.target(caller, layout.domid.get(view, 0))
    if (typeof domain === 'number') return domain
    const kind = layout.type.get(view, 0) === XENMEM_RESOURCE.grant_table ? KINDS[layout.id.get(view, 0)] : undefined
    const limit = kind === undefined ? 0 : this.parts.grants.resourceLimit(domain.id, kind)
    if (kind === undefined || limit === 0) return -ERRNO.EINVAL
    const list = signedFromParts(layout.frameList.low(view, 0), layout.frameList.high(view, 0))
    if (list === 0) {
      if (count !== 0 || start !== 0) return -ERRNO.EINVAL
      layout.nrFrames.set(view, 0, limit)
      return caller.access.write(address, this.scratch.bytes.subarray(0, layout.size)) ? 0 : -ERRNO.EFAULT
    }
    if (start >= count || first + count > limit) return -ERRNO.EINVAL
    return this.tell(caller, args, { domain, kind, first, count, start, list })
  }

  private tell(caller: Vcpu, args: HypercallArguments, what: Listing): number {
    const { meter, grants } = this.parts
    const { word } = this.abi
    for (let i = what.start; i < what.count; i += 1) {
      const mfn = grants.resourceFrame(what.domain.id, what.kind, what.first + i)
      if (mfn < 0) return mfn
      word.setNumber(this.scratch.view, 0, mfn)
      if (!caller.access.write(what.list + i * word.size, this.scratch.bytes.subarray(0, word.size))) return -ERRNO.EFAULT
      meter.charge(WORK.element)
      if (!meter.isSpent || i + 1 === what.count) continue
      args.set(0, args.number(0) % EXTENT_SHIFT + (i + 1) * EXTENT_SHIFT)
      return CALL_AGAIN
    }
    return 0
  }

  /** Another domain than the caller's, which it has power over. */
  private target(caller: Vcpu, id: number): Domain | number {
    const { domains } = this.parts
    if (id === DOMID.SELF || id === caller.domid) return -ERRNO.EPERM
    const domain = domains.get(id)
    if (domain === undefined) return -ERRNO.ESRCH
    return domains.mayControl(caller.domid, id, 'memory_op.acquire_resource') ? domain : -ERRNO.EPERM
  }
}

/** Frames to be told. */
interface Listing {
  readonly domain: Domain
  readonly kind: (typeof KINDS)[number]
  readonly first: number
  readonly count: number
  /** Those that are told already. */
  readonly start: number
  readonly list: number
}
