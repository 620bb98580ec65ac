/** What a core is made of, and the request that it leaves to a host. */
import type { Random } from '../../../util/index.ts'
import type { PhysicalMemory } from '../../memory/physical-memory.ts'
import type { CpuidSource, DescriptorSource, PortSource, TimestampSource } from '../../interface/processor.ts'
import type { InterpreterExports } from '../interpreter/module.ts'

/** A privileged request as it is filled in, see processor-types.ts. */
export interface RequestFields {
  operation: string
  length: number
  size: number
  register: number
  general: number
  port: number
}

/** What a core is made of. */
export interface CoreParts {
  readonly memory: PhysicalMemory
  readonly base: number
  readonly bare: boolean
  /** The budget counts work, not instructions: see ProcessorOptions. */
  readonly countsWork: boolean
  readonly descriptors: DescriptorSource | undefined
  readonly timestamp: TimestampSource | undefined
  readonly cpuid: CpuidSource
  readonly ports: PortSource
  /** What RDRAND and RDSEED read. */
  readonly random: Random
  /** The generated interpreter for linear addresses of a width. */
  readonly interpreter: (width: 32 | 64) => InterpreterExports
}
