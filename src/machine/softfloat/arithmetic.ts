/**
 * The exact operations on unpacked operands: sum, product, quotient, square root, each to 64 bits and a sticky rest.
 * Knows neither formats nor NaNs: the callers have dealt with those. Hot path: 32-bit integer arithmetic.
 * Reference: Knuth, The Art of Computer Programming, volume 2, section 4.3.1.
 */
import { FLOAT_FLAG, KIND, ROUNDING } from './constants.ts'
import type { Unpacked } from './unpacked.ts'

const TWO_32 = 0x1_0000_0000
const TOP = -0x8000_0000

/** High 32 bits of the product of two unsigned 32-bit numbers. */
export function multiplyHigh(a: number, b: number): number {
  const a0 = a & 0xffff
  const a1 = a >>> 16
  const b0 = b & 0xffff
  const b1 = b >>> 16
  const low = Math.imul(a0, b0)
  const middle = (Math.imul(a1, b0) + (low >>> 16)) | 0
  const cross = (Math.imul(a0, b1) + (middle & 0xffff)) | 0
  return (Math.imul(a1, b1) + (middle >>> 16) + (cross >>> 16)) | 0
}

/** Compares two 64-bit unsigned numbers: negative, zero or positive. */
export function compareWide(aHigh: number, aLow: number, bHigh: number, bLow: number): number {
  if (aHigh !== bHigh) return aHigh >>> 0 < bHigh >>> 0 ? -1 : 1
  return aLow === bLow ? 0 : aLow >>> 0 < bLow >>> 0 ? -1 : 1
}

/** How two values compare, as the RFLAGS bits that COMIS and UCOMIS set (ZF, PF, CF). */
export const ORDER = { GREATER: 0, LESS: 0x01, EQUAL: 0x40, UNORDERED: 0x45 } as const

/** Order of two values that are no NaNs, as one of {@link ORDER}. */
export function orderOf(a: Unpacked, b: Unpacked): number {
  const zeroA = a.kind === KIND.ZERO
  const zeroB = b.kind === KIND.ZERO
  if (zeroA && zeroB) return ORDER.EQUAL
  if (zeroA) return b.sign === 0 ? ORDER.LESS : ORDER.GREATER
  if (zeroB || a.sign !== b.sign) return a.sign === 0 ? ORDER.GREATER : ORDER.LESS
  const magnitude = orderOfMagnitude(a, b)
  if (magnitude === 0) return ORDER.EQUAL
  return magnitude > 0 === (a.sign === 0) ? ORDER.GREATER : ORDER.LESS
}

function orderOfMagnitude(a: Unpacked, b: Unpacked): number {
  if (a.kind !== b.kind) return a.kind - b.kind
  if (a.kind === KIND.INFINITE) return 0
  if (a.exponent !== b.exponent) return a.exponent - b.exponent
  return compareWide(a.high, a.low, b.high, b.low)
}

/** Four words, most significant first; scratch of {@link FloatArithmetic}. */
class Words {
  w3 = 0
  w2 = 0
  w1 = 0
  w0 = 0

  /** Becomes the product of two 64-bit numbers. */
  multiply(aHigh: number, aLow: number, bHigh: number, bLow: number): void {
    this.w0 = Math.imul(aLow, bLow)
    const crossA = Math.imul(aLow, bHigh)
    const crossB = Math.imul(aHigh, bLow)
    const sum1 = (multiplyHigh(aLow, bLow) >>> 0) + (crossA >>> 0) + (crossB >>> 0)
    this.w1 = sum1 | 0
    const sum2 = (multiplyHigh(aLow, bHigh) >>> 0) + (multiplyHigh(aHigh, bLow) >>> 0) +
      (Math.imul(aHigh, bHigh) >>> 0) + Math.floor(sum1 / TWO_32)
    this.w2 = sum2 | 0
    this.w3 = (multiplyHigh(aHigh, bHigh) + Math.floor(sum2 / TWO_32)) | 0
  }

  /** Becomes `from` minus itself, modulo 2^128. */
  subtractFrom(from: Words): void {
    let borrow = 0
    const d0 = (from.w0 >>> 0) - (this.w0 >>> 0)
    borrow = d0 < 0 ? 1 : 0
    const d1 = (from.w1 >>> 0) - (this.w1 >>> 0) - borrow
    borrow = d1 < 0 ? 1 : 0
    const d2 = (from.w2 >>> 0) - (this.w2 >>> 0) - borrow
    borrow = d2 < 0 ? 1 : 0
    this.w0 = d0 | 0
    this.w1 = d1 | 0
    this.w2 = d2 | 0
    this.w3 = (from.w3 - this.w3 - borrow) | 0
  }
}

/**
 * The exact operations. Results go to `out`; the returned number holds INVALID or ZERO_DIVIDE where the operands allow
 * no other answer (`out` is then unset for INVALID, and the right infinity for ZERO_DIVIDE). One instance per unit.
 */
export class FloatArithmetic {
  private readonly product = new Words()
  private readonly radicand = new Words()
  private remainderHigh = 0
  private remainderLow = 0

  /** out = a + b, or a - b when `negate` is 1. `out` must be neither operand. */
  add(a: Unpacked, b: Unpacked, negate: number, rounding: number, out: Unpacked): number {
    const signB = b.sign ^ negate
    if (a.kind === KIND.INFINITE || b.kind === KIND.INFINITE) {
      if (a.kind === b.kind && a.sign !== signB) return FLOAT_FLAG.INVALID
      out.setSpecial(KIND.INFINITE, a.kind === KIND.INFINITE ? a.sign : signB)
      return 0
    }
    if (b.kind === KIND.ZERO) {
      if (a.kind === KIND.ZERO && a.sign !== signB) out.setSpecial(KIND.ZERO, rounding === ROUNDING.DOWN ? 1 : 0)
      else out.copy(a)
      return 0
    }
    if (a.kind === KIND.ZERO) {
      out.copy(b)
      out.sign = signB
      return 0
    }
    this.addNormal(a, b, signB, rounding, out)
    return 0
  }

  private addNormal(a: Unpacked, b: Unpacked, signB: number, rounding: number, out: Unpacked): void {
    const aIsLarger = a.exponent !== b.exponent
      ? a.exponent > b.exponent
      : compareWide(a.high, a.low, b.high, b.low) >= 0
    const large = aIsLarger ? a : b
    out.copy(aIsLarger ? b : a)
    out.shiftRight(large.exponent - out.exponent)
    out.exponent = large.exponent
    out.denormal = false
    const subtract = a.sign !== signB
    out.sign = aIsLarger ? a.sign : signB
    if (subtract) {
      const extra = -out.extra | 0
      const low = (large.low >>> 0) - (out.low >>> 0) - (extra === 0 ? 0 : 1)
      out.high = (large.high - out.high - (low < 0 ? 1 : 0)) | 0
      out.low = low | 0
      out.extra = extra
      if ((out.high | out.low | out.extra) === 0) out.setSpecial(KIND.ZERO, rounding === ROUNDING.DOWN ? 1 : 0)
      else out.normalize()
      return
    }
    const low = (large.low >>> 0) + (out.low >>> 0)
    const high = (large.high >>> 0) + (out.high >>> 0) + (low >= TWO_32 ? 1 : 0)
    out.low = low | 0
    out.high = high | 0
    if (high >= TWO_32) {
      out.shiftRight(1)
      out.high |= TOP
      out.exponent += 1
    }
  }

  /** out = a * b. */
  multiply(a: Unpacked, b: Unpacked, out: Unpacked): number {
    const sign = a.sign ^ b.sign
    if (a.kind !== KIND.NORMAL || b.kind !== KIND.NORMAL) {
      const infinite = a.kind === KIND.INFINITE || b.kind === KIND.INFINITE
      if (infinite && (a.kind === KIND.ZERO || b.kind === KIND.ZERO)) return FLOAT_FLAG.INVALID
      out.setSpecial(infinite ? KIND.INFINITE : KIND.ZERO, sign)
      return 0
    }
    const words = this.product
    words.multiply(a.high, a.low, b.high, b.low)
    out.kind = KIND.NORMAL
    out.sign = sign
    out.exponent = a.exponent + b.exponent + 1
    out.high = words.w3
    out.low = words.w2
    out.extra = words.w1 | (words.w0 === 0 ? 0 : 1)
    if (out.high >= 0) {
      out.high = (out.high << 1) | (out.low >>> 31)
      out.low = (out.low << 1) | (words.w1 >>> 31)
      out.extra = (words.w1 << 1) | (words.w0 === 0 ? 0 : 1)
      out.exponent -= 1
    }
    return 0
  }

  /** out = a / b. */
  divide(a: Unpacked, b: Unpacked, out: Unpacked): number {
    const sign = a.sign ^ b.sign
    if (a.kind !== KIND.NORMAL || b.kind !== KIND.NORMAL) {
      if (a.kind === b.kind) return FLOAT_FLAG.INVALID
      const infinite = a.kind === KIND.INFINITE || b.kind === KIND.ZERO
      out.setSpecial(infinite ? KIND.INFINITE : KIND.ZERO, sign)
      return b.kind === KIND.ZERO && a.kind === KIND.NORMAL ? FLOAT_FLAG.ZERO_DIVIDE : 0
    }
    const atLeastOne = compareWide(a.high, a.low, b.high, b.low) >= 0
    out.kind = KIND.NORMAL
    out.sign = sign
    out.exponent = a.exponent - b.exponent - (atLeastOne ? 0 : 1)
    // The dividend's top 64 bits must be below the divisor: it enters halved when the quotient is at least 1.
    this.remainderHigh = atLeastOne ? a.high >>> 1 : a.high
    this.remainderLow = atLeastOne ? (a.low >>> 1) | (a.high << 31) : a.low
    const highDigit = this.digit(atLeastOne ? a.low << 31 : 0, b)
    const lowDigit = this.digit(0, b)
    out.high = highDigit
    out.low = lowDigit
    out.extra = 0
    if ((this.remainderHigh | this.remainderLow) !== 0) out.extra = this.restOfQuotient(b)
    return 0
  }

  /** Next 32 bits of (remainder, next) / divisor; the remainder becomes what is left. */
  private digit(next: number, divisor: Unpacked): number {
    const d1 = divisor.high >>> 0
    const d0 = divisor.low >>> 0
    const top = this.remainderHigh >>> 0
    const middle = this.remainderLow >>> 0
    let q = Math.floor(((top * TWO_32 + middle) * TWO_32 + (next >>> 0)) / (d1 * TWO_32 + d0))
    if (q > 0xffff_ffff) q = 0xffff_ffff
    const low = (next >>> 0) - (Math.imul(q, d0) >>> 0)
    const carried = (multiplyHigh(q, d0) >>> 0) + (Math.imul(q, d1) >>> 0) + (low < 0 ? 1 : 0)
    const mid = middle - carried
    let high = top - (multiplyHigh(q, d1) >>> 0) + Math.floor(mid / TWO_32)
    let r1 = mid | 0
    let r0 = low | 0
    while (high < 0) {
      q -= 1
      const sum = (r0 >>> 0) + d0
      const sum1 = (r1 >>> 0) + d1 + (sum >= TWO_32 ? 1 : 0)
      r0 = sum | 0
      r1 = sum1 | 0
      if (sum1 >= TWO_32) high += 1
    }
    while (high > 0 || compareWide(r1, r0, divisor.high, divisor.low) >= 0) {
      q += 1
      const difference = (r0 >>> 0) - d0
      const difference1 = (r1 >>> 0) - d1 - (difference < 0 ? 1 : 0)
      r0 = difference | 0
      r1 = difference1 | 0
      if (difference1 < 0) high -= 1
    }
    this.remainderHigh = r1
    this.remainderLow = r0
    return q | 0
  }

  /** What lies below the quotient: more than, exactly or less than one half, as a sticky fraction. */
  private restOfQuotient(b: Unpacked): number {
    const high = this.remainderHigh
    const low = this.remainderLow
    if (high < 0) return TOP | 1
    const order = compareWide((high << 1) | (low >>> 31), low << 1, b.high, b.low)
    return order > 0 ? TOP | 1 : order === 0 ? TOP : 1
  }

  /** out = the square root of a. */
  squareRoot(a: Unpacked, out: Unpacked): number {
    if (a.kind === KIND.ZERO) {
      out.setSpecial(KIND.ZERO, a.sign)
      return 0
    }
    if (a.sign !== 0) return FLOAT_FLAG.INVALID
    if (a.kind === KIND.INFINITE) {
      out.setSpecial(KIND.INFINITE, 0)
      return 0
    }
    out.kind = KIND.NORMAL
    out.sign = 0
    out.exponent = a.exponent >> 1
    const n = this.radicand
    n.w0 = 0
    if ((a.exponent & 1) === 0) {
      n.w3 = a.high >>> 1
      n.w2 = (a.high << 31) | (a.low >>> 1)
      n.w1 = a.low << 31
    } else {
      n.w3 = a.high
      n.w2 = a.low
      n.w1 = 0
    }
    this.rootOfRadicand(out)
    return 0
  }

  /** 64-bit root of the 128-bit radicand: an estimate in doubles, corrected once by its residue, then exactly. */
  private rootOfRadicand(out: Unpacked): void {
    const n = this.radicand
    const r = this.product
    const scaled = (n.w3 >>> 0) * TWO_32 + (n.w2 >>> 0)
    let root = Math.floor(Math.sqrt(scaled) * TWO_32)
    if (root >= TWO_32 * TWO_32) root = TWO_32 * TWO_32 - 2048
    out.high = Math.floor(root / TWO_32) | 0
    out.low = root % TWO_32 | 0
    r.multiply(out.high, out.low, out.high, out.low)
    r.subtractFrom(n)
    const residue = ((r.w3 * TWO_32 + (r.w2 >>> 0)) * TWO_32 + (r.w1 >>> 0)) * TWO_32
    this.stepRoot(out, Math.floor(residue / (2 * root)))
    for (;;) {
      r.multiply(out.high, out.low, out.high, out.low)
      r.subtractFrom(n)
      if (r.w3 < 0) this.stepRoot(out, -1)
      else if (r.w2 > 1 || (r.w2 === 1 && compareWide(r.w1, r.w0, out.high << 1 | out.low >>> 31, out.low << 1) > 0)) {
        this.stepRoot(out, 1)
      } else break
    }
    const aboveHalf = r.w2 !== 0 || compareWide(r.w1, r.w0, out.high, out.low) > 0
    out.extra = aboveHalf ? TOP | 1 : (r.w1 | r.w0) === 0 ? 0 : 1
  }

  private stepRoot(out: Unpacked, by: number): void {
    const low = (out.low >>> 0) + by
    const high = (out.high >>> 0) + Math.floor(low / TWO_32)
    out.low = low | 0
    out.high = high | 0
    if (high >= TWO_32) {
      out.high = -1
      out.low = -1
    }
  }
}
