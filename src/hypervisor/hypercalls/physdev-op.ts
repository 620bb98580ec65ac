/**
 * physdev_op: physical devices. There are none; what guests do at boot works.
 * Reference: public/physdev.h; xen/arch/x86/physdev.c, do_physdev_op; xen/arch/x86/compat.c.
 */
import {
  ERRNO, type GuestAbi, PHYSDEVOP, PhysdevEoi, PhysdevIrqStatusQuery, PhysdevOp, PhysdevPirqEoiGmfn, PhysdevSetIobitmap, PhysdevSetIopl,
  XENIRQSTAT,
} from '../../abi/index.ts'
import { signedFromParts } from '../../util/index.ts'
import { HypercallArguments, type HypercallHandler, type HypercallRow, type Support } from '../domains/hypercall.ts'
import type { Vcpu } from '../domains/domain.ts'
import { FRAME_TYPE } from '../frames/frame-table.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import { isGuestAddress } from '../memory/guest-address.ts'
import { FULL, type Operation, type Operations, byFirstArgument, listed, partial, refuse, refuseAfter, refused } from '../domains/hypercall-rows.ts'
import type { FrameTypes } from '../frames/frame-types.ts'

/** Interrupts that a domain may name: none is real, but the numbers are checked as if (nr_pirqs). */
const PIRQ_LIMIT = 256
/** Ports that an I/O permission bitmap speaks of. */
const IO_PORTS = 0x1_0000

/** What physdev_op works on. */
export interface PhysdevParts {
  readonly pageTypes: FrameTypes
}

/** Operations on I/O privilege and on interrupts that are none. */
function ownOperations(parts: PhysdevParts, abi: GuestAbi, scratch: Scratch) {
  const { view } = scratch
  const eoi = abi.of(PhysdevPirqEoiGmfn)
  const bitmap = abi.of(PhysdevSetIobitmap)
  /** An operation on the structure that the second argument points to. */
  const withArgument = (size: number, run: HypercallHandler, support: Support = FULL): Operation => ({
    support,
    run: (caller, args) => (readInto(caller.access, args.address(1), scratch, size) ? run(caller, args) : -ERRNO.EFAULT),
  })
  const eoiFrame = withArgument(
    eoi.size,
    (caller) => registerEoiFrame(parts.pageTypes, caller, eoi.gmfn.number(view, 0)),
    partial('the frame is kept, and no interrupt ever marks it'),
  )
  return {
    set_iopl: withArgument(PhysdevSetIopl.size, (caller) => {
      const level = PhysdevSetIopl.iopl.get(view, 0)
      if (level > 3) return -ERRNO.EINVAL
      caller.guest?.ioRights?.setPrivilegeLevel(level)
      return 0
    }, partial('the level means nothing to a guest in TypeScript')),
    set_iobitmap: withArgument(
      bitmap.size, (caller) => setIoBitmap(caller, bitmap, view), partial('EINVAL for a guest in TypeScript'),
    ),
    irq_status_query: withArgument(PhysdevIrqStatusQuery.size, (caller, args) => {
      if (PhysdevIrqStatusQuery.irq.get(view, 0) >= PIRQ_LIMIT) return -ERRNO.EINVAL
      PhysdevIrqStatusQuery.flags.set(view, 0, XENIRQSTAT.needs_eoi)
      const answer = scratch.bytes.subarray(0, PhysdevIrqStatusQuery.size)
      return caller.access.write(args.address(1), answer) ? 0 : -ERRNO.EFAULT
    }, partial('every interrupt wants an end-of-interrupt call: none is bound')),
    pirq_eoi_gmfn_v1: eoiFrame, pirq_eoi_gmfn_v2: eoiFrame,
  }
}

/** Operations that are refused because there is nothing that they could be about. */
function deviceOperations(scratch: Scratch) {
  const noDevice = refuse(refused('EPERM', 'there are no physical devices', 'ENODEV'))
  const noInterrupt = refuse(refused('EINVAL', 'there are no physical interrupts'))
  const unknown = refuse(refused('ENOSYS', 'there are no physical devices'))
  return {
    eoi: refuseAfter(refused('EINVAL', 'there are no physical interrupts'), scratch, PhysdevEoi.size),
    apic_read: noDevice, apic_write: noDevice, alloc_irq_vector: noDevice, manage_pci_add: noDevice,
    manage_pci_remove: noDevice, manage_pci_add_ext: noDevice, pci_device_add: noDevice, pci_device_remove: noDevice,
    setup_gsi: noDevice, restore_msi: noDevice, restore_msi_ext: noDevice,
    map_pirq: noInterrupt, unmap_pirq: noInterrupt, get_free_pirq: noInterrupt,
    free_irq_vector: unknown, pci_mmcfg_reserved: unknown, prepare_msix: unknown, release_msix: unknown, dbgp_op: unknown,
  }
}

/** Makes the row of physdev_op(command, argument) for callers of one ABI. */
export function physdevOp(parts: PhysdevParts, abi: GuestAbi): HypercallRow {
  const scratch = new Scratch(16)
  const rows: Operations<typeof PHYSDEVOP, Operation> = {
    ...ownOperations(parts, abi, scratch), ...deviceOperations(scratch),
  }
  return {
    name: 'physdev_op', handler: byFirstArgument(PHYSDEVOP, rows), source: 'public/physdev.h; do_physdev_op',
    operations: [listed('PHYSDEVOP_', PHYSDEVOP, rows)],
  }
}

/** Makes the row of physdev_op_compat(structure): the form of 2004, command and argument in one. */
export function physdevOpCompat(current: HypercallRow, abi: GuestAbi): HypercallRow {
  const layout = abi.of(PhysdevOp)
  const scratch = new Scratch(layout.size)
  const inner = new HypercallArguments()
  const handler: HypercallHandler = (caller, args) => {
    const address = args.address(0)
    if (!readInto(caller.access, address, scratch, layout.size)) return -ERRNO.EFAULT
    inner.set(0, layout.cmd.get(scratch.view, 0))
    inner.set(1, layout.apicOp.at(address))
    return current.handler(caller, inner)
  }
  return {
    name: 'physdev_op_compat', handler, source: 'public/physdev.h, struct physdev_op; do_physdev_op_compat', support: FULL,
  }
}

function setIoBitmap(caller: Vcpu, { bitmap, nrPorts }: Pick<typeof PhysdevSetIobitmap, 'bitmap' | 'nrPorts'>, view: DataView): number {
  const low = bitmap.low(view, 0)
  const high = bitmap.high(view, 0)
  const ports = nrPorts.get(view, 0)
  if (ports > IO_PORTS || !isGuestAddress(signedFromParts(low, high))) return -ERRNO.EINVAL
  const rights = caller.guest?.ioRights
  if (rights === undefined) return -ERRNO.EINVAL
  rights.setBitmap(low, high, ports)
  return 0
}

function registerEoiFrame(pageTypes: FrameTypes, caller: Vcpu, mfn: number): number {
  const domain = caller.owner
  if (pageTypes.getPageAndType(mfn, FRAME_TYPE.WRITABLE, domain.id) !== 0) return -ERRNO.EINVAL
  if (domain.eoiFrame >= 0) {
    pageTypes.putPageAndType(mfn)
    return -ERRNO.EBUSY
  }
  // As `infoFrame` of vCPUs.
  domain.eoiFrame = mfn | 0
  return 0
}
