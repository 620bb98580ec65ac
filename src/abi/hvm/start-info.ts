/**
 * What a PVH kernel finds at the address in EBX: modules, command line, memory map, ACPI tables.
 *
 * Reference: xen/include/public/arch-x86/hvm/start_info.h.
 */
import { overlay, u32, u64 } from '../../util/index.ts'

/** First word of the structure. */
export const HVM_START_MAGIC_VALUE = 0x336e_c578

/** Types of a memory map's ranges, as in e820 and ACPI. */
export const HVM_MEMMAP_TYPE = { RAM: 1, RESERVED: 2, ACPI: 3, NVS: 4, UNUSABLE: 5, DISABLED: 6, PMEM: 7 } as const

/** The structure itself, version 1. */
export const HvmStartInfo = /* @__PURE__ */ overlay(56, {
  magic: u32(0), version: u32(4), flags: u32(8), nrModules: u32(12), modlistPaddr: u64(16), cmdlinePaddr: u64(24),
  rsdpPaddr: u64(32), memmapPaddr: u64(40), memmapEntries: u32(48), reserved: u32(52),
})

/** One module. */
export const HvmModlistEntry = /* @__PURE__ */ overlay(32, {
  paddr: u64(0), bytes: u64(8), cmdlinePaddr: u64(16), reserved: u64(24),
})

/** One range of memory. */
export const HvmMemmapTableEntry = /* @__PURE__ */ overlay(24, {
  addr: u64(0), bytes: u64(8), type: u32(16), reserved: u32(20),
})
