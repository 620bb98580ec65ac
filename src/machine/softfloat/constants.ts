/**
 * Numbers shared by the floating-point units. Flags sit at the same bits in MXCSR and in the x87 status word, so a
 * status returned by an operation can be ORed into either. "Control" inside this folder always has the layout of the
 * x87 control word (masks in bits 0-5, rounding in bits 10-11) plus the two bits that only MXCSR knows.
 * Reference: Intel SDM volume 1, sections 8.1 and 10.2.3.
 */

/** Exception flags, as in MXCSR bits 0-5 and the x87 status word bits 0-5. */
export const FLOAT_FLAG = {
  INVALID: 0x01,
  DENORMAL: 0x02,
  ZERO_DIVIDE: 0x04,
  OVERFLOW: 0x08,
  UNDERFLOW: 0x10,
  PRECISION: 0x20,
  /** All six. */
  ALL: 0x3f,
} as const

/** Condition bits of the x87 status word, and one bit that never reaches it. */
export const X87_STATUS = {
  C0: 0x0100,
  C1: 0x0200,
  C2: 0x0400,
  C3: 0x4000,
  /** All four condition bits. */
  CONDITIONS: 0x4700,
  /** An unmasked exception kept the operation from delivering: destination, stack top and memory stay as they were. */
  SUPPRESSED: 0x10000,
} as const

/** Rounding control: x87 control word bits 10-11, MXCSR bits 13-14, and the immediate of ROUNDSS. */
export const ROUNDING = { NEAREST: 0, DOWN: 1, UP: 2, ZERO: 3 } as const

/** Bits of a control value beyond the x87 control word. */
export const CONTROL = {
  MASKS: 0x3f,
  PRECISION_SHIFT: 8,
  ROUNDING_SHIFT: 10,
  FLUSH_TO_ZERO: 0x10000,
  DENORMALS_ARE_ZERO: 0x20000,
} as const

/** What an unpacked operand is. Everything above {@link KIND.INFINITE} needs a NaN as answer. */
export const KIND = { ZERO: 0, NORMAL: 1, INFINITE: 2, QUIET: 3, SIGNALING: 4, UNSUPPORTED: 5 } as const

/** Range and precision of a destination. Exponents are unbiased and belong to a significand in [1, 2). */
export interface FloatFormat {
  readonly precision: 24 | 53 | 64
  readonly minExponent: number
  readonly maxExponent: number
  /** What an unmasked overflow or underflow subtracts from or adds to the exponent; 0 where nothing is delivered. */
  readonly wrap: number
}

/** Binary32. */
export const SINGLE: FloatFormat = { precision: 24, minExponent: -126, maxExponent: 127, wrap: 0 }
/** Binary64. */
export const DOUBLE: FloatFormat = { precision: 53, minExponent: -1022, maxExponent: 1023, wrap: 0 }
/** Double extended, 64 bits of significand. */
export const EXTENDED: FloatFormat = { precision: 64, minExponent: -16382, maxExponent: 16383, wrap: 24576 }
/** Destination by the precision-control field; the reserved value 1 acts as full precision. */
export const BY_PRECISION_CONTROL: readonly FloatFormat[] = [
  { ...EXTENDED, precision: 24 }, EXTENDED, { ...EXTENDED, precision: 53 }, EXTENDED,
]
