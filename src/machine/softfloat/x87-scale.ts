/**
 * The x87 instructions that work on exponents and quotients: FPREM, FPREM1, FSCALE, FXTRACT. All are exact unless the
 * result leaves the range. A reduction over more than 63 binades stops half-way, as the processor's does.
 * Reference: Intel SDM volume 2, FPREM, FPREM1, FSCALE, FXTRACT.
 */
import { compareWide } from './arithmetic.ts'
import { FLOAT_FLAG, KIND, ROUNDING, X87_STATUS } from './constants.ts'
import { toFixedPoint, unpackInteger } from './integer.ts'
import { type Float80, pack80, type Unpacked } from './unpacked.ts'
import type { X87Arithmetic } from './x87.ts'

/** Beyond this no exponent of the format can come back into range. */
const SCALE_LIMIT = 0x1_0000

/** Quotient bits 0 to 2 as C1, C3 and C0. */
function quotientConditions(quotient: number): number {
  return ((quotient & 1) === 0 ? 0 : X87_STATUS.C1) | ((quotient & 2) === 0 ? 0 : X87_STATUS.C3) |
    ((quotient & 4) === 0 ? 0 : X87_STATUS.C0)
}

/**
 * Long division by shifting: the significand of `x`, taken `steps` binades above that of `y`, becomes its remainder.
 * Returns the low bits of the quotient.
 */
function divideOut(x: Unpacked, y: Unpacked, steps: number): number {
  let { high, low } = x
  let quotient = 0
  let carry = false
  for (let step = steps; ; step -= 1) {
    quotient = (quotient << 1) & 7
    if (carry || compareWide(high, low, y.high, y.low) >= 0) {
      const difference = (low >>> 0) - (y.low >>> 0)
      high = (high - y.high - (difference < 0 ? 1 : 0)) | 0
      low = difference | 0
      quotient |= 1
    }
    if (step === 0) break
    carry = high < 0
    high = (high << 1) | (low >>> 31)
    low <<= 1
  }
  x.high = high
  x.low = low
  return quotient
}

/** Rounds the quotient to nearest instead of down: the remainder becomes y - x when that is nearer to zero. */
function preferNearest(x: Unpacked, y: Unpacked, quotient: number): number {
  const twiceHigh = (x.high << 1) | (x.low >>> 31)
  const order = x.high < 0 ? 1 : compareWide(twiceHigh, x.low << 1, y.high, y.low)
  if (order < 0 || (order === 0 && (quotient & 1) === 0)) return quotient
  const low = (y.low >>> 0) - (x.low >>> 0)
  x.high = (y.high - x.high - (low < 0 ? 1 : 0)) | 0
  x.low = low | 0
  x.sign ^= 1
  return quotient + 1
}

/** FPREM1's case of a dividend one binade below the divisor: the quotient is 1 when that is nearer. */
function oneBinadeBelow(x: Unpacked, y: Unpacked): number {
  if (compareWide(x.high, x.low, y.high, y.low) <= 0) return 0
  const low = ((y.low << 1) >>> 0) - (x.low >>> 0)
  x.high = (((y.high << 1) | (y.low >>> 31)) - x.high - (low < 0 ? 1 : 0)) | 0
  x.low = low | 0
  x.sign ^= 1
  return 1
}

/** The remainder of `x` by `y`, both normal, in place. Returns the condition bits. */
function reduce(x: Unpacked, y: Unpacked, nearest: boolean): number {
  const sign = x.sign
  const distance = x.exponent - y.exponent
  let conditions: number = X87_STATUS.C2
  if (distance < 0) {
    conditions = nearest && distance === -1 ? quotientConditions(oneBinadeBelow(x, y)) : 0
  } else if (distance < 64) {
    let quotient = divideOut(x, y, distance)
    if (nearest) quotient = preferNearest(x, y, quotient)
    conditions = quotientConditions(quotient)
    x.exponent = y.exponent
  } else {
    const steps = (distance & 31) | 32
    divideOut(x, y, steps)
    x.exponent -= steps
  }
  if ((x.high | x.low) === 0) x.setSpecial(KIND.ZERO, sign)
  else x.normalize()
  return conditions
}

/** What a remainder does. */
export const REMAINDER = { FPREM: 0, FPREM1: 1 } as const

/** FPREM and FPREM1 of ST0 by ST1: C2 set means that the reduction is partial. */
export function remainder(unit: X87Arithmetic, a: Float80, b: Float80, kind: number): number {
  const { x, y, z } = unit
  if (unit.takeTwo(a, b)) return unit.answerNaN()
  if (x.kind === KIND.INFINITE || y.kind === KIND.ZERO) return unit.answerInvalid()
  const early = unit.denormalFlag()
  if (unit.traps(early)) return early | X87_STATUS.SUPPRESSED
  const reducible = x.kind === KIND.NORMAL && y.kind === KIND.NORMAL
  const conditions = reducible ? reduce(x, y, kind === REMAINDER.FPREM1) : 0
  z.copy(x)
  return unit.deliver(early) | conditions
}

/** FSCALE: ST0 times two to the power of ST1 cut to a whole number. */
export function scale(unit: X87Arithmetic, a: Float80, b: Float80): number {
  const { x, y, z } = unit
  if (unit.takeTwo(a, b)) return unit.answerNaN()
  if (y.kind === KIND.INFINITE) {
    const forbidden = y.sign === 0 ? KIND.ZERO : KIND.INFINITE
    if (x.kind === forbidden) return unit.answerInvalid()
    z.setSpecial(y.sign === 0 ? KIND.INFINITE : KIND.ZERO, x.sign)
    return unit.deliver(unit.denormalFlag())
  }
  const early = unit.denormalFlag()
  z.copy(x)
  if (z.kind === KIND.NORMAL && y.kind === KIND.NORMAL) z.exponent += wholePart(y)
  return unit.deliver(early)
}

function wholePart(y: Unpacked): number {
  let magnitude = SCALE_LIMIT
  if (y.exponent < 17) {
    toFixedPoint(y, ROUNDING.ZERO)
    magnitude = y.low
  }
  return y.sign === 0 ? magnitude : -magnitude
}

/** FXTRACT: `result` is the exponent, which replaces ST0; `pushed` the significand. */
export function extract(unit: X87Arithmetic, a: Float80): number {
  const { x, y } = unit
  if (unit.takeOne(a)) {
    const status = unit.answerNaN()
    unit.pushed.copy(unit.result)
    return status
  }
  const early = x.kind === KIND.ZERO ? FLOAT_FLAG.ZERO_DIVIDE : unit.denormalFlag()
  if (unit.traps(early)) return early | X87_STATUS.SUPPRESSED
  if (x.kind === KIND.NORMAL) unpackInteger(x.exponent, x.exponent >> 31, y)
  else y.setSpecial(KIND.INFINITE, x.kind === KIND.ZERO ? 1 : 0)
  x.exponent = 0
  pack80(y, unit.result)
  pack80(x, unit.pushed)
  return early
}
