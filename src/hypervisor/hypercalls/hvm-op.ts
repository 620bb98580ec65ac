/**
 * hvm_op as callers have it that are no translated guests themselves: what their tools set of such guests and ask of them. What the
 * guests ask of themselves is their kind's.
 * Reference: public/hvm/hvm_op.h; xen/arch/x86/hvm/hvm.c, do_hvm_op, hvmop_set_param, hvmop_get_param, hvmop_get_mem_type.
 */
import { ERRNO, HVMMEM, HVMOP, HVM_NR_PARAMS, XenHvmGetMemType, XenHvmGetTime, XenHvmPagetableDying, XenHvmParam } from '../../abi/index.ts'
import type { GuestDomain } from '../domains/guest-domain.ts'
import type { HypercallHandler, HypercallRow } from '../domains/hypercall.ts'
import type { Vcpu } from '../domains/domain.ts'
import type { DomainRegistry } from '../domains/registry.ts'
import { PLACE } from '../frames/physical-map.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import type { HostClock } from '../time/host-clock.ts'
import { FULL, type Operation, type Operations, byFirstArgument, listed, partial, refuse, refused } from '../domains/hypercall-rows.ts'

/** What hvm_op works on. */
export interface HvmToolParts {
  readonly domains: DomainRegistry
  readonly clock: HostClock
}

/** The half of the translated domain that a structure names: -ESRCH, -EINVAL for another one, -EPERM. */
function translated({ domains }: HvmToolParts, caller: Vcpu, id: number): GuestDomain | number {
  const domain = domains.resolve(caller.owner, id)
  if (domain === undefined) return -ERRNO.ESRCH
  if (domain.guest === undefined) return -ERRNO.EINVAL
  return domains.mayControl(caller.domid, domain.id, 'hvm_op') ? domain.guest : -ERRNO.EPERM
}

function operations(parts: HvmToolParts, scratch: Scratch): Operations<typeof HVMOP, Operation> {
  const { view, bytes } = scratch
  const on = (size: number, run: HypercallHandler): Operation => ({
    support: FULL, run: (caller, args) => (readInto(caller.access, args.address(1), scratch, size) ? run(caller, args) : -ERRNO.EFAULT),
  })
  const own = refuse(refused('EINVAL', 'it is for translated guests'))
  const dropped = refuse(refused('ENOSYS', 'Xen has dropped it'))
  /** Something with a parameter of a translated domain. */
  const parameter = (run: (guest: GuestDomain, index: number) => number, isTold: boolean): Operation => on(XenHvmParam.size, (caller, args) => {
    const index = XenHvmParam.index.get(view, 0)
    if (index >= HVM_NR_PARAMS) return -ERRNO.EINVAL
    const guest = translated(parts, caller, XenHvmParam.domid.get(view, 0))
    const result = typeof guest === 'number' ? guest : run(guest, index)
    return result < 0 || !isTold || caller.access.write(args.address(1), bytes.subarray(0, XenHvmParam.size)) ? result : -ERRNO.EFAULT
  })
  return {
    set_param: parameter((guest, index) => guest.setParameter(index, XenHvmParam.value.get(view, 0)), false),
    get_param: parameter((guest, index) => {
      const value = guest.parameter(index)
      if (typeof value === 'number') return value
      XenHvmParam.value.set(view, 0, value)
      return 0
    }, true),
    get_mem_type: on(XenHvmGetMemType.size, (caller, args) => {
      const guest = translated(parts, caller, XenHvmGetMemType.domid.get(view, 0))
      if (typeof guest === 'number') return guest
      const kind = guest.physmap.kind(XenHvmGetMemType.pfn.number(view, 0))
      XenHvmGetMemType.memType.set(view, 0, kind === PLACE.NONE ? HVMMEM.mmio_dm : kind === PLACE.GRANTED_READONLY ? HVMMEM.ram_ro : HVMMEM.ram_rw)
      return caller.access.write(args.address(1), bytes.subarray(0, XenHvmGetMemType.size)) ? 0 : -ERRNO.EFAULT
    }),
    get_time: {
      support: FULL, run: (caller, args) => {
        XenHvmGetTime.now.setNumber(view, 0, Math.floor(parts.clock.now()))
        return caller.access.write(args.address(1), bytes.subarray(0, XenHvmGetTime.size)) ? 0 : -ERRNO.EFAULT
      },
    },
    pagetable_dying: on(XenHvmPagetableDying.size, ({ owner }) => {
      const domain = parts.domains.resolve(owner, XenHvmPagetableDying.domid.get(view, 0))
      if (domain === undefined) return -ERRNO.ESRCH
      return domain === owner ? -ERRNO.EINVAL : -ERRNO.EOPNOTSUPP
    }),
    xentrace: { support: partial('nobody records what is traced'), run: () => 0 },
    guest_request_vm_event: { support: partial('nobody monitors guests'), run: (_caller, args) => (args.address(1) === 0 ? 0 : -ERRNO.EINVAL) },
    altp2m: refuse(refused('EOPNOTSUPP', 'there is one physical map, as on processors without such switches')),
    set_evtchn_upcall_vector: own, flush_tlbs: own, set_mem_access: dropped, get_mem_access: dropped,
  }
}

/** Makes the row of hvm_op. */
export function hvmToolOp(parts: HvmToolParts): HypercallRow {
  const rows = operations(parts, new Scratch(32))
  return { name: 'hvm_op', handler: byFirstArgument(HVMOP, rows), source: 'public/hvm/hvm_op.h; do_hvm_op', operations: [listed('HVMOP_', HVMOP, rows)] }
}
