/**
 * physdev_op: physical devices. There are none; what guests do at boot works.
 * Reference: public/physdev.h; xen/arch/x86/physdev.c, do_physdev_op; xen/arch/x86/compat.c.
 */
import {
  ERRNO, PHYSDEVOP, PhysdevEoi, PhysdevIrqStatusQuery, PhysdevPirqEoiGmfn, PhysdevSetIobitmap, PhysdevSetIopl,
  XENIRQSTAT,
} from '../../abi/index.ts'
import { signedFromParts } from '../../util/index.ts'
import { HypercallArguments, type HypercallHandler } from '../domains/hypercall.ts'
import type { Vcpu } from '../domains/domain.ts'
import { FRAME_TYPE } from '../frames/frame-table.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import { isGuestAddress } from '../memory/guest-address.ts'
import type { WritableFrames } from './writable-frames.ts'

/** Interrupts that a domain may name: none is real, but the numbers are checked as if (nr_pirqs). */
const PIRQ_LIMIT = 256
/** Ports that an I/O permission bitmap speaks of. */
const IO_PORTS = 0x1_0000

/** physdev_op(command, argument): there are no physical devices; what guests do at boot works. */
export function physdevOp(pageTypes: WritableFrames): HypercallHandler {
  const scratch = new Scratch(16)
  const { view } = scratch
  return (caller, args) => {
    const address = args.address(1)
    const read = (size: number): boolean => readInto(caller.access, address, scratch, size)
    switch (args.u32(0)) {
      case PHYSDEVOP.set_iopl:
        if (!read(PhysdevSetIopl.size)) return -ERRNO.EFAULT
        return setIopl(caller, PhysdevSetIopl.iopl.get(view, 0))
      case PHYSDEVOP.set_iobitmap:
        if (!read(PhysdevSetIobitmap.size)) return -ERRNO.EFAULT
        return setIoBitmap(caller, view)
      case PHYSDEVOP.eoi:
        if (!read(PhysdevEoi.size)) return -ERRNO.EFAULT
        return -ERRNO.EINVAL
      case PHYSDEVOP.irq_status_query:
        if (!read(PhysdevIrqStatusQuery.size)) return -ERRNO.EFAULT
        if (PhysdevIrqStatusQuery.irq.get(view, 0) >= PIRQ_LIMIT) return -ERRNO.EINVAL
        PhysdevIrqStatusQuery.flags.set(view, 0, XENIRQSTAT.needs_eoi)
        return caller.access.write(address, scratch.bytes.subarray(0, PhysdevIrqStatusQuery.size)) ? 0 : -ERRNO.EFAULT
      case PHYSDEVOP.pirq_eoi_gmfn_v1:
      case PHYSDEVOP.pirq_eoi_gmfn_v2:
        if (!read(PhysdevPirqEoiGmfn.size)) return -ERRNO.EFAULT
        return registerEoiFrame(pageTypes, caller, PhysdevPirqEoiGmfn.gmfn.number(view, 0))
      case PHYSDEVOP.apic_read:
      case PHYSDEVOP.apic_write:
      case PHYSDEVOP.alloc_irq_vector:
      case PHYSDEVOP.manage_pci_add:
      case PHYSDEVOP.manage_pci_remove:
      case PHYSDEVOP.manage_pci_add_ext:
      case PHYSDEVOP.pci_device_add:
      case PHYSDEVOP.pci_device_remove:
      case PHYSDEVOP.setup_gsi:
      case PHYSDEVOP.restore_msi:
      case PHYSDEVOP.restore_msi_ext:
        return caller.owner.privileged ? -ERRNO.ENODEV : -ERRNO.EPERM
      case PHYSDEVOP.map_pirq:
      case PHYSDEVOP.unmap_pirq:
      case PHYSDEVOP.get_free_pirq:
        return -ERRNO.EINVAL
      default: return -ERRNO.ENOSYS
    }
  }
}

/** The structure of physdev_op_compat: its size, and where the argument stands behind the command. */
const COMPAT = { SIZE: 24, ARGUMENT: 8 } as const

/** physdev_op_compat(structure): the form of 2004, command and argument in one. */
export function physdevOpCompat(current: HypercallHandler): HypercallHandler {
  const scratch = new Scratch(COMPAT.SIZE)
  const inner = new HypercallArguments()
  return (caller, args) => {
    const address = args.address(0)
    if (!readInto(caller.access, address, scratch, COMPAT.SIZE)) return -ERRNO.EFAULT
    inner.set(0, scratch.view.getUint32(0, true))
    inner.set(1, address + COMPAT.ARGUMENT)
    return current(caller, inner)
  }
}

function setIopl(caller: Vcpu, level: number): number {
  if (level > 3) return -ERRNO.EINVAL
  if (caller.pv !== undefined) caller.pv.iopl = level << 12
  return 0
}

function setIoBitmap(caller: Vcpu, view: DataView): number {
  const low = PhysdevSetIobitmap.bitmap.low(view, 0)
  const high = PhysdevSetIobitmap.bitmap.high(view, 0)
  const ports = PhysdevSetIobitmap.nrPorts.get(view, 0)
  if (ports > IO_PORTS || !isGuestAddress(signedFromParts(low, high))) return -ERRNO.EINVAL
  if (caller.pv === undefined) return -ERRNO.EINVAL
  caller.pv.ioBitmap.low = low
  caller.pv.ioBitmap.high = high
  caller.pv.ioBitmapLimit = ports
  return 0
}

function registerEoiFrame(pageTypes: WritableFrames, caller: Vcpu, mfn: number): number {
  const domain = caller.owner
  if (pageTypes.getPageAndType(mfn, FRAME_TYPE.WRITABLE, domain.id) !== 0) return -ERRNO.EINVAL
  if (domain.eoiFrame >= 0) {
    pageTypes.putPageAndType(mfn)
    return -ERRNO.EBUSY
  }
  domain.eoiFrame = mfn
  return 0
}
