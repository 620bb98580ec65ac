/**
 * SSE and AVX floating point by soft-float, lane by lane, as programs: from two operands to words of a result and exception
 * flags. They know neither records nor registers' lengths: SSE runs them on 128 bits, VEX forms on as many as the record
 * says (sse-float.ts, avx-float.ts).
 * Reference: Intel SDM volume 1, chapters 10, 11 and 14; volume 2, the instructions' pages.
 */
import {
  ROUNDING, ROUNDING_OF_MXCSR, SSE_OPERATION, doubleToInteger, doubleToSingle, integerToDouble, integerToSingle,
  reciprocalRootSingle, reciprocalSingle, roundDouble, roundSingle, singleToDouble, singleToInteger,
} from '../../softfloat/index.ts'
import type { SseArithmetic } from '../../softfloat/index.ts'
import { UPPER_HALF } from '../layout/state.ts'

/** Operands of a vector instruction. */
export interface VectorOperands {
  readonly view: DataView
  /** Where in memory the first and the second operand's lower halves begin. */
  readonly a: number
  readonly b: number
  readonly control: number
  /** Halves of 16 bytes that an operation on whole registers works on. */
  readonly halves: 1 | 2
}

/** What an instruction does: writes words of the result to `out` and returns exception flags. */
export type Run = (unit: SseArithmetic, o: VectorOperands, out: Int32Array) => number

/** A program. */
export interface Program {
  readonly run: Run
  /** Words of the result that it gives for each half, or, of a scalar, as a whole. */
  readonly words: number
  /** One number in the lowest lane, or as many as there are. */
  readonly isScalar: boolean
}

/** Byte in memory of a byte of a register. */
const byteOf = (register: number, at: number): number => register + (at & 15) + (at >> 4) * UPPER_HALF

/** Flags that are found before an operation is carried out: when unmasked, no lane reports anything of its result. */
const EARLY = 0x07

/** What a packed operation reports. */
export function flagsOf(unit: SseArithmetic, flags: number): number {
  return unit.traps(flags & EARLY) === 0 ? flags : flags & EARLY
}

/** Kinds of operands: bytes of a lane and number of lanes in 16 bytes. */
export const KINDS = { ss: [4, 1], sd: [8, 1], ps: [4, 4], pd: [8, 2] } as const
/** One of them. */
export type Kind = keyof typeof KINDS

/** The program of a kind, given what it does. */
export const program = (kind: Kind, run: Run): Program =>
  ({ run, words: KINDS[kind][0] * KINDS[kind][1] / 4, isScalar: KINDS[kind][1] === 1 })

type Single = (unit: SseArithmetic, a: number, b: number, immediate: number) => number
type Double = (unit: SseArithmetic, operands: DoublePair, immediate: number) => number
interface DoublePair {
  aLow: number
  aHigh: number
  bLow: number
  bHigh: number
}

/** first := f(first, second), lane by lane. */
const lanewise = (kind: Kind, single: Single, double: Double): Program => program(kind, (unit, { view, a, b, control, halves }, out) => {
  const [bytes, lanes] = KINDS[kind]
  const count = lanes === 1 ? 1 : lanes * halves
  let flags = 0
  for (let i = 0; i < count; i += 1) {
    const [x, y] = [byteOf(a, i * bytes), byteOf(b, i * bytes)]
    if (bytes === 4) {
      flags |= single(unit, view.getInt32(x, true), view.getInt32(y, true), control)
      out[i] = unit.low
    } else {
      flags |= double(unit, {
        aLow: view.getInt32(x, true), aHigh: view.getInt32(x + 4, true), bLow: view.getInt32(y, true), bHigh: view.getInt32(y + 4, true),
      }, control)
      out[i * 2] = unit.low
      out[i * 2 + 1] = unit.high
    }
  }
  return flagsOf(unit, flags)
})

type Programs = Readonly<Record<string, Program>>

const inKinds = (name: string, single: Single, double: Double): Programs =>
  Object.fromEntries((['ss', 'sd', 'ps', 'pd'] as const).map((kind) => [name + kind, lanewise(kind, single, double)]))

const binary = (name: string, operation: number): Programs =>
  inKinds(name, (unit, a, b) => unit.binary32(operation, a, b),
    (unit, { aLow, aHigh, bLow, bHigh }) => unit.binary64(operation, aLow, aHigh, bLow, bHigh))

/**
 * Horizontal sums and differences, and ADDSUB: `pick` gives the two words (or doubles) of lane i of a half; first's come
 * before second's.
 */
const crossing = (
  kind: 'ps' | 'pd', operation: (lane: number) => number, pick: (lane: number) => readonly [number, number],
): Program => program(kind, (unit, { view, a, b, halves }, out) => {
  const [bytes, count] = KINDS[kind]
  let flags = 0
  for (let i = 0; i < count * halves; i += 1) {
    const half = Math.floor(i / count) * UPPER_HALF
    const at = (lane: number): number => (lane < count ? a : b) + half + (lane % count) * bytes
    const [x, y] = pick(i % count).map(at) as [number, number]
    if (bytes === 4) {
      flags |= unit.binary32(operation(i), view.getInt32(x, true), view.getInt32(y, true))
      out[i] = unit.low
    } else {
      flags |= unit.binary64(operation(i), view.getInt32(x, true), view.getInt32(x + 4, true), view.getInt32(y, true), view.getInt32(y + 4, true))
      out[i * 2] = unit.low
      out[i * 2 + 1] = unit.high
    }
  }
  return flagsOf(unit, flags)
})

const { ADD, SUB } = SSE_OPERATION
const horizontal = (kind: 'ps' | 'pd', operation: number): Program =>
  crossing(kind, () => operation, (lane) => [lane * 2, lane * 2 + 1])
const alternating = (kind: 'ps' | 'pd'): Program =>
  crossing(kind, (lane) => (lane % 2 === 0 ? SUB : ADD), (lane) => [lane, lane + KINDS[kind][1]])

/** One step of a scalar product in all halves; false when it traps. */
type Step = (run: (half: number) => number) => boolean

/**
 * DPPS and DPPD: products of the chosen lanes, summed pairwise, into the chosen lanes. Each step may trap, for all halves
 * together.
 */
const dotSingles: Run = (unit, { view, a, b, control, halves }, out) => {
  let flags = 0
  const step: Step = (run) => {
    let found = 0
    for (let half = 0; half < halves; half += 1) found |= run(half)
    flags |= flagsOf(unit, found)
    return unit.traps(flags) === 0
  }
  const products = new Int32Array(8)
  const multiply = (half: number): number => {
    let found = 0
    for (let i = 0; i < 4; i += 1) {
      if ((control & (16 << i)) === 0) continue
      const at = half * UPPER_HALF + i * 4
      found |= unit.binary32(SSE_OPERATION.MUL, view.getInt32(a + at, true), view.getInt32(b + at, true))
      products[half * 4 + i] = unit.low
    }
    return found
  }
  const pair = (half: number): number => [0, 2].reduce((found, i) => {
    const at = half * 4 + i
    const next = unit.binary32(ADD, products[at]!, products[at + 1]!)
    products[at] = unit.low
    return found | next
  }, 0)
  const sum = (half: number): number => {
    const found = unit.binary32(ADD, products[half * 4]!, products[half * 4 + 2]!)
    for (let i = 0; i < 4; i += 1) out[half * 4 + i] = (control & (1 << i)) === 0 ? 0 : unit.low
    return found
  }
  if (step(multiply) && step(pair)) step(sum)
  return flags
}

const dotDoubles: Run = (unit, { view, a, b, control }, out) => {
  let flags = 0
  const products = [0, 1].map((i) => {
    if ((control & (16 << i)) === 0) return [0, 0] as const
    const [x, y] = [a + i * 8, b + i * 8]
    flags |= unit.binary64(SSE_OPERATION.MUL, view.getInt32(x, true), view.getInt32(x + 4, true),
      view.getInt32(y, true), view.getInt32(y + 4, true))
    return [unit.low, unit.high] as const
  })
  flags = flagsOf(unit, flags)
  if (unit.traps(flags) !== 0) return flags
  flags |= unit.binary64(ADD, products[0]![0], products[0]![1], products[1]![0], products[1]![1])
  for (let i = 0; i < 2; i += 1) {
    const chosen = (control & (1 << i)) !== 0
    out[i * 2] = chosen ? unit.low : 0
    out[i * 2 + 1] = chosen ? unit.high : 0
  }
  return flags
}

/** A conversion of so many lanes for each half, from lanes of `from` bytes to lanes of `to` bytes. */
export interface Conversion {
  readonly count: number
  readonly from: 2 | 4 | 8
  readonly to: 2 | 4 | 8
  /** Words of the destination that are written. */
  readonly words: number
  readonly isScalar?: boolean
  readonly convert: (unit: SseArithmetic, low: number, high: number, control: number) => number
}

/** The program of a conversion; what lies behind its lanes is cleared. */
export const conversion = (c: Conversion): Program => ({
  words: c.words, isScalar: c.isScalar === true,
  run: (unit, { view, b, control, halves }, out) => {
    let flags = 0
    out.fill(0)
    for (let i = 0; i < (c.isScalar === true ? 1 : c.count * halves); i += 1) {
      const at = byteOf(b, i * c.from)
      const low = c.from === 2 ? view.getUint16(at, true) : view.getInt32(at, true)
      flags |= c.convert(unit, low, c.from === 8 ? view.getInt32(at + 4, true) : low >> 31, control)
      if (c.to === 4) out[i] = unit.low
      else if (c.to === 2) out[i >> 1] = out[i >> 1]! | (unit.low << ((i & 1) * 16))
      else {
        out[i * 2] = unit.low
        out[i * 2 + 1] = unit.high
      }
    }
    return flagsOf(unit, flags)
  },
})

export const singleToInt = (rounding: number) => (unit: SseArithmetic, low: number): number =>
  singleToInteger(unit, low, 32, rounding)
export const doubleToInt = (rounding: number) => (unit: SseArithmetic, low: number, high: number): number =>
  doubleToInteger(unit, low, high, { size: 32, rounding })

const none: Double = () => 0

/** Comparisons by a predicate of so many bits. */
const comparison = (bits: number): Programs =>
  inKinds('cmp', (unit, a, b, control) => unit.compare32(control & bits, a, b),
    (unit, o, control) => unit.compare64(control & bits, o.aLow, o.aHigh, o.bLow, o.bHigh))

/** Arithmetic that SSE and AVX have alike, by SSE's names. */
export const ARITHMETIC: Programs = {
  ...binary('add', ADD), ...binary('sub', SUB),
  ...binary('mul', SSE_OPERATION.MUL), ...binary('div', SSE_OPERATION.DIV),
  ...binary('min', SSE_OPERATION.MIN), ...binary('max', SSE_OPERATION.MAX),
  ...inKinds('sqrt', (unit, _, b) => unit.squareRoot32(b), (unit, { bLow, bHigh }) => unit.squareRoot64(bLow, bHigh)),
  ...inKinds('round', (unit, _, b, control) => roundSingle(unit, b, control),
    (unit, { bLow, bHigh }, control) => roundDouble(unit, bLow, bHigh, control)),
  ...Object.fromEntries((['ss', 'ps'] as const).flatMap((kind) => [
    [`rcp${kind}`, lanewise(kind, (unit, _, b) => reciprocalSingle(unit, b), none)],
    [`rsqrt${kind}`, lanewise(kind, (unit, _, b) => reciprocalRootSingle(unit, b), none)],
  ])),
  haddps: horizontal('ps', ADD), haddpd: horizontal('pd', ADD),
  hsubps: horizontal('ps', SUB), hsubpd: horizontal('pd', SUB),
  addsubps: alternating('ps'), addsubpd: alternating('pd'),
  cvtps2pd: conversion({ count: 2, from: 4, to: 8, words: 4, convert: singleToDouble }),
  cvtdq2ps: conversion({ count: 4, from: 4, to: 4, words: 4, convert: integerToSingle }),
  cvtdq2pd: conversion({ count: 2, from: 4, to: 8, words: 4, convert: integerToDouble }),
  cvtps2dq: conversion({ count: 4, from: 4, to: 4, words: 4, convert: singleToInt(ROUNDING_OF_MXCSR) }),
  cvttps2dq: conversion({ count: 4, from: 4, to: 4, words: 4, convert: singleToInt(ROUNDING.ZERO) }),
  cvtpd2ps: conversion({ count: 2, from: 8, to: 4, words: 4, convert: doubleToSingle }),
  cvtpd2dq: conversion({ count: 2, from: 8, to: 4, words: 4, convert: doubleToInt(ROUNDING_OF_MXCSR) }),
  cvttpd2dq: conversion({ count: 2, from: 8, to: 4, words: 4, convert: doubleToInt(ROUNDING.ZERO) }),
  cvtss2sd: conversion({ count: 1, from: 4, to: 8, words: 2, isScalar: true, convert: singleToDouble }),
  cvtsd2ss: conversion({ count: 1, from: 8, to: 4, words: 1, isScalar: true, convert: doubleToSingle }),
}

/** Scalar products. */
export const PRODUCTS: Programs = { dpps: program('ps', dotSingles), dppd: program('pd', dotDoubles) }
/** Comparisons of SSE, and those of AVX with their 32 predicates. */
export const COMPARISONS = { sse: /* @__PURE__ */ comparison(7), avx: /* @__PURE__ */ comparison(31) } as const
