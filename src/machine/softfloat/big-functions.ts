/**
 * Exponential, logarithm, sine, cosine and arctangent in fixed point with {@link FRACTION_BITS} bits behind the point,
 * as whole BigInts. Meant for instructions that are rare: each call costs some microseconds.
 * Reference: Muller, Elementary Functions, chapters 3 and 11 (series and argument reduction).
 */

/** Bits behind the point. The error of each function here is below 2^-240. */
export const FRACTION_BITS = 256
const P = BigInt(FRACTION_BITS)

/** One in fixed point. */
export const ONE = 1n << P

/** Product of two fixed-point numbers. */
export const multiplyFixed = (a: bigint, b: bigint): bigint => (a * b) >> P

/** Quotient of two fixed-point numbers. */
export const divideFixed = (a: bigint, b: bigint): bigint => (a << P) / b

/** 2 artanh(z) = ln((1 + z) / (1 - z)) for |z| below 1/2. */
function twiceArtanh(z: bigint): bigint {
  const square = multiplyFixed(z, z)
  let power = z
  let sum = 0n
  for (let n = 1n; power !== 0n && power !== -1n; n += 2n) {
    sum += power / n
    power = multiplyFixed(power, square)
  }
  return 2n * sum
}

/** Arctangent for |z| up to 1/8. */
function arctanSeries(z: bigint): bigint {
  const square = multiplyFixed(z, z)
  let power = z
  let sum = 0n
  for (let n = 1n; power !== 0n && power !== -1n; n += 2n) {
    sum += (n & 2n) === 0n ? power / n : -(power / n)
    power = multiplyFixed(power, square)
  }
  return sum
}

/** Sine and cosine of an angle in fixed point. */
export interface SineCosine {
  readonly sine: bigint
  readonly cosine: bigint
}

/** The functions, with the constants that they need; those are computed on first use. */
export class BigFunctions {
  private naturalLogOfTwo: bigint | undefined
  private readonly arctans: bigint[] = [0n]

  /** ln 2. */
  lnTwo(): bigint {
    this.naturalLogOfTwo ??= twiceArtanh(ONE / 3n)
    return this.naturalLogOfTwo
  }

  /** 2^x - 1 for -1 <= x <= 1. */
  exp2MinusOne(x: bigint): bigint {
    const t = multiplyFixed(x, this.lnTwo())
    let term = t
    let sum = 0n
    for (let n = 2n; term !== 0n && term !== -1n; n += 1n) {
      sum += term
      term = multiplyFixed(term, t) / n
    }
    return sum
  }

  /** log2(1 + x) for x from -1/3 to 1/2. */
  log2OfOnePlus(x: bigint): bigint {
    const ratio = divideFixed(x, x + 2n * ONE)
    return divideFixed(twiceArtanh(ratio), this.lnTwo())
  }

  /** Arctangent for 0 <= x <= 1: from the nearest eighth, then by its series. */
  arctan(x: bigint): bigint {
    const eighth = Number((x * 8n + ONE / 2n) >> P)
    const centre = (ONE * BigInt(eighth)) / 8n
    return this.arctanOfEighths(eighth) + arctanSeries(divideFixed(x - centre, ONE + multiplyFixed(x, centre)))
  }

  private arctanOfEighths(count: number): bigint {
    for (let k = this.arctans.length; k <= count; k += 1) {
      // arctan(k/8) - arctan((k-1)/8) = arctan((1/8) / (1 + k(k-1)/64)) = arctan(8 / (64 + k(k-1)))
      this.arctans.push(this.arctans[k - 1]! + arctanSeries((ONE * 8n) / BigInt(64 + k * (k - 1))))
    }
    return this.arctans[count]!
  }

  /** Pi. */
  pi(): bigint {
    return 4n * this.arctanOfEighths(8)
  }

  /** Sine and cosine for 0 <= x < 1, by their series. */
  sineCosine(x: bigint): SineCosine {
    const square = multiplyFixed(x, x)
    let sine = 0n
    let cosine = 0n
    let sineTerm = x
    let cosineTerm = ONE
    for (let n = 1n; cosineTerm !== 0n && cosineTerm !== -1n; n += 2n) {
      sine += sineTerm
      cosine += cosineTerm
      cosineTerm = -multiplyFixed(cosineTerm, square) / (n * (n + 1n))
      sineTerm = -multiplyFixed(sineTerm, square) / ((n + 1n) * (n + 2n))
    }
    return { sine, cosine }
  }
}
