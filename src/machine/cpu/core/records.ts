/** The record of the instruction that a handler carries out, see layout/record.ts: its fields, and where it stands in memory. */
import { IP, RECORD } from '../layout/record.ts'
import { SLOT, State } from '../layout/state.ts'
import type { RegisterFile } from './register-file.ts'

/** Records as one processor executes them. */
export class Records {
  private readonly registers: RegisterFile

  constructor(registers: RegisterFile) {
    this.registers = registers
  }

  /** One of the small fields, by its offset: RECORD and a name. */
  field(record: number, offset: number): number {
    return this.registers.view.getUint8(record + offset)
  }

  displacement(record: number): number {
    return this.registers.view.getInt32(record + RECORD.displacement, true)
  }

  /** Bytes of the record's instruction. */
  lengthOf(record: number): number {
    return this.registers.view.getUint16(record + RECORD.ip, true) >>> IP.LENGTH
  }

  /** Linear address of the record's instruction. */
  addressOf(record: number): number {
    const { registers } = this
    return registers.address(State.page.offset) + (registers.view.getUint16(record + RECORD.ip, true) & IP.OFFSET)
  }

  /** Puts rip so many bytes behind the address of the record's instruction. hot path: each time that generated code comes back. */
  goTo(record: number, behind: number): void {
    const { registers, registers: { view, base } } = this
    const low = State.page.low(view, base) + (view.getUint16(record + RECORD.ip, true) & IP.OFFSET) + behind
    const high = registers.long ? State.page.high(view, base) + (low > 0xffff_ffff ? 1 : 0) : 0
    State.rip.setParts(view, base, low, high)
  }

  /** Where the instruction behind the record's stands, as CALL pushes it: outside of 64-bit mode an offset in CS. */
  nextOf(record: number): number {
    const next = this.addressOf(record) + this.lengthOf(record)
    return this.registers.long ? next : (next - this.registers.low(SLOT.cs)) >>> 0
  }
}
