/**
 * platform_op: what a privileged domain asks of the machine below. This one has no ACPI, no EFI, no memory type registers and no
 * disks that a BIOS knows: it answers as Xen does on such a machine. Its calendar can be set.
 * Reference: public/platform.h; xen/arch/x86/platform_hypercall.c, do_platform_op.
 */
import {
  ERRNO, type ErrnoName, type GuestAbi, QUIRK, XENPF, XENPF_INTERFACE_VERSION, XEN_FW, XEN_PCPU_FLAGS, XenPlatformOp, XenpfCpuOl, XenpfFirmwareInfo,
  XenpfPcpuVersion, XenpfPcpuinfo, XenpfPlatformQuirk, XenpfSettime32, XenpfSettime64, XenpfSymdata,
} from '../../abi/index.ts'
import type { HypercallRow, Support } from '../domains/hypercall.ts'
import type { DomainRegistry } from '../domains/registry.ts'
import { writeWallClock } from '../domains/shared-info.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import type { TimeRecords, WallClock } from '../time/index.ts'
import { FULL, type Operations, byNumber, listed, partial, refused } from '../domains/hypercall-rows.ts'

/** What platform_op works on. */
export interface PlatformParts {
  readonly wallClock: WallClock
  readonly timeRecords: TimeRecords
  readonly domains: DomainRegistry
  readonly scheduler: { readonly cpuCount: number }
}

/** An operation on the structure that has been copied; a positive answer is 0 with the structure written back. */
interface PlatformOperation {
  readonly support: Support
  run(): number
}

/** The operation has filled in what the caller is to read. */
const WRITE_BACK = 1
/** Where the operation's own structure begins. */
const BODY = XenPlatformOp.pad.offset
const isUnprivilegedRefused = (error: ErrnoName, why: string): PlatformOperation => ({
  support: refused('EPERM', why, error), run: () => -ERRNO[error],
})

/** Operations on the machine's physical CPUs. */
function cpuOperations({ scheduler }: PlatformParts, view: DataView) {
  const last = scheduler.cpuCount - 1
  return {
    get_cpuinfo: { support: FULL, run: () => {
      const cpu = XenpfPcpuinfo.xenCpuid.get(view, BODY)
      const isThere = cpu <= last
      XenpfPcpuinfo.maxPresent.set(view, BODY, last)
      XenpfPcpuinfo.flags.set(view, BODY, isThere ? XEN_PCPU_FLAGS.ONLINE : XEN_PCPU_FLAGS.INVALID)
      XenpfPcpuinfo.apicId.set(view, BODY, isThere ? cpu : 0)
      XenpfPcpuinfo.acpiId.set(view, BODY, isThere ? cpu : 0)
      return WRITE_BACK
    } },
    get_cpu_version: { support: partial('the make of a CPU is blank, as of one that is offline'), run: () => {
      XenpfPcpuVersion.maxPresent.set(view, BODY, last)
      XenpfPcpuVersion.vendorId.set(view, BODY, new Uint8Array(XenpfPcpuVersion.vendorId.size))
      for (const name of ['family', 'model', 'stepping'] as const) XenpfPcpuVersion[name].set(view, BODY, 0)
      return WRITE_BACK
    } },
    cpu_online: { support: FULL, run: () => (XenpfCpuOl.cpuid.get(view, BODY) <= last ? 0 : -ERRNO.EINVAL) },
    cpu_offline: { support: partial('no CPU goes: EBUSY, as where one cannot be taken down'), run: () => {
      const cpu = XenpfCpuOl.cpuid.get(view, BODY)
      if (cpu === 0) return -ERRNO.EOPNOTSUPP
      return cpu <= last ? -ERRNO.EBUSY : -ERRNO.EINVAL
    } },
  } satisfies Partial<Record<keyof typeof XENPF, PlatformOperation>>
}

/** The calendar. */
function clockOperations({ wallClock, timeRecords, domains }: PlatformParts, view: DataView) {
  const set = (seconds: bigint, nanoseconds: number, systemTime: bigint): number => {
    wallClock.set({ seconds, nanoseconds, systemTime })
    for (const domain of domains.all()) writeWallClock({ timeRecords, wallClock }, domain)
    return 0
  }
  return {
    settime32: { support: FULL, run: () => set(
      BigInt(XenpfSettime32.secs.get(view, BODY)), XenpfSettime32.nsecs.get(view, BODY), view.getBigUint64(BODY + 8, true)) },
    settime64: { support: FULL, run: () => (XenpfSettime64.mbz.get(view, BODY) !== 0 ? -ERRNO.EINVAL : set(
      XenpfSettime64.secs.get(view, BODY), XenpfSettime64.nsecs.get(view, BODY), XenpfSettime64.systemTime.get(view, BODY))) },
  } satisfies Partial<Record<keyof typeof XENPF, PlatformOperation>>
}

/** What the firmware has left: nothing but the keyboard's flags, none of which is set. */
function firmwareInfo(view: DataView): number {
  const index = XenpfFirmwareInfo.index.get(view, BODY)
  switch (XenpfFirmwareInfo.type.get(view, BODY)) {
    case XEN_FW.DISK_INFO: case XEN_FW.DISK_MBR_SIGNATURE: case XEN_FW.VBEDDC_INFO: return -ERRNO.ESRCH
    case XEN_FW.EFI_INFO: return -ERRNO.ENOSYS
    case XEN_FW.KBD_SHIFT_FLAGS:
      if (index !== 0) return -ERRNO.ESRCH
      XenpfFirmwareInfo.kbdShiftFlags.set(view, BODY, 0)
      return WRITE_BACK
    default: return -ERRNO.EINVAL
  }
}

function operations(parts: PlatformParts, abi: GuestAbi, view: DataView): Operations<typeof XENPF, PlatformOperation> {
  const symbols = abi.of(XenpfSymdata)
  return {
    ...cpuOperations(parts, view), ...clockOperations(parts, view),
    firmware_info: { support: FULL, run: () => firmwareInfo(view) },
    platform_quirk: { support: FULL, run: () => {
      const quirk = XenpfPlatformQuirk.quirkId.get(view, BODY)
      return quirk >= QUIRK.NOIRQBALANCING && quirk <= QUIRK.IOAPIC_GOOD_REGSEL ? 0 : -ERRNO.EINVAL
    } },
    get_symbol: { support: partial('it has none'), run: () => {
      if (symbols.symnum.get(view, BODY) !== 0) return -ERRNO.ERANGE
      symbols.namelen.set(view, BODY, 0)
      return WRITE_BACK
    } },
    add_memtype: isUnprivilegedRefused('ENXIO', 'there are no memory type registers'),
    del_memtype: isUnprivilegedRefused('ENXIO', 'there are no memory type registers'),
    read_memtype: isUnprivilegedRefused('EINVAL', 'there are no memory type registers'),
    microcode_update: isUnprivilegedRefused('EINVAL', 'the processor takes no microcode'),
    efi_runtime_call: isUnprivilegedRefused('ENOSYS', 'there is no EFI'),
    enter_acpi_sleep: isUnprivilegedRefused('EPERM', 'there is no ACPI'),
    change_freq: isUnprivilegedRefused('ENOSYS', 'dom0 does not drive frequencies'),
    getidletime: isUnprivilegedRefused('ENOSYS', 'dom0 does not drive frequencies'),
    set_processor_pminfo: isUnprivilegedRefused('EINVAL', 'no processor is known to ACPI'),
    cpu_hotadd: isUnprivilegedRefused('ENOSYS', 'there is no ACPI'), mem_hotadd: isUnprivilegedRefused('EINVAL', 'there is no room for more memory'),
    core_parking: isUnprivilegedRefused('EINVAL', 'no policy of core parking is known'),
    resource_op: isUnprivilegedRefused('EINVAL', 'no register of the machine is for dom0 to read'),
  }
}

/** Makes the row of platform_op(structure) for callers of one ABI. */
export function platformOp(parts: PlatformParts, abi: GuestAbi): HypercallRow {
  const scratch = new Scratch(XenPlatformOp.size)
  const { view, bytes } = scratch
  const rows = operations(parts, abi, view)
  const runs = byNumber(XENPF, rows).map((row) => row?.run)
  return {
    name: 'platform_op', source: 'public/platform.h; do_platform_op', operations: [listed('XENPF_', XENPF, rows)],
    handler: (caller, args) => {
      const address = args.address(0)
      if (!readInto(caller.access, address, scratch, bytes.length)) return -ERRNO.EFAULT
      if (XenPlatformOp.interfaceVersion.get(view, 0) !== XENPF_INTERFACE_VERSION) return -ERRNO.EACCES
      if (!caller.owner.privileged) return -ERRNO.EPERM
      const result = runs[XenPlatformOp.cmd.get(view, 0)]?.() ?? -ERRNO.ENOSYS
      if (result !== WRITE_BACK) return result
      return caller.access.write(address, bytes) ? 0 : -ERRNO.EFAULT
    },
  }
}
