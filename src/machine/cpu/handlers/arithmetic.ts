/**
 * Division of 128 by 64 bits, and the decimal adjustments of 32-bit code.
 * Reference: Intel SDM volume 2, DIV, IDIV, AAA, AAD, AAM, AAS, DAA, DAS, BOUND.
 */
import { GPR, RFLAGS, VECTOR } from '../../../x86/index.ts'
import { bigFromParts } from '../../../util/index.ts'
import type { Views } from '../core/core.ts'
import type { RegisterFile } from '../core/register-file.ts'
import { RECORD } from '../layout/record.ts'
import { STATUS } from '../layout/state.ts'
import { PRICE } from './prices.ts'
import { rows, type Handlers } from './rows.ts'

const RAX = GPR.rax * 8
const RDX = GPR.rdx * 8

function setBig(registers: RegisterFile, slot: number, value: bigint): void {
  registers.setSlot(slot, Number(value & 0xffff_ffffn), Number((value >> 32n) & 0xffff_ffffn))
}

const slotBig = (registers: RegisterFile, slot: number): bigint => bigFromParts(registers.low(slot), registers.high(slot))

/** The divisor is not zero: generated code has looked. */
function divide({ registers, records, faults }: Views<'registers' | 'records' | 'faults'>, record: number): number {
  const dividend = (slotBig(registers, RDX) << 64n) | slotBig(registers, RAX)
  const divisor = slotBig(registers, records.field(record, RECORD.register))
  const quotient = dividend / divisor
  if (quotient >> 64n !== 0n) return faults.raise(VECTOR.DE)
  setBig(registers, RAX, quotient)
  setBig(registers, RDX, dividend % divisor)
  return STATUS.NEXT
}

function divideSigned({ registers, records, faults }: Views<'registers' | 'records' | 'faults'>, record: number): number {
  const dividend = BigInt.asIntN(128, (slotBig(registers, RDX) << 64n) | slotBig(registers, RAX))
  const divisor = BigInt.asIntN(64, slotBig(registers, records.field(record, RECORD.register)))
  const quotient = dividend / divisor
  if (BigInt.asIntN(64, quotient) !== quotient) return faults.raise(VECTOR.DE)
  setBig(registers, RAX, quotient)
  setBig(registers, RDX, dividend % divisor)
  return STATUS.NEXT
}

/** Sets SF, ZF and PF from a byte, and the given carries; the rest stays. */
function byteFlags(registers: RegisterFile, value: number, carries: number): void {
  const parity = [0, 1, 2, 3, 4, 5, 6, 7].reduce((sum, bit) => sum + ((value >> bit) & 1), 0)
  const kept = registers.flags() & ~(RFLAGS.CF | RFLAGS.AF | RFLAGS.SF | RFLAGS.ZF | RFLAGS.PF)
  registers.setFlags(kept | carries | (value & 0x80 ? RFLAGS.SF : 0) | (value === 0 ? RFLAGS.ZF : 0) |
    (parity % 2 === 0 ? RFLAGS.PF : 0))
}

const setAx = (registers: RegisterFile, value: number): void => registers.view.setUint16(registers.base + RAX, value, true)

/** DAA and DAS. */
const decimal = (sign: 1 | -1) => ({ registers }: Views<'registers'>): number => {
  const old = registers.low(RAX) & 0xff
  const flags = registers.flags()
  let value = old
  let carries = 0
  if ((old & 15) > 9 || (flags & RFLAGS.AF) !== 0) {
    value += 6 * sign
    carries |= RFLAGS.AF
    if ((flags & RFLAGS.CF) !== 0 || value < 0 || value > 255) carries |= RFLAGS.CF
  }
  if (old > 0x99 || (flags & RFLAGS.CF) !== 0) {
    value += 0x60 * sign
    carries |= RFLAGS.CF
  } else if (sign === 1) carries &= ~RFLAGS.CF
  registers.view.setUint8(registers.base + RAX, value & 0xff)
  byteFlags(registers, value & 0xff, carries)
  return STATUS.NEXT
}

/** AAA and AAS. */
const unpacked = (sign: 1 | -1) => ({ registers }: Views<'registers'>): number => {
  const ax = registers.low(RAX) & 0xffff
  const flags = registers.flags()
  const adjust = (ax & 15) > 9 || (flags & RFLAGS.AF) !== 0
  const value = adjust ? (ax + 0x106 * sign) & 0xffff : ax
  setAx(registers, value & 0xff0f)
  byteFlags(registers, value & 15, adjust ? RFLAGS.CF | RFLAGS.AF : 0)
  return STATUS.NEXT
}

function adjustAfterMultiply(
  { registers, records, faults }: Views<'registers' | 'records' | 'faults'>, record: number,
): number {
  const base = records.displacement(record) & 0xff
  if (base === 0) return faults.raise(VECTOR.DE)
  const value = registers.low(RAX) & 0xff
  setAx(registers, (Math.floor(value / base) << 8) | (value % base))
  byteFlags(registers, value % base, 0)
  return STATUS.NEXT
}

function adjustBeforeDivide({ registers, records }: Views<'registers' | 'records'>, record: number): number {
  const ax = registers.low(RAX)
  const value = ((ax & 0xff) + ((ax >>> 8) & 0xff) * records.displacement(record)) & 0xff
  setAx(registers, value)
  byteFlags(registers, value, 0)
  return STATUS.NEXT
}

/** Handlers by name. */
export const ARITHMETIC_HANDLERS: Handlers = {
  ...rows({ div: divide, idiv: divideSigned }, { price: PRICE.division }),
  ...rows({
    daa: decimal(1), das: decimal(-1), aaa: unpacked(1), aas: unpacked(-1), aam: adjustAfterMultiply, aad: adjustBeforeDivide,
  }),
}
