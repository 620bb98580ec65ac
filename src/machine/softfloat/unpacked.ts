/**
 * A floating-point value taken apart, and how the three formats are taken apart and put together. All formats become
 * the same thing: a sign, an unbiased exponent and a 64-bit significand whose top bit is the integer bit, so that each
 * operation is written once. Halves are 32-bit patterns (signed or not); inside they are kept as signed integers.
 * Hot path: fields instead of tuples, no allocation.
 * Reference: Intel SDM volume 1, section 4.2.2 and 8.2.2.
 */
import { KIND } from './constants.ts'

const TOP = -0x8000_0000
const QUIET_BIT = 0x4000_0000

/** A double extended value as x87 keeps it: sign and exponent in 16 bits, significand in two halves. */
export class Float80 {
  signExponent: number
  high: number
  low: number

  constructor(signExponent = 0, high = 0, low = 0) {
    this.signExponent = signExponent
    this.high = high
    this.low = low
  }

  /** Sets all three fields. */
  set(signExponent: number, high: number, low: number): this {
    this.signExponent = signExponent
    this.high = high
    this.low = low
    return this
  }

  /** Takes over another value. */
  copy(from: Float80): this {
    return this.set(from.signExponent, from.high, from.low)
  }
}

/** One value taken apart; `extra` holds what lies below the significand, its lowest bit being sticky. */
export class Unpacked {
  kind = 0
  sign = 0
  exponent = 0
  high = 0
  low = 0
  extra = 0
  /** The operand was a denormal, or an 80-bit pseudo-denormal. */
  denormal = false

  /** Becomes another value. */
  copy(from: Unpacked): void {
    this.kind = from.kind
    this.sign = from.sign
    this.exponent = from.exponent
    this.high = from.high
    this.low = from.low
    this.extra = from.extra
    this.denormal = from.denormal
  }

  /** Becomes zero, infinity or another value told by its kind alone. */
  setSpecial(kind: number, sign: number): void {
    this.kind = kind
    this.sign = sign
    this.exponent = 0
    this.high = 0
    this.low = 0
    this.extra = 0
  }

  /** Shifts left until the integer bit is set. The significand must not be zero. */
  normalize(): void {
    while (this.high >= 0) {
      const count = Math.clz32(this.high)
      if (count === 32) {
        this.high = this.low
        this.low = this.extra
        this.extra = 0
        this.exponent -= 32
      } else {
        this.high = (this.high << count) | (this.low >>> (32 - count))
        this.low = (this.low << count) | (this.extra >>> (32 - count))
        this.extra <<= count
        this.exponent -= count
      }
    }
  }

  /** Shifts right by `count` bits and keeps a trace of what falls out in the lowest bit of `extra`. */
  shiftRight(count: number): void {
    let rest = count
    let sticky = 0
    if (rest >= 96) {
      this.extra = (this.high | this.low | this.extra) === 0 ? 0 : 1
      this.high = 0
      this.low = 0
      return
    }
    while (rest >= 32) {
      sticky |= this.extra
      this.extra = this.low
      this.low = this.high
      this.high = 0
      rest -= 32
    }
    if (rest !== 0) {
      sticky |= this.extra << (32 - rest)
      this.extra = (this.extra >>> rest) | (this.low << (32 - rest))
      this.low = (this.low >>> rest) | (this.high << (32 - rest))
      this.high >>>= rest
    }
    if (sticky !== 0) this.extra |= 1
  }
}

function unpackFraction(out: Unpacked, biased: number, bias: number, top: number): void {
  out.extra = 0
  out.denormal = false
  if (biased === top) {
    out.exponent = 0
    if ((out.high | out.low) === 0) out.kind = KIND.INFINITE
    else out.kind = (out.high & QUIET_BIT) !== 0 ? KIND.QUIET : KIND.SIGNALING
    out.high |= TOP
  } else if (biased !== 0) {
    out.kind = KIND.NORMAL
    out.exponent = biased - bias
    out.high |= TOP
  } else if ((out.high | out.low) === 0) {
    out.kind = KIND.ZERO
    out.exponent = 0
  } else {
    out.kind = KIND.NORMAL
    out.exponent = 1 - bias
    out.denormal = true
    out.normalize()
  }
}

/** Takes a binary32 apart. */
export function unpack32(bits: number, out: Unpacked): void {
  out.sign = bits >>> 31
  out.high = (bits << 8) & 0x7fff_ffff
  out.low = 0
  unpackFraction(out, (bits >>> 23) & 0xff, 127, 0xff)
}

/** Takes a binary64 apart. */
export function unpack64(low: number, high: number, out: Unpacked): void {
  out.sign = high >>> 31
  out.high = ((high << 11) | (low >>> 21)) & 0x7fff_ffff
  out.low = low << 11
  unpackFraction(out, (high >>> 20) & 0x7ff, 1023, 0x7ff)
}

/** Takes a double extended value apart; encodings that no x87 operation accepts become `KIND.UNSUPPORTED`. */
export function unpack80(value: Float80, out: Unpacked): void {
  const biased = value.signExponent & 0x7fff
  out.sign = (value.signExponent >>> 15) & 1
  out.high = value.high | 0
  out.low = value.low | 0
  out.extra = 0
  out.denormal = false
  out.exponent = biased - 16383
  if (biased === 0) {
    if ((out.high | out.low) === 0) {
      out.kind = KIND.ZERO
      return
    }
    out.kind = KIND.NORMAL
    out.exponent = -16382
    out.denormal = true
    out.normalize()
  } else if (out.high >= 0) {
    out.kind = KIND.UNSUPPORTED
  } else if (biased !== 0x7fff) {
    out.kind = KIND.NORMAL
  } else if (out.high === TOP && out.low === 0) {
    out.kind = KIND.INFINITE
  } else {
    out.kind = (out.high & QUIET_BIT) !== 0 ? KIND.QUIET : KIND.SIGNALING
  }
}

/** Makes the value the quiet NaN with the same payload. */
export function quieten(value: Unpacked): void {
  value.kind = KIND.QUIET
  value.high |= TOP | QUIET_BIT
}

/** Makes the value the NaN that answers an invalid operation. */
export function setIndefinite(value: Unpacked): void {
  value.kind = KIND.QUIET
  value.sign = 1
  value.high = TOP | QUIET_BIT
  value.low = 0
  value.extra = 0
}

/** Biased exponent of a rounded value: 0 when it is denormal, that is when the integer bit is clear. */
const biasedExponent = (value: Unpacked, bias: number): number => (value.high < 0 ? value.exponent + bias : 0)

/** Puts a rounded value together as binary32. */
export function pack32(value: Unpacked): number {
  const sign = value.sign << 31
  if (value.kind === KIND.ZERO) return sign
  if (value.kind === KIND.INFINITE) return sign | 0x7f80_0000
  const fraction = (value.high >>> 8) & 0x7f_ffff
  return sign | fraction | (value.kind === KIND.NORMAL ? biasedExponent(value, 127) << 23 : 0x7f80_0000)
}

/** High half of a rounded value as binary64. */
export function pack64High(value: Unpacked): number {
  const sign = value.sign << 31
  if (value.kind === KIND.ZERO) return sign
  if (value.kind === KIND.INFINITE) return sign | 0x7ff0_0000
  const fraction = (value.high >>> 11) & 0xf_ffff
  return sign | fraction | (value.kind === KIND.NORMAL ? biasedExponent(value, 1023) << 20 : 0x7ff0_0000)
}

/** Low half of a rounded value as binary64. */
export function pack64Low(value: Unpacked): number {
  if (value.kind === KIND.ZERO || value.kind === KIND.INFINITE) return 0
  return (value.low >>> 11) | (value.high << 21)
}

/** Puts a rounded value together as double extended. */
export function pack80(value: Unpacked, out: Float80): void {
  const sign = value.sign << 15
  if (value.kind === KIND.ZERO) out.set(sign, 0, 0)
  else if (value.kind === KIND.INFINITE) out.set(sign | 0x7fff, TOP, 0)
  else if (value.kind === KIND.NORMAL) out.set(sign | biasedExponent(value, 16383), value.high, value.low)
  else out.set(sign | 0x7fff, value.high, value.low)
}
