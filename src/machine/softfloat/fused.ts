/**
 * Fused multiplication and addition of binary32 and binary64: exact product, exact sum, one rounding. Where the host's own
 * doubles do not do (native-fused.ts), product and sum are worked out in whole numbers as long as they have to be.
 * Reference: Intel SDM volume 1, section 14.5 (FMA, its NaNs and its signs); volume 2, VFMADD132PD.
 */
import { DOUBLE, FLOAT_FLAG, type FloatFormat, KIND, ROUNDING, SINGLE } from './constants.ts'
import { fusedDouble, fusedSingle } from './native-fused.ts'
import { roundTo, roundingOf } from './rounding.ts'
import { makeBits, type SseArithmetic } from './sse.ts'
import { Unpacked, pack32, pack64High, pack64Low, quieten, setIndefinite, unpack32, unpack64 } from './unpacked.ts'

/** Bits of a significand. */
const BITS = 64
/** An operand whose exponent is further below than this only tells that there is something. */
const FAR = 260
const WORD = 0xffff_ffffn

/** What an instruction makes of its operands. */
export interface FusedForm {
  /** Signs that it turns over: 1 or 0. */
  readonly product: number
  readonly addend: number
  readonly order: FusedOrder
}

/** Which operand's NaN is the answer where several are NaNs: their numbers, the first counts most. */
export type FusedOrder = readonly [number, number, number]

/** Operands of one instruction: two factors and what is added. */
export class FusedOperands {
  readonly x = new Unpacked()
  readonly y = new Unpacked()
  readonly z = new Unpacked()
  readonly all: readonly [Unpacked, Unpacked, Unpacked] = [this.x, this.y, this.z]
  private readonly result = new Unpacked()
  private readonly native = makeBits()
  /** The patterns to work on: one or two words for each operand. */
  readonly given: InstanceType<Int32ArrayConstructor> = new Int32Array(6)

  /** x * y + z of binary32 as `given` has them, into `unit.low`. Returns flags. */
  fused32(unit: SseArithmetic, o: FusedForm): number {
    const { given, native: { words } } = this
    words[0] = given[0]! ^ (o.product << 31)
    words[1] = given[1]!
    words[2] = given[2]! ^ (o.addend << 31)
    const quick = fusedSingle(this.native)
    if (quick === 0 || (quick > 0 && roundingOf(unit.control) === ROUNDING.NEAREST)) {
      unit.low = words[0]!
      return quick
    }
    this.all.forEach((one, i) => unpack32(given[i]!, one))
    const flags = this.fuse(unit, SINGLE, o)
    unit.low = pack32(this.result)
    return flags
  }

  /** The same of binary64, into `unit.low` and `unit.high`. */
  fused64(unit: SseArithmetic, o: FusedForm): number {
    const { given, native: { words } } = this
    for (let i = 0; i < 6; i += 1) words[i] = given[i]!
    words[1]! ^= o.product << 31
    words[5]! ^= o.addend << 31
    const quick = fusedDouble(this.native)
    if (quick === 0 || (quick > 0 && roundingOf(unit.control) === ROUNDING.NEAREST)) {
      unit.low = words[0]!
      unit.high = words[1]!
      return quick
    }
    this.all.forEach((one, i) => unpack64(given[i * 2]!, given[i * 2 + 1]!, one))
    const flags = this.fuse(unit, DOUBLE, o)
    unit.low = pack64Low(this.result)
    unit.high = pack64High(this.result)
    return flags
  }

  private fuse(unit: SseArithmetic, format: FloatFormat, o: FusedForm): number {
    const { x, y, z, result } = this
    unit.dropDenormals(this.all)
    const nan = o.order.map((i) => this.all[i]!).find(({ kind }) => kind > KIND.INFINITE)
    if (nan !== undefined) {
      const signals = this.all.some(({ kind }) => kind === KIND.SIGNALING)
      result.copy(nan)
      quieten(result)
      return signals ? FLOAT_FLAG.INVALID : 0
    }
    x.sign ^= o.product
    z.sign ^= o.addend
    if (isInvalid(x, y, z)) {
      setIndefinite(result)
      return FLOAT_FLAG.INVALID
    }
    const early = this.all.some(({ denormal }) => denormal) ? FLOAT_FLAG.DENORMAL : 0
    if (unit.traps(early) !== 0) return early
    const rounding = roundingOf(unit.control)
    if (!settles(x, y, z, { rounding, result })) addProduct(x, y, z, { rounding, result })
    return early | (roundTo(result, format, unit.control) & FLOAT_FLAG.ALL)
  }
}

/** No infinity times zero, and no difference of infinities. */
function isInvalid(x: Unpacked, y: Unpacked, z: Unpacked): boolean {
  const isInfinite = x.kind === KIND.INFINITE || y.kind === KIND.INFINITE
  if (!isInfinite) return false
  if (x.kind === KIND.ZERO || y.kind === KIND.ZERO) return true
  return z.kind === KIND.INFINITE && z.sign !== (x.sign ^ y.sign)
}

/** What the result goes to, and how an exact zero is signed. */
interface Sum {
  readonly rounding: number
  readonly result: Unpacked
}

/** Results that need no arithmetic; true when it was one. */
function settles(x: Unpacked, y: Unpacked, z: Unpacked, { rounding, result }: Sum): boolean {
  const sign = x.sign ^ y.sign
  if (x.kind === KIND.INFINITE || y.kind === KIND.INFINITE) result.setSpecial(KIND.INFINITE, sign)
  else if (z.kind === KIND.INFINITE) result.setSpecial(KIND.INFINITE, z.sign)
  else if (x.kind === KIND.ZERO || y.kind === KIND.ZERO) {
    if (z.kind !== KIND.ZERO) result.copy(z)
    else result.setSpecial(KIND.ZERO, sign === z.sign ? sign : rounding === ROUNDING.DOWN ? 1 : 0)
  } else return false
  return true
}

const significand = (value: Unpacked): bigint => (BigInt(value.high >>> 0) << 32n) | BigInt(value.low >>> 0)

/** The sum of a product and an addend that is a number or zero, to 64 bits and a sticky rest. */
function addProduct(x: Unpacked, y: Unpacked, z: Unpacked, { rounding, result }: Sum): void {
  const sign = x.sign ^ y.sign
  let product = significand(x) * significand(y)
  let exponent = x.exponent + y.exponent - 2 * (BITS - 1)
  if (z.kind === KIND.NORMAL) {
    let addend = significand(z)
    const distance = z.exponent - (BITS - 1) - exponent
    if (distance > FAR) {
      addend <<= BigInt(2 * BITS)
      product = 1n
      exponent = z.exponent - (BITS - 1) - 2 * BITS
    } else if (distance >= 0) addend <<= BigInt(distance)
    else if (distance < -FAR) {
      product <<= 2n
      addend = 1n
      exponent -= 2
    } else {
      product <<= BigInt(-distance)
      exponent += distance
    }
    product = (sign === 0 ? product : -product) + (z.sign === 0 ? addend : -addend)
  } else if (sign !== 0) product = -product
  if (product === 0n) result.setSpecial(KIND.ZERO, rounding === ROUNDING.DOWN ? 1 : 0)
  else normalized(product, exponent, result)
}

/** Takes a whole number times a power of two apart. */
function normalized(value: bigint, exponent: number, result: Unpacked): void {
  const magnitude = value < 0n ? -value : value
  const length = magnitude.toString(2).length
  // 96 bits, the lowest of which tells of all below.
  const cut = length - 96
  const top = cut > 0 ? magnitude >> BigInt(cut) : magnitude << BigInt(-cut)
  const isExact = cut <= 0 || (top << BigInt(cut)) === magnitude
  result.kind = KIND.NORMAL
  result.sign = value < 0n ? 1 : 0
  result.denormal = false
  result.exponent = exponent + length - 1
  result.high = Number(top >> 64n) | 0
  result.low = Number((top >> 32n) & WORD) | 0
  result.extra = Number(top & WORD) | (isExact ? 0 : 1)
}
