/** The outside of a processor: what it asks its host for, and how it leaves an instruction to it. */
import type { Random } from '../../../util/index.ts'
import type { RequestedOperation } from '../../interface/processor.ts'
import type { CpuidSource, DescriptorSource, PortSource, TimestampSource } from '../../interface/sources.ts'
import { STATUS } from '../layout/state.ts'
import type { Records } from './records.ts'

/** A privileged request as it is filled in, see PrivilegedRequest. */
export interface RequestFields {
  operation: RequestedOperation
  length: number
  size: number
  register: number
  general: number
  port: number
}

/** What a host provides. */
export interface OutsideSources {
  readonly descriptors: DescriptorSource | undefined
  readonly timestamp: TimestampSource | undefined
  readonly cpuid: CpuidSource
  /** Without it ports are left to the host. */
  readonly ports: PortSource | undefined
  /** What RDRAND and RDSEED read. */
  readonly random: Random
}

/** One processor's way to its host. */
export class Outside {
  readonly descriptors: DescriptorSource | undefined
  readonly timestamp: TimestampSource | undefined
  readonly cpuid: CpuidSource
  ports: PortSource | undefined
  readonly random: Random
  readonly request: RequestFields = { operation: 'other', length: 0, size: 0, register: 0, general: 0, port: 0 }
  /** Vector of a software interrupt. */
  vector = 0
  /** Where the host puts a descriptor that is being read. */
  readonly descriptor: Uint32Array = new Uint32Array(2)
  private readonly records: Records

  constructor(sources: OutsideSources, records: Records) {
    this.descriptors = sources.descriptors
    this.timestamp = sources.timestamp
    this.cpuid = sources.cpuid
    this.ports = sources.ports
    this.random = sources.random
    this.records = records
  }

  /** Leaves the record's instruction to the host. */
  leave(operation: RequestedOperation, record: number, fields: Partial<RequestFields> = {}): number {
    const { request } = this
    request.operation = operation
    request.length = this.records.lengthOf(record)
    request.size = fields.size ?? 0
    request.register = fields.register ?? 0
    request.general = fields.general ?? 0
    request.port = fields.port ?? 0
    return STATUS.PRIVILEGED
  }
}
