/**
 * SSE floating point by soft-float, lane by lane: what the fast paths in uops/sse-float.ts leave over (other rounding
 * modes, unmasked exceptions, denormals, NaNs) and the instructions that have none. Flags go to MXCSR; an unmasked
 * one raises #XM and leaves the destination alone.
 *
 * Record: SHAPES.float.
 * Reference: Intel SDM volume 1, chapters 10 and 11; volume 2, the instructions' pages.
 */
import {
  ROUNDING, ROUNDING_OF_MXCSR, doubleToInteger, integerToDouble, integerToSingle, singleToInteger,
} from '../../softfloat/index.ts'
import type { SseArithmetic } from '../../softfloat/index.ts'
import { CR4, RFLAGS, VECTOR } from '../../../x86/index.ts'
import type { Views } from '../core/core.ts'
import type { Handler } from '../core/handler.ts'
import type { RegisterFile } from '../core/register-file.ts'
import { RECORD } from '../layout/record.ts'
import { STATUS, State } from '../layout/state.ts'
import { PRICE } from './prices.ts'
import { rows } from './rows.ts'
import type { Handlers } from './rows.ts'
import { ARITHMETIC, COMPARISONS, PRODUCTS, conversion, doubleToInt, singleToInt } from './vector-programs.ts'
import type { Program } from './vector-programs.ts'

/** Byte offset of a unit's first byte in memory. */
export const place = (registers: RegisterFile, unit: number): number => registers.base + unit * 16

/** Merges flags into MXCSR; NEXT, or the exception when one of them is unmasked. */
export function conclude({ registers, faults, floats }: Views<'registers' | 'faults' | 'floats'>, flags: number): number {
  const { view, base } = registers
  State.mxcsr.set(view, base, State.mxcsr.get(view, base) | flags)
  if (floats.sse.traps(flags) === 0) return STATUS.NEXT
  return faults.raise((registers.controlLow(4) & CR4.OSXMMEXCPT) === 0 ? VECTOR.UD : VECTOR.XM)
}

/** The arithmetic unit with MXCSR as it stands. */
export function prepare({ registers, floats }: Views<'registers' | 'floats'>): SseArithmetic {
  const { sse } = floats
  sse.setMxcsr(State.mxcsr.get(registers.view, registers.base))
  return sse
}

/** first := what a program makes of first and second, unless something traps. */
const running = ({ run, words }: Program): Handler => (core, record) => {
  const { registers, records } = core
  const [to, from] = [place(registers, records.field(record, RECORD.destination)), place(registers, records.field(record, RECORD.source))]
  const { view } = registers
  const { lanes } = core.floats
  const control = records.field(record, RECORD.control)
  const result = conclude(core, run(prepare(core), { view, a: to, b: from, control, halves: 1 }, lanes))
  if (result === STATUS.NEXT) for (let i = 0; i < words; i += 1) view.setInt32(to + i * 4, lanes[i]!, true)
  return result
}

const priceOf = ({ isScalar }: Program): number => (isScalar ? PRICE.scalarFloat : PRICE.packedFloat)

const runningAll = (programs: Readonly<Record<string, Program>>, price = priceOf): Handlers => Object.assign(
  {}, ...Object.entries(programs).map(([name, one]) => rows({ [name]: running(one) }, { price: price(one) }))) as Handlers

/** COMIS and UCOMIS. */
const order = (kind: 'ss' | 'sd', quiet: 0 | 1): Handler => (core, record) => {
  const { registers, records } = core
  const { view } = registers
  const [a, b] = [place(registers, records.field(record, RECORD.destination)), place(registers, records.field(record, RECORD.source))]
  const unit = prepare(core)
  const flags = kind === 'ss' ? unit.order32(quiet, view.getInt32(a, true), view.getInt32(b, true))
    : unit.order64(quiet, view.getInt32(a, true), view.getInt32(a + 4, true),
      view.getInt32(b, true), view.getInt32(b + 4, true))
  const result = conclude(core, flags)
  if (result === STATUS.NEXT) {
    const kept = registers.flags() & ~(RFLAGS.OF | RFLAGS.SF | RFLAGS.AF | RFLAGS.ZF | RFLAGS.PF | RFLAGS.CF)
    registers.setFlags(kept | unit.low)
  }
  return result
}

/** The unit becomes an MMX unit before the operation, also when that traps. */
const toMmx = (handler: Handler): Handler => (core, record) => {
  const { registers } = core
  useMmx(registers)
  const result = handler(core, record)
  if (result === STATUS.NEXT) registers.view.setUint16(place(registers, core.records.field(record, RECORD.destination)) + 8, 0xffff, true)
  return result
}
const fromMmx = (handler: Handler): Handler => (core, record) => {
  if (core.records.field(record, RECORD.source) >= State.x87.offset / 16) useMmx(core.registers)
  return handler(core, record)
}

/** Register 0 becomes the top of the x87 stack, all registers valid. */
export function useMmx(registers: RegisterFile): void {
  State.x87Status.set(registers.view, registers.base, State.x87Status.get(registers.view, registers.base) & ~0x3800)
  State.x87Tags.set(registers.view, registers.base, 0xff)
}

/** To and from general registers; the name's end is the integer's size. */
function scalarIntegers(size: 32 | 64): Readonly<Record<string, Handler>> {
  const from = (wide: boolean): Handler => (core, record) => {
    const { registers, records } = core
    const slot = records.field(record, RECORD.source)
    const low = registers.low(slot) | 0
    const high = size === 64 ? registers.high(slot) | 0 : low >> 31
    const unit = prepare(core)
    const result = conclude(core, wide ? integerToDouble(unit, low, high) : integerToSingle(unit, low, high))
    if (result !== STATUS.NEXT) return result
    const to = place(registers, records.field(record, RECORD.destination))
    registers.view.setInt32(to, unit.low, true)
    if (wide) registers.view.setInt32(to + 4, unit.high, true)
    return result
  }
  const to = (wide: boolean, rounding: number): Handler => (core, record) => {
    const { registers, records } = core
    const unit = prepare(core)
    const { view } = registers
    const at = place(registers, records.field(record, RECORD.source))
    const low = view.getInt32(at, true)
    const flags = wide ? doubleToInteger(unit, low, view.getInt32(at + 4, true), { size, rounding })
      : singleToInteger(unit, low, size, rounding)
    const result = conclude(core, flags)
    if (result === STATUS.NEXT) registers.setSlot(records.field(record, RECORD.destination), unit.low, size === 64 ? unit.high : 0)
    return result
  }
  return {
    [`cvtsi2ss.${size}`]: from(false), [`cvtsi2sd.${size}`]: from(true),
    [`cvtss2si.${size}`]: to(false, ROUNDING_OF_MXCSR), [`cvttss2si.${size}`]: to(false, ROUNDING.ZERO),
    [`cvtsd2si.${size}`]: to(true, ROUNDING_OF_MXCSR), [`cvttsd2si.${size}`]: to(true, ROUNDING.ZERO),
  }
}

/** Conversions to MMX registers and from them. */
const MMX_CONVERSIONS: Readonly<Record<string, Handler>> = {
  cvtpi2ps: fromMmx(running(conversion({ count: 2, from: 4, to: 4, words: 2, convert: integerToSingle }))),
  cvtpi2pd: fromMmx(running(conversion({ count: 2, from: 4, to: 8, words: 4, convert: integerToDouble }))),
  cvtps2pi: toMmx(running(conversion({ count: 2, from: 4, to: 4, words: 2, convert: singleToInt(ROUNDING_OF_MXCSR) }))),
  cvttps2pi: toMmx(running(conversion({ count: 2, from: 4, to: 4, words: 2, convert: singleToInt(ROUNDING.ZERO) }))),
  cvtpd2pi: toMmx(running(conversion({ count: 2, from: 8, to: 4, words: 2, convert: doubleToInt(ROUNDING_OF_MXCSR) }))),
  cvttpd2pi: toMmx(running(conversion({ count: 2, from: 8, to: 4, words: 2, convert: doubleToInt(ROUNDING.ZERO) }))),
}

/** Handlers by name. */
export const SSE_FLOAT_HANDLERS: Handlers = {
  ...runningAll(ARITHMETIC), ...runningAll(COMPARISONS.sse), ...runningAll(PRODUCTS, () => PRICE.longVector),
  ...rows(MMX_CONVERSIONS, { price: PRICE.packedFloat }),
  ...rows({ comiss: order('ss', 0), comisd: order('sd', 0), ucomiss: order('ss', 1), ucomisd: order('sd', 1) }, { price: PRICE.scalarFloat }),
  ...rows({ ...scalarIntegers(32), ...scalarIntegers(64) }, { price: PRICE.scalarFloat }),
}
