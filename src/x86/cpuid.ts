/**
 * Where CPUID tells of a processor's features, and what they are called. Names follow the flags line of Linux's
 * /proc/cpuinfo, but for sse3.
 * Reference: Intel SDM volume 2, CPUID; AMD64 APM volume 3, appendix E.
 */
import { onceFor } from '../util/index.ts'

/** Answer of CPUID for one leaf: EAX, EBX, ECX, EDX. */
export type CpuidAnswer = readonly [number, number, number, number]

/** Bits of the features by register of CPUID. */
export const CPUID_BITS = {
  leaf1Ecx: {
    sse3: 0, pclmulqdq: 1, monitor: 3, vmx: 5, ssse3: 9, fma: 12, cx16: 13, pcid: 17, sse4_1: 19, sse4_2: 20,
    x2apic: 21, movbe: 22, popcnt: 23, aes: 25, xsave: 26, osxsave: 27, avx: 28, f16c: 29, rdrand: 30, hypervisor: 31,
  },
  leaf1Edx: {
    fpu: 0, vme: 1, de: 2, pse: 3, tsc: 4, msr: 5, pae: 6, mce: 7, cx8: 8, apic: 9, sep: 11, mtrr: 12, pge: 13, mca: 14,
    cmov: 15, pat: 16, pse36: 17, clflush: 19, acpi: 22, mmx: 23, fxsr: 24, sse: 25, sse2: 26, ss: 27, ht: 28,
  },
  leaf7Ebx: {
    fsgsbase: 0, sgx: 2, bmi1: 3, hle: 4, avx2: 5, smep: 7, bmi2: 8, erms: 9, invpcid: 10, rtm: 11, avx512f: 16,
    avx512dq: 17, rdseed: 18, adx: 19, smap: 20, avx512ifma: 21, clflushopt: 23, clwb: 24, avx512pf: 26, avx512er: 27,
    avx512cd: 28, sha_ni: 29, avx512bw: 30, avx512vl: 31,
  },
  leaf7Ecx: {
    prefetchwt1: 0, avx512vbmi: 1, umip: 2, pku: 3, waitpkg: 5, avx512_vbmi2: 6, shstk: 7, gfni: 8, vaes: 9,
    vpclmulqdq: 10, avx512_vnni: 11, avx512_bitalg: 12, avx512_vpopcntdq: 14, rdpid: 22, cldemote: 25, movdiri: 27,
    movdir64b: 28, enqcmd: 29,
  },
  leaf7Edx: {
    avx512_4vnniw: 2, avx512_4fmaps: 3, fsrm: 4, avx512_vp2intersect: 8, md_clear: 10, serialize: 14, tsxldtrk: 16,
    spec_ctrl: 26, stibp: 27, flush_l1d: 28, arch_capabilities: 29, ssbd: 31,
  },
  leaf7Sub1Eax: { avx_vnni: 4, avx512_bf16: 5, fzrm: 10, fsrs: 11, fsrc: 12 },
  xsaveEax: { xsaveopt: 0, xsavec: 1, xgetbv1: 2, xsaves: 3 },
  extendedEcx: {
    lahf_lm: 0, cmp_legacy: 1, svm: 2, cr8_legacy: 4, abm: 5, sse4a: 6, misalignsse: 7, prefetchw: 8, osvw: 9, xop: 11,
    fma4: 16, tbm: 21, topoext: 22, bpext: 26, mwaitx: 29,
  },
  extendedEdx: {
    syscall: 11, nx: 20, mmxext: 22, fxsr_opt: 25, pdpe1gb: 26, rdtscp: 27, lm: 29, '3dnowext': 30, '3dnow': 31,
  },
  extended7Edx: { nonstop_tsc: 8 },
  extended8Ebx: {
    clzero: 0, xsaveerptr: 2, wbnoinvd: 9, ibpb: 12, ibrs: 14, amd_stibp: 15, amd_ssbd: 24, virt_ssbd: 25, ssb_no: 26,
    amd_psfd: 28, btc_no: 29, ibpb_ret: 30,
  },
  extended21Eax: { lfence_rdtsc: 2, null_sel_clr_base: 6 },
  encryptionEax: { sev_snp: 4 },
} as const

/** Bits of leaf 1 EDX that AMD repeats in EDX of leaf 0x80000001. */
export const REPEATED_FEATURES = 0x0183_f3ff

type Register = keyof typeof CPUID_BITS
/** A feature that CPUID tells of. */
export type CpuFeature = { [R in keyof typeof CPUID_BITS]: keyof (typeof CPUID_BITS)[R] }[keyof typeof CPUID_BITS]

/** Leaf, subleaf and register (0 for EAX to 3 for EDX) of each group. */
const PLACES: Readonly<Record<Register, readonly [leaf: number, subleaf: number, register: 0 | 1 | 2 | 3]>> = {
  leaf1Ecx: [1, 0, 2], leaf1Edx: [1, 0, 3], leaf7Ebx: [7, 0, 1], leaf7Ecx: [7, 0, 2], leaf7Edx: [7, 0, 3], leaf7Sub1Eax: [7, 1, 0],
  xsaveEax: [0xd, 1, 0], extendedEcx: [0x8000_0001, 0, 2], extendedEdx: [0x8000_0001, 0, 3],
  extended7Edx: [0x8000_0007, 0, 3], extended8Ebx: [0x8000_0008, 0, 1], encryptionEax: [0x8000_001f, 0, 0],
  extended21Eax: [0x8000_0021, 0, 0],
}

/**
 * The leaves that consist of subleaves, chosen by ECX. All others ignore ECX: programs do not clear it before they ask,
 * and what a caller left there changes nothing.
 */
const WITH_SUBLEAVES: ReadonlySet<number> = /* @__PURE__ */ new Set([
  // Caches, features, topology, XSAVE; monitoring and allocation of caches; enclaves, trace, attributes of the system;
  // address translation, tiles, key locker, topology again, memory of trace, performance counters, vectors.
  4, 7, 0xb, 0xd, 0xf, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1b, 0x1d, 0x1e, 0x1f, 0x20, 0x23, 0x24,
  // Xen's time, HVM and PV leaves.
  0x4000_0003, 0x4000_0004, 0x4000_0005,
  // AMD's caches, allocation and topology.
  0x8000_001d, 0x8000_0020, 0x8000_0026,
])

/** True for a leaf whose answer depends on the subleaf in ECX. */
export const hasSubleaves = (leaf: number): boolean => WITH_SUBLEAVES.has(leaf)

/** Where a feature is told. */
export interface CpuFeaturePlace {
  readonly leaf: number
  readonly subleaf: number
  /** 0 for EAX to 3 for EDX. */
  readonly register: 0 | 1 | 2 | 3
  readonly bit: number
}

/** All features by name. */
export const CPU_FEATURES: Readonly<Record<CpuFeature, CpuFeaturePlace>> = /* @__PURE__ */ Object.fromEntries(
  (Object.keys(CPUID_BITS) as Register[]).flatMap((group) => Object.entries(CPUID_BITS[group]).map(([name, bit]) => {
    const [leaf, subleaf, register] = PLACES[group]
    return [name, { leaf, subleaf, register, bit }]
  })),
  // The names are the tables' keys.
) as Record<CpuFeature, CpuFeaturePlace>

/** True for the name of a feature. */
export const isCpuFeature = (name: string): name is CpuFeature => Object.hasOwn(CPU_FEATURES, name)

/** Subleaves with features are below this number. */
const SUBLEAVES = 4
const wordNumber = (leaf: number, subleaf: number, register: number): number => (leaf * SUBLEAVES + subleaf) * 4 + register

/** The registers in which a list of features sets bits: a domain that comes with a policy asks for all of them. */
const featureWords = /* @__PURE__ */ onceFor((features: readonly CpuFeature[]): ReadonlyMap<number, number> => {
  const words = new Map<number, number>()
  for (const name of features) {
    const { leaf, subleaf, register, bit } = CPU_FEATURES[name]
    const word = wordNumber(leaf, subleaf, register)
    words.set(word, ((words.get(word) ?? 0) | 1 << bit) >>> 0)
  }
  return words
})

/** The bits that a list of features, which nobody changes, sets in one register; the subleaf counts where the leaf has some. */
export function featureBits(
  features: readonly CpuFeature[],
  where: { readonly leaf: number; readonly subleaf?: number; readonly register: 0 | 1 | 2 | 3 },
): number {
  const subleaf = hasSubleaves(where.leaf) ? where.subleaf ?? 0 : 0
  return subleaf < SUBLEAVES ? featureWords(features).get(wordNumber(where.leaf, subleaf, where.register)) ?? 0 : 0
}
