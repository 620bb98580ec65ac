/**
 * A machine: physical memory and the processors that run on it. It knows nothing of Xen; with `bare` processors it
 * runs a program without any hypervisor.
 */
import { XenError } from '../util/index.ts'
import { DEFAULT_PROCESSORS } from './memory-layout.ts'
import { PhysicalMemory } from './physical-memory.ts'
import type { Processor, ProcessorOptions } from './processor-types.ts'

/** What a machine consists of. */
export interface MachineOptions {
  /** Bytes of memory for guests, on top of what the machine itself needs. */
  readonly memoryBytes: number
  /** Most processors that exist at one time; 64 unless given. */
  readonly processors?: number
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

  constructor(options: MachineOptions) {
    this.memory = new PhysicalMemory(options.memoryBytes, options.processors ?? DEFAULT_PROCESSORS)
  }

  /** Adds a processor, at reset for a bare one and in 64-bit user mode for a hosted one. */
  createProcessor(options: ProcessorOptions): Processor {
    throw new XenError('NOT_SUPPORTED', `no ${options.mode} processor yet`)
  }
}
