/**
 * The x87 register stack as handlers see it: registers by position, tags, status and control word, stack faults,
 * pending exceptions. Registers are kept by physical number; a tag is one bit, set when the register is not empty.
 * Reference: Intel SDM volume 1, sections 8.1, 8.5 and 8.7.
 */
import type { Float80 } from '../../softfloat/index.ts'
import { FLOAT_FLAG, X87_STATUS } from '../../softfloat/index.ts'
import { VECTOR } from '../../../x86/index.ts'
import type { Views } from '../core/core.ts'
import type { RegisterFile } from '../core/register-file.ts'
import { RECORD } from '../layout/record.ts'
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
export const status = (registers: RegisterFile): number => State.x87Status.get(registers.view, registers.base)
export const control = (registers: RegisterFile): number => State.x87Control.get(registers.view, registers.base)

/** Sets the status word; bits 7 and 15 follow from flags and masks. */
export function setStatus(registers: RegisterFile, value: number): void {
  const pending = (value & ~control(registers) & ALL) !== 0
  State.x87Status.set(registers.view, registers.base, (value & 0x7f7f) | (pending ? SUMMARY : 0))
}

/** Sets the control word; exceptions that it unmasks become pending. */
export function setControl(registers: RegisterFile, value: number): void {
  State.x87Control.set(registers.view, registers.base, (value & 0x1f7f) | 0x40)
  setStatus(registers, status(registers))
}

/** Physical number of st(i). */
export const physical = (registers: RegisterFile, i: number): number => ((status(registers) >> TOP_SHIFT) + i) & 7

/** Moves the top of the stack. */
export function moveTop(registers: RegisterFile, by: number): void {
  const value = status(registers)
  State.x87Status.set(registers.view, registers.base, (value & ~0x3800) | ((((value >> TOP_SHIFT) + by) & 7) << TOP_SHIFT))
}

const tags = (registers: RegisterFile): number => State.x87Tags.get(registers.view, registers.base)

export const isEmpty = (registers: RegisterFile, i: number): boolean =>
  ((tags(registers) >> physical(registers, i)) & 1) === 0

/** Marks st(i) as empty or not. */
export function setTag(registers: RegisterFile, i: number, valid: 0 | 1): void {
  const bit = 1 << physical(registers, i)
  State.x87Tags.set(registers.view, registers.base, valid === 1 ? tags(registers) | bit : tags(registers) & ~bit)
}

const placeOf = (registers: RegisterFile, i: number): number =>
  registers.base + State.x87.offset + physical(registers, i) * 16

/** Reads st(i). */
export function readRegister(registers: RegisterFile, i: number, out: Float80): Float80 {
  const { view } = registers
  const at = placeOf(registers, i)
  return out.set(view.getUint16(at + 8, true), view.getInt32(at + 4, true), view.getInt32(at, true))
}

/** Writes st(i), which is no longer empty. */
export function writeRegister(registers: RegisterFile, i: number, value: Float80): void {
  const { view } = registers
  const at = placeOf(registers, i)
  view.setInt32(at, value.low, true)
  view.setInt32(at + 4, value.high, true)
  view.setUint16(at + 8, value.signExponent, true)
  setTag(registers, i, 1)
}

/** Writes the NaN that answers invalid operations. */
export function writeIndefinite(registers: RegisterFile, i: number): void {
  const { view } = registers
  const at = placeOf(registers, i)
  view.setInt32(at, 0, true)
  view.setUint32(at + 4, 0xc000_0000, true)
  view.setUint16(at + 8, 0xffff, true)
  setTag(registers, i, 1)
}

export function pop(registers: RegisterFile): void {
  setTag(registers, 0, 0)
  moveTop(registers, 1)
}

/** Adds exception flags and replaces C1 and, where `conditions` names more bits, those too. */
export function report(registers: RegisterFile, result: number, conditions: number = C1): void {
  setStatus(registers, (status(registers) & ~conditions) | (result & (ALL | STACK_FAULT | conditions)))
}

/** True when the result may be delivered: nothing unmasked kept it back. */
export const delivered = (result: number): boolean => (result & X87_STATUS.SUPPRESSED) === 0

/** Reports a stack fault; true when the masked answer is to be given. */
export function stackFault(registers: RegisterFile, kind: 'overflow' | 'underflow', conditions: number = C1): boolean {
  report(registers, INVALID | STACK_FAULT | (kind === 'overflow' ? C1 : 0), conditions)
  return (control(registers) & INVALID) !== 0
}

/** Makes room at the top for a value to be written; false when there is none, which is reported and answered. */
export function makeRoom(registers: RegisterFile): boolean {
  if (isEmpty(registers, 7)) {
    moveTop(registers, -1)
    return true
  }
  if (stackFault(registers, 'overflow')) {
    moveTop(registers, -1)
    writeIndefinite(registers, 0)
  }
  return false
}

/** A pending exception as a fault, NEXT when there is none. Every instruction that waits begins with it. */
export function pending({ registers, faults }: Views<'registers' | 'faults'>): number {
  return (status(registers) & 0x80) !== 0 ? faults.raise(VECTOR.MF) : STATUS.NEXT
}

/** Notes where the instruction and its operand were, as FNSTENV shows them. */
export function noteInstruction({ registers, records }: Views<'registers' | 'records'>, record: number): void {
  const address = records.addressOf(record)
  State.x87Instruction.setParts(registers.view, registers.base, lowPart(address), highPart(address))
  State.x87Opcode.set(registers.view, registers.base, records.displacement(record) & 0x7ff)
  if (records.field(record, RECORD.operandKind) !== X87_OPERAND.register) {
    State.x87Data.setParts(registers.view, registers.base, registers.low(SLOT.t3), registers.high(SLOT.t3))
  }
}
