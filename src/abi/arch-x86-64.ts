/**
 * What 64-bit guests have of their own: selectors, address space, processor state.
 *
 * Reference: xen/include/public/arch-x86/xen-x86_64.h and xen.h.
 */
import { array, bytes, nested, overlay, u16, u32, u64, u8 } from '../util/index.ts'
import { TrapInfo } from './arch-x86.ts'

/** Selectors of Xen's flat segments, usable by every 64-bit guest. */
export const FLAT = {
  RING3_CS32: 0xe023, RING3_CS64: 0xe033, RING3_DS32: 0xe02b, RING3_DS64: 0, RING3_SS32: 0xe02b, RING3_SS64: 0xe02b,
  KERNEL_DS64: 0, KERNEL_DS32: 0xe02b, KERNEL_DS: 0, KERNEL_CS64: 0xe033, KERNEL_CS32: 0xe023, KERNEL_CS: 0xe033,
  KERNEL_SS64: 0xe02b, KERNEL_SS32: 0xe02b, KERNEL_SS: 0xe02b, USER_DS64: 0, USER_DS32: 0xe02b, USER_DS: 0,
  USER_CS64: 0xe033, USER_CS32: 0xe023, USER_CS: 0xe033, USER_SS64: 0xe02b, USER_SS32: 0xe02b, USER_SS: 0xe02b,
} as const

/** Which base set_segment_base sets. */
export const SEGBASE = { FS: 0, GS_USER: 1, GS_KERNEL: 2, GS_USER_SEL: 3 } as const

/** First address of the range that belongs to Xen in every 64-bit PV guest (signed, as virtual addresses are here). */
export const HYPERVISOR_VIRT_START = -0x8000_0000_0000

/** First address above the range that belongs to Xen. */
export const HYPERVISOR_VIRT_END = -0x7800_0000_0000

/** Where guests read the machine-to-physical table. */
export const MACH2PHYS_VIRT_START = -0x8000_0000_0000

/** First address above the machine-to-physical table. */
export const MACH2PHYS_VIRT_END = -0x7fc0_0000_0000

/** Entries that the machine-to-physical table has room for. */
export const MACH2PHYS_NR_ENTRIES = 0x8_0000_0000

/** What the iret hypercall takes from the stack. */
export const IretContext = /* @__PURE__ */ overlay(72, {
  rax: u64(0), r11: u64(8), rcx: u64(16), flags: u64(24), rip: u64(32), cs: u64(40), rflags: u64(48), rsp: u64(56),
  ss: u64(64),
})

/** A vCPU's registers. */
export const CpuUserRegs = /* @__PURE__ */ overlay(200, {
  r15: u64(0), r14: u64(8), r13: u64(16), r12: u64(24), rbp: u64(32), rbx: u64(40), r11: u64(48), r10: u64(56),
  r9: u64(64), r8: u64(72), rax: u64(80), rcx: u64(88), rdx: u64(96), rsi: u64(104), rdi: u64(112),
  errorCode: u32(120), entryVector: u32(124), rip: u64(128), cs: u16(136), savedUpcallMask: u8(140),
  rflags: u64(144), rsp: u64(152), ss: u16(160), es: u16(168), ds: u16(176), fs: u16(184), gs: u16(192),
})

/** A vCPU's whole state: argument of VCPUOP.initialise, and part of a saved image. */
export const VcpuGuestContext = /* @__PURE__ */ overlay(5168, {
  fpuCtxt: bytes(0, 512), flags: u64(512), userRegs: nested(520, CpuUserRegs), trapCtxt: array(720, TrapInfo, 256),
  ldtBase: u64(4816), ldtEnts: u64(4824), gdtFrames: array(4832, u64, 16), gdtEnts: u64(4960), kernelSs: u64(4968),
  kernelSp: u64(4976), ctrlreg: array(4984, u64, 8), debugreg: array(5048, u64, 8), eventCallbackEip: u64(5112),
  failsafeCallbackEip: u64(5120), syscallCallbackEip: u64(5128), vmAssist: u64(5136), fsBase: u64(5144),
  gsBaseKernel: u64(5152), gsBaseUser: u64(5160),
})
