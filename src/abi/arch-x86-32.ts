/**
 * What 32-bit guests have of their own: selectors, address space, processor state. A 32-bit PV kernel runs in ring 1 of a
 * 64-bit hypervisor, which lies behind the end of its address space but for a hole at the top.
 *
 * Reference: xen/include/public/arch-x86/xen-x86_32.h and xen.h.
 */
import { TrapInfo } from './arch-x86.ts'
import { array, bytes, compat, gap, nested, u16, u8, ulong } from './structure.ts'

/** Selectors of Xen's flat segments, usable by every 32-bit PV guest. */
export const COMPAT_FLAT = {
  RING1_CS: 0xe019, RING1_DS: 0xe021, RING1_SS: 0xe021, RING3_CS: 0xe02b, RING3_DS: 0xe033, RING3_SS: 0xe033,
  KERNEL_CS: 0xe019, KERNEL_DS: 0xe021, KERNEL_SS: 0xe021, USER_CS: 0xe02b, USER_DS: 0xe033, USER_SS: 0xe033,
} as const

/** First address of the range that belongs to Xen in a 32-bit PV guest; it goes up to the end. */
export const COMPAT_HYPERVISOR_VIRT_START = 0xf580_0000

/** Where 32-bit guests read the machine-to-physical table, of 4 bytes an entry. */
export const COMPAT_MACH2PHYS_VIRT_START = 0xf580_0000

/** First address above the part of it that every guest of the first PAE hypervisors could rely on. */
export const COMPAT_MACH2PHYS_VIRT_END = 0xf680_0000

/** A vCPU's registers. */
export const CompatCpuUserRegs = /* @__PURE__ */ compat({
  ebx: ulong, ecx: ulong, edx: ulong, esi: ulong, edi: ulong, ebp: ulong, eax: ulong, errorCode: u16, entryVector: u16,
  eip: ulong, cs: u16, savedUpcallMask: u8, eflags: ulong, esp: ulong,
  ss: u16, pad1: gap(2), es: u16, pad2: gap(2), ds: u16, pad3: gap(2), fs: u16, pad4: gap(2), gs: u16, pad5: gap(2),
})

/** A vCPU's whole state: argument of VCPUOP.initialise, and part of a saved image. */
export const CompatVcpuGuestContext = /* @__PURE__ */ compat({
  fpuCtxt: bytes(512), flags: ulong, userRegs: nested(CompatCpuUserRegs), trapCtxt: array(TrapInfo, 256),
  ldtBase: ulong, ldtEnts: ulong, gdtFrames: array(ulong, 16), gdtEnts: ulong, kernelSs: ulong, kernelSp: ulong,
  ctrlreg: array(ulong, 8), debugreg: array(ulong, 8), eventCallbackCs: ulong, eventCallbackEip: ulong,
  failsafeCallbackCs: ulong, failsafeCallbackEip: ulong, vmAssist: ulong,
})

/** Registers an entry point. */
export const CompatCallbackRegister = /* @__PURE__ */ compat({ type: u16, flags: u16, cs: ulong, eip: ulong })
