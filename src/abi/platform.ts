/**
 * The machine under a privileged domain: time of day, memory types, firmware, power management.
 * Numbers only: this library has none of it.
 *
 * Reference: xen/include/public/platform.h.
 */

/** Operations of platform_op. */
export const XENPF = {
  settime32: 17, add_memtype: 31, del_memtype: 32, read_memtype: 33, microcode_update: 35, platform_quirk: 39,
  get_cpu_version: 48, efi_runtime_call: 49, firmware_info: 50, enter_acpi_sleep: 51, change_freq: 52,
  getidletime: 53, set_processor_pminfo: 54, get_cpuinfo: 55, cpu_online: 56, cpu_offline: 57, cpu_hotadd: 58,
  mem_hotadd: 59, core_parking: 60, resource_op: 61, settime64: 62, get_symbol: 63,
} as const
