/**
 * What CPUID tells a PV guest: the processor that the machine implements (x86-64-v2 without AVX and XSAVE), without
 * what only a kernel in ring 0 may use, and the hypervisor's own leaves at 0x40000000.
 * Reference: xen/arch/x86/cpuid.c, guest_cpuid; xen/include/public/arch-x86/cpuid.h; AMD64 APM volume 3, appendix E.
 */
import { XEN_VERSION } from '../hypercalls/version.ts'

/** Answer of one leaf: EAX, EBX, ECX, EDX. */
export type CpuidAnswer = readonly [number, number, number, number]

/** Facts that some leaves tell. */
export interface CpuidSubject {
  readonly tscKilohertz: number
  /** Bits of a machine address. */
  readonly addressBits: number
}

/** Overrides or adds leaves; undefined leaves the answer as it is. */
export type CpuidPolicy = (leaf: number, subleaf: number, answer: CpuidAnswer) => CpuidAnswer | undefined

const NOTHING: CpuidAnswer = [0, 0, 0, 0]
const bits = (...numbers: number[]): number => numbers.reduce((word, bit) => word | (1 << bit), 0) >>> 0

/** Leaf 1 ECX: SSE3, SSSE3, CX16, SSE4.1, SSE4.2, POPCNT, hypervisor present. */
const LEAF1_ECX = /* @__PURE__ */ bits(0, 9, 13, 19, 20, 23, 31)
/** Leaf 1 EDX: FPU DE TSC MSR PAE MCE CX8 APIC MCA CMOV PAT CLFSH MMX FXSR SSE SSE2. */
const LEAF1_EDX = /* @__PURE__ */ bits(0, 2, 4, 5, 6, 7, 8, 9, 14, 15, 16, 19, 23, 24, 25, 26)
/** Bits of leaf 1 EDX that AMD repeats in 0x80000001. */
const REPEATED = /* @__PURE__ */ bits(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 23, 24)
/** SYSCALL, NX, LM. */
const EXTENDED_EDX = /* @__PURE__ */ bits(11, 20, 29)
/** LAHF in 64-bit mode, PREFETCHW. */
const EXTENDED_ECX = /* @__PURE__ */ bits(0, 8)
/** Leaf 7 EBX: fast REP MOVSB and STOSB. */
const LEAF7_EBX = /* @__PURE__ */ bits(9)

/**
 * Family 6, model 6, stepping 3 of AMD's: what emulators call themselves, and no real processor with errata of its
 * own.
 */
const SIGNATURE = 0x0000_0663
const VENDOR: CpuidAnswer = [0, 0x6874_7541, 0x444d_4163, 0x6974_6e65]
/** Leaf 1 EBX: 64 bytes flushed by CLFLUSH, in units of 8. */
const CACHE_LINE = 8 << 8
const BRAND = 'paravirt x86-64 processor'

/** Four registers of the brand string; leaf 0x80000002 is part 0. */
function brand(part: number): CpuidAnswer {
  const bytes = new Uint8Array(48)
  bytes.set(new TextEncoder().encode(BRAND))
  const view = new DataView(bytes.buffer)
  const word = (index: number): number => view.getUint32(part * 16 + index * 4, true)
  return [word(0), word(1), word(2), word(3)]
}

/** Leaves of the hypervisor. */
function hypervisorLeaf(index: number, subleaf: number, subject: CpuidSubject): CpuidAnswer {
  switch (index) {
    // "XenVMMXenVMM"
    case 0: return [0x4000_0005, 0x566e_6558, 0x6558_4d4d, 0x4d4d_566e]
    case 1: return [XEN_VERSION.major * 0x10000 + XEN_VERSION.minor, 0, 0, 0]
    // One hypercall page through MSR 0x40000000; mmu_update keeps accessed and dirty bits.
    case 2: return [1, 0x4000_0000, 1, 0]
    case 3:
      if (subleaf === 0) return [2, 2, subject.tscKilohertz, 0]
      return subleaf === 2 ? [subject.tscKilohertz, 0, 0, 0] : NOTHING
    case 5: return [0, subject.addressBits, 0, 0]
    default: return NOTHING
  }
}

function basicLeaf(leaf: number, subleaf: number): CpuidAnswer {
  switch (leaf) {
    case 0: return [7, VENDOR[1], VENDOR[2], VENDOR[3]]
    // A PV guest has no APIC: the identifier reads as 0 on every vCPU.
    case 1: return [SIGNATURE, CACHE_LINE, LEAF1_ECX, LEAF1_EDX]
    case 7: return subleaf === 0 ? [0, LEAF7_EBX, 0, 0] : NOTHING
    default: return NOTHING
  }
}

function extendedLeaf(leaf: number): CpuidAnswer {
  switch (leaf) {
    case 0x8000_0000: return [0x8000_0008, VENDOR[1], VENDOR[2], VENDOR[3]]
    case 0x8000_0001: return [SIGNATURE, 0, EXTENDED_ECX, (EXTENDED_EDX | (LEAF1_EDX & REPEATED)) >>> 0]
    case 0x8000_0002:
    case 0x8000_0003:
    case 0x8000_0004:
      return brand(leaf - 0x8000_0002)
    // 40 bits of physical, 48 of virtual address.
    case 0x8000_0008: return [0x3028, 0, 0, 0]
    default: return NOTHING
  }
}

/** Answers CPUID for a PV guest. */
export function queryCpuid(leaf: number, subleaf: number, subject: CpuidSubject): CpuidAnswer {
  if (leaf >= 0x4000_0000 && leaf < 0x4000_0100) return hypervisorLeaf(leaf - 0x4000_0000, subleaf, subject)
  return leaf >= 0x8000_0000 ? extendedLeaf(leaf) : basicLeaf(leaf, subleaf)
}
