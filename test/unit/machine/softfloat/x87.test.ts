import { describe, expect, test } from 'vitest'
import {
  Float80, REMAINDER, X87Arithmetic, X87Transcendental, extract, loadConstant, loadDecimal, loadDouble, loadInteger,
  loadSingle, remainder, scale, storeDecimal, storeDouble, storeInteger, storeSingle,
} from '../../../../src/machine/softfloat/index.ts'
import { below, type Random, SeededRandom } from '../../../../src/util/index.ts'
import {
  double, extended, type FloatCase, floatHarness, hex, integer, runNatively, single,
} from '../../../support/float-oracle.ts'

const CASES = 12_000
const harness = floatHarness()
const SUPPRESSED = 0x10000
/** Flags and condition bits of the status word. */
const COMPARED = 0x473f

type Operand = (random: Random) => readonly number[]

interface Row {
  readonly name: string
  readonly operation: number
  readonly a: Operand
  /** Bytes of `first` that count; 0 for status alone. */
  readonly bytes: number
  readonly run: (unit: X87Arithmetic, a: readonly number[], b: readonly number[], out: Uint32Array) => number
}

/** Control words: precision and rounding at random; in one case of four some exceptions are unmasked. */
function controlWord(random: Random): number {
  const masks = below(random, 4) === 0 ? random.next() & 0x3f : 0x3f
  const precision = [0, 2, 3, 3][below(random, 4)]!
  return 0x40 | masks | (precision << 8) | (below(random, 4) << 10)
}

const value = (words: readonly number[]): Float80 => new Float80(words[2]! & 0xffff, words[1]!, words[0]!)
const at = (words: readonly number[], index: number): number => words[index]!

function put(from: Float80, out: Uint32Array): void {
  out[0] = from.low
  out[1] = from.high
  out[2] = from.signExponent
}

type Binary = (unit: X87Arithmetic, a: Float80, b: Float80) => number

/** An instruction on ST0 and ST1 whose result replaces ST0, unless suppressed. */
const onStack = (name: string, operation: number, run: Binary): Row => ({
  name, operation, a: extended, bytes: 10,
  run: (unit, a, b, out) => {
    const first = value(a)
    const status = run(unit, first, value(b))
    put((status & SUPPRESSED) === 0 ? unit.result : first, out)
    return status
  },
})

const condition = (name: string, operation: number, run: Binary): Row => ({
  name, operation, a: extended, bytes: 0, run: (unit, a, b) => run(unit, value(a), value(b)),
})

type Load = (unit: X87Arithmetic, a: readonly number[]) => number

const load = (name: string, operation: number, a: Operand, run: Load): Row => ({
  name, operation, a, bytes: 10,
  run: (unit, words, _b, out) => {
    const status = run(unit, words)
    if ((status & SUPPRESSED) === 0) put(unit.result, out)
    else out.fill(0)
    return status
  },
})

type Store = (unit: X87Arithmetic, from: Float80, to: { word0: number; word1: number; word2: number }) => number

const store = (name: string, operation: number, bytes: number, run: Store): Row => ({
  name, operation, a: storable, bytes,
  run: (unit, a, _b, out) => {
    const to = { word0: 0xcccccccc, word1: 0xcccccccc, word2: 0xcccccccc }
    const status = run(unit, value(a), to)
    out[0] = to.word0
    out[1] = to.word1
    out[2] = to.word2
    return status
  },
})

/** Extended values, with those near the ranges of the smaller formats often among them. */
function storable(random: Random): readonly number[] {
  const words = extended(random)
  const choice = below(random, 6)
  const centre = [16383, 16383 - 126, 16383 - 1022, 16383 + 127, 16383 + 1023, 16383 + 40][choice]!
  if (below(random, 2) === 0 && words[1] >= 0x8000_0000) {
    words[2] = (words[2] & 0x8000) | (centre - 30 + below(random, 60))
  }
  return words
}

const decimal: Operand = (random) => {
  const words = [random.next(), random.next(), random.next() & 0xffff]
  return below(random, 4) === 0 ? words : words.map((word) => word & 0x7777_7777)
}

const rows: Row[] = [
  onStack('fadd', 0, (u, a, b) => u.add(a, b)),
  onStack('fsub', 1, (u, a, b) => u.subtract(a, b)),
  onStack('fmul', 2, (u, a, b) => u.multiply(a, b)),
  onStack('fdiv', 3, (u, a, b) => u.divide(a, b)),
  onStack('fsqrt', 4, (u, a) => u.squareRoot(a)),
  onStack('frndint', 5, (u, a) => u.roundToInteger(a)),
  condition('fcom', 6, (u, a, b) => u.compare(a, b)),
  condition('fucom', 7, (u, a, b) => u.compareQuietly(a, b)),
  condition('fxam', 8, (u, a) => u.examine(a)),
  onStack('fscale', 9, scale),
  onStack('fprem', 11, (u, a, b) => remainder(u, a, b, REMAINDER.FPREM)),
  onStack('fprem1', 12, (u, a, b) => remainder(u, a, b, REMAINDER.FPREM1)),
  {
    name: 'fxtract', operation: 10, a: extended, bytes: 10,
    run: (unit, a, _b, out) => {
      const status = extract(unit, value(a))
      if ((status & SUPPRESSED) === 0) put(unit.pushed, out)
      else out.set(a)
      return status
    },
  },
  load('fld m32', 32, (random) => [single(random)], (u, a) => loadSingle(u, at(a, 0))),
  load('fld m64', 33, double, (u, a) => loadDouble(u, at(a, 0), at(a, 1))),
  load('fild m16', 34, integer, (u, a) => loadInteger(u, (at(a, 0) << 16) >> 16, at(a, 0) << 16 >> 31)),
  load('fild m32', 35, integer, (u, a) => loadInteger(u, at(a, 0), at(a, 0) >> 31)),
  load('fild m64', 36, integer, (u, a) => loadInteger(u, at(a, 0), at(a, 1))),
  load('fbld', 37, decimal, (u, a) => loadDecimal(u, { word0: at(a, 0), word1: at(a, 1), word2: at(a, 2) })),
  store('fstp m32', 40, 4, storeSingle),
  store('fstp m64', 41, 8, storeDouble),
  store('fistp m16', 42, 2, (u, a, to) => storeInteger(u, a, to, { bits: 16 })),
  store('fistp m32', 43, 4, (u, a, to) => storeInteger(u, a, to, { bits: 32 })),
  store('fistp m64', 44, 8, (u, a, to) => storeInteger(u, a, to, { bits: 64 })),
  store('fisttp m16', 45, 2, (u, a, to) => storeInteger(u, a, to, { bits: 16, truncate: true })),
  store('fisttp m32', 46, 4, (u, a, to) => storeInteger(u, a, to, { bits: 32, truncate: true })),
  store('fisttp m64', 47, 8, (u, a, to) => storeInteger(u, a, to, { bits: 64, truncate: true })),
  store('fbstp', 48, 10, storeDecimal),
  ...['fldl2t', 'fldl2e', 'fldpi', 'fldlg2', 'fldln2'].map((name, index) =>
    load(name, 21 + index, () => [0, 0, 0], (u) => loadConstant(u, 1 + index))),
]

/** Units in the last place between our result and the processor's; sign and exponent count as higher digits. */
function distance(ours: Float80, theirs: readonly number[]): bigint {
  const ordinal = (signExponent: number, high: number, low: number): bigint => {
    const exponent = BigInt(signExponent & 0x7fff)
    const fraction = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)
    const magnitude = exponent <= 1n ? fraction : ((exponent - 1n) << 63n) + fraction
    return (signExponent & 0x8000) === 0 ? magnitude : -magnitude
  }
  const difference = ordinal(ours.signExponent, ours.high, ours.low) - ordinal(theirs[2]!, theirs[1]!, theirs[0]!)
  return difference < 0n ? -difference : difference
}

interface FunctionRow {
  readonly name: string
  readonly operation: number
  readonly a: Operand
  readonly b: Operand
  readonly pushes: boolean
  readonly run: (functions: X87Transcendental, a: Float80, b: Float80) => number
}

/** Extended values with exponents up to a limit; special values remain. */
const upTo = (limit: number): Operand => (random) => {
  const words = extended(random)
  const biased = words[2] & 0x7fff
  if (biased === 0x7fff || biased < 16383 + limit) return words
  words[2] = (words[2] & 0x8000) | (16383 + limit - 1 - below(random, 90))
  return words
}

const functionRow = (
  name: string, operation: number, operands: readonly [Operand, Operand], run: FunctionRow['run'], pushes = false,
): FunctionRow => ({ name, operation, a: operands[0], b: operands[1], pushes, run })

const functions: FunctionRow[] = [
  functionRow('f2xm1', 13, [upTo(0), extended], (f, a) => f.exp2MinusOne(a)),
  functionRow('fyl2x', 14, [extended, extended], (f, a, b) => f.logarithm(a, b)),
  functionRow('fyl2xp1', 15, [upTo(-2), extended], (f, a, b) => f.logarithmOfOnePlus(a, b)),
  functionRow('fsin', 16, [upTo(66), extended], (f, a) => f.sine(a)),
  functionRow('fcos', 17, [upTo(66), extended], (f, a) => f.cosine(a)),
  functionRow('fsincos', 18, [upTo(66), extended], (f, a) => f.sineCosine(a), true),
  functionRow('fptan', 19, [upTo(66), extended], (f, a) => f.tangent(a), true),
  functionRow('fpatan', 20, [extended, extended], (f, a, b) => f.arctangent(a, b)),
]

function makeCases(row: Row, random: Random): FloatCase[] {
  return Array.from({ length: CASES }, () => {
    const a = row.a(random)
    const related = below(random, 8) === 0
    return { operation: row.operation, control: controlWord(random), a, b: related ? a : row.a(random) }
  })
}

const bytesOf = (words: ArrayLike<number>, count: number): string => {
  const bytes = new Uint8Array(Uint32Array.from(words).buffer).subarray(0, count)
  return [...bytes].reverse().map((byte) => byte.toString(16).padStart(2, '0')).join('')
}

describe.skipIf(harness.path === undefined)(`x87 against the processor (${harness.reason === undefined ? 'native' : `SKIPPED: ${harness.reason}`})`, () => {
  const named = rows.map((row) => [row.name, row] as const)
  test.each(named)('%s gives the processor\'s result and status', (_name, row) => {
    const unit = new X87Arithmetic()
    const cases = makeCases(row, new SeededRandom(row.operation))
    const answers = runNatively(harness.path!, cases)
    const wrong: string[] = []
    const out = new Uint32Array(4)
    cases.forEach((one, index) => {
      unit.setControl(one.control)
      const status = row.run(unit, one.a, one.b, out)
      const { first, status: theirStatus } = answers[index]!
      const empty = row.operation >= 32 && row.operation < 40 && (status & SUPPRESSED) !== 0
      const same = empty || bytesOf(out, row.bytes) === bytesOf(first, row.bytes)
      if (same && ((status ^ theirStatus) & COMPARED) === 0) return
      wrong.push(`${one.control.toString(16)}: ${hex(one.a)} ${hex(one.b)} -> ${bytesOf(out, row.bytes)} ` +
        `${status.toString(16)}, processor ${bytesOf(first, row.bytes)} ${(theirStatus & 0x47ff).toString(16)}`)
    })
    expect(wrong.slice(0, 8), `${wrong.length} of ${CASES} differ`).toEqual([])
  })

  const namedFunctions = functions.map((row) => [row.name, row] as const)
  test.each(namedFunctions)('%s lies within one unit in the last place', (_name, row) => {
    const unit = new X87Arithmetic()
    const functionsOf = new X87Transcendental(unit)
    const random = new SeededRandom(row.operation)
    const cases = Array.from({ length: CASES / 4 }, (): FloatCase =>
      ({ operation: row.operation, control: controlWord(random), a: row.a(random), b: row.b(random) }))
    const answers = runNatively(harness.path!, cases)
    const wrong: string[] = []
    cases.forEach((one, index) => {
      unit.setControl(one.control)
      const first = value(one.a)
      const status = row.run(functionsOf, first, value(one.b))
      const suppressed = (status & SUPPRESSED) !== 0
      const results = suppressed ? [first] : row.pushes ? [unit.pushed, unit.result] : [unit.result]
      const answer = answers[index]!
      const near = results.every((result, at) => distance(result, at === 0 ? answer.first : answer.second) <= 1n)
      if (near && ((status ^ answer.status) & COMPARED & ~0x200) === 0) return
      const shown = results.map((result) => hex([result.low, result.high, result.signExponent])).join(' ')
      wrong.push(`${one.control.toString(16)}: ${hex(one.a)} ${hex(one.b)} -> ${shown} ${status.toString(16)}, ` +
        `processor ${bytesOf(answer.first, 10)} ${bytesOf(answer.second, 10)} ${(answer.status & 0x47ff).toString(16)}`)
    })
    expect(wrong.slice(0, 8), `${wrong.length} of ${CASES / 4} differ`).toEqual([])
  })
})
