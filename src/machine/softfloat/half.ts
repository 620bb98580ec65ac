/**
 * Conversions between binary16 and binary32. Numbers of binary32 are exact in JavaScript's, so rounding is done on those.
 * Reference: Intel SDM volume 2, VCVTPH2PS, VCVTPS2PH; volume 1, section 14.4.1.
 */
import { CONTROL, FLOAT_FLAG, ROUNDING } from './constants.ts'
import { roundingOf } from './rounding.ts'
import type { SseArithmetic } from './sse.ts'

const HALF = { infinity: 0x7c00, quiet: 0x200, fraction: 0x3ff, most: 65_504, leastExponent: -14, bits: 10 } as const
const SINGLE = { infinity: 0x7f80_0000, quiet: 0x40_0000, leastNormal: 0x80_0000 } as const
const single = new Float32Array(1)
const word = new Int32Array(single.buffer)

/** Binary16 to binary32, exact but for signaling NaNs. Returns exception flags; the result stands in `low`. */
export function halfToSingle(unit: SseArithmetic, half: number): number {
  const sign = (half & 0x8000) << 16
  const magnitude = half & 0x7fff
  if (magnitude > HALF.infinity) {
    unit.low = sign | SINGLE.infinity | SINGLE.quiet | ((half & HALF.fraction) << 13)
    return (half & HALF.quiet) === 0 ? FLOAT_FLAG.INVALID : 0
  }
  if (magnitude === HALF.infinity) unit.low = sign | SINGLE.infinity
  else {
    const exponent = magnitude >> HALF.bits
    const fraction = magnitude & HALF.fraction
    single[0] = exponent === 0 ? fraction * 2 ** -24 : (fraction + 0x400) * 2 ** (exponent - 25)
    unit.low = sign | word[0]!
  }
  return 0
}

/** Rounds to a whole number; the sign counts for the directed modes. */
function roundWhole(value: number, isNegative: boolean, rounding: number): number {
  const down = Math.floor(value)
  const rest = value - down
  if (rest === 0 || rounding === ROUNDING.ZERO) return down
  if (rounding === ROUNDING.NEAREST) return rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down
  return (rounding === ROUNDING.UP) === isNegative ? down : down + 1
}

/** Binary32 to binary16. Bits 1..0 of `control` are the rounding mode, unless bit 2 leaves it to MXCSR. The result stands in `low`. */
export function singleToHalf(unit: SseArithmetic, bits: number, control: number): number {
  const sign = (bits >>> 16) & 0x8000
  let magnitude = bits & 0x7fff_ffff
  if (magnitude > SINGLE.infinity) {
    unit.low = sign | HALF.infinity | HALF.quiet | ((magnitude >>> 13) & HALF.fraction)
    return (bits & SINGLE.quiet) === 0 ? FLOAT_FLAG.INVALID : 0
  }
  let early = 0
  if (magnitude !== 0 && magnitude < SINGLE.leastNormal) {
    if ((unit.control & CONTROL.DENORMALS_ARE_ZERO) !== 0) magnitude = 0
    else early = FLOAT_FLAG.DENORMAL
  }
  if (magnitude === 0 || magnitude === SINGLE.infinity) {
    unit.low = sign | (magnitude === 0 ? 0 : HALF.infinity)
    return early
  }
  if (unit.traps(early) !== 0) return early
  word[0] = magnitude
  return early | roundToHalf(unit, { value: single[0]!, sign, rounding: (control & 4) !== 0 ? roundingOf(unit.control) : control & 3 })
}

function roundToHalf(unit: SseArithmetic, { value, sign, rounding }: { value: number; sign: number; rounding: number }): number {
  const isNegative = sign !== 0
  const exponent = Math.floor(Math.log2(value))
  const own = 2 ** exponent > value ? exponent - 1 : exponent
  const quantum = 2 ** (Math.max(own, HALF.leastExponent) - HALF.bits)
  const result = roundWhole(value / quantum, isNegative, rounding) * quantum
  const inexact = result === value ? 0 : FLOAT_FLAG.PRECISION
  if (result > HALF.most) {
    const away = rounding === ROUNDING.NEAREST || (rounding === ROUNDING.UP) !== isNegative && rounding !== ROUNDING.ZERO
    unit.low = sign | (away ? HALF.infinity : HALF.infinity - 1)
    // Told to the program the exact result may not be inexact.
    return FLOAT_FLAG.OVERFLOW | ((unit.control & FLOAT_FLAG.OVERFLOW) === 0 ? inexact : FLOAT_FLAG.PRECISION)
  }
  const normal = 2 ** HALF.leastExponent
  unit.low = sign | (result < normal ? result * 2 ** 24 : halfOf(result))
  // Tiny is what would be below the normal numbers if exponents had no end; where that is told, so is that result's exactness.
  const unbounded = 2 ** (own - HALF.bits)
  const exact = roundWhole(value / unbounded, isNegative, rounding) * unbounded
  if (own >= HALF.leastExponent || exact >= normal) return inexact
  if ((unit.control & FLOAT_FLAG.UNDERFLOW) === 0) return FLOAT_FLAG.UNDERFLOW | (exact === value ? 0 : FLOAT_FLAG.PRECISION)
  return inexact | (inexact !== 0 ? FLOAT_FLAG.UNDERFLOW : 0)
}

/** The bits of a normal number that is one of binary16. */
function halfOf(value: number): number {
  single[0] = value
  return ((word[0]! >>> 23) - 112) << HALF.bits | ((word[0]! >>> 13) & HALF.fraction)
}
