/**
 * What CPUID tells the kernel of a bare processor unless its host says otherwise: exactly what is implemented.
 * Reference: Intel SDM volume 2, CPUID; AMD64 APM volume 3, appendix E.
 */
import type { CpuidSource } from './processor-types.ts'

type Answer = readonly [eax: number, ebx: number, ecx: number, edx: number]

const NOTHING: Answer = [0, 0, 0, 0]
const bits = (...numbers: readonly number[]): number => numbers.reduce((word, bit) => word | (1 << bit), 0) >>> 0

/** "AuthenticAMD". */
const VENDOR = [0x6874_7541, 0x444d_4163, 0x6974_6e65] as const
/** Family 6, model 6, stepping 3: what emulators call themselves. */
const SIGNATURE = 0x0000_0663
/** 64 bytes flushed by CLFLUSH, in units of 8. */
const CACHE_LINE = 8 << 8
/** SSE3, SSSE3, CX16, SSE4.1, SSE4.2, POPCNT. */
const LEAF1_ECX = /* @__PURE__ */ bits(0, 9, 13, 19, 20, 23)
/** FPU DE PSE TSC MSR PAE MCE CX8 PGE MCA CMOV PAT CLFSH MMX FXSR SSE SSE2. */
const LEAF1_EDX = /* @__PURE__ */ bits(0, 2, 3, 4, 5, 6, 7, 8, 13, 14, 15, 16, 19, 23, 24, 25, 26)
/** Bits of leaf 1 EDX that AMD repeats in 0x80000001. */
const REPEATED = /* @__PURE__ */ bits(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 23, 24)
/** SYSCALL, NX, RDTSCP, LM. */
const EXTENDED_EDX = /* @__PURE__ */ bits(11, 20, 27, 29)
/** LAHF in 64-bit mode, PREFETCHW. */
const EXTENDED_ECX = /* @__PURE__ */ bits(0, 8)
/** Fast REP MOVSB and STOSB. */
const LEAF7_EBX = /* @__PURE__ */ bits(9)
/** 32 bits of physical, 48 of virtual address. */
const ADDRESS_BITS = 0x3020

function answer(leaf: number, subleaf: number): Answer {
  switch (leaf >>> 0) {
    case 0: return [7, VENDOR[0], VENDOR[1], VENDOR[2]]
    case 1: return [SIGNATURE, CACHE_LINE, LEAF1_ECX, LEAF1_EDX]
    case 7: return subleaf === 0 ? [0, LEAF7_EBX, 0, 0] : NOTHING
    case 0x8000_0000: return [0x8000_0008, VENDOR[0], VENDOR[1], VENDOR[2]]
    case 0x8000_0001: return [SIGNATURE, 0, EXTENDED_ECX, (EXTENDED_EDX | (LEAF1_EDX & REPEATED)) >>> 0]
    case 0x8000_0008: return [ADDRESS_BITS, 0, 0, 0]
    default: return NOTHING
  }
}

/** The machine's own answers. */
export const DEFAULT_CPUID: CpuidSource = { read: answer }
