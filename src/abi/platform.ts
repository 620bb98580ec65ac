/**
 * The machine under a privileged domain: time of day, memory types, firmware, power management.
 *
 * Reference: xen/include/public/platform.h.
 */
import { bytes, gap, pointer, structure, u32, u64, u8 } from './structure.ts'

/** Operations of platform_op. */
export const XENPF = {
  settime32: 17, add_memtype: 31, del_memtype: 32, read_memtype: 33, microcode_update: 35, platform_quirk: 39,
  get_cpu_version: 48, efi_runtime_call: 49, firmware_info: 50, enter_acpi_sleep: 51, change_freq: 52,
  getidletime: 53, set_processor_pminfo: 54, get_cpuinfo: 55, cpu_online: 56, cpu_offline: 57, cpu_hotadd: 58,
  mem_hotadd: 59, core_parking: 60, resource_op: 61, settime64: 62, get_symbol: 63,
} as const

/** What every platform_op names. */
export const XENPF_INTERFACE_VERSION = 0x0300_0001

/** What firmware_info asks for. */
export const XEN_FW = { DISK_INFO: 1, DISK_MBR_SIGNATURE: 2, VBEDDC_INFO: 3, EFI_INFO: 4, KBD_SHIFT_FLAGS: 5 } as const

/** Flags of a physical CPU. */
export const XEN_PCPU_FLAGS = { ONLINE: 1, INVALID: 2 } as const

/** Peculiarities of a machine that dom0 knows of. */
export const QUIRK = { NOIRQBALANCING: 1, IOAPIC_BAD_REGSEL: 2, IOAPIC_GOOD_REGSEL: 3 } as const

/** Operation, version, and the operation's own structure behind them. */
export const XenPlatformOp = /* @__PURE__ */ structure({ cmd: u32, interfaceVersion: u32, pad: bytes(128) })

/** Calendar time at a system time, in seconds of 32 bits. */
export const XenpfSettime32 = /* @__PURE__ */ structure({ secs: u32, nsecs: u32, systemTime: u64 })

/** Calendar time at a system time. */
export const XenpfSettime64 = /* @__PURE__ */ structure({ secs: u64, nsecs: u32, mbz: u32, systemTime: u64 })

/** A question about firmware; of the answers only the keyboard's flags. */
export const XenpfFirmwareInfo = /* @__PURE__ */ structure({ type: u32, index: u32, kbdShiftFlags: u8, rest: gap(31, 27) })

/** A peculiarity. */
export const XenpfPlatformQuirk = /* @__PURE__ */ structure({ quirkId: u32 })

/** A physical CPU: its number, the highest there is, and its identifiers. */
export const XenpfPcpuinfo = /* @__PURE__ */ structure({ xenCpuid: u32, maxPresent: u32, flags: u32, apicId: u32, acpiId: u32 })

/** A physical CPU's make. */
export const XenpfPcpuVersion = /* @__PURE__ */ structure({
  xenCpuid: u32, maxPresent: u32, vendorId: bytes(12), family: u32, model: u32, stepping: u32,
})

/** The CPU that is to be brought up or taken down. */
export const XenpfCpuOl = /* @__PURE__ */ structure({ cpuid: u32 })

/** One symbol of the hypervisor's. */
export const XenpfSymdata = /* @__PURE__ */ structure({ namelen: u32, symnum: u32, name: pointer, address: u64, type: u8 })
