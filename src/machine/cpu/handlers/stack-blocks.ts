/**
 * Instructions of 32-bit and 16-bit code that move several values or compare with two: PUSHA, POPA, BOUND.
 * Reference: Intel SDM volume 2, PUSHA, POPA, BOUND.
 */
import { GPR, VECTOR } from '../../../x86/index.ts'
import type { Core } from '../core/core.ts'
import { ACCESS, SLOT, STATUS } from '../layout/state.ts'
import type { Handlers } from '../core/handler.ts'

const REGISTERS = 8

/** PUSHA: all registers, the stack pointer as it was. As on processors, what has been written stays behind a fault. */
function pushAll(core: Core, record: number): number {
  const size = core.records.field(record, 'c')
  let status: number = STATUS.NEXT
  for (let register = 0; register < REGISTERS; register += 1) {
    const host = core.memory.hostForWrite(core.stack.place(-size * (register + 1), size, ACCESS.WRITE), size)
    if (size === 2) core.registers.view.setUint16(host, core.registers.low(register * 8) & 0xffff, true)
    else core.registers.view.setUint32(host, core.registers.low(register * 8), true)
    status |= core.memory.finishWrite(host)
  }
  core.stack.move(-size * REGISTERS)
  return status
}

/**
 * POPA: all registers but the stack pointer, whose value is dropped. As on processors, registers that have been read
 * stay so when a later one faults; the stack pointer does not move then.
 */
function popAll(core: Core, record: number): number {
  const size = core.records.field(record, 'c')
  for (let i = 0; i < REGISTERS; i += 1) {
    const address = core.stack.place(i * size, size)
    const value = size === 2 ? core.memory.read16(address) : core.memory.read32(address)
    const register = REGISTERS - 1 - i
    if (register === GPR.rsp) continue
    if (size === 2) core.registers.view.setUint16(core.registers.base + register * 8, value, true)
    else core.registers.setSlot(register * 8, value, 0)
  }
  core.stack.move(REGISTERS * size)
  return STATUS.NEXT
}

/** BOUND: a is the index, t3 the address of lower and upper bound, all signed. */
function bound(core: Core, record: number): number {
  const size = core.records.field(record, 'c')
  const address = core.registers.low(SLOT.t3)
  const signed = (value: number): number => (size === 2 ? (value << 16) >> 16 : value | 0)
  const at = (offset: number): number =>
    signed(size === 2 ? core.memory.read16(address + offset) : core.memory.read32(address + offset))
  const index = signed(core.registers.low(core.records.field(record, 'a')))
  const [lower, upper] = [at(0), at(size)]
  return index < lower || index > upper ? core.faults.raise(VECTOR.BR) : STATUS.NEXT
}

/** Handlers by name. */
export const STACK_HANDLERS: Handlers = { pusha: pushAll, popa: popAll, bound }
