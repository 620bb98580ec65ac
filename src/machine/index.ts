/**
 * An x86-64 machine: physical memory and processors. Knows nothing of Xen.
 *
 * @example
 * import { Machine, disassemble } from 'paravirt/machine'
 *
 * const machine = new Machine({ memoryBytes: 64 << 20 })
 * const processor = machine.createProcessor({ mode: 'bare' })
 * console.log(processor.executed, disassemble(Uint8Array.of(0x48, 0x89, 0xe5)).text)
 *
 * @module
 */
export { CR0, CR4, EFER, GPR, MSR, PTE, RFLAGS, SEGMENT, VECTOR } from '../x86/index.ts'
export type { GprName, SegmentName, Vector } from '../x86/index.ts'
export { Machine } from './machine.ts'
export { mostMemoryBytes } from './memory/layout.ts'
export type { MachineOptions } from './machine.ts'
export { PhysicalMemory, memoryShape } from './memory/physical-memory.ts'
export type { MemoryState } from './memory/physical-memory.ts'
export { PageIndex } from './image/page-index.ts'
export { PagePool, ZERO_PAGE } from './image/page-pool.ts'
export type { PageSource } from './image/page-pool.ts'
export type { PageHash } from './image/page-pool.ts'
export { ComparedPages } from './image/compared-pages.ts'
export { MemoryImage } from './image/memory-image.ts'
export type { ImageFacts } from './image/memory-image.ts'
export type { MachineImages } from './image/machine-images.ts'
export type { Restoration } from './image/memory-history.ts'
export { DEFAULT_LEVEL, Disassembler, PROCESSOR_LEVELS, disassemble, disassembleAll, offeredFeatures, prepareProcessors } from './cpu/index.ts'
export type {
  Disassembled, DisassemblyOptions, MemoryOperand, Operand, OperandSize, ProcessorLevel,
} from './cpu/index.ts'
export type {
  Trace, TraceAnswer, TraceHooks, TracedAccess, TracedException, TracedInstruction, WatchedBytes,
} from './interface/trace.ts'
export type {
  CacheFault, CacheInspection, CachedTranslation, CodeInspection, KeptTranslations,
} from './interface/inspection.ts'
export type { CompilerFigures, CompilerOptions } from './interface/compiler.ts'
export type { ProcessorProfile, ProfileSample, RegionProfile } from './interface/profile.ts'
export type { CoveredBlock, MachineCoverage } from './interface/coverage.ts'
export { mergeProfiles } from './profile/merge.ts'
export { speedscopeProfile } from './profile/speedscope.ts'
export type { NamedProfile, SpeedscopeFile } from './profile/speedscope.ts'
export { EXIT } from './interface/processor.ts'
export { FRAME_RIGHT } from './interface/sources.ts'
export type {
  BareProcessor, ExitReason, PhysicalAccess, PrivilegedRequest, Processor, ProcessorExit, ProcessorOptions, RequestedOperation,
  TableNews, VirtualisedProcessor,
} from './interface/processor.ts'
export type {
  CpuidSource, DescriptorSource, InterruptSource, MemoryDevice, PhysicalSource, PortSource, TimestampSource,
} from './interface/sources.ts'
export type { ProcessorState, ProcessorSystemState } from './interface/saved-state.ts'
export type { Registers, SegmentState, SystemView, TableState } from './interface/registers.ts'
export { CPUID_BITS } from '../x86/index.ts'
export type { CpuFeature } from '../x86/index.ts'
