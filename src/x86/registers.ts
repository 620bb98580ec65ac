/**
 * Register numbers, flags, control registers and MSRs of x86-64.
 * Reference: Intel SDM volume 1 chapter 3, volume 3 chapters 2 and 4; AMD64 APM volume 2.
 */

/** General registers by the number that instructions encode. */
export const GPR = {
  rax: 0, rcx: 1, rdx: 2, rbx: 3, rsp: 4, rbp: 5, rsi: 6, rdi: 7,
  r8: 8, r9: 9, r10: 10, r11: 11, r12: 12, r13: 13, r14: 14, r15: 15,
} as const
/** Name of a general register. */
export type GprName = keyof typeof GPR

/** Segment registers by the number that instructions encode. */
export const SEGMENT = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5 } as const
/** Name of a segment register. */
export type SegmentName = keyof typeof SEGMENT

/** RFLAGS bits. */
export const RFLAGS = {
  CF: 1 << 0, FIXED: 1 << 1, PF: 1 << 2, AF: 1 << 4, ZF: 1 << 6, SF: 1 << 7, TF: 1 << 8, IF: 1 << 9,
  DF: 1 << 10, OF: 1 << 11, IOPL: 3 << 12, NT: 1 << 14, RF: 1 << 16, VM: 1 << 17, AC: 1 << 18,
  VIF: 1 << 19, VIP: 1 << 20, ID: 1 << 21,
} as const

/** CR0 bits. */
export const CR0 = {
  PE: 1 << 0, MP: 1 << 1, EM: 1 << 2, TS: 1 << 3, ET: 1 << 4, NE: 1 << 5, WP: 1 << 16, AM: 1 << 18,
  NW: 1 << 29, CD: 1 << 30, PG: 0x8000_0000,
} as const

/** CR4 bits. */
export const CR4 = {
  VME: 1 << 0, PVI: 1 << 1, TSD: 1 << 2, DE: 1 << 3, PSE: 1 << 4, PAE: 1 << 5, MCE: 1 << 6, PGE: 1 << 7,
  PCE: 1 << 8, OSFXSR: 1 << 9, OSXMMEXCPT: 1 << 10, UMIP: 1 << 11, FSGSBASE: 1 << 16, PCIDE: 1 << 17,
  OSXSAVE: 1 << 18, SMEP: 1 << 20, SMAP: 1 << 21,
} as const

/** XCR0 bits: parts of the state that XSAVE knows and software may use. */
export const XCR0 = { X87: 1 << 0, SSE: 1 << 1, AVX: 1 << 2 } as const

/** DR6 bits, and those that read as 1. */
export const DR6 = { BD: 1 << 13, BS: 1 << 14, BT: 1 << 15, ONES: 0xffff_0ff0 } as const

/** DR7 bits, and those that read as 1. */
export const DR7 = { GD: 1 << 13, ONES: 0x400 } as const

/** EFER bits. */
export const EFER = { SCE: 1 << 0, LME: 1 << 8, LMA: 1 << 10, NXE: 1 << 11 } as const

/** Model-specific registers by address. */
export const MSR = {
  TSC: 0x10, APIC_BASE: 0x1b, MISC_ENABLE: 0x1a0, PAT: 0x277,
  SYSENTER_CS: 0x174, SYSENTER_ESP: 0x175, SYSENTER_EIP: 0x176,
  EFER: 0xc000_0080, STAR: 0xc000_0081, LSTAR: 0xc000_0082, CSTAR: 0xc000_0083, SFMASK: 0xc000_0084,
  FS_BASE: 0xc000_0100, GS_BASE: 0xc000_0101, KERNEL_GS_BASE: 0xc000_0102, TSC_AUX: 0xc000_0103,
} as const
