/**
 * hvm_op: what translated guests set and ask of themselves: parameters, the vectors of events, flushes, time.
 * Reference: public/hvm/hvm_op.h; xen/arch/x86/hvm/hvm.c, do_hvm_op.
 */
import {
  DOMID, ERRNO, HVMMEM, HVMOP, HVM_PARAM, XenHvmEvtchnUpcallVector, XenHvmGetMemType, XenHvmGetTime, XenHvmPagetableDying, XenHvmParam,
} from '../../../abi/index.ts'
import type { Domain, Vcpu } from '../../domains/domain.ts'
import type { HypercallArguments, HypercallHandler, HypercallRow } from '../../domains/hypercall.ts'
import type { DomainRegistry } from '../../domains/registry.ts'
import { PLACE } from '../../frames/physical-map.ts'
import { FULL, type Operation, type Operations, byFirstArgument, listed, partial, refuse, refused } from '../../domains/hypercall-rows.ts'
import { Scratch, readInto } from '../../memory/guest-access.ts'
import type { HostClock } from '../../time/host-clock.ts'
import type { GuestTime } from '../../time/index.ts'
import { WORK, type WorkMeter } from '../../time/work-meter.ts'
import { PvhDomain } from './pvh-domain.ts'
import { pvhOf } from './pvh-vcpu.ts'

/** What hvm_op works on. */
export interface HvmOpParts {
  readonly domains: DomainRegistry
  readonly clock: HostClock
  readonly guestTime?: GuestTime | undefined
  readonly meter: WorkMeter
  /** Lays what the caller's domain shares with the hypervisor out for the mode that the caller is in. */
  latch(caller: Vcpu): void
}

/** Vectors below are the processor's own. */
const FIRST_VECTOR = 16
/** Bytes of a trace record, and what it may carry beside its event. */
const TRACE = { bytes: 32, extra: 28 } as const

/** Makes the row of hvm_op. */
export function hvmOp(parts: HvmOpParts): HypercallRow {
  const rows = operations(parts, new Scratch(TRACE.bytes))
  return { name: 'hvm_op', handler: byFirstArgument(HVMOP, rows), source: 'public/hvm/hvm_op.h; do_hvm_op', operations: [listed('HVMOP_', HVMOP, rows)] }
}

function operations(parts: HvmOpParts, scratch: Scratch): Operations<typeof HVMOP, Operation> {
  const { view } = scratch
  /** An operation on the structure that the second argument points to. */
  const on = (size: number, run: HypercallHandler): Operation => ({
    support: FULL, run: (caller, args) => (readInto(caller.access, args.address(1), scratch, size) ? run(caller, args) : -ERRNO.EFAULT),
  })
  const noAccess = refused('ENOSYS', 'Xen has dropped it')
  return {
    set_param: on(XenHvmParam.size, (caller) => parameterOf(parts, caller, view, (domain, index, asker) => {
      const result = domain.parameters.set(index, XenHvmParam.value.get(view, 0), asker)
      // Drivers begin with it: the mode that they run in is that of what they share.
      if (result === 0 && index === HVM_PARAM.CALLBACK_IRQ && asker === 'guest') parts.latch(caller)
      return result
    })),
    get_param: on(XenHvmParam.size, (caller, args) => parameterOf(parts, caller, view, (domain, index, asker) => {
      const value = domain.parameters.get(index, asker)
      if (typeof value === 'number') return value
      XenHvmParam.value.set(view, 0, value)
      return answered(caller, args, scratch.bytes.subarray(0, XenHvmParam.size))
    })),
    flush_tlbs: { support: FULL, run: (caller, args) => flushAll(parts.meter, caller, args.address(1)) },
    // Page tables that give themselves up concern shadows of them only.
    pagetable_dying: on(XenHvmPagetableDying.size, (caller) =>
      (parts.domains.resolve(caller.owner, XenHvmPagetableDying.domid.get(view, 0)) === undefined ? -ERRNO.ESRCH : -ERRNO.EINVAL)),
    get_time: {
      support: FULL, run: (caller, args) => {
        const now = parts.clock.now()
        XenHvmGetTime.now.setNumber(view, 0, parts.guestTime?.shown(caller.domid, now) ?? now)
        return answered(caller, args, scratch.bytes.subarray(0, XenHvmGetTime.size))
      },
    },
    xentrace: { ...on(TRACE.bytes, () => (view.getUint16(2, true) > TRACE.extra ? -ERRNO.EINVAL : 0)), support: partial('nobody records what is traced') },
    set_mem_access: refuse(noAccess), get_mem_access: refuse(noAccess),
    get_mem_type: on(XenHvmGetMemType.size, (caller, args) => memoryType(parts, caller, { args, scratch })),
    set_evtchn_upcall_vector: on(XenHvmEvtchnUpcallVector.size, ({ owner }) => {
      const vector = XenHvmEvtchnUpcallVector.vector.get(view, 0)
      if (vector < FIRST_VECTOR || !(owner.guest instanceof PvhDomain)) return -ERRNO.EINVAL
      return owner.guest.setUpcallVector(XenHvmEvtchnUpcallVector.vcpu.get(view, 0), vector)
    }),
    guest_request_vm_event: { support: partial('nobody monitors guests'), run: (_caller, args) => (args.address(1) === 0 ? 0 : -ERRNO.EINVAL) },
    altp2m: refuse(refused('EOPNOTSUPP', 'there is one physical map, as on processors without such switches')),
  }
}

const answered = (caller: Vcpu, args: HypercallArguments, bytes: Uint8Array): number => (caller.access.write(args.address(1), bytes) ? 0 : -ERRNO.EFAULT)

/** The domain that a structure names, as far as the caller may act for it: negative error number otherwise. */
function translated({ domains }: HvmOpParts, caller: Vcpu, id: number): PvhDomain | number {
  const domain: Domain | undefined = domains.resolve(caller.owner, id)
  if (domain === undefined || id === DOMID.INVALID) return -ERRNO.ESRCH
  if (!domains.mayControl(caller.domid, domain.id, 'hvm_op')) return -ERRNO.EPERM
  return domain.guest instanceof PvhDomain ? domain.guest : -ERRNO.EINVAL
}

/** Something with a parameter of the domain that the structure names: its own, of which it may less than its tools. */
function parameterOf(
  parts: HvmOpParts, caller: Vcpu, view: DataView, run: (domain: PvhDomain, index: number, asker: 'guest' | 'tools') => number,
): number {
  const domain = translated(parts, caller, XenHvmParam.domid.get(view, 0))
  if (typeof domain === 'number') return domain
  return run(domain, XenHvmParam.index.get(view, 0), domain.id === caller.domid ? 'guest' : 'tools')
}

/** All vCPUs of the caller's domain forget their translations. */
function flushAll(meter: WorkMeter, caller: Vcpu, address: number): number {
  if (address !== 0) return -ERRNO.EINVAL
  for (const vcpu of caller.owner.vcpus) {
    pvhOf(vcpu)?.processor.flushTlb()
    meter.charge(WORK.flush)
  }
  return 0
}

function memoryType(parts: HvmOpParts, caller: Vcpu, { args, scratch }: { readonly args: HypercallArguments; readonly scratch: Scratch }): number {
  const { view } = scratch
  const domain = translated(parts, caller, XenHvmGetMemType.domid.get(view, 0))
  if (typeof domain === 'number') return domain
  const kind = domain.physmap.kind(XenHvmGetMemType.pfn.number(view, 0))
  const type = kind === PLACE.NONE ? HVMMEM.mmio_dm : kind === PLACE.GRANTED_READONLY ? HVMMEM.ram_ro : HVMMEM.ram_rw
  XenHvmGetMemType.memType.set(view, 0, type)
  return answered(caller, args, scratch.bytes.subarray(0, XenHvmGetMemType.size))
}
