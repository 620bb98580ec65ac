/**
 * The features that processors have, by level, in one list each: decoding refuses what needs another one, CPUID tells of
 * exactly these.
 */
import { XCR0 } from '../../../x86/index.ts'
import type { CpuFeature } from '../../../x86/index.ts'

/** Levels of the x86-64 psABI that a machine's processors can be of. */
export const PROCESSOR_LEVELS = ['x86-64-v2', 'x86-64-v3'] as const
/** One of {@link PROCESSOR_LEVELS}. */
export type ProcessorLevel = (typeof PROCESSOR_LEVELS)[number]

/** What processors are unless something else is asked for. */
export const DEFAULT_LEVEL: ProcessorLevel = 'x86-64-v3'

/**
 * x86-64-v2, random numbers, and what long mode and ring 0 need. That LFENCE lets all earlier instructions end, as it
 * always does here, is not told: AMD has a leaf for it that many processors lack, and a domain that knows of it could not
 * go on there.
 */
const SECOND_LEVEL: readonly CpuFeature[] = [
  'fpu', 'de', 'pse', 'tsc', 'msr', 'pae', 'mce', 'cx8', 'pge', 'mca', 'cmov', 'pat', 'clflush', 'mmx', 'fxsr', 'sse', 'sse2',
  'sse3', 'ssse3', 'cx16', 'sse4_1', 'sse4_2', 'popcnt', 'rdrand', 'rdseed', 'erms',
  'fsgsbase',
  'syscall', 'nx', 'rdtscp', 'lm', 'lahf_lm', 'prefetchw', 'nonstop_tsc',
]

/** x86-64-v3, and the forms of XSAVE that user code may use. */
const THIRD_LEVEL: readonly CpuFeature[] = [
  ...SECOND_LEVEL, 'xsave', 'xsaveopt', 'xsavec', 'xgetbv1', 'avx', 'avx2', 'bmi1', 'bmi2', 'f16c', 'fma', 'movbe', 'abm',
]

const FEATURES: Readonly<Record<ProcessorLevel, readonly CpuFeature[]>> = { 'x86-64-v2': SECOND_LEVEL, 'x86-64-v3': THIRD_LEVEL }

/** Everything that CPUID offers. */
export const offeredFeatures = (level: ProcessorLevel): readonly CpuFeature[] => FEATURES[level]

const offered: Readonly<Record<ProcessorLevel, ReadonlySet<CpuFeature>>> = {
  'x86-64-v2': /* @__PURE__ */ new Set(SECOND_LEVEL), 'x86-64-v3': /* @__PURE__ */ new Set(THIRD_LEVEL),
}

/** True for a feature that processors of a level have. */
export const isOffered = (feature: CpuFeature, level: ProcessorLevel): boolean => offered[level].has(feature)

/** Bits that XCR0 may have with the features of a level. */
export const xcr0Bits = (level: ProcessorLevel): number => XCR0.X87 | (isOffered('avx', level) ? XCR0.SSE | XCR0.AVX : XCR0.SSE)
