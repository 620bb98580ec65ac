/**
 * Instructions of 32-bit and 16-bit code that move several values or compare with two: PUSHA, POPA, BOUND.
 * Reference: Intel SDM volume 2, PUSHA, POPA, BOUND.
 */
import { GPR, VECTOR } from '../../../x86/index.ts'
import type { Views } from '../core/core.ts'
import { RECORD } from '../layout/record.ts'
import { ACCESS, SLOT, STATUS } from '../layout/state.ts'
import { PRICE } from './prices.ts'
import { rows, type Handlers } from './rows.ts'

const REGISTERS = 8

/** PUSHA: all registers, the stack pointer as it was. As on processors, what has been written stays behind a fault. */
function pushAll(
  { registers, records, memory, stack }: Views<'registers' | 'records' | 'memory' | 'stack'>, record: number,
): number {
  const size = records.field(record, RECORD.operandBytes)
  let status: number = STATUS.NEXT
  for (let register = 0; register < REGISTERS; register += 1) {
    const host = memory.hostForWrite(stack.place(-size * (register + 1), size, ACCESS.WRITE), size)
    if (size === 2) registers.view.setUint16(host, registers.low(register * 8) & 0xffff, true)
    else registers.view.setUint32(host, registers.low(register * 8), true)
    status |= memory.finishWrite(host)
  }
  stack.move(-size * REGISTERS)
  return status
}

/**
 * POPA: all registers but the stack pointer, whose value is dropped. As on processors, registers that have been read
 * stay so when a later one faults; the stack pointer does not move then.
 */
function popAll(
  { registers, records, memory, stack }: Views<'registers' | 'records' | 'memory' | 'stack'>, record: number,
): number {
  const size = records.field(record, RECORD.operandBytes)
  for (let i = 0; i < REGISTERS; i += 1) {
    const address = stack.place(i * size, size)
    const value = size === 2 ? memory.read16(address) : memory.read32(address)
    const register = REGISTERS - 1 - i
    if (register === GPR.rsp) continue
    if (size === 2) registers.view.setUint16(registers.base + register * 8, value, true)
    else registers.setSlot(register * 8, value, 0)
  }
  stack.move(REGISTERS * size)
  return STATUS.NEXT
}

/** BOUND: the register is the index, t3 the address of lower and upper bound, all signed. */
function bound(
  { registers, records, memory, faults }: Views<'registers' | 'records' | 'memory' | 'faults'>, record: number,
): number {
  const size = records.field(record, RECORD.operandBytes)
  const address = registers.low(SLOT.t3)
  const signed = (value: number): number => (size === 2 ? (value << 16) >> 16 : value | 0)
  const at = (offset: number): number =>
    signed(size === 2 ? memory.read16(address + offset) : memory.read32(address + offset))
  const index = signed(registers.low(records.field(record, RECORD.register)))
  const [lower, upper] = [at(0), at(size)]
  return index < lower || index > upper ? faults.raise(VECTOR.BR) : STATUS.NEXT
}

/** Handlers by name. */
export const STACK_HANDLERS: Handlers = {
  ...rows({ pusha: pushAll, popa: popAll }, { price: PRICE.farTransfer, usesStack: true }),
  ...rows({ bound }),
}
