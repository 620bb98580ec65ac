/**
 * SSE conversions, rounding to whole numbers, and the reciprocal estimates, on the operands and results of
 * {@link SseArithmetic}. Packed instructions call these once an element. Hot path.
 * Reference: Intel SDM volume 1, section 4.8.4.2 and 11.5.2; volume 2, CVT*, ROUND*, RCPSS, RSQRTSS.
 */
import { DOUBLE, FLOAT_FLAG, type FloatFormat, KIND, SINGLE } from './constants.ts'
import { applySign, fitsInteger, roundToIntegral, toFixedPoint, unpackInteger } from './integer.ts'
import { roundTo, roundingOf } from './rounding.ts'
import type { SseArithmetic } from './sse.ts'
import { pack32, pack64High, pack64Low, quieten, type Unpacked } from './unpacked.ts'

/** Stands for "as MXCSR says" where a rounding mode is asked for. */
export const ROUNDING_OF_MXCSR = -1

const INDEFINITE = -0x8000_0000
const SIGN = -0x8000_0000
const SINGLE_INFINITY = 0x7f80_0000

function deliver32(unit: SseArithmetic, x: Unpacked): void {
  unit.low = pack32(x)
}

function deliver64(unit: SseArithmetic, x: Unpacked): void {
  unit.low = pack64Low(x)
  unit.high = pack64High(x)
}

function convert(unit: SseArithmetic, format: FloatFormat): number {
  const x = unit.a
  if (x.kind > KIND.INFINITE) {
    const signaling = x.kind === KIND.SIGNALING
    quieten(x)
    return signaling ? FLOAT_FLAG.INVALID : 0
  }
  const early = x.denormal ? FLOAT_FLAG.DENORMAL : 0
  if (unit.traps(early) !== 0) return early
  return early | (roundTo(x, format, unit.control) & FLOAT_FLAG.ALL)
}

/** CVTSS2SD. Returns exception flags, as all of these do; the result stands in `low` and `high`. */
export function singleToDouble(unit: SseArithmetic, bits: number): number {
  unit.load32(bits, bits)
  const flags = convert(unit, DOUBLE)
  deliver64(unit, unit.a)
  return flags
}

/** CVTSD2SS. */
export function doubleToSingle(unit: SseArithmetic, low: number, high: number): number {
  unit.load64(low, high, low, high)
  const flags = convert(unit, SINGLE)
  deliver32(unit, unit.a)
  return flags
}

/** CVTSI2SS from a signed 64-bit integer; a 32-bit one comes sign-extended. */
export function integerToSingle(unit: SseArithmetic, low: number, high: number): number {
  unpackInteger(low, high, unit.a)
  const flags = roundTo(unit.a, SINGLE, unit.control) & FLOAT_FLAG.ALL
  deliver32(unit, unit.a)
  return flags
}

/** CVTSI2SD from a signed 64-bit integer; a 32-bit one comes sign-extended. */
export function integerToDouble(unit: SseArithmetic, low: number, high: number): number {
  unpackInteger(low, high, unit.a)
  const flags = roundTo(unit.a, DOUBLE, unit.control) & FLOAT_FLAG.ALL
  deliver64(unit, unit.a)
  return flags
}

/** CVTSS2SI and CVTTSS2SI to 32 or 64 bits; CVTT passes `ROUNDING.ZERO`, CVT {@link ROUNDING_OF_MXCSR}. */
export function singleToInteger(unit: SseArithmetic, bits: number, size: 32 | 64, rounding: number): number {
  unit.load32(bits, bits)
  return toInteger(unit, size, rounding)
}

/** The operand of {@link doubleToInteger}: CVTSD2SI and CVTTSD2SI. */
export interface DoubleToInteger {
  readonly size: 32 | 64
  /** A rounding mode or {@link ROUNDING_OF_MXCSR}. */
  readonly rounding: number
}

/** CVTSD2SI, and with `ROUNDING.ZERO` CVTTSD2SI. */
export function doubleToInteger(unit: SseArithmetic, low: number, high: number, to: DoubleToInteger): number {
  unit.load64(low, high, low, high)
  return toInteger(unit, to.size, to.rounding)
}

function toInteger(unit: SseArithmetic, size: 32 | 64, rounding: number): number {
  const x = unit.a
  if (x.kind < KIND.INFINITE && x.exponent < 64) {
    const inexact = toFixedPoint(x, rounding < 0 ? roundingOf(unit.control) : rounding)
    if (fitsInteger(x, size)) {
      applySign(x)
      unit.low = x.low
      unit.high = x.high
      return inexact & FLOAT_FLAG.PRECISION
    }
  }
  unit.low = size === 32 ? INDEFINITE : 0
  unit.high = INDEFINITE
  return FLOAT_FLAG.INVALID
}

function roundOperand(unit: SseArithmetic, immediate: number): number {
  const x = unit.a
  if (x.kind > KIND.INFINITE) {
    const signaling = x.kind === KIND.SIGNALING
    quieten(x)
    return signaling ? FLOAT_FLAG.INVALID : 0
  }
  const inexact = roundToIntegral(x, (immediate & 4) !== 0 ? roundingOf(unit.control) : immediate & 3)
  return (immediate & 8) !== 0 ? 0 : inexact & FLOAT_FLAG.PRECISION
}

/** ROUNDSS with its immediate byte. */
export function roundSingle(unit: SseArithmetic, bits: number, immediate: number): number {
  unit.load32(bits, bits)
  const flags = roundOperand(unit, immediate)
  deliver32(unit, unit.a)
  return flags
}

/** ROUNDSD with its immediate byte. */
export function roundDouble(unit: SseArithmetic, low: number, high: number, immediate: number): number {
  unit.load64(low, high, low, high)
  const flags = roundOperand(unit, immediate)
  deliver64(unit, unit.a)
  return flags
}

function asNumber(x: Unpacked): number {
  const magnitude = (x.high >>> 0) * 2 ** (x.exponent - 31)
  return x.sign === 0 ? magnitude : -magnitude
}

/** Specials of both estimates: true when `low` is the answer already. Denormals count as zeros. */
function estimatesSpecial(unit: SseArithmetic, bits: number): boolean {
  unit.load32(bits, bits)
  const x = unit.a
  if (x.kind > KIND.INFINITE) quieten(x)
  else if (x.kind === KIND.ZERO || x.denormal) x.setSpecial(KIND.INFINITE, x.sign)
  else return false
  deliver32(unit, x)
  return true
}

/**
 * RCPSS: the architecture asks for 12 bits and leaves the rest to the processor; this gives the rounded quotient.
 * Raises nothing.
 */
export function reciprocalSingle(unit: SseArithmetic, bits: number): number {
  if (estimatesSpecial(unit, bits)) return 0
  const x = unit.a
  if (x.kind === KIND.INFINITE || x.exponent >= 126) {
    unit.low = bits & SIGN
    return 0
  }
  unit.low = singleBits(1 / asNumber(x))
  return 0
}

/** RSQRTSS, likewise to full precision. Raises nothing. */
export function reciprocalRootSingle(unit: SseArithmetic, bits: number): number {
  if (estimatesSpecial(unit, bits)) return 0
  const x = unit.a
  if (x.sign !== 0) unit.low = SIGN | SINGLE_INFINITY | 0x40_0000
  else if (x.kind === KIND.INFINITE) unit.low = 0
  else unit.low = singleBits(1 / Math.sqrt(asNumber(x)))
  return 0
}

/** Bits of a number in the normal range of binary32. */
function singleBits(value: number): number {
  const words = new Int32Array(1)
  new Float32Array(words.buffer)[0] = value
  return words[0]!
}

