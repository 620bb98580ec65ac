/**
 * Registers with which VCPUOP_initialise starts a vCPU of a translated guest.
 *
 * Reference: xen/include/public/hvm/hvm_vcpu.h.
 */
import { nested, overlay, u16, u32, u64 } from '../../util/index.ts'

/** Which of the two sets of registers counts. */
export const VCPU_HVM_MODE = { '32B': 0, '64B': 1 } as const

/** Registers for 16-bit and 32-bit code. */
export const VcpuHvmX86_32 = /* @__PURE__ */ overlay(120, {
  eax: u32(0), ecx: u32(4), edx: u32(8), ebx: u32(12), esp: u32(16), ebp: u32(20), esi: u32(24), edi: u32(28),
  eip: u32(32), eflags: u32(36), cr0: u32(40), cr3: u32(44), cr4: u32(48), efer: u64(56),
  csBase: u32(64), dsBase: u32(68), ssBase: u32(72), esBase: u32(76), trBase: u32(80),
  csLimit: u32(84), dsLimit: u32(88), ssLimit: u32(92), esLimit: u32(96), trLimit: u32(100),
  csAr: u16(104), dsAr: u16(106), ssAr: u16(108), esAr: u16(110), trAr: u16(112),
})

/** Registers for 64-bit code. */
export const VcpuHvmX86_64 = /* @__PURE__ */ overlay(112, {
  rax: u64(0), rcx: u64(8), rdx: u64(16), rbx: u64(24), rsp: u64(32), rbp: u64(40), rsi: u64(48), rdi: u64(56),
  rip: u64(64), rflags: u64(72), cr0: u64(80), cr3: u64(88), cr4: u64(96), efer: u64(104),
})

/** A vCPU's first registers. */
export const VcpuHvmContext = /* @__PURE__ */ overlay(128, {
  mode: u32(0), x86_32: nested(8, VcpuHvmX86_32), x86_64: nested(8, VcpuHvmX86_64),
})
