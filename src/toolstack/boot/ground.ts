/**
 * What a host stands on, and what outlives its hypervisor where the host is brought back to a moment: the machine, with its
 * decoded code and compiled regions, and the frame table.
 */
import type { FrameRows } from '../../hypervisor/index.ts'
import { Machine } from '../../machine/index.ts'
import type { ResolvedHostOptions } from './host-options.ts'
import { MOST_VCPUS, machineBytes } from './machine-size.ts'

/** A host's ground. `before`: the frame table that a hypervisor has left, with memory as it left it. */
export interface Ground {
  readonly machine: Machine
  readonly before?: FrameRows
}

/** A machine as a host with these options has it. */
export const machineFor = ({ memory, cpu, compiler }: Pick<ResolvedHostOptions, 'memory' | 'cpu' | 'compiler'>): Machine => new Machine({
  memoryBytes: machineBytes(memory), processors: MOST_VCPUS, cpu, ...(compiler === undefined ? {} : { compiler }),
})
