/**
 * Fused multiplication and addition by the host's doubles where they provably give what the instruction would, flags included:
 * operands zero or normal, rounding to nearest, a result well inside the normal range.
 *
 * Of binary32 the product is exact in a double; the sum is rounded to odd, which a second rounding to binary32 does not spoil.
 * Of binary64 product and sums are kept with their errors, and the smaller part is rounded to odd before the last addition.
 * Reference: Boldo, Melquiond: Emulation of FMA and correctly rounded sums, IEEE Transactions on Computers 57(4), 2008.
 */
import { FLOAT_FLAG } from './constants.ts'
import { type FloatBits, LEAST_SINGLE, MOST_SINGLE, isPlain, productError, sumError } from './native.ts'

/** The sum whose double is `sum` and whose rest is `error`, which is not 0, rounded to odd. */
function roundToOdd({ words, doubles }: FloatBits, sum: number, error: number): number {
  doubles[0] = sum
  if ((words[0]! & 1) !== 0) return sum
  if ((error > 0) === (sum > 0)) words[0]! |= 1
  else {
    if (words[0] === 0) words[1]! -= 1
    words[0]! -= 1
  }
  return doubles[0]!
}

const isSingle = (x: number): boolean => {
  const magnitude = Math.abs(x)
  return (magnitude >= LEAST_SINGLE && magnitude < Infinity) || magnitude === 0
}

/** a * b + c of the singles 0 to 2; the result's pattern replaces word 0. Returns 0, PRECISION, or -1 as `exactDouble` does. */
export function fusedSingle(bits: FloatBits): number {
  const { singles } = bits
  const [a, b, c] = [singles[0]!, singles[1]!, singles[2]!]
  if (!isSingle(a) || !isSingle(b) || !isSingle(c)) return -1
  const product = a * b
  let sum = product + c
  const error = sumError(product, c, sum)
  if (error !== 0) sum = roundToOdd(bits, sum, error)
  const r = Math.fround(sum)
  if (!(Math.abs(sum) >= LEAST_SINGLE && Math.abs(r) < MOST_SINGLE)) return -1
  singles[0] = r
  return error === 0 && r === sum ? 0 : FLOAT_FLAG.PRECISION
}

/** a * b + c of the doubles 0 to 2; the result replaces the first. */
export function fusedDouble(bits: FloatBits): number {
  const { doubles } = bits
  const [a, b, c] = [doubles[0]!, doubles[1]!, doubles[2]!]
  if (!isPlain(a) || !isPlain(b) || !(isPlain(c) || c === 0)) return -1
  const product = a * b
  if (!isPlain(product)) return -1
  const rest = productError(a, b, product)
  const small = c + rest
  const smallRest = sumError(c, rest, small)
  const large = product + small
  const largeRest = sumError(product, small, large)
  let tail = largeRest + smallRest
  const lost = sumError(largeRest, smallRest, tail)
  if (lost !== 0) tail = roundToOdd(bits, tail, lost)
  const r = large + tail
  if (!isPlain(r)) return -1
  doubles[0] = r
  return lost === 0 && sumError(large, tail, r) === 0 ? 0 : FLOAT_FLAG.PRECISION
}
