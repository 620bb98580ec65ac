/**
 * Scalar SSE arithmetic on binary32 and binary64 under a given MXCSR: the arithmetic instructions, minimum and maximum,
 * comparisons. Packed instructions call these once an element and OR the flags. Operands and results are 32-bit
 * patterns; results stand in `low` and `high`. Nothing is written elsewhere: the caller merges the flags into MXCSR and
 * asks `traps` whether to raise #XM instead of storing. Hot path.
 * Reference: Intel SDM volume 1, sections 4.8.4, 10.2.3, 11.5; volume 2, the instructions' own pages.
 */
import { FloatArithmetic, ORDER, orderOf } from './arithmetic.ts'
import { CONTROL, DOUBLE, FLOAT_FLAG, type FloatFormat, KIND, SINGLE } from './constants.ts'
import { exactDouble, exactSingle, type FloatBits } from './native.ts'
import { roundTo, roundingOf } from './rounding.ts'
import {
  pack32, pack64High, pack64Low, quieten, setIndefinite, unpack32, unpack64, Unpacked,
} from './unpacked.ts'

/** Arithmetic operations: the low four bits of the opcodes 0F 51 and 0F 58 to 0F 5F. */
export const SSE_OPERATION = { SQRT: 0x1, ADD: 0x8, MUL: 0x9, SUB: 0xc, MIN: 0xd, DIV: 0xe, MAX: 0xf } as const

const NOT_EARLY = FLOAT_FLAG.INVALID | FLOAT_FLAG.DENORMAL | FLOAT_FLAG.ZERO_DIVIDE

/** MXCSR as a control value of this folder. */
export const controlOfMxcsr = (mxcsr: number): number =>
  ((mxcsr >>> 7) & CONTROL.MASKS) | (((mxcsr >>> 13) & 3) << CONTROL.ROUNDING_SHIFT) |
  ((mxcsr & 0x8000) << 1) | ((mxcsr & 0x40) << 11)

/** How two values relate, as bits. */
const RELATION = { GREATER: 1, LESS: 2, EQUAL: 4, UNORDERED: 8 } as const
const RELATION_OF: Readonly<Record<number, number>> = {
  [ORDER.GREATER]: RELATION.GREATER, [ORDER.LESS]: RELATION.LESS, [ORDER.EQUAL]: RELATION.EQUAL,
}
/**
 * Relations for which each of 16 predicates holds: EQ, LT, LE, UNORD, NEQ, NLT, NLE, ORD, EQ_UQ, NGE, NGT, FALSE, NEQ_OQ, GE,
 * GT, TRUE. The 16 behind them are the same with other rules for quiet NaNs.
 */
const RELATIONS = [4, 2, 6, 8, 11, 13, 9, 7, 12, 10, 14, 0, 3, 5, 1, 15] as const
/** Of those, the ones for which a quiet NaN is invalid: all that ask for greater or less. */
const SIGNALING_PREDICATES = 0b0110_0110_0110_0110

/** SSE arithmetic with its scratch space; a processor owns one. */
export class SseArithmetic {
  /** Low half of the last result, or the whole of a 32-bit one. */
  low = 0
  /** High half of the last 64-bit result. */
  high = 0
  /** Control value in force; this and the operands are for the conversions too. */
  control: number = CONTROL.MASKS
  /** First operand, taken apart. */
  readonly a = new Unpacked()
  /** Second operand, taken apart. */
  readonly b = new Unpacked()
  private readonly z = new Unpacked()
  private readonly arithmetic = new FloatArithmetic()
  private readonly native: FloatBits = makeBits()
  /** Flags of the last minimum or maximum. */
  private early = 0

  /** Takes over MXCSR: rounding, masks, flush-to-zero and denormals-are-zero of all later operations. */
  setMxcsr(mxcsr: number): void {
    this.control = controlOfMxcsr(mxcsr)
  }

  /** The flags among `flags` that MXCSR does not mask: anything but 0 means #XM, and the destination stays. */
  traps(flags: number): number {
    return flags & ~this.control & FLOAT_FLAG.ALL
  }

  /** Adds, subtracts, multiplies, divides, takes minimum or maximum of binary32. Returns exception flags. */
  binary32(operation: number, a: number, b: number): number {
    const quick = exactSingle(this.native, operation, a, b)
    if (quick >= 0 && (quick === 0 || roundingOf(this.control) === 0)) {
      this.low = this.native.words[0]!
      return quick
    }
    this.load32(a, b)
    if ((operation & 0xd) === 0xd) {
      const second = this.picksSecond(operation)
      this.low = this.flushed(second ? this.b : this.a, second ? b : a)
      return this.early
    }
    const flags = this.compute(operation, SINGLE)
    this.low = pack32(this.z)
    return flags
  }

  /** The same for binary64. */
  binary64(operation: number, aLow: number, aHigh: number, bLow: number, bHigh: number): number {
    const native = this.native
    native.words[0] = aLow
    native.words[1] = aHigh
    native.words[2] = bLow
    native.words[3] = bHigh
    const quick = exactDouble(native, operation)
    if (quick >= 0 && (quick === 0 || roundingOf(this.control) === 0)) {
      this.low = native.words[0]!
      this.high = native.words[1]!
      return quick
    }
    this.load64(aLow, aHigh, bLow, bHigh)
    if ((operation & 0xd) === 0xd) {
      const second = this.picksSecond(operation)
      const chosen = second ? this.b : this.a
      this.high = this.flushed(chosen, second ? bHigh : aHigh)
      this.low = chosen.kind === KIND.ZERO ? 0 : second ? bLow : aLow
      return this.early
    }
    const flags = this.compute(operation, DOUBLE)
    this.low = pack64Low(this.z)
    this.high = pack64High(this.z)
    return flags
  }

  /** Square root of a binary32. */
  squareRoot32(a: number): number {
    this.load32(a, a)
    const flags = this.compute(SSE_OPERATION.SQRT, SINGLE)
    this.low = pack32(this.z)
    return flags
  }

  /** Square root of a binary64. */
  squareRoot64(low: number, high: number): number {
    this.load64(low, high, low, high)
    const flags = this.compute(SSE_OPERATION.SQRT, DOUBLE)
    this.low = pack64Low(this.z)
    this.high = pack64High(this.z)
    return flags
  }

  /** CMPSS: `low` becomes all ones or all zeros by the predicate, of which there are 8, and 32 for VCMPSS. */
  compare32(predicate: number, a: number, b: number): number {
    this.load32(a, b)
    return this.compare(predicate)
  }

  /** CMPSD: `low` and `high` become all ones or all zeros. */
  compare64(predicate: number, aLow: number, aHigh: number, bLow: number, bHigh: number): number {
    this.load64(aLow, aHigh, bLow, bHigh)
    return this.compare(predicate)
  }

  /** COMISS (`quiet` 0) and UCOMISS (`quiet` 1): `low` becomes ZF, PF and CF at their places in RFLAGS. */
  order32(quiet: number, a: number, b: number): number {
    this.load32(a, b)
    return this.order(quiet)
  }

  /** COMISD and UCOMISD. */
  order64(quiet: number, aLow: number, aHigh: number, bLow: number, bHigh: number): number {
    this.load64(aLow, aHigh, bLow, bHigh)
    return this.order(quiet)
  }

  /** Takes two operands apart, with denormals as zeros if so controlled. */
  load32(a: number, b: number): void {
    unpack32(a, this.a)
    unpack32(b, this.b)
    this.dropDenormals([this.a, this.b])
  }

  /** The same for binary64. */
  load64(aLow: number, aHigh: number, bLow: number, bHigh: number): void {
    unpack64(aLow, aHigh, this.a)
    unpack64(bLow, bHigh, this.b)
    this.dropDenormals([this.a, this.b])
  }

  /** Makes denormals zeros where MXCSR says so. */
  dropDenormals(operands: readonly Unpacked[]): void {
    if ((this.control & CONTROL.DENORMALS_ARE_ZERO) === 0) return
    for (const x of operands) {
      if (!x.denormal) continue
      x.setSpecial(KIND.ZERO, x.sign)
      x.denormal = false
    }
  }

  /** Binary bits of a chosen operand, which is a signed zero if denormals count as zeros. */
  private flushed(chosen: Unpacked, bits: number): number {
    return chosen.kind === KIND.ZERO ? bits & 0x8000_0000 : bits | 0
  }

  /** MIN and MAX return the second operand for NaNs and equal values. */
  private picksSecond(operation: number): boolean {
    this.early = 0
    if (this.a.kind > KIND.INFINITE || this.b.kind > KIND.INFINITE) {
      this.early = FLOAT_FLAG.INVALID
      return true
    }
    this.early = this.denormalFlag()
    const order = orderOf(this.a, this.b)
    return operation === SSE_OPERATION.MIN ? order !== ORDER.LESS : order !== ORDER.GREATER
  }

  private denormalFlag(): number {
    return this.a.denormal || this.b.denormal ? FLOAT_FLAG.DENORMAL : 0
  }

  /** Computes into `z`, rounded. */
  private compute(operation: number, format: FloatFormat): number {
    const { a, b, z } = this
    if (a.kind > KIND.INFINITE || b.kind > KIND.INFINITE) {
      const signaling = a.kind === KIND.SIGNALING || b.kind === KIND.SIGNALING
      z.copy(a.kind > KIND.INFINITE ? a : b)
      quieten(z)
      return signaling ? FLOAT_FLAG.INVALID : 0
    }
    const early = this.exact(operation)
    if ((early & FLOAT_FLAG.INVALID) !== 0) {
      setIndefinite(z)
      return early
    }
    const flags = early === 0 ? this.denormalFlag() : early
    if (this.traps(flags) !== 0) return flags & NOT_EARLY
    return flags | (roundTo(z, format, this.control) & FLOAT_FLAG.ALL)
  }

  private exact(operation: number): number {
    const { a, b, z, arithmetic } = this
    switch (operation) {
      case SSE_OPERATION.ADD:
        return arithmetic.add(a, b, 0, roundingOf(this.control), z)
      case SSE_OPERATION.SUB:
        return arithmetic.add(a, b, 1, roundingOf(this.control), z)
      case SSE_OPERATION.MUL:
        return arithmetic.multiply(a, b, z)
      case SSE_OPERATION.DIV:
        return arithmetic.divide(a, b, z)
      default:
        return arithmetic.squareRoot(a, z)
    }
  }

  private compare(predicate: number): number {
    const unordered = this.a.kind > KIND.INFINITE || this.b.kind > KIND.INFINITE
    const relation = unordered ? RELATION.UNORDERED : RELATION_OF[orderOf(this.a, this.b)]!
    this.low = (RELATIONS[predicate & 15]! & relation) !== 0 ? -1 : 0
    this.high = this.low
    if (!unordered) return this.denormalFlag()
    const signals = ((SIGNALING_PREDICATES >>> (predicate & 15)) & 1) !== (predicate >> 4)
    return signals || this.hasSignaling() ? FLOAT_FLAG.INVALID : 0
  }

  private hasSignaling(): boolean {
    return this.a.kind === KIND.SIGNALING || this.b.kind === KIND.SIGNALING
  }

  private order(quiet: number): number {
    if (this.a.kind > KIND.INFINITE || this.b.kind > KIND.INFINITE) {
      this.low = ORDER.UNORDERED
      return quiet === 0 || this.hasSignaling() ? FLOAT_FLAG.INVALID : 0
    }
    this.low = orderOf(this.a, this.b)
    return this.denormalFlag()
  }
}

/** Scratch memory of its own. */
export function makeBits(): FloatBits {
  const buffer = new ArrayBuffer(32)
  return { words: new Int32Array(buffer), doubles: new Float64Array(buffer), singles: new Float32Array(buffer) }
}
