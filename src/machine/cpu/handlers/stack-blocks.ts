/**
 * Instructions of 32-bit and 16-bit code that move several values or compare with two: PUSHA, POPA, BOUND.
 * Reference: Intel SDM volume 2, PUSHA, POPA, BOUND.
 */
import { GPR, VECTOR } from '../../../x86/index.ts'
import type { Core } from '../core.ts'
import { SLOT, STATUS } from '../state.ts'
import type { Handlers } from './handler.ts'

const REGISTERS = 8

/** PUSHA: all registers, the stack pointer as it was. */
function pushAll(core: Core, record: number): number {
  const values = Array.from({ length: REGISTERS }, (_, register) => core.low(register * 8))
  return core.pushNumbers(core.field(record, 'c') === 2 ? 2 : 4, values)
}

/** POPA: all registers but the stack pointer, whose value is dropped. */
function popAll(core: Core, record: number): number {
  const size = core.field(record, 'c')
  const values = Array.from({ length: REGISTERS }, (_, i) => {
    const address = core.stackPlace(i * size, size)
    return size === 2 ? core.read16(address) : core.read32(address)
  })
  values.forEach((value, i) => {
    const register = REGISTERS - 1 - i
    if (register === GPR.rsp) return
    if (size === 2) core.view.setUint16(core.base + register * 8, value, true)
    else core.setSlot(register * 8, value, 0)
  })
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
