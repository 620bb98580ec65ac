/**
 * Architectural constants and formats of x86-64: data only.
 *
 * @module
 */
export { CR0, CR4, DR6, DR7, EFER, GPR, MSR, RFLAGS, SEGMENT, XCR0 } from './registers.ts'
export type { GprName, SegmentName } from './registers.ts'
export { CPUID_BITS, CPU_FEATURES, REPEATED_FEATURES, featureBits, hasSubleaves, isCpuFeature } from './cpuid.ts'
export type { CpuFeature, CpuFeaturePlace, CpuidAnswer } from './cpuid.ts'
export { PAGE_FAULT, VECTOR, describeException, exceptionMnemonic, exceptionName, hasErrorCode } from './exceptions.ts'
export type { ExceptionFacts, Vector } from './exceptions.ts'
export {
  ENTRIES_PER_TABLE, PAGE_OFFSET, PAGE_SHIFT, PAGE_SIZE, PTE, PTE_HIGH_AVAILABLE, PTE_HIGH_FRAME, PTE_HIGH_NX, tableIndex,
} from './paging.ts'
export { ATTRIBUTE, DPL_SHIFT, SYSTEM_TYPE, dplOf, isConforming } from './segments.ts'
export { CONDITIONS } from './conditions.ts'
export type { Condition } from './conditions.ts'
