/**
 * The x87 register stack as handlers see it: registers by position, tags, status and control word, stack faults,
 * pending exceptions. Registers are kept by physical number; a tag is one bit, set when the register is not empty.
 * Reference: Intel SDM volume 1, sections 8.1, 8.5 and 8.7.
 */
import type { Float80 } from '../../softfloat/index.ts'
import { FLOAT_FLAG, X87_STATUS } from '../../softfloat/index.ts'
import { VECTOR } from '../../../x86/index.ts'
import type { Core } from '../core/core.ts'
import { SLOT, STATUS, State } from '../layout/state.ts'
import { lowPart, highPart } from '../../../util/index.ts'
import { X87_OPERAND } from '../lift/x87.ts'

/** Bits of the status word. */
export const STACK_FAULT = 0x40
const SUMMARY = 0x8080
const TOP_SHIFT = 11
const C1 = X87_STATUS.C1
const { ALL, INVALID } = FLOAT_FLAG
/** Control word after FNINIT. */
export const CONTROL_RESET = 0x37f

/** The status word, its summary bits as the flags and masks demand. */
export const status = (core: Core): number => State.x87Status.get(core.registers.view, core.registers.base)
export const control = (core: Core): number => State.x87Control.get(core.registers.view, core.registers.base)

/** Sets the status word; bits 7 and 15 follow from flags and masks. */
export function setStatus(core: Core, value: number): void {
  const pending = (value & ~control(core) & ALL) !== 0
  State.x87Status.set(core.registers.view, core.registers.base, (value & 0x7f7f) | (pending ? SUMMARY : 0))
}

/** Sets the control word; exceptions that it unmasks become pending. */
export function setControl(core: Core, value: number): void {
  State.x87Control.set(core.registers.view, core.registers.base, (value & 0x1f7f) | 0x40)
  setStatus(core, status(core))
}

/** Physical number of st(i). */
export const physical = (core: Core, i: number): number => ((status(core) >> TOP_SHIFT) + i) & 7

/** Moves the top of the stack. */
export function moveTop(core: Core, by: number): void {
  const value = status(core)
  State.x87Status.set(core.registers.view, core.registers.base, (value & ~0x3800) | ((((value >> TOP_SHIFT) + by) & 7) << TOP_SHIFT))
}

const tags = (core: Core): number => State.x87Tags.get(core.registers.view, core.registers.base)

export const isEmpty = (core: Core, i: number): boolean => ((tags(core) >> physical(core, i)) & 1) === 0

/** Marks st(i) as empty or not. */
export function setTag(core: Core, i: number, valid: 0 | 1): void {
  const bit = 1 << physical(core, i)
  State.x87Tags.set(core.registers.view, core.registers.base, valid === 1 ? tags(core) | bit : tags(core) & ~bit)
}

const placeOf = (core: Core, i: number): number => core.registers.base + State.x87.offset + physical(core, i) * 16

/** Reads st(i). */
export function readRegister(core: Core, i: number, out: Float80): Float80 {
  const { view } = core.registers
  const at = placeOf(core, i)
  return out.set(view.getUint16(at + 8, true), view.getInt32(at + 4, true), view.getInt32(at, true))
}

/** Writes st(i), which is no longer empty. */
export function writeRegister(core: Core, i: number, value: Float80): void {
  const { view } = core.registers
  const at = placeOf(core, i)
  view.setInt32(at, value.low, true)
  view.setInt32(at + 4, value.high, true)
  view.setUint16(at + 8, value.signExponent, true)
  setTag(core, i, 1)
}

/** Writes the NaN that answers invalid operations. */
export function writeIndefinite(core: Core, i: number): void {
  const { view } = core.registers
  const at = placeOf(core, i)
  view.setInt32(at, 0, true)
  view.setUint32(at + 4, 0xc000_0000, true)
  view.setUint16(at + 8, 0xffff, true)
  setTag(core, i, 1)
}

export function pop(core: Core): void {
  setTag(core, 0, 0)
  moveTop(core, 1)
}

/** Adds exception flags and replaces C1 and, where `conditions` names more bits, those too. */
export function report(core: Core, result: number, conditions: number = C1): void {
  setStatus(core, (status(core) & ~conditions) | (result & (ALL | STACK_FAULT | conditions)))
}

/** True when the result may be delivered: nothing unmasked kept it back. */
export const delivered = (result: number): boolean => (result & X87_STATUS.SUPPRESSED) === 0

/** Reports a stack fault; true when the masked answer is to be given. */
export function stackFault(core: Core, kind: 'overflow' | 'underflow', conditions: number = C1): boolean {
  report(core, INVALID | STACK_FAULT | (kind === 'overflow' ? C1 : 0), conditions)
  return (control(core) & INVALID) !== 0
}

/** Makes room at the top for a value to be written; false when there is none, which is reported and answered. */
export function makeRoom(core: Core): boolean {
  if (isEmpty(core, 7)) {
    moveTop(core, -1)
    return true
  }
  if (stackFault(core, 'overflow')) {
    moveTop(core, -1)
    writeIndefinite(core, 0)
  }
  return false
}

/** A pending exception as a fault, NEXT when there is none. Every instruction that waits begins with it. */
export function pending(core: Core): number {
  return (status(core) & 0x80) !== 0 ? core.faults.raise(VECTOR.MF) : STATUS.NEXT
}

/** Notes where the instruction and its operand were, as FNSTENV shows them. */
export function noteInstruction(core: Core, record: number): void {
  const address = core.records.addressOf(record)
  State.x87Instruction.setParts(core.registers.view, core.registers.base, lowPart(address), highPart(address))
  State.x87Opcode.set(core.registers.view, core.registers.base, core.records.displacement(record) & 0x7ff)
  if (core.records.field(record, 'c') !== X87_OPERAND.register) {
    State.x87Data.setParts(core.registers.view, core.registers.base, core.registers.low(SLOT.t3), core.registers.high(SLOT.t3))
  }
}
