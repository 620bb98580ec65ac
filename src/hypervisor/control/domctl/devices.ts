/**
 * Operations of domctl on devices: who may have which, on a host that has a calendar clock, and none else beside those that the hypervisor itself
 * makes; and those that Xen refuses where it is built as Debian builds it.
 * Reference: xen/common/domctl.c; xen/arch/x86/domctl.c; xen/drivers/passthrough/iommu.c; xen/arch/x86/psr.c.
 */
import {
  DomctlIomemPermission, DomctlIoportPermission, DomctlIrqPermission, DomctlMemoryMapping, DomctlSetTarget, DomctlSetVirqHandler, ERRNO,
} from '../../../abi/index.ts'
import { clockPortsIn } from '../../devices/machine-ports.ts'
import { partial, refused } from '../../domains/hypercall-rows.ts'
import { refusing, silent } from '../binary/control-call.ts'
import { DOMCTL_ARGUMENT, type DomctlCall, type DomctlParts } from './domctl-call.ts'

/** Ports, and interrupts of a domain's that may be named (nr_pirqs). */
const [PORTS, INTERRUPTS] = [0x1_0000, 256] as const
/** Frames below 2^52 bytes. */
const MOST_FRAMES = 2 ** 40

/** A range that does not wrap: 0, or -EINVAL. */
const isRange = (first: number, count: number, end: number): number => (count >= 1 && first + count <= end ? 0 : -ERRNO.EINVAL)

function permissions() {
  const noDevices = partial('no device is there to be reached: the permission is taken, and nothing follows from it')
  return {
    ioport_permission: silent(({ domain, view }: DomctlCall) => {
      const { firstPort, nrPorts, allowAccess } = DomctlIoportPermission.decode(view, DOMCTL_ARGUMENT)
      const result = isRange(firstPort, nrPorts, PORTS)
      const ports = result === 0 ? clockPortsIn(firstPort, nrPorts) : 0
      domain.tools.clockPorts = allowAccess === 0 ? domain.tools.clockPorts & ~ports : domain.tools.clockPorts | ports
      return result
    }, partial('the calendar clock (0x70, 0x71) is all that a permission gives; no other port has a device to be reached by one')),
    iomem_permission: silent(({ view }: DomctlCall) => {
      const { firstMfn, nrMfns } = DomctlIomemPermission
      return isRange(firstMfn.number(view, DOMCTL_ARGUMENT), nrMfns.number(view, DOMCTL_ARGUMENT), MOST_FRAMES * 4096)
    }, noDevices),
    irq_permission: silent(({ view }: DomctlCall) =>
      (DomctlIrqPermission.pirq.get(view, DOMCTL_ARGUMENT) >= INTERRUPTS ? -ERRNO.EINVAL : -ERRNO.EPERM), partial('no interrupt is bound: EPERM for each that may be named')),
    memory_mapping: silent(({ domain, view }: DomctlCall) => {
      const { firstGfn, firstMfn, nrMfns } = DomctlMemoryMapping
      const count = nrMfns.number(view, DOMCTL_ARGUMENT)
      const result = isRange(firstMfn.number(view, DOMCTL_ARGUMENT), count, MOST_FRAMES) || isRange(firstGfn.number(view, DOMCTL_ARGUMENT), count, 2 ** 64)
      return result < 0 || domain.guest === undefined ? result : -ERRNO.EPERM
    }, partial('no frame is a device\'s: EPERM for a translated domain')),
  }
}

/** Operations about what a host of this library, or Debian's Xen on a machine without it, does not have. */
function absent() {
  const noIommu = refusing<DomctlCall>(refused('EPERM', 'there is no IOMMU', 'EOPNOTSUPP'))
  const noEvents = refusing<DomctlCall>(refused('EPERM', 'nobody monitors guests', 'EOPNOTSUPP'))
  const unknown = (why: string) => refusing<DomctlCall>(refused('EPERM', why, 'ENOSYS'))
  const ofTranslated = refusing<DomctlCall>(refused('EPERM', 'there are no devices of HVM guests', 'EINVAL'))
  return {
    assign_device: noIommu, deassign_device: noIommu, test_assign_device: noIommu, get_device_group: noIommu,
    bind_pt_irq: ofTranslated, unbind_pt_irq: ofTranslated, ioport_mapping: ofTranslated, gethvmcontext_partial: ofTranslated, debug_op: ofTranslated,
    set_broken_page_p2m: ofTranslated, vmtrace_op: ofTranslated,
    vm_event_op: noEvents, monitor_op: noEvents, mem_sharing_op: noEvents,
    real_mode_area: unknown('Xen has dropped it'), set_opt_feature: unknown('Xen has dropped it'), audit_p2m: unknown('not built in, as in Debian\'s Xen'),
    set_access_required: noEvents, cacheflush: unknown('it is for processors of another kind'), vuart_op: unknown('it is for processors of another kind'),
    gdbsx_guestmemio: unknown('a debugger maps the domain\'s frames'),
    psr_alloc: refusing<DomctlCall>(refused('EPERM', 'processors have no shares of caches', 'ENODEV')),
    psr_cmt_op: refusing<DomctlCall>(refused('EPERM', 'processors do not watch caches', 'ENODEV')),
    setvnumainfo: refusing<DomctlCall>(refused('EPERM', 'no domain has virtual nodes', 'EOPNOTSUPP')),
  }
}

/** The operations, by the names of their numbers. */
export function deviceOperations({ events, domains }: DomctlParts) {
  return {
    ...permissions(), ...absent(),
    set_target: silent(({ domain, view }: DomctlCall) => {
      const target = domains.get(DomctlSetTarget.target.get(view, DOMCTL_ARGUMENT))
      if (target === undefined) return -ERRNO.ESRCH
      return target === domain ? -ERRNO.EINVAL : -ERRNO.EOPNOTSUPP
    }, partial('no domain emulates devices for another: EOPNOTSUPP')),
    set_virq_handler: silent(({ domain, view }: DomctlCall) => events.setVirqHandler(DomctlSetVirqHandler.virq.get(view, DOMCTL_ARGUMENT), domain.id)),
    subscribe: silent(() => 0, partial('no port is told of a domain\'s suspending')),
  }
}
