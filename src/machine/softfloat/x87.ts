/**
 * x87 arithmetic on double extended values under a given control word: sums, products, quotients, roots, comparisons,
 * rounding to whole numbers, classification. Each call returns the status bits that it adds to the status word:
 * exception flags, C1 for "rounded up", C0/C2/C3 where the instruction defines them, and `X87_STATUS.SUPPRESSED` when
 * an unmasked exception keeps the result from being delivered. Results stand in `result`. The register stack, tags,
 * stack faults and the delivery of unmasked exceptions belong to the caller. Hot path.
 * Reference: Intel SDM volume 1, chapter 8.
 */
import { compareWide, FloatArithmetic, ORDER, orderOf } from './arithmetic.ts'
import {
  BY_PRECISION_CONTROL, CONTROL, EXTENDED, FLOAT_FLAG, type FloatFormat, KIND, X87_STATUS,
} from './constants.ts'
import { roundToIntegral } from './integer.ts'
import { roundTo, roundingOf } from './rounding.ts'
import { Float80, pack80, quieten, setIndefinite, unpack80, Unpacked } from './unpacked.ts'

const { INVALID, DENORMAL, ZERO_DIVIDE } = FLOAT_FLAG
const EARLY = INVALID | DENORMAL | ZERO_DIVIDE

/** Conditions of the compare instructions. FCOMI and FUCOMI show C3, C2, C0 as ZF, PF, CF. */
const CONDITION = {
  GREATER: 0,
  LESS: X87_STATUS.C0,
  EQUAL: X87_STATUS.C3,
  UNORDERED: X87_STATUS.C0 | X87_STATUS.C2 | X87_STATUS.C3,
} as const

/** x87 arithmetic with its scratch space; a processor owns one. */
export class X87Arithmetic {
  /** Where results appear. */
  readonly result = new Float80()
  /** Second result of FXTRACT (the significand), FSINCOS (the cosine) and FPTAN (1.0): what is pushed. */
  readonly pushed = new Float80()
  /** Control word in force; what follows down to `z` is for the instructions in the folder's other files too. */
  control = 0x37f
  /** First operand, taken apart. */
  readonly x = new Unpacked()
  /** Second operand, taken apart. */
  readonly y = new Unpacked()
  /** What is to be rounded and delivered. */
  readonly z = new Unpacked()
  private readonly arithmetic = new FloatArithmetic()

  /** Takes over the control word: masks, precision and rounding of all later operations. */
  setControl(control: number): void {
    this.control = control & 0xffff
  }

  /** a + b. */
  add(a: Float80, b: Float80): number {
    if (this.takeTwo(a, b)) return this.answerNaN()
    return this.finish(this.arithmetic.add(this.x, this.y, 0, roundingOf(this.control), this.z))
  }

  /** a - b. */
  subtract(a: Float80, b: Float80): number {
    if (this.takeTwo(a, b)) return this.answerNaN()
    return this.finish(this.arithmetic.add(this.x, this.y, 1, roundingOf(this.control), this.z))
  }

  /** a * b. */
  multiply(a: Float80, b: Float80): number {
    if (this.takeTwo(a, b)) return this.answerNaN()
    return this.finish(this.arithmetic.multiply(this.x, this.y, this.z))
  }

  /** a / b. */
  divide(a: Float80, b: Float80): number {
    if (this.takeTwo(a, b)) return this.answerNaN()
    return this.finish(this.arithmetic.divide(this.x, this.y, this.z))
  }

  /** FSQRT. */
  squareRoot(a: Float80): number {
    if (this.takeOne(a)) return this.answerNaN()
    return this.finish(this.arithmetic.squareRoot(this.x, this.z))
  }

  /** FRNDINT. */
  roundToInteger(a: Float80): number {
    if (this.takeOne(a)) return this.answerNaN()
    const early = this.denormalFlag()
    if (this.traps(early)) return early | X87_STATUS.SUPPRESSED
    const inexact = roundToIntegral(this.x, roundingOf(this.control))
    pack80(this.x, this.result)
    return early | inexact
  }

  /** FCOM, FCOMI, FTST: any NaN is invalid. Gives C0, C2, C3; `SUPPRESSED` means that nothing is popped. */
  compare(a: Float80, b: Float80): number {
    return this.order(a, b, KIND.QUIET)
  }

  /** FUCOM, FUCOMI: only signaling NaNs are invalid. */
  compareQuietly(a: Float80, b: Float80): number {
    return this.order(a, b, KIND.SIGNALING)
  }

  private order(a: Float80, b: Float80, leastInvalid: number): number {
    if (this.takeTwo(a, b)) {
      const invalid = this.x.kind >= leastInvalid || this.y.kind >= leastInvalid
      if (!invalid) return CONDITION.UNORDERED
      return CONDITION.UNORDERED | INVALID | (this.traps(INVALID) ? X87_STATUS.SUPPRESSED : 0)
    }
    const early = this.denormalFlag()
    const flags = orderOf(this.x, this.y)
    const condition = flags === ORDER.GREATER ? CONDITION.GREATER
      : flags === ORDER.LESS ? CONDITION.LESS : CONDITION.EQUAL
    return condition | early | (this.traps(early) ? X87_STATUS.SUPPRESSED : 0)
  }

  /** FXAM of a register that is not empty: class in C3, C2, C0, sign in C1. */
  examine(a: Float80): number {
    unpack80(a, this.x)
    const { C0, C1, C2, C3 } = X87_STATUS
    const sign = this.x.sign === 0 ? 0 : C1
    switch (this.x.kind) {
      case KIND.UNSUPPORTED:
        return sign
      case KIND.ZERO:
        return sign | C3
      case KIND.INFINITE:
        return sign | C0 | C2
      case KIND.NORMAL:
        return sign | C2 | (this.x.denormal ? C3 : 0)
      default:
        return sign | C0
    }
  }

  /** Unpacks two operands; true when one of them is a NaN or unsupported. */
  takeTwo(a: Float80, b: Float80): boolean {
    unpack80(a, this.x)
    unpack80(b, this.y)
    return this.x.kind > KIND.INFINITE || this.y.kind > KIND.INFINITE
  }

  /** Unpacks one operand. */
  takeOne(a: Float80): boolean {
    unpack80(a, this.x)
    this.y.setSpecial(KIND.ZERO, 0)
    this.y.denormal = false
    return this.x.kind > KIND.INFINITE
  }

  /** Whether one of these flags is unmasked. */
  traps(flags: number): boolean {
    return (flags & ~this.control & CONTROL.MASKS) !== 0
  }

  /** Flag of a denormal operand, or none. */
  denormalFlag(): number {
    return this.x.denormal || this.y.denormal ? DENORMAL : 0
  }

  /** Masked answer to an invalid operation. */
  answerInvalid(): number {
    if (this.traps(INVALID)) return INVALID | X87_STATUS.SUPPRESSED
    setIndefinite(this.z)
    pack80(this.z, this.result)
    return INVALID
  }

  /** Answer when `x` or `y` is a NaN: the larger significand wins, a quiet NaN wins over a signaling one. */
  answerNaN(): number {
    const { x, y, z } = this
    if (x.kind === KIND.UNSUPPORTED || y.kind === KIND.UNSUPPORTED) return this.answerInvalid()
    const invalid = x.kind === KIND.SIGNALING || y.kind === KIND.SIGNALING ? INVALID : 0
    if (this.traps(invalid)) return invalid | X87_STATUS.SUPPRESSED
    z.copy(this.picksFirstNaN() ? x : y)
    quieten(z)
    pack80(z, this.result)
    return invalid
  }

  private picksFirstNaN(): boolean {
    const { x, y } = this
    if (y.kind <= KIND.INFINITE) return true
    if (x.kind <= KIND.INFINITE) return false
    if (x.kind !== y.kind) return x.kind === KIND.QUIET
    const order = compareWide(x.high, x.low, y.high, y.low)
    return order === 0 ? x.sign <= y.sign : order > 0
  }

  /** Rounds and delivers `z` as arithmetic does, after the flags that an exact operation gave. */
  finish(early: number): number {
    if ((early & INVALID) !== 0) return this.answerInvalid()
    const flags = early === 0 ? this.denormalFlag() : early
    return this.deliver(flags, BY_PRECISION_CONTROL[(this.control >>> CONTROL.PRECISION_SHIFT) & 3]!)
  }

  /** Rounds and delivers `z` in a format unless one of the flags raised before is unmasked. */
  deliver(early: number, format: FloatFormat = EXTENDED): number {
    if (this.traps(early & EARLY)) return early | X87_STATUS.SUPPRESSED
    const late = roundTo(this.z, format, this.control)
    pack80(this.z, this.result)
    return early | late
  }
}
