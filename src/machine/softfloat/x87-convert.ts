/**
 * x87 loads and stores in other formats: binary32, binary64, signed integers, packed decimal, and the constants.
 * Loads leave the value in `result`; stores return their status and leave words in a {@link StoredWords}. A status with
 * `X87_STATUS.SUPPRESSED` means: store nothing and pop nothing.
 * Reference: Intel SDM volume 1, sections 4.7, 8.1.5 and 8.3.3; volume 2, FLD to FBSTP.
 */
import { CONTROL, DOUBLE, FLOAT_FLAG, type FloatFormat, KIND, ROUNDING, SINGLE, X87_STATUS } from './constants.ts'
import { applySign, fitsInteger, toFixedPoint, unpackInteger } from './integer.ts'
import { roundTo, roundingOf } from './rounding.ts'
import {
  type Float80, pack32, pack64High, pack64Low, pack80, quieten, setIndefinite, unpack32, unpack64, unpack80,
} from './unpacked.ts'
import type { X87Arithmetic } from './x87.ts'

const { INVALID, DENORMAL, OVERFLOW, UNDERFLOW } = FLOAT_FLAG

/** What a store writes: up to ten bytes as words, least significant first; the last one only 16 bits wide. */
export interface StoredWords {
  word0: number
  word1: number
  word2: number
}

function finishLoad(unit: X87Arithmetic): number {
  const x = unit.x
  const flags = x.kind === KIND.SIGNALING ? INVALID : x.denormal ? DENORMAL : 0
  if (unit.traps(flags)) return flags | X87_STATUS.SUPPRESSED
  if (x.kind === KIND.SIGNALING) quieten(x)
  pack80(x, unit.result)
  return flags
}

/** FLD m32. */
export function loadSingle(unit: X87Arithmetic, bits: number): number {
  unpack32(bits, unit.x)
  return finishLoad(unit)
}

/** FLD m64. */
export function loadDouble(unit: X87Arithmetic, low: number, high: number): number {
  unpack64(low, high, unit.x)
  return finishLoad(unit)
}

/** FILD, and the operand of FIADD and its kin: a sign-extended integer. Raises nothing. */
export function loadInteger(unit: X87Arithmetic, low: number, high: number): number {
  unpackInteger(low, high, unit.x)
  pack80(unit.x, unit.result)
  return 0
}

/** Rounds `x` for a store; NaNs become quiet, unsupported encodings the indefinite NaN. */
function roundForStore(unit: X87Arithmetic, from: Float80, format: FloatFormat): number {
  const x = unit.x
  unpack80(from, x)
  if (x.kind === KIND.SIGNALING || x.kind === KIND.UNSUPPORTED) {
    if (unit.traps(INVALID)) return INVALID | X87_STATUS.SUPPRESSED
    if (x.kind === KIND.SIGNALING) quieten(x)
    else setIndefinite(x)
    return INVALID
  }
  if (x.kind !== KIND.NORMAL) return 0
  const status = roundTo(x, format, unit.control)
  return unit.traps(status & (OVERFLOW | UNDERFLOW)) ? lateTrap(status) : status
}

/** Status of a store that overflow or underflow stops: precision and direction are not reported. */
function lateTrap(status: number): number {
  return (status & (OVERFLOW | UNDERFLOW)) | X87_STATUS.SUPPRESSED
}

/** FST m32. */
export function storeSingle(unit: X87Arithmetic, from: Float80, to: StoredWords): number {
  const status = roundForStore(unit, from, SINGLE)
  if ((status & X87_STATUS.SUPPRESSED) === 0) to.word0 = pack32(unit.x)
  return status
}

/** FST m64. */
export function storeDouble(unit: X87Arithmetic, from: Float80, to: StoredWords): number {
  const status = roundForStore(unit, from, DOUBLE)
  if ((status & X87_STATUS.SUPPRESSED) === 0) {
    to.word0 = pack64Low(unit.x)
    to.word1 = pack64High(unit.x)
  }
  return status
}

/** How an integer store rounds and how wide it is. */
export interface IntegerStore {
  readonly bits: 16 | 32 | 64
  /** FISTTP: towards zero, whatever the control word says. */
  readonly truncate?: boolean
}

function storeIndefinite(unit: X87Arithmetic, to: StoredWords, bits: number): number {
  if (unit.traps(INVALID)) return INVALID | X87_STATUS.SUPPRESSED
  to.word0 = bits === 64 ? 0 : bits === 32 ? -0x8000_0000 : -0x8000
  to.word1 = -0x8000_0000
  return INVALID
}

/** FIST, FISTP, FISTTP. */
export function storeInteger(unit: X87Arithmetic, from: Float80, to: StoredWords, how: IntegerStore): number {
  const x = unit.x
  unpack80(from, x)
  if (x.kind >= KIND.INFINITE || x.exponent > 63) return storeIndefinite(unit, to, how.bits)
  const status = toFixedPoint(x, how.truncate === true ? ROUNDING.ZERO : roundingOf(unit.control))
  if (!fitsInteger(x, how.bits)) return storeIndefinite(unit, to, how.bits)
  applySign(x)
  to.word0 = x.low
  to.word1 = x.high
  return status
}

const DIGIT_LIMIT = 10 ** 9

/** FBLD: 18 decimal digits and a sign bit; digits above nine count as they stand. Raises nothing. */
export function loadDecimal(unit: X87Arithmetic, words: Readonly<StoredWords>): number {
  let value = 0n
  for (let digit = 17; digit >= 0; digit -= 1) {
    const word = digit >= 16 ? words.word2 : digit >= 8 ? words.word1 : words.word0
    value = value * 10n + BigInt((word >>> ((digit & 7) * 4)) & 15)
  }
  unpackInteger(Number(value & 0xffff_ffffn), Number(value >> 32n), unit.x)
  unit.x.sign = (words.word2 >>> 15) & 1
  pack80(unit.x, unit.result)
  return 0
}

function packedDigits(value: number, count: number): number {
  let rest = value
  let packed = 0
  for (let i = 0; i < count; i += 1) {
    packed |= rest % 10 << (i * 4)
    rest = Math.floor(rest / 10)
  }
  return packed
}

/** FBSTP. */
export function storeDecimal(unit: X87Arithmetic, from: Float80, to: StoredWords): number {
  const x = unit.x
  unpack80(from, x)
  let status = -1
  if (x.kind < KIND.INFINITE && x.exponent < 63) status = toFixedPoint(x, roundingOf(unit.control))
  const value = status < 0 ? 0n : (BigInt(x.high >>> 0) << 32n) | BigInt(x.low >>> 0)
  if (status < 0 || value >= BigInt(DIGIT_LIMIT) * BigInt(DIGIT_LIMIT)) {
    if (unit.traps(INVALID)) return INVALID | X87_STATUS.SUPPRESSED
    to.word0 = 0
    to.word1 = -0x4000_0000
    to.word2 = 0xffff
    return INVALID
  }
  const upper = Number(value / 100_000_000n)
  to.word0 = packedDigits(Number(value % 100_000_000n), 8)
  to.word1 = packedDigits(upper % 100_000_000, 8)
  to.word2 = packedDigits(Math.floor(upper / 100_000_000), 2) | (x.sign << 15)
  return status
}

/** The constants of FLD1 to FLDZ in the order of their opcodes D9 E8 to D9 EE: exponent, significand, next bits. */
const CONSTANTS: readonly (readonly [name: string, exponent: number, high: number, low: number, rest: -1 | 0 | 1])[] = [
  ['1', 0x3fff, 0x8000_0000, 0x0000_0000, 0],
  ['log2(10)', 0x4000, 0xd49a_784b, 0xcd1b_8afe, -1],
  ['log2(e)', 0x3fff, 0xb8aa_3b29, 0x5c17_f0bc, 1],
  ['pi', 0x4000, 0xc90f_daa2, 0x2168_c235, 1],
  ['log10(2)', 0x3ffd, 0x9a20_9a84, 0xfbcf_f799, 1],
  ['ln(2)', 0x3ffe, 0xb172_17f7, 0xd1cf_79ac, 1],
  ['0', 0, 0, 0, 0],
]

/**
 * FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2, FLDZ, numbered from 0. The table holds the value rounded to nearest and
 * whether that lies above (1) or below (-1) the true value, so that directed rounding picks its neighbour.
 */
export function loadConstant(unit: X87Arithmetic, index: number): number {
  const [, exponent, high, low, error] = CONSTANTS[index]!
  const rounding = (unit.control >>> CONTROL.ROUNDING_SHIFT) & 3
  let step = 0
  if (error < 0 && rounding === ROUNDING.UP) step = 1
  if (error > 0 && (rounding === ROUNDING.DOWN || rounding === ROUNDING.ZERO)) step = -1
  unit.result.set(exponent, high | 0, (low + step) | 0)
  return 0
}

