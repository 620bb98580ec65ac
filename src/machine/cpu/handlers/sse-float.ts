/**
 * SSE floating point by soft-float, lane by lane: what the fast paths in uops/sse-float.ts leave over (other rounding
 * modes, unmasked exceptions, denormals, NaNs) and the instructions that have none. Flags go to MXCSR; an unmasked
 * one raises #XM and leaves the destination alone.
 *
 * Record: SHAPES.float.
 * Reference: Intel SDM volume 1, chapters 10 and 11; volume 2, the instructions' pages.
 */
import {
  ROUNDING, ROUNDING_OF_MXCSR, SSE_OPERATION, doubleToInteger, doubleToSingle, integerToDouble, integerToSingle,
  reciprocalRootSingle, reciprocalSingle, roundDouble, roundSingle, singleToDouble, singleToInteger,
} from '../../softfloat/index.ts'
import type { SseArithmetic } from '../../softfloat/index.ts'
import { CR4, RFLAGS, VECTOR } from '../../../x86/index.ts'
import type { Views } from '../core/core.ts'
import type { RegisterFile } from '../core/register-file.ts'
import { RECORD } from '../layout/record.ts'
import { STATUS, State } from '../layout/state.ts'
import type { Handler } from '../core/handler.ts'
import { PRICE } from './prices.ts'
import { rows, type Handlers } from './rows.ts'

/** Byte offset of a unit's first byte in memory. */
const place = (registers: RegisterFile, unit: number): number => registers.base + unit * 16

/** Merges flags into MXCSR; NEXT, or the exception when one of them is unmasked. */
export function conclude({ registers, faults, floats }: Views<'registers' | 'faults' | 'floats'>, flags: number): number {
  const { view, base } = registers
  State.mxcsr.set(view, base, State.mxcsr.get(view, base) | flags)
  if (floats.sse.traps(flags) === 0) return STATUS.NEXT
  return faults.raise((registers.controlLow(4) & CR4.OSXMMEXCPT) === 0 ? VECTOR.UD : VECTOR.XM)
}

function prepare({ registers, floats }: Views<'registers' | 'floats'>): SseArithmetic {
  const { sse } = floats
  sse.setMxcsr(State.mxcsr.get(registers.view, registers.base))
  return sse
}

/** Flags that are found before an operation is carried out: when unmasked, no lane reports anything of its result. */
const EARLY = 0x07

/** What a packed operation reports. */
function flagsOf(unit: SseArithmetic, flags: number): number {
  return unit.traps(flags & EARLY) === 0 ? flags : flags & EARLY
}

/**
 * Runs `lane` for each lane; the result of each goes to words of `lanes`. Stores `words` words unless something
 * traps.
 */
function packed(
  core: Views<'registers' | 'faults' | 'floats'>, to: number, words: number,
  lane: (unit: SseArithmetic, out: Int32Array) => number,
): number {
  const unit = prepare(core)
  const { lanes } = core.floats
  const result = conclude(core, lane(unit, lanes))
  if (result === STATUS.NEXT) for (let i = 0; i < words; i += 1) core.registers.view.setInt32(to + i * 4, lanes[i]!, true)
  return result
}

/** Kinds of operands: bytes of a lane and number of lanes. */
const KINDS = { ss: [4, 1], sd: [8, 1], ps: [4, 4], pd: [8, 2] } as const
type Kind = keyof typeof KINDS

type Single = (unit: SseArithmetic, a: number, b: number, immediate: number) => number
type Double = (unit: SseArithmetic, operands: DoublePair, immediate: number) => number
interface DoublePair {
  aLow: number
  aHigh: number
  bLow: number
  bHigh: number
}

/** first := f(first, second), lane by lane. */
const lanewise = (kind: Kind, single: Single, double: Double): Handler => (core, record) => {
  const { registers, records } = core
  const [bytes, count] = KINDS[kind]
  const { view } = registers
  const [to, from] = [place(registers, records.field(record, RECORD.destination)), place(registers, records.field(record, RECORD.source))]
  const immediate = records.field(record, RECORD.control)
  return packed(core, to, (count * bytes) / 4, (unit, out) => {
    let flags = 0
    for (let i = 0; i < count; i += 1) {
      const at = i * bytes
      if (bytes === 4) {
        flags |= single(unit, view.getInt32(to + at, true), view.getInt32(from + at, true), immediate)
        out[i] = unit.low
      } else {
        flags |= double(unit, {
          aLow: view.getInt32(to + at, true), aHigh: view.getInt32(to + at + 4, true),
          bLow: view.getInt32(from + at, true), bHigh: view.getInt32(from + at + 4, true),
        }, immediate)
        out[i * 2] = unit.low
        out[i * 2 + 1] = unit.high
      }
    }
    return flagsOf(unit, flags)
  })
}

/** Rows of operations that there are for scalars and for whole registers. */
const ofKinds = (kinds: readonly Kind[], handlers: (kind: Kind) => Readonly<Record<string, Handler>>): Handlers =>
  Object.assign({}, ...kinds.map((kind) =>
    rows(handlers(kind), { price: KINDS[kind][1] === 1 ? PRICE.scalarFloat : PRICE.packedFloat }))) as Handlers

const inKinds = (name: string, single: Single, double: Double): Handlers =>
  ofKinds(['ss', 'sd', 'ps', 'pd'], (kind) => ({ [name + kind]: lanewise(kind, single, double) }))

const binary = (name: string, operation: number): Handlers =>
  inKinds(name, (unit, a, b) => unit.binary32(operation, a, b),
    (unit, { aLow, aHigh, bLow, bHigh }) => unit.binary64(operation, aLow, aHigh, bLow, bHigh))

/**
 * Horizontal sums and differences, and ADDSUB: `pick` gives the two words (or doubles) of lane i; first's come before
 * second's.
 */
const crossing = (
  kind: 'ps' | 'pd', operation: (lane: number) => number, pick: (lane: number) => readonly [number, number],
): Handler =>
  (core, record) => {
    const { registers, records } = core
    const [bytes, count] = KINDS[kind]
    const { view } = registers
    const to = place(registers, records.field(record, RECORD.destination))
    const from = place(registers, records.field(record, RECORD.source))
    const at = (lane: number): number => (lane < count ? to : from) + (lane % count) * bytes
    return packed(core, to, 4, (unit, out) => {
      let flags = 0
      for (let i = 0; i < count; i += 1) {
        const [x, y] = pick(i).map(at) as [number, number]
        if (bytes === 4) {
          flags |= unit.binary32(operation(i), view.getInt32(x, true), view.getInt32(y, true))
          out[i] = unit.low
        } else {
          flags |= unit.binary64(operation(i), view.getInt32(x, true), view.getInt32(x + 4, true),
            view.getInt32(y, true), view.getInt32(y + 4, true))
          out[i * 2] = unit.low
          out[i * 2 + 1] = unit.high
        }
      }
      return flagsOf(unit, flags)
    })
  }

const { ADD, SUB } = SSE_OPERATION
const horizontal = (kind: 'ps' | 'pd', operation: number): Handler =>
  crossing(kind, () => operation, (lane) => [lane * 2, lane * 2 + 1])
const alternating = (kind: 'ps' | 'pd'): Handler =>
  crossing(kind, (lane) => (lane % 2 === 0 ? SUB : ADD), (lane) => [lane, lane + KINDS[kind][1]])

/** DPPS and DPPD: products of the chosen lanes, summed pairwise, into the chosen lanes; each step may trap. */
const dotSingles: Handler = (core, record) => {
  const { registers, records } = core
  const { view } = registers
  const [to, from] = [place(registers, records.field(record, RECORD.destination)), place(registers, records.field(record, RECORD.source))]
  const immediate = records.field(record, RECORD.control)
  return packed(core, to, 4, (unit, out) => {
    let flags = 0
    const products = [0, 1, 2, 3].map((i) => {
      if ((immediate & (16 << i)) === 0) return 0
      flags |= unit.binary32(SSE_OPERATION.MUL, view.getInt32(to + i * 4, true), view.getInt32(from + i * 4, true))
      return unit.low
    })
    flags = flagsOf(unit, flags)
    const add = (a: number, b: number): number => {
      late |= unit.binary32(ADD, a, b)
      return unit.low
    }
    let late = 0
    if (unit.traps(flags) !== 0) return flags
    const halves = [add(products[0]!, products[1]!), add(products[2]!, products[3]!)] as const
    flags |= flagsOf(unit, late)
    if (unit.traps(flags) !== 0) return flags
    late = 0
    const sum = add(...halves)
    flags |= late
    for (let i = 0; i < 4; i += 1) out[i] = (immediate & (1 << i)) === 0 ? 0 : sum
    return flags
  })
}

const dotDoubles: Handler = (core, record) => {
  const { registers, records } = core
  const { view } = registers
  const [to, from] = [place(registers, records.field(record, RECORD.destination)), place(registers, records.field(record, RECORD.source))]
  const immediate = records.field(record, RECORD.control)
  return packed(core, to, 4, (unit, out) => {
    let flags = 0
    const products = [0, 1].map((i) => {
      if ((immediate & (16 << i)) === 0) return [0, 0] as const
      const [x, y] = [to + i * 8, from + i * 8]
      flags |= unit.binary64(SSE_OPERATION.MUL, view.getInt32(x, true), view.getInt32(x + 4, true),
        view.getInt32(y, true), view.getInt32(y + 4, true))
      return [unit.low, unit.high] as const
    })
    flags = flagsOf(unit, flags)
    if (unit.traps(flags) !== 0) return flags
    flags |= unit.binary64(ADD, products[0]![0], products[0]![1], products[1]![0], products[1]![1])
    for (let i = 0; i < 2; i += 1) {
      const chosen = (immediate & (1 << i)) !== 0
      out[i * 2] = chosen ? unit.low : 0
      out[i * 2 + 1] = chosen ? unit.high : 0
    }
    return flags
  })
}

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

/**
 * A conversion: `count` lanes from lanes of `from` bytes to lanes of `to` bytes; words behind them are cleared up to
 * `clear`.
 */
interface Conversion {
  readonly count: number
  readonly from: 4 | 8
  readonly to: 4 | 8
  /** Words of the destination that are written. */
  readonly words: number
  readonly convert: (unit: SseArithmetic, low: number, high: number) => number
}

const conversion = (c: Conversion): Handler => (core, record) => {
  const { registers, records } = core
  const { view } = registers
  const [to, from] = [place(registers, records.field(record, RECORD.destination)), place(registers, records.field(record, RECORD.source))]
  return packed(core, to, c.words, (unit, out) => {
    let flags = 0
    out.fill(0)
    for (let i = 0; i < c.count; i += 1) {
      const low = view.getInt32(from + i * c.from, true)
      flags |= c.convert(unit, low, c.from === 8 ? view.getInt32(from + i * 8 + 4, true) : low >> 31)
      if (c.to === 4) out[i] = unit.low
      else {
        out[i * 2] = unit.low
        out[i * 2 + 1] = unit.high
      }
    }
    return flagsOf(unit, flags)
  })
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

const singleToInt = (rounding: number) => (unit: SseArithmetic, low: number): number =>
  singleToInteger(unit, low, 32, rounding)
const doubleToInt = (rounding: number) => (unit: SseArithmetic, low: number, high: number): number =>
  doubleToInteger(unit, low, high, { size: 32, rounding })

/** To and from general registers; the name's end is the integer's size. */
function scalarIntegers(size: 32 | 64): Readonly<Record<string, Handler>> {
  const from = (wide: boolean): Handler => (core, record) => {
    const { registers, records } = core
    const slot = records.field(record, RECORD.source)
    const low = registers.low(slot) | 0
    const high = size === 64 ? registers.high(slot) | 0 : low >> 31
    return packed(core, place(registers, records.field(record, RECORD.destination)), wide ? 2 : 1, (unit, out) => {
      const flags = wide ? integerToDouble(unit, low, high) : integerToSingle(unit, low, high)
      out[0] = unit.low
      out[1] = unit.high
      return flags
    })
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

const none: Double = () => 0

/** Handlers by name. */
export const SSE_FLOAT_HANDLERS: Handlers = {
  ...binary('add', ADD), ...binary('sub', SUB),
  ...binary('mul', SSE_OPERATION.MUL), ...binary('div', SSE_OPERATION.DIV),
  ...binary('min', SSE_OPERATION.MIN), ...binary('max', SSE_OPERATION.MAX),
  ...inKinds('sqrt', (unit, _, b) => unit.squareRoot32(b), (unit, { bLow, bHigh }) => unit.squareRoot64(bLow, bHigh)),
  ...inKinds('cmp', (unit, a, b, immediate) => unit.compare32(immediate & 7, a, b),
    (unit, o, immediate) => unit.compare64(immediate & 7, o.aLow, o.aHigh, o.bLow, o.bHigh)),
  ...inKinds('round', (unit, _, b, immediate) => roundSingle(unit, b, immediate),
    (unit, { bLow, bHigh }, immediate) => roundDouble(unit, bLow, bHigh, immediate)),
  ...ofKinds(['ss', 'ps'], (kind) => ({
    [`rcp${kind}`]: lanewise(kind, (unit, _, b) => reciprocalSingle(unit, b), none),
    [`rsqrt${kind}`]: lanewise(kind, (unit, _, b) => reciprocalRootSingle(unit, b), none),
  })),
  ...rows({
    haddps: horizontal('ps', ADD), haddpd: horizontal('pd', ADD),
    hsubps: horizontal('ps', SUB), hsubpd: horizontal('pd', SUB),
    addsubps: alternating('ps'), addsubpd: alternating('pd'),
    cvtps2pd: conversion({ count: 2, from: 4, to: 8, words: 4, convert: singleToDouble }),
    cvtpd2ps: conversion({ count: 2, from: 8, to: 4, words: 4, convert: doubleToSingle }),
    cvtdq2ps: conversion({ count: 4, from: 4, to: 4, words: 4, convert: integerToSingle }),
    cvtdq2pd: conversion({ count: 2, from: 4, to: 8, words: 4, convert: integerToDouble }),
    cvtps2dq: conversion({ count: 4, from: 4, to: 4, words: 4, convert: singleToInt(ROUNDING_OF_MXCSR) }),
    cvttps2dq: conversion({ count: 4, from: 4, to: 4, words: 4, convert: singleToInt(ROUNDING.ZERO) }),
    cvtpd2dq: conversion({ count: 2, from: 8, to: 4, words: 4, convert: doubleToInt(ROUNDING_OF_MXCSR) }),
    cvttpd2dq: conversion({ count: 2, from: 8, to: 4, words: 4, convert: doubleToInt(ROUNDING.ZERO) }),
    cvtpi2ps: fromMmx(conversion({ count: 2, from: 4, to: 4, words: 2, convert: integerToSingle })),
    cvtpi2pd: fromMmx(conversion({ count: 2, from: 4, to: 8, words: 4, convert: integerToDouble })),
    cvtps2pi: toMmx(conversion({ count: 2, from: 4, to: 4, words: 2, convert: singleToInt(ROUNDING_OF_MXCSR) })),
    cvttps2pi: toMmx(conversion({ count: 2, from: 4, to: 4, words: 2, convert: singleToInt(ROUNDING.ZERO) })),
    cvtpd2pi: toMmx(conversion({ count: 2, from: 8, to: 4, words: 2, convert: doubleToInt(ROUNDING_OF_MXCSR) })),
    cvttpd2pi: toMmx(conversion({ count: 2, from: 8, to: 4, words: 2, convert: doubleToInt(ROUNDING.ZERO) })),
  }, { price: PRICE.packedFloat }),
  ...rows({ dpps: dotSingles, dppd: dotDoubles }, { price: PRICE.longVector }),
  ...rows({
    comiss: order('ss', 0), comisd: order('sd', 0), ucomiss: order('ss', 1), ucomisd: order('sd', 1),
    cvtss2sd: conversion({ count: 1, from: 4, to: 8, words: 2, convert: singleToDouble }),
    cvtsd2ss: conversion({ count: 1, from: 8, to: 4, words: 1, convert: doubleToSingle }),
  }, { price: PRICE.scalarFloat }),
  ...rows({ ...scalarIntegers(32), ...scalarIntegers(64) }, { price: PRICE.scalarFloat }),
}
