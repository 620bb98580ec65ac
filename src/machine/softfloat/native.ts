/**
 * The host's own double arithmetic where it provably gives what SSE would, flags included: operands zero or normal,
 * rounding to nearest, a result well inside the normal range. Whether the result is exact comes from error-free
 * transformations, which need no fused multiply-add. The same conditions serve code that is generated in WebAssembly:
 *
 *     a + b   r = a + b, t = r - a; exact when (a - (r - t)) + (b - t) is 0   (any exponents, no overflow)
 *     a * b   exact when product(a, b) has the rounding error 0               (2^-968 <= |r|, both factors < 2^995)
 *     a / b   exact when product(r, b) is a with the rounding error 0         (the same limits for r, b and a)
 *     sqrt a  exact when product(r, r) is a with the rounding error 0         (2^-968 <= a)
 *
 * For binary32 the double product, quotient check and root check are exact by themselves: one comparison of the double
 * with its binary32 rounding tells. Sums need the transformation above in doubles.
 * Reference: Muller et al., Handbook of Floating-Point Arithmetic, chapters 4.3-4.4 (2Sum, Dekker's product).
 */
import { FLOAT_FLAG } from './constants.ts'

/** One piece of scratch memory seen as words, doubles and singles. */
export interface FloatBits {
  readonly words: Int32Array
  readonly doubles: Float64Array
  readonly singles: Float32Array
}

const ADD = 0x8
const MUL = 0x9
const SUB = 0xc
const DIV = 0xe

const SPLITTER = 0x800_0001
/** Below this a product's rounding error may underflow. */
const LEAST_PRODUCT = 2 ** -968
const MOST_FACTOR = 2 ** 995
const LEAST_DOUBLE = 2 ** -1022
/** Magnitudes of normal binary32 results, and of those that cannot have overflowed. */
export const [LEAST_SINGLE, MOST_SINGLE] = [2 ** -126, 2 ** 127] as const

/** Rounding error of the double sum `r` of `a` and `b`: a + b - r, exactly. */
export function sumError(a: number, b: number, r: number): number {
  const t = r - a
  return (a - (r - t)) + (b - t)
}

/** Rounding error of the double product `r` of `a` and `b`: a * b - r, exactly, within the limits given above. */
export function productError(a: number, b: number, r: number): number {
  const scaledA = SPLITTER * a
  const highA = scaledA - (scaledA - a)
  const lowA = a - highA
  const scaledB = SPLITTER * b
  const highB = scaledB - (scaledB - b)
  const lowB = b - highB
  return lowA * lowB - (((r - highA * highB) - lowA * highB) - highA * lowB)
}

/** True for an operand or a result of products whose rounding errors are doubles too. */
export const isPlain = (x: number): boolean => {
  const magnitude = Math.abs(x)
  return magnitude >= LEAST_PRODUCT && magnitude < MOST_FACTOR
}

const isNormalOrZero = (high: number, low: number): boolean => {
  const exponent = high & 0x7ff0_0000
  return exponent !== 0x7ff0_0000 && (exponent !== 0 || ((high << 1) | low) === 0)
}

/**
 * Tries an operation on the doubles at words 0-1 and 2-3; the result replaces words 0-1. Returns 0 or PRECISION, or -1
 * when the operands or the result call for the long way. PRECISION presumes rounding to nearest.
 */
export function exactDouble(bits: FloatBits, operation: number): number {
  const { words, doubles } = bits
  const a = doubles[0]!
  const b = doubles[1]!
  if (operation === ADD || operation === SUB) {
    if (!isNormalOrZero(words[1]!, words[0]!) || !isNormalOrZero(words[3]!, words[2]!)) return -1
    const second = operation === ADD ? b : -b
    const r = a + second
    const magnitude = Math.abs(r)
    if (!(magnitude >= LEAST_DOUBLE && magnitude < MOST_FACTOR)) return -1
    doubles[0] = r
    return sumError(a, second, r) === 0 ? 0 : FLOAT_FLAG.PRECISION
  }
  if (!isPlain(a) || !isPlain(b)) return -1
  if (operation === MUL) {
    const r = a * b
    if (!isPlain(r)) return -1
    doubles[0] = r
    return productError(a, b, r) === 0 ? 0 : FLOAT_FLAG.PRECISION
  }
  if (operation === DIV) {
    const r = a / b
    if (!isPlain(r)) return -1
    doubles[0] = r
    const back = r * b
    return back === a && productError(r, b, back) === 0 ? 0 : FLOAT_FLAG.PRECISION
  }
  return -1
}

/** The same for two binary32 patterns; the result stands in word 0. */
export function exactSingle(bits: FloatBits, operation: number, first: number, second: number): number {
  const { words, singles } = bits
  words[0] = first
  words[1] = second
  const a = singles[0]!
  const b = singles[1]!
  let wide: number
  let exact = true
  if (operation === MUL) wide = a * b
  else if (operation === ADD || operation === SUB) {
    const addend = operation === ADD ? b : -b
    wide = a + addend
    exact = sumError(a, addend, wide) === 0
  } else if (operation === DIV) wide = a / b
  else return -1
  const r = Math.fround(wide)
  const magnitude = Math.abs(r)
  const plain = magnitude >= LEAST_SINGLE && magnitude < MOST_SINGLE &&
    Math.abs(a) >= LEAST_SINGLE && Math.abs(b) >= LEAST_SINGLE && Math.abs(wide) >= LEAST_SINGLE
  if (!plain) return -1
  singles[0] = r
  if (operation === DIV) return r * b === a ? 0 : FLOAT_FLAG.PRECISION
  return exact && r === wide ? 0 : FLOAT_FLAG.PRECISION
}
