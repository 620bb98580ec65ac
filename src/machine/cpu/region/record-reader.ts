/** The record at hand while a region is written: its fields are constants of the code. */
import { PAGE_SIZE } from '../../../x86/index.ts'
import { RECORD } from '../layout/record.ts'
import type { SmallField } from '../layout/record.ts'
import type { RegionInstruction } from './region.ts'

/** A record of an instruction, by its host address. */
export interface RegionRecord {
  readonly instruction: RegionInstruction
  readonly at: number
}

/** Reads one record after the other. */
export class RecordReader {
  private readonly view: DataView
  /** The record at hand. */
  record: RegionRecord = { instruction: { rip: 0, length: 0, first: 0, end: 0 }, at: 0 }

  constructor(view: DataView) {
    this.view = view
  }

  /** Number of its micro-operation. */
  get number(): number {
    return this.view.getUint16(this.record.at + RECORD.number, true)
  }

  small(field: SmallField): number {
    return this.view.getUint8(this.record.at + RECORD[field])
  }

  get displacement(): number {
    return this.view.getInt32(this.record.at + RECORD.displacement, true)
  }

  get immediate(): number {
    return this.view.getInt32(this.record.at + RECORD.immediate, true)
  }

  /** Linear address of the instruction, of the one behind it, and of its page. */
  get rip(): number {
    return this.record.instruction.rip
  }

  get next(): number {
    return this.record.instruction.rip + this.record.instruction.length
  }

  get page(): number {
    return Math.floor(this.record.instruction.rip / PAGE_SIZE) * PAGE_SIZE
  }
}
