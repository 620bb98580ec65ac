/**
 * A machine: physical memory and the processors that run on it. It knows nothing of Xen: its processors run in user
 * mode for whoever hosts them, bare with a kernel of their own, or with one within a host that gives them their memory.
 */
import { XenError, anything, checkOptions, flag, having, oneOf, real, whole, type OptionChecks } from '../util/index.ts'
import {
  DEFAULT_LEVEL, Engine, MachineProcessor, PROCESSOR_LEVELS, compilerSettings, makeRegions, recordCoverage, type CompilerSettings, type ProcessorLevel,
} from './cpu/index.ts'
import { MachineImages } from './image/machine-images.ts'
import { MemoryHistory } from './image/memory-history.ts'
import type { PagePool } from './image/page-pool.ts'
import type { PhysicalSource } from './interface/sources.ts'
import { DEFAULT_PROCESSORS, PROCESSOR_BYTES } from './memory/layout.ts'
import { MachineMemory } from './memory/machine-memory.ts'
import type { PhysicalMemory } from './memory/physical-memory.ts'
import type { MachineCoverage } from './interface/coverage.ts'
import type { CompilerFigures, CompilerOptions } from './interface/compiler.ts'
import type { BareProcessor, Processor, ProcessorOptions, VirtualisedProcessor } from './interface/processor.ts'
import type { RegionProfile } from './interface/profile.ts'

/** What a machine consists of. */
export interface MachineOptions {
  /** Bytes of memory for guests, on top of what the machine itself needs. */
  readonly memoryBytes: number
  /** Most processors that exist at one time; 64 unless given. */
  readonly processors?: number
  /** How hot code is compiled to WebAssembly; `'off'`: not at all. What is executed and counted is the same. */
  readonly compiler?: 'off' | CompilerOptions
  /** Level of the x86-64 psABI that its processors have; `x86-64-v3` unless given. */
  readonly cpu?: ProcessorLevel
}

const MACHINE_CHECKS: OptionChecks<MachineOptions> = {
  memoryBytes: /* @__PURE__ */ real(0, Number.MAX_SAFE_INTEGER), processors: /* @__PURE__ */ whole(1, 4096), compiler: anything,
  cpu: /* @__PURE__ */ oneOf(...PROCESSOR_LEVELS),
}
const source = /* @__PURE__ */ having('read')
const PROCESSOR_CHECKS: OptionChecks<ProcessorOptions> = {
  mode: /* @__PURE__ */ oneOf('hosted', 'bare', 'virtualised'), accounting: /* @__PURE__ */ oneOf('instructions', 'work'), descriptors: source, timestamp: /* @__PURE__ */ having('low', 'high'),
  random: /* @__PURE__ */ having('next'), topology: anything, cpuid: source, ports: /* @__PURE__ */ having('read', 'write'),
  kernelRing: (value) => (value === 1 || value === 3 ? undefined : 'must be 1 or 3'), physical: /* @__PURE__ */ having('frame'), interrupts: /* @__PURE__ */ having('pending', 'acknowledge'),
  keepsTranslations: flag,
}

/**
 * Memory and processors.
 *
 * @example
 * const machine = new Machine({ memoryBytes: 64 << 20 })
 * const processor = machine.createProcessor({ mode: 'hosted' })
 */
export class Machine {
  /** All frames; satisfies the hypervisor's GuestMemory. */
  readonly memory: PhysicalMemory
  /** The same, with what the processors need of it. */
  private readonly own: MachineMemory
  private readonly free: number[] = []
  private readonly settings: CompilerSettings | undefined
  private engine: Engine | undefined
  private readonly level: ProcessorLevel
  private readonly processors = new Set<MachineProcessor>()

  constructor(options: MachineOptions) {
    checkOptions('Machine', options, MACHINE_CHECKS)
    this.settings = compilerSettings(options.compiler === undefined ? {} : options.compiler)
    this.level = options.cpu ?? DEFAULT_LEVEL
    const count = options.processors ?? DEFAULT_PROCESSORS
    this.own = new MachineMemory(options.memoryBytes, count)
    this.memory = this.own
    const first = this.own.layout.processors
    for (let i = count - 1; i >= 0; i -= 1) this.free.push(first + i * PROCESSOR_BYTES)
  }

  /** What the compiling tier has done; undefined where there is none. */
  compilerFigures(): CompilerFigures | undefined {
    return this.engine?.compiler?.figures()
  }

  /** The compiled regions that there are, the most sampled first; none where nothing is compiled. */
  regions(): readonly RegionProfile[] {
    return this.engine?.compiler?.regions() ?? []
  }

  /**
   * Counts from now on which blocks are executed and over which edges. All code is decoded anew, and up to 15 % slower until it is stopped; what guests see is
   * the same. No processor may be running. Throws INVALID_STATE while there is some already.
   */
  recordCoverage(): MachineCoverage {
    return recordCoverage(this.shared())
  }

  /** Ends whatever coverage is recorded: its host is gone. */
  endCoverage(): void {
    const code = this.engine?.code
    if (code?.coverage !== undefined) code.cover('off')
  }

  private shared(): Engine {
    return (this.engine ??= new Engine(this.own, this.level, this.settings && { settings: this.settings, makers: makeRegions }))
  }

  /** Makes now what its first processor of 64 bits would make, and what programs need of it soon. */
  prepare(): void {
    this.shared().prepare()
  }

  /** Adds a processor: a hosted one for a hypervisor, or one with a kernel of its own, bare or within a host. */
  createProcessor(options: ProcessorOptions & { readonly mode: 'virtualised'; readonly physical: PhysicalSource }): VirtualisedProcessor
  createProcessor(options: ProcessorOptions & { readonly mode: 'bare' }): BareProcessor
  createProcessor(options: ProcessorOptions): Processor
  createProcessor(options: ProcessorOptions): Processor {
    checkOptions('createProcessor', options, PROCESSOR_CHECKS)
    if ((options.mode === 'virtualised') !== (options.physical !== undefined)) {
      throw new XenError('INVALID_ARGUMENT', 'a virtualised processor, and no other, has its physical memory from a source')
    }
    const base = this.free.pop()
    if (base === undefined) throw new XenError('OUT_OF_RESOURCES', 'all processors of the machine are in use')
    const release = (): void => {
      this.processors.delete(processor)
      // The lowest area comes first, whoever had which before.
      this.free.push(base)
      this.free.sort((one, other) => other - one)
    }
    const processor = new MachineProcessor(this.shared(), base, { ...options, release })
    this.processors.add(processor)
    return processor
  }

  /** Begins to keep images of memory, their pages in `pool`. `fresh`: nothing has been done with the machine yet. */
  keepImages(pool: PagePool, options: { readonly fresh: boolean }): MachineImages {
    return new MachineImages(this.processors, new MemoryHistory(this.own, pool, options))
  }
}
