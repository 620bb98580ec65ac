/**
 * Instructions of 32-bit and 16-bit code that move several values or compare with two: PUSHA, POPA, BOUND.
 * Reference: Intel SDM volume 2, PUSHA, POPA, BOUND.
 */
import { GPR, VECTOR } from '../../../x86/index.ts'
import type { Core } from '../core/core.ts'
import { ACCESS } from '../runtime/tlb.ts'
import { SLOT, STATUS } from '../layout/state.ts'
import type { Handlers } from '../core/handler.ts'

const REGISTERS = 8

/** PUSHA: all registers, the stack pointer as it was. As on processors, what has been written stays behind a fault. */
function pushAll(core: Core, record: number): number {
  const size = core.field(record, 'c')
  let status: number = STATUS.NEXT
  for (let register = 0; register < REGISTERS; register += 1) {
    const host = core.hostForWrite(core.stackPlace(-size * (register + 1), size, ACCESS.WRITE), size)
    if (size === 2) core.view.setUint16(host, core.low(register * 8) & 0xffff, true)
    else core.view.setUint32(host, core.low(register * 8), true)
    status |= core.finishWrite(host)
  }
  core.moveStack(-size * REGISTERS)
  return status
}

/**
 * POPA: all registers but the stack pointer, whose value is dropped. As on processors, registers that have been read
 * stay so when a later one faults; the stack pointer does not move then.
 */
function popAll(core: Core, record: number): number {
  const size = core.field(record, 'c')
  for (let i = 0; i < REGISTERS; i += 1) {
    const address = core.stackPlace(i * size, size)
    const value = size === 2 ? core.read16(address) : core.read32(address)
    const register = REGISTERS - 1 - i
    if (register === GPR.rsp) continue
    if (size === 2) core.view.setUint16(core.base + register * 8, value, true)
    else core.setSlot(register * 8, value, 0)
  }
  core.moveStack(REGISTERS * size)
  return STATUS.NEXT
}

/** BOUND: a is the index, t3 the address of lower and upper bound, all signed. */
function bound(core: Core, record: number): number {
  const size = core.field(record, 'c')
  const address = core.low(SLOT.t3)
  const signed = (value: number): number => (size === 2 ? (value << 16) >> 16 : value | 0)
  const at = (offset: number): number =>
    signed(size === 2 ? core.read16(address + offset) : core.read32(address + offset))
  const index = signed(core.low(core.field(record, 'a')))
  const [lower, upper] = [at(0), at(size)]
  return index < lower || index > upper ? core.raise(VECTOR.BR) : STATUS.NEXT
}

/** Handlers by name. */
export const STACK_HANDLERS: Handlers = { pusha: pushAll, popa: popAll, bound }
