/**
 * The features that the processor has, in one list: decoding refuses what needs another one, CPUID tells of exactly
 * these. XSAVE is not among them: it would save nothing that FXSAVE does not, as long as there is no AVX.
 */
import type { CpuFeature } from '../../../x86/index.ts'

/**
 * Everything that CPUID offers: x86-64-v2, random numbers, and what long mode and ring 0 need. Instructions are executed one
 * behind the other, so LFENCE always lets all earlier ones end, and RDTSC behind it tells the time in order.
 */
export const OFFERED_FEATURES: readonly CpuFeature[] = [
  'fpu', 'de', 'pse', 'tsc', 'msr', 'pae', 'mce', 'cx8', 'pge', 'mca', 'cmov', 'pat', 'clflush', 'mmx', 'fxsr', 'sse', 'sse2',
  'sse3', 'ssse3', 'cx16', 'sse4_1', 'sse4_2', 'popcnt', 'rdrand', 'rdseed', 'erms',
  'fsgsbase',
  'syscall', 'nx', 'rdtscp', 'lm', 'lahf_lm', 'prefetchw', 'nonstop_tsc', 'lfence_rdtsc',
]

/** The level of the x86-64 psABI that these make up. */
export const OFFERED_LEVEL = 'x86-64-v2'

const offered: ReadonlySet<CpuFeature> = /* @__PURE__ */ new Set(OFFERED_FEATURES)

/** True for a feature that the processor has. */
export const isOffered = (feature: CpuFeature): boolean => offered.has(feature)
