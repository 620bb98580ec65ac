/**
 * Rounding, overflow, underflow: from an exact or sticky value to one that fits a format. Tininess is detected after
 * rounding, as x86 does, for x87 and SSE alike. Hot path.
 * Reference: Intel SDM volume 1, sections 4.8.4, 4.9.1 and 8.5.
 */
import { CONTROL, FLOAT_FLAG, type FloatFormat, KIND, ROUNDING, X87_STATUS } from './constants.ts'
import type { Unpacked } from './unpacked.ts'

const TOP = -0x8000_0000
const INEXACT = FLOAT_FLAG.PRECISION
const INEXACT_UP = FLOAT_FLAG.PRECISION | X87_STATUS.C1

/** Rounding mode of a control value. */
export const roundingOf = (control: number): number => (control >>> CONTROL.ROUNDING_SHIFT) & 3

/**
 * Whether to go up in magnitude, given what is cut off: `rest` is the cut part as a left-aligned 32-bit fraction whose
 * lowest bit is sticky, `odd` the last bit that stays.
 */
function goesUp(rest: number, odd: number, sign: number, rounding: number): boolean {
  switch (rounding) {
    case ROUNDING.NEAREST:
      return rest < 0 && (rest !== TOP || odd !== 0)
    case ROUNDING.DOWN:
      return sign !== 0
    case ROUNDING.UP:
      return sign === 0
    default:
      return false
  }
}

/** Cuts the significand to a precision. Returns 0 when exact, else PRECISION, with C1 when it was rounded up. */
export function roundSignificand(x: Unpacked, precision: number, rounding: number): number {
  let rest = x.extra
  let odd = x.low & 1
  let high = x.high
  let low = x.low
  let unit = 1
  if (precision === 53) {
    rest = (low << 21) | (rest === 0 ? 0 : 1)
    odd = (low >>> 11) & 1
    low &= ~0x7ff
    unit = 0x800
  } else if (precision === 24) {
    rest = (high << 24) | ((low | rest) === 0 ? 0 : 1)
    odd = (high >>> 8) & 1
    high &= ~0xff
    low = 0
  }
  x.extra = 0
  if (rest === 0) return 0
  x.high = high
  x.low = low
  if (!goesUp(rest, odd, x.sign, rounding)) return INEXACT
  if (precision === 24) {
    high = (high + 0x100) | 0
  } else {
    low = (low + unit) | 0
    if ((low >>> 0) < unit) high = (high + 1) | 0
  }
  if (high === 0 && x.high !== 0) {
    high = TOP
    x.exponent += 1
  } else if (high < 0 && x.high >= 0) {
    // A denormal that became the least normal number: the exponent already fits.
    x.denormal = false
  }
  x.high = high
  x.low = low
  return INEXACT_UP
}

/** Whether a value one binade below the normal range reaches it when rounded with unlimited exponents. */
function roundsToNormal(x: Unpacked, format: FloatFormat, rounding: number): boolean {
  if (x.exponent !== format.minExponent - 1 || x.high >>> 8 !== 0xff_ffff) return false
  if (format.precision !== 24 && x.high !== -1) return false
  let rest = x.extra
  if (format.precision === 64) {
    if (x.low !== -1) return false
  } else if (format.precision === 53) {
    if (x.low >>> 11 !== 0x1f_ffff) return false
    rest = (x.low << 21) | (rest === 0 ? 0 : 1)
  } else {
    rest = (x.high << 24) | ((x.low | rest) === 0 ? 0 : 1)
  }
  return rest !== 0 && goesUp(rest, 1, x.sign, rounding)
}

function flushToZero(x: Unpacked): number {
  x.setSpecial(KIND.ZERO, x.sign)
  return FLOAT_FLAG.UNDERFLOW | FLOAT_FLAG.PRECISION
}

function roundTiny(x: Unpacked, format: FloatFormat, control: number): number {
  const rounding = roundingOf(control)
  const tiny = !roundsToNormal(x, format, rounding)
  if (tiny && (control & FLOAT_FLAG.UNDERFLOW) === 0) {
    const inexact = roundSignificand(x, format.precision, rounding)
    x.exponent += format.wrap
    if (format.wrap === 0 || x.exponent >= format.minExponent) return inexact | FLOAT_FLAG.UNDERFLOW
    return flushToZero(x)
  }
  if (tiny && (control & CONTROL.FLUSH_TO_ZERO) !== 0) return flushToZero(x)
  x.shiftRight(format.minExponent - x.exponent)
  x.exponent = format.minExponent
  const inexact = roundSignificand(x, format.precision, rounding)
  if ((x.high | x.low) === 0) x.setSpecial(KIND.ZERO, x.sign)
  return inexact === 0 || !tiny ? inexact : inexact | FLOAT_FLAG.UNDERFLOW
}

function overflowed(x: Unpacked, format: FloatFormat, control: number, inexact: number): number {
  if ((control & FLOAT_FLAG.OVERFLOW) === 0) {
    x.exponent -= format.wrap
    if (format.wrap === 0 || x.exponent <= format.maxExponent) return inexact | FLOAT_FLAG.OVERFLOW
    x.setSpecial(KIND.INFINITE, x.sign)
    return FLOAT_FLAG.OVERFLOW | INEXACT_UP
  }
  const rounding = roundingOf(control)
  const away = rounding === ROUNDING.NEAREST || rounding === (x.sign === 0 ? ROUNDING.UP : ROUNDING.DOWN)
  if (away) {
    x.setSpecial(KIND.INFINITE, x.sign)
    return FLOAT_FLAG.OVERFLOW | INEXACT_UP
  }
  x.exponent = format.maxExponent
  x.high = format.precision === 24 ? ~0xff : -1
  x.low = format.precision === 64 ? -1 : format.precision === 53 ? ~0x7ff : 0
  return FLOAT_FLAG.OVERFLOW | INEXACT
}

/**
 * Makes a value fit a format, as the control value wants it. Returns exception flags, and C1 when the magnitude was
 * rounded up. An unmasked overflow or underflow leaves the exponent wrapped (infinity or zero where even that does not
 * fit); whether that is delivered is the caller's.
 */
export function roundTo(x: Unpacked, format: FloatFormat, control: number): number {
  if (x.kind !== KIND.NORMAL) return 0
  if (x.exponent < format.minExponent) return roundTiny(x, format, control)
  const inexact = roundSignificand(x, format.precision, roundingOf(control))
  if (x.exponent > format.maxExponent) return overflowed(x, format, control, inexact)
  return inexact
}
