/**
 * Between floating point and integers: values rounded to whole numbers, and signed integers of 16, 32 and 64 bits
 * taken apart and put together. Shared by x87 (FIST, FRNDINT, FBSTP) and SSE (CVT*, ROUND*). Hot path.
 */
import { KIND } from './constants.ts'
import { roundSignificand } from './rounding.ts'
import type { Unpacked } from './unpacked.ts'

const TOP = -0x8000_0000

/** Takes a signed 64-bit integer apart. */
export function unpackInteger(low: number, high: number, out: Unpacked): void {
  out.sign = high >>> 31
  out.denormal = false
  out.extra = 0
  out.low = out.sign === 0 ? low | 0 : -low | 0
  out.high = out.sign === 0 ? high | 0 : (~high + (out.low === 0 ? 1 : 0)) | 0
  out.exponent = 63
  out.kind = (out.high | out.low) === 0 ? KIND.ZERO : KIND.NORMAL
  if (out.kind === KIND.NORMAL) out.normalize()
}

/**
 * Turns a finite value below 2^64 into fixed point: `high` and `low` become its magnitude rounded to a whole number.
 * Returns PRECISION (and C1 when rounded up) if it was not whole.
 */
export function toFixedPoint(x: Unpacked, rounding: number): number {
  if (x.kind === KIND.ZERO) {
    x.high = 0
    x.low = 0
    return 0
  }
  x.shiftRight(63 - x.exponent)
  x.exponent = 63
  return roundSignificand(x, 64, rounding)
}

/** Whether a magnitude in fixed point, with the value's sign, fits a signed integer of 16, 32 or 64 bits. */
export function fitsInteger(x: Unpacked, bits: number): boolean {
  if (bits === 64) return x.high >= 0 || (x.sign !== 0 && x.high === TOP && x.low === 0)
  const limit = bits === 32 ? 0x8000_0000 : 0x8000
  const magnitude = x.low >>> 0
  return x.high === 0 && (magnitude < limit || (magnitude === limit && x.sign !== 0))
}

/** Gives a magnitude in fixed point its sign: `high` and `low` become two's complement. */
export function applySign(x: Unpacked): void {
  if (x.sign === 0) return
  x.low = -x.low | 0
  x.high = (~x.high + (x.low === 0 ? 1 : 0)) | 0
}

/** Rounds a value to a whole number of the same kind; NaNs, infinities and large values stay. Returns as above. */
export function roundToIntegral(x: Unpacked, rounding: number): number {
  if (x.kind !== KIND.NORMAL || x.exponent >= 63) return 0
  const inexact = toFixedPoint(x, rounding)
  if ((x.high | x.low) === 0) x.setSpecial(KIND.ZERO, x.sign)
  else x.normalize()
  return inexact
}
