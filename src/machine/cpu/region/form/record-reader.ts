/** The record at hand while a region is written: its fields are constants of the code. */
import { PAGE_SIZE } from '../../../../x86/index.ts'
import { RECORD } from '../../layout/record.ts'
import type { SmallField } from '../../layout/record.ts'
import type { RegionInstruction } from './region.ts'

/** Reads one record after the other. */
export class RecordReader {
  private readonly view: DataView
  /** The instruction at hand, and the host address of its record at hand. */
  instruction: RegionInstruction = { rip: 0, length: 0, first: 0, end: 0 }
  at = 0

  constructor(view: DataView) {
    this.view = view
  }

  /** Goes to a record of an instruction. */
  go(instruction: RegionInstruction, at: number): void {
    this.instruction = instruction
    this.at = at
  }

  /** Number of its micro-operation. */
  get number(): number {
    return this.view.getUint16(this.at + RECORD.number, true)
  }

  small(field: SmallField): number {
    return this.view.getUint8(this.at + RECORD[field])
  }

  /** A byte by its offset in the record. */
  byte(offset: number): number {
    return this.view.getUint8(this.at + offset)
  }

  get displacement(): number {
    return this.view.getInt32(this.at + RECORD.displacement, true)
  }

  get immediate(): number {
    return this.view.getInt32(this.at + RECORD.immediate, true)
  }

  /** Linear address of the instruction, of the one behind it, and of its page. */
  get rip(): number {
    return this.instruction.rip
  }

  get next(): number {
    return this.instruction.rip + this.instruction.length
  }

  get page(): number {
    return Math.floor(this.instruction.rip / PAGE_SIZE) * PAGE_SIZE
  }
}
