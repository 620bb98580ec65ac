/**
 * Hypercalls of a few lines: vm_assist, set_timer_op, console_io, nmi_op, physdev_op, and those that a PV guest
 * without privilege is refused.
 * Reference: xen/common/domain.c, vm_assist; xen/drivers/char/console.c, do_console_io; xen/arch/x86/physdev.c.
 */
import {
  CONSOLEIO, ERRNO, PHYSDEVOP, PhysdevEoi, PhysdevIrqStatusQuery, PhysdevPirqEoiGmfn, PhysdevSetIobitmap,
  PhysdevSetIopl, VMASST_CMD, VMASST_TYPE, XENIRQSTAT, XENNMI, XennmiCallback,
} from '../../abi/index.ts'
import { VECTOR } from '../../x86/index.ts'
import { signedFromParts } from '../../util/index.ts'
import type { HypervisorConsole } from '../console/console.ts'
import type { Domain } from '../domains/domain.ts'
import { FRAME_TYPE } from '../frames/frame-table.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import type { HostClock } from '../time/host-clock.ts'
import type { PageTypes } from '../guests/pv/page-types.ts'
import { isGuestAddress } from '../guests/pv/virtual-access.ts'
import type { Vcpu } from '../domains/vcpu.ts'
import { WORK, type WorkMeter } from '../time/work-meter.ts'
import { CALL_AGAIN, HypercallArguments, type HypercallHandler } from './call.ts'

/** Interrupts that a domain may name: none is real, but the numbers are checked as if (nr_pirqs). */
const PIRQ_LIMIT = 256
/** Bytes of one console write that are taken; Xen does 128 at a time. */
const CONSOLE_CHUNK = 128
/** Ports that an I/O permission bitmap speaks of. */
const IO_PORTS = 0x1_0000

/** vm_assist types that a 64-bit PV guest may switch. */
const ASSISTS: ReadonlySet<number> = /* @__PURE__ */ new Set<number>([
  VMASST_TYPE['4gb_segments'], VMASST_TYPE['4gb_segments_notify'], VMASST_TYPE.writable_pagetables,
  VMASST_TYPE.pae_extended_cr3, VMASST_TYPE.architectural_iopl, VMASST_TYPE.runstate_update_flag,
  VMASST_TYPE.m2p_strict,
])

/** Switches one type of a domain; false when there is no such type. */
export function setAssist(domain: Domain, type: number, enabled: boolean): boolean {
  if (!ASSISTS.has(type)) return false
  if (type === VMASST_TYPE.m2p_strict) domain.hidesMachineToPhys = enabled
  else if (enabled) domain.assists |= 1 << type
  else domain.assists &= ~(1 << type)
  return true
}

/** vm_assist(command, type). */
export const vmAssist: HypercallHandler = (caller, args) => {
  const command = args.u32(0)
  const type = args.u32(1)
  if (type >= 64 || !ASSISTS.has(type)) return -ERRNO.EINVAL
  if (command !== VMASST_CMD.enable && command !== VMASST_CMD.disable) return -ERRNO.ENOSYS
  setAssist(caller.owner, type, command === VMASST_CMD.enable)
  return 0
}

/** set_timer_op(deadline). */
export function setTimerOp(clock: HostClock): HypercallHandler {
  return (caller, args) =>
    caller.timers.setTimerOp(signedFromParts(args.low[0]!, args.high[0]!), clock.now())
}

/** console_io(command, count, buffer): writing only. */
export function consoleIo(console: HypervisorConsole, meter: WorkMeter): HypercallHandler {
  const chunk = new Uint8Array(CONSOLE_CHUNK)
  return (caller, args) => {
    const command = args.u32(0)
    if (command === CONSOLEIO.read) return caller.owner.privileged ? 0 : -ERRNO.EPERM
    if (command !== CONSOLEIO.write) return -ERRNO.ENOSYS
    let address = args.address(2)
    let left = args.u32(1)
    for (; left > 0 && !meter.isSpent;) {
      const part = chunk.subarray(0, Math.min(left, CONSOLE_CHUNK))
      if (!caller.access.read(address, part)) return -ERRNO.EFAULT
      if (!console.write(caller.domain, part)) return 0
      meter.charge(part.length * WORK.character)
      left -= part.length
      address += part.length
    }
    if (left === 0) return 0
    args.set(1, left)
    args.set(2, address)
    return CALL_AGAIN
  }
}

/** nmi_op(command, argument). */
export const nmiOp: HypercallHandler = (caller, args) => {
  const { pv } = caller
  if (pv === undefined) return -ERRNO.ENOSYS
  if (args.u32(0) === XENNMI.unregister_callback) {
    pv.setTrap(VECTOR.NMI, { flags: 0, cs: 0, low: 0, high: 0 })
    return 0
  }
  if (args.u32(0) !== XENNMI.register_callback) return -ERRNO.ENOSYS
  const scratch = new Scratch(XennmiCallback.size)
  if (!readInto(caller.access, args.address(1), scratch, XennmiCallback.size)) return -ERRNO.EFAULT
  const { handlerAddress } = XennmiCallback
  return registerNmi(caller, handlerAddress.low(scratch.view, 0), handlerAddress.high(scratch.view, 0))
}

/** Registers the NMI handler of a vCPU: only the first may have one. */
export function registerNmi(caller: Vcpu, low: number, high: number): number {
  const { pv } = caller
  if (pv === undefined || caller.vcpu !== 0 || !isGuestAddress(signedFromParts(low, high))) return -ERRNO.EINVAL
  pv.setTrap(VECTOR.NMI, { flags: 0, cs: 0xe033, low, high })
  return 0
}

/** physdev_op(command, argument): there are no physical devices; what guests do at boot works. */
export function physdevOp(pageTypes: PageTypes): HypercallHandler {
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

function registerEoiFrame(pageTypes: PageTypes, caller: Vcpu, mfn: number): number {
  const domain = caller.owner
  if (pageTypes.getPageAndType(mfn, FRAME_TYPE.WRITABLE, domain.id) !== 0) return -ERRNO.EINVAL
  if (domain.eoiFrame >= 0) {
    pageTypes.putPageAndType(mfn)
    return -ERRNO.EBUSY
  }
  domain.eoiFrame = mfn
  return 0
}

/** A hypercall that only a privileged domain may make, and that this hypervisor leaves to its control interface. */
export const privilegedOnly: HypercallHandler = (caller) => (caller.owner.privileged ? -ERRNO.ENOSYS : -ERRNO.EPERM)

/** A hypercall that this configuration of the hypervisor has not. */
export const notConfigured = (error: number): HypercallHandler => () => -error
