/**
 * What is particular to x86 and the same for guests of both widths.
 *
 * Reference: xen/include/public/arch-x86/xen.h.
 */
import { structure, u16, u8, ulong } from './structure.ts'

/** Flags of vcpu_guest_context. */
export const VGCF = {
  in_syscall: 256, i387_valid: 1, in_kernel: 4, failsafe_disables_events: 8, syscall_disables_events: 16, online: 32,
} as const

/** First page of a GDT that is Xen's. */
export const FIRST_RESERVED_GDT_PAGE = 14

/** First byte of a GDT that is Xen's. */
export const FIRST_RESERVED_GDT_BYTE = 0xe000

/** First entry of a GDT that is Xen's. */
export const FIRST_RESERVED_GDT_ENTRY = 0x1c00

/** vCPUs that have their record in shared_info; further ones must register one. */
export const LEGACY_MAX_VCPUS = 32

/** One handler of set_trap_table; flags: bits 1..0 privilege level, bit 2 masks events on entry. */
export const TrapInfo = /* @__PURE__ */ structure({ vector: u8, flags: u8, cs: u16, address: ulong })
