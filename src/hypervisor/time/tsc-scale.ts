/**
 * The arithmetic between nanoseconds of host time and ticks of the time-stamp counter, exact at every size, and the
 * two numbers by which a guest does the same from its time record:
 *
 *   time = system_time + (((tsc - tsc_timestamp) << tsc_shift) * tsc_to_system_mul >> 32)
 *
 * where a negative shift goes right.
 *
 * Reference: public/xen.h (struct vcpu_time_info); xen/arch/x86/time.c (set_time_scale).
 */
import { TWO_32, XenError } from '../../util/index.ts'

const NS_PER_SECOND = 1e9
const NS_PER_MILLISECOND = 1e6

/** Frequencies of a time-stamp counter, in kHz: the lowest and the highest. */
export const TSC_KILOHERTZ = [1000, 100_000_000] as const

/** A tick count or another 64-bit value in two unsigned halves. */
export interface WideValue {
  readonly low: number
  readonly high: number
}

/** floor(`dividend` * 2^32 / `divisor`) for a divisor of at most 32 bits and a dividend below it. */
function fraction(dividend: number, divisor: number): number {
  const first = dividend * 0x10000
  const upper = Math.floor(first / divisor)
  return upper * 0x10000 + Math.floor(((first - upper * divisor) * 0x10000) / divisor)
}

/** `a` * `b` + `c` in two halves, for whole `a` and `c` below 2^53 and `b` below 2^32; wraps at 2^64. */
function multiplyAdd(a: number, b: number, c: number): WideValue {
  // Sixteen bits of `b` at a time keep every product below 2^53.
  const aLow = a >>> 0
  const aHigh = Math.floor(a / TWO_32)
  const bLow = b & 0xffff
  const bHigh = b >>> 16
  const middle = aLow * bHigh
  const low = aLow * bLow + (middle % 0x10000) * 0x10000 + (c >>> 0)
  const high = Math.floor(low / TWO_32) + Math.floor(middle / 0x10000) + aHigh * b + Math.floor(c / TWO_32)
  return { low: low >>> 0, high: high % TWO_32 }
}

/** The two numbers of a time record that make nanoseconds of ticks. */
export interface TimeFactors {
  /** `tsc_to_system_mul`. */
  readonly multiplier: number
  /** `tsc_shift`. */
  readonly shift: number
}

/** A frequency in Hz, halved or doubled until it is above 1 and at most 2 GHz, and the shift that makes up for it. */
function normalised(hertz: number): { readonly ticks: number; readonly shift: number } {
  let [ticks, shift] = [hertz, 0]
  for (; ticks > 2 * NS_PER_SECOND; shift -= 1) ticks /= 2
  for (; ticks <= NS_PER_SECOND; shift += 1) ticks *= 2
  return { ticks, shift }
}

/** One frequency of the time-stamp counter. */
export class TscScale implements TimeFactors {
  /** Ticks per millisecond. */
  readonly kilohertz: number
  /** `tsc_to_system_mul` of the time record. */
  readonly multiplier: number
  /** `tsc_shift` of the time record. */
  readonly shift: number

  constructor(kilohertz: number) {
    if (!Number.isInteger(kilohertz) || kilohertz < TSC_KILOHERTZ[0] || kilohertz > TSC_KILOHERTZ[1]) {
      const message = `a time-stamp counter runs at 1,000 to 100,000,000 kHz, got ${kilohertz}`
      throw new XenError('INVALID_ARGUMENT', message, {
        details: { kilohertz },
      })
    }
    this.kilohertz = kilohertz
    const { ticks, shift } = normalised(kilohertz * 1000)
    this.multiplier = fraction(NS_PER_SECOND, Math.floor(ticks))
    this.shift = shift
  }

  /**
   * The numbers of a record by which a guest's time passes at a rate, nanoseconds of its own for each of the host's. A guest that goes by them
   * is never ahead of that rate, so that it does not go back where its record is renewed.
   */
  atRate(rate: number): TimeFactors {
    const { ticks, shift } = normalised(this.kilohertz * 1000 / rate)
    return { multiplier: fraction(NS_PER_SECOND, Math.ceil(ticks)), shift }
  }

  /** Ticks that have passed at host time `nanoseconds`, rounded down. */
  ticksAt(nanoseconds: number): WideValue {
    const milliseconds = Math.floor(nanoseconds / NS_PER_MILLISECOND)
    const rest = nanoseconds - milliseconds * NS_PER_MILLISECOND
    return multiplyAdd(milliseconds, this.kilohertz, Math.floor((rest * this.kilohertz) / NS_PER_MILLISECOND))
  }

  /** Nanoseconds that `ticks` take, rounded down; exact for ticks below 2^53. */
  nanosecondsOf(ticks: number): number {
    const milliseconds = Math.floor(ticks / this.kilohertz)
    const rest = ticks - milliseconds * this.kilohertz
    return milliseconds * NS_PER_MILLISECOND + Math.floor((rest * NS_PER_MILLISECOND) / this.kilohertz)
  }

  /** Ticks after which `nanoseconds` have passed for sure, rounded up; exact while the result is below 2^53. */
  ticksFor(nanoseconds: number): number {
    const milliseconds = Math.floor(nanoseconds / NS_PER_MILLISECOND)
    const rest = nanoseconds - milliseconds * NS_PER_MILLISECOND
    return milliseconds * this.kilohertz + Math.ceil((rest * this.kilohertz) / NS_PER_MILLISECOND)
  }
}
