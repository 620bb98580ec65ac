/**
 * F2XM1, FYL2X, FYL2XP1, FSIN, FCOS, FSINCOS, FPTAN, FPATAN. Results are correctly rounded from some 200 bits, for
 * FSIN and its kin after reduction by pi cut to 66 bits, which is what the processors do; a real processor's
 * result may lie one unit in the last place away. Inexact results always report PRECISION, also where the true value
 * happens to be representable, as the processors do. Precision control has no effect.
 * Reference: Intel SDM volume 1, sections 8.3.7 to 8.3.10; volume 2, the instructions' own tables.
 */
import { BigFunctions, divideFixed, FRACTION_BITS, ONE } from './big-functions.ts'
import { FLOAT_FLAG, KIND, X87_STATUS } from './constants.ts'
import { type Float80, pack80, type Unpacked } from './unpacked.ts'
import type { X87Arithmetic } from './x87.ts'

/** Pi as the processors reduce by it: 66 significant bits, of which 64 lie behind the point. */
const PI_66 = 0x3_243f_6a88_85a3_08d3n
const HALF_PI = (PI_66 << BigInt(FRACTION_BITS - 64)) / 2n
/** Below this exponent the first term of a series is the whole result, up to a sticky bit. */
const TINY = -80
/** From this exponent on FSIN and its kin refuse. */
const ANGLE_LIMIT = 63

const significand = (x: Unpacked): bigint => (BigInt(x.high >>> 0) << 32n) | BigInt(x.low >>> 0)

/** A finite value in fixed point; what lies below the last bit is lost. */
function toFixed(x: Unpacked): bigint {
  if (x.kind === KIND.ZERO) return 0n
  const shift = x.exponent - 63 + FRACTION_BITS
  const magnitude = shift >= 0 ? significand(x) << BigInt(shift) : significand(x) >> BigInt(-shift)
  return x.sign === 0 ? magnitude : -magnitude
}

/** `z` becomes value * 2^exponent, marked inexact by its sticky bit. */
function fromBig(z: Unpacked, value: bigint, exponent: number): void {
  z.sign = value < 0n ? 1 : 0
  const magnitude = value < 0n ? -value : value
  const length = magnitude.toString(16).length * 4
  const aligned = length > 96 ? magnitude >> BigInt(length - 96) : magnitude << BigInt(96 - length)
  z.kind = KIND.NORMAL
  z.denormal = false
  z.exponent = exponent + length - 1
  z.high = Number(aligned >> 64n) | 0
  z.low = Number((aligned >> 32n) & 0xffff_ffffn) | 0
  z.extra = Number(aligned & 0xffff_ffffn) | 0
  z.normalize()
  z.extra |= 1
}

/** Marks `z`, an exact first term, as followed by something tiny of the same (1) or the opposite (-1) sign. */
function nudge(z: Unpacked, direction: number): void {
  if (direction < 0) {
    z.extra = -1
    const borrow = z.low === 0
    z.low = (z.low - 1) | 0
    if (borrow) z.high = (z.high - 1) | 0
    z.normalize()
  }
  z.extra |= 1
}

/** The transcendental instructions on a unit; a processor owns one. */
export class X87Transcendental {
  private readonly functions = new BigFunctions()
  private readonly unit: X87Arithmetic

  constructor(unit: X87Arithmetic) {
    this.unit = unit
  }

  private special(kind: number, sign: number): number {
    this.unit.z.setSpecial(kind, sign)
    return this.unit.deliver(this.unit.denormalFlag())
  }

  /** Status of a result in `z` that happens to be exact but is reported as inexact, and so as underflow if denormal. */
  private reportInexact(status: number): number {
    if ((status & X87_STATUS.SUPPRESSED) !== 0) return status
    const { z } = this.unit
    const tiny = z.kind === KIND.NORMAL && z.high >= 0
    return status | FLOAT_FLAG.PRECISION | (tiny ? FLOAT_FLAG.UNDERFLOW : 0)
  }

  /** F2XM1: 2^x - 1. Outside -1 to 1, where the result is undefined, x comes back as inexact. */
  exp2MinusOne(a: Float80): number {
    const { unit } = this
    const { x, z } = unit
    if (unit.takeOne(a)) return unit.answerNaN()
    if (x.kind === KIND.ZERO) return this.special(KIND.ZERO, x.sign)
    if (x.kind === KIND.INFINITE) {
      if (x.sign === 0) return this.special(KIND.INFINITE, 0)
      fromBig(z, -1n, 0)
      z.extra = 0
      return unit.deliver(0)
    }
    if (x.exponent >= 0) {
      const one = x.exponent === 0 && (x.high << 1 | x.low) === 0
      z.copy(x)
      if (one && x.sign !== 0) z.exponent = -1
      return this.reportInexact(unit.deliver(0))
    }
    if (x.exponent < TINY) this.productWithLnTwo(x, z)
    else fromBig(z, this.functions.exp2MinusOne(toFixed(x)), -FRACTION_BITS)
    return unit.deliver(unit.denormalFlag())
  }

  private productWithLnTwo(x: Unpacked, z: Unpacked): void {
    const product = significand(x) * this.functions.lnTwo()
    fromBig(z, x.sign === 0 ? product : -product, x.exponent - 63 - FRACTION_BITS)
  }

  /** FYL2X: y * log2(x), with y in ST1 and x in ST0. */
  logarithm(a: Float80, b: Float80): number {
    const { unit } = this
    const { x, y } = unit
    if (unit.takeTwo(a, b)) return unit.answerNaN()
    if (x.kind === KIND.ZERO) {
      if (y.kind === KIND.ZERO) return unit.answerInvalid()
      if (y.kind === KIND.INFINITE) return this.special(KIND.INFINITE, y.sign ^ 1)
      unit.z.setSpecial(KIND.INFINITE, y.sign ^ 1)
      return unit.deliver(FLOAT_FLAG.ZERO_DIVIDE)
    }
    if (x.sign !== 0) return unit.answerInvalid()
    const isPowerOfTwo = x.kind === KIND.NORMAL && (x.high << 1 | x.low) === 0
    const isOne = isPowerOfTwo && x.exponent === 0
    if (x.kind === KIND.INFINITE || y.kind === KIND.INFINITE) {
      if (isOne || y.kind === KIND.ZERO) return unit.answerInvalid()
      const negative = x.kind === KIND.NORMAL && x.exponent < 0 ? 1 : 0
      return this.special(KIND.INFINITE, y.sign ^ negative)
    }
    if (isOne || y.kind === KIND.ZERO) return this.special(KIND.ZERO, y.sign ^ (x.exponent < 0 ? 1 : 0))
    if (isPowerOfTwo) return this.timesY(BigInt(x.exponent), 0, true)
    return this.timesY(this.log2(x), -FRACTION_BITS, false)
  }

  private log2(x: Unpacked): bigint {
    // Into [3/4, 3/2), so that the logarithm of a value just below 1 keeps its leading bits.
    const upper = x.high >>> 30 === 3
    const mantissa = significand(x) << BigInt(FRACTION_BITS - 63)
    const centred = (upper ? mantissa / 2n : mantissa) - ONE
    return BigInt(x.exponent + (upper ? 1 : 0)) * ONE + this.functions.log2OfOnePlus(centred)
  }

  private timesY(logarithm: bigint, exponent: number, exact: boolean): number {
    const { unit } = this
    const { y, z } = unit
    const product = logarithm * significand(y)
    fromBig(z, y.sign === 0 ? product : -product, exponent + y.exponent - 63)
    if (exact) z.extra &= ~1
    const status = unit.deliver(unit.denormalFlag())
    return exact ? this.reportInexact(status) : status
  }

  /** FYL2XP1: y * log2(x + 1), meant for x near zero; for x at or below -1 x comes back as inexact. */
  logarithmOfOnePlus(a: Float80, b: Float80): number {
    const { unit } = this
    const { x, y, z } = unit
    if (unit.takeTwo(a, b)) return unit.answerNaN()
    if (x.kind === KIND.INFINITE || y.kind === KIND.INFINITE) {
      const refused = x.kind === KIND.ZERO || y.kind === KIND.ZERO || (x.kind === KIND.INFINITE && x.sign !== 0)
      return refused ? unit.answerInvalid() : this.special(KIND.INFINITE, x.sign ^ y.sign)
    }
    if (x.kind === KIND.ZERO || y.kind === KIND.ZERO) return this.special(KIND.ZERO, x.sign ^ y.sign)
    if (x.sign !== 0 && x.exponent >= 0) {
      z.copy(x)
      return this.reportInexact(unit.deliver(unit.denormalFlag()))
    }
    if (x.exponent < TINY) {
      const ratio = (significand(x) << BigInt(FRACTION_BITS)) / this.functions.lnTwo()
      return this.timesY(x.sign === 0 ? ratio : -ratio, x.exponent - 63, false)
    }
    return this.timesY(this.log2OfOnePlus(toFixed(x)), -FRACTION_BITS, false)
  }

  private log2OfOnePlus(value: bigint): bigint {
    let sum = value + ONE
    let binades = 0n
    while (sum >= (ONE * 3n) / 2n) {
      sum /= 2n
      binades += 1n
    }
    while (sum < (ONE * 3n) / 4n) {
      sum *= 2n
      binades -= 1n
    }
    return binades * ONE + this.functions.log2OfOnePlus(sum - ONE)
  }

  /** FSIN. */
  sine(a: Float80): number {
    return this.circular(a, 0)
  }

  /** FCOS. */
  cosine(a: Float80): number {
    return this.circular(a, 1)
  }

  /** Answers what sine, cosine and tangent answer without computing; -1 when they must. */
  private angleSpecial(a: Float80): number {
    const { unit } = this
    if (unit.takeOne(a)) return unit.answerNaN()
    if (unit.x.kind === KIND.INFINITE) return unit.answerInvalid()
    if (unit.x.exponent < ANGLE_LIMIT) return -1
    return X87_STATUS.C2 | X87_STATUS.SUPPRESSED
  }

  /** `quarter` 0: the sine of the angle in `x`, 1: its cosine, into `z`; exact only where the angle is zero. */
  private compute(quarter: number): void {
    const { x, z } = this.unit
    if (x.kind === KIND.ZERO) {
      if (quarter === 0) z.setSpecial(KIND.ZERO, x.sign)
      else this.setOne()
      return
    }
    if (x.exponent < TINY) {
      if (quarter === 0) z.copy(x)
      else this.setOne()
      nudge(z, -1)
      return
    }
    const angle = toFixed(x)
    const magnitude = angle < 0n ? -angle : angle
    const turns = magnitude / HALF_PI
    const { sine, cosine, negateSine, negateCosine } = this.inQuarter(magnitude - turns * HALF_PI, Number(turns & 3n))
    const value = quarter === 0 ? (negateSine !== (angle < 0n) ? -sine : sine) : negateCosine ? -cosine : cosine
    if (value === 0n) z.setSpecial(KIND.ZERO, x.sign)
    else fromBig(z, value, -FRACTION_BITS)
  }

  private inQuarter(rest: bigint, quarter: number): {
    sine: bigint; cosine: bigint; negateSine: boolean; negateCosine: boolean
  } {
    const mirrored = 2n * rest > HALF_PI
    const base = this.functions.sineCosine(mirrored ? HALF_PI - rest : rest)
    const swapped = mirrored !== ((quarter & 1) === 1)
    return {
      sine: swapped ? base.cosine : base.sine,
      cosine: swapped ? base.sine : base.cosine,
      negateSine: quarter >= 2,
      negateCosine: quarter === 1 || quarter === 2,
    }
  }

  private setOne(): void {
    const { z } = this.unit
    z.setSpecial(KIND.NORMAL, 0)
    z.high = -0x8000_0000
    z.denormal = false
  }

  private circular(a: Float80, quarter: number): number {
    const special = this.angleSpecial(a)
    if (special >= 0) return special
    this.compute(quarter)
    return this.unit.deliver(this.unit.denormalFlag())
  }

  /** FSINCOS: `result` is the sine, which replaces ST0, `pushed` the cosine. */
  sineCosine(a: Float80): number {
    const { unit } = this
    const special = this.angleSpecial(a)
    if (special >= 0) {
      unit.pushed.copy(unit.result)
      return special
    }
    this.compute(1)
    const first = unit.deliver(unit.denormalFlag())
    unit.pushed.copy(unit.result)
    if ((first & X87_STATUS.SUPPRESSED) !== 0) return first
    this.compute(0)
    return (first & ~X87_STATUS.C1) | unit.deliver(unit.denormalFlag())
  }

  /** FPTAN: `result` is the tangent, which replaces ST0, `pushed` is 1.0. */
  tangent(a: Float80): number {
    const { unit } = this
    const special = this.angleSpecial(a)
    if (special >= 0) {
      unit.pushed.copy(unit.result)
      return special
    }
    const { x, z } = unit
    this.setOne()
    pack80(z, unit.pushed)
    if (x.kind === KIND.ZERO) return this.special(KIND.ZERO, x.sign)
    if (x.exponent < TINY) {
      z.copy(x)
      nudge(z, 1)
    } else this.quotientOfSineAndCosine()
    return unit.deliver(unit.denormalFlag())
  }

  private quotientOfSineAndCosine(): void {
    const { x, z } = this.unit
    const angle = toFixed(x)
    const magnitude = angle < 0n ? -angle : angle
    const turns = magnitude / HALF_PI
    const { sine, cosine } = this.inQuarter(magnitude - turns * HALF_PI, Number(turns & 1n))
    const value = divideFixed(sine, cosine)
    const negative = ((turns & 1n) === 1n) !== (angle < 0n)
    if (value === 0n) z.setSpecial(KIND.ZERO, x.sign)
    else fromBig(z, negative ? -value : value, -FRACTION_BITS)
  }

  /** FPATAN: the angle of the point (x, y), with y in ST1 and x in ST0. */
  arctangent(a: Float80, b: Float80): number {
    const { unit } = this
    const { x, y } = unit
    if (unit.takeTwo(a, b)) return unit.answerNaN()
    const xIsLarge = x.kind === KIND.INFINITE || y.kind === KIND.ZERO
    const yIsLarge = y.kind === KIND.INFINITE || x.kind === KIND.ZERO
    if (!xIsLarge && !yIsLarge) return this.angleOfPoint()
    const pi = this.functions.pi()
    const right = x.sign === 0
    let angle = right ? 0n : pi
    if (y.kind === KIND.INFINITE) angle = x.kind !== KIND.INFINITE ? pi / 2n : right ? pi / 4n : (pi * 3n) / 4n
    else if (x.kind === KIND.ZERO && y.kind !== KIND.ZERO) angle = pi / 2n
    if (angle === 0n) return this.special(KIND.ZERO, y.sign)
    fromBig(unit.z, y.sign === 0 ? angle : -angle, -FRACTION_BITS)
    return unit.deliver(unit.denormalFlag())
  }

  private angleOfPoint(): number {
    const { unit } = this
    const { x, y, z } = unit
    const distance = y.exponent - x.exponent
    const sign = y.sign
    if (distance < TINY && x.sign === 0) {
      const ratio = (significand(y) << 128n) / significand(x)
      fromBig(z, sign === 0 ? ratio : -ratio, distance - 128)
      return unit.deliver(unit.denormalFlag())
    }
    const angle = this.firstQuadrant(distance)
    const value = x.sign === 0 ? angle : this.functions.pi() - angle
    fromBig(z, sign === 0 ? value : -value, -FRACTION_BITS)
    return unit.deliver(unit.denormalFlag())
  }

  /** arctan(|y| / |x|), given the distance of the exponents. */
  private firstQuadrant(distance: number): bigint {
    const { x, y } = this.unit
    const steep = distance > 0 || (distance === 0 && significand(y) > significand(x))
    const small = steep ? significand(x) : significand(y)
    const large = steep ? significand(y) : significand(x)
    const shift = FRACTION_BITS - Math.abs(distance)
    const ratio = shift >= 0 ? (small << BigInt(shift)) / large : 0n
    const angle = ratio === 0n ? 1n : this.functions.arctan(ratio)
    return steep ? this.functions.pi() / 2n - angle : angle
  }
}
