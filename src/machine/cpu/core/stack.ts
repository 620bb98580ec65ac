/**
 * The stack of the code at hand: where its pointer leads in each mode, checked places on it, and pushes that are all or
 * nothing.
 */
import { GPR } from '../../../x86/index.ts'
import { highPart, lowPart } from '../../../util/index.ts'
import { ACCESS, SLOT, STATUS, State } from '../layout/state.ts'
import { GUEST_FAULT } from './faults.ts'
import type { LinearMemory } from './linear-memory.ts'
import type { RegisterFile } from './register-file.ts'
import type { Segments } from './segments.ts'

const RSP = GPR.rsp * 8

/** Stack of one processor. */
export class Stack {
  private readonly registers: RegisterFile
  private readonly memory: LinearMemory
  private readonly segments: Segments

  constructor(parts: { readonly registers: RegisterFile; readonly memory: LinearMemory; readonly segments: Segments }) {
    this.registers = parts.registers
    this.memory = parts.memory
    this.segments = parts.segments
  }

  /** Stack pointer as an address offset. */
  pointer(): number {
    const { registers } = this
    return registers.long ? registers.address(RSP) : (registers.low(RSP) & this.mask) >>> 0
  }

  /** Bits of the stack pointer that count outside of 64-bit mode. */
  private get mask(): number {
    return State.stackMask.get(this.registers.view, this.registers.base)
  }

  /** Linear address of the stack pointer plus `offset`. */
  address(offset: number): number {
    const { registers } = this
    if (registers.long) return registers.address(RSP) + offset
    return (((registers.low(RSP) + offset) & this.mask) + registers.low(SLOT.ss)) >>> 0
  }

  /** The same for an access of some bytes; ends the handler with the fault when the stack segment does not allow it. */
  place(offset: number, bytes: number, access: number = ACCESS.READ): number {
    const { registers } = this
    // In 64-bit mode the stack has no segment to be asked.
    if (registers.long) return registers.address(RSP) + offset
    const from = (registers.low(RSP) + offset) & this.mask
    if (!this.segments.stackAllows(from, bytes, access)) throw GUEST_FAULT
    return (from + registers.low(SLOT.ss)) >>> 0
  }

  /** Adds to the stack pointer. */
  move(bytes: number): void {
    const { registers, mask } = this
    if (registers.long) return registers.setNumber(RSP, registers.address(RSP) + bytes)
    const old = registers.low(RSP)
    registers.setSlot(RSP, ((old & ~mask) | ((old + bytes) & mask)) >>> 0, 0)
  }

  /** Pushes values of `size` bytes, the first at the highest address; nothing happens when one of them would fault. */
  push(size: 2 | 4 | 8, values: readonly number[]): number {
    const { memory } = this
    const { view } = this.registers
    values.forEach((_, i) => memory.hostForWrite(this.place(-size * (i + 1), size, ACCESS.WRITE), size))
    let status: number = STATUS.NEXT
    values.forEach((value, i) => {
      const host = memory.hostForWrite(this.address(-size * (i + 1)), size)
      if (size === 2) view.setUint16(host, value & 0xffff, true)
      else view.setUint32(host, lowPart(value), true)
      if (size === 8) view.setUint32(host + 4, highPart(value), true)
      status |= memory.finishWrite(host)
    })
    this.move(-size * values.length)
    return status
  }
}
