import { describe, expect, test } from 'vitest'
import {
  FLOAT_FLAG, ROUNDING, ROUNDING_OF_MXCSR, SSE_OPERATION, SseArithmetic, doubleToInteger, doubleToSingle, integerToDouble,
  integerToSingle, reciprocalRootSingle, reciprocalSingle, roundDouble, roundSingle, singleToDouble, singleToInteger,
} from '../../../../src/machine/softfloat/index.ts'
import { below, type Random, SeededRandom } from '../../../../src/util/index.ts'
import {
  double, type FloatCase, floatHarness, hex, integer, runNatively, single,
} from '../../../support/float-oracle.ts'

const CASES = 12_000
const harness = floatHarness()

/** Rounding, flush-to-zero and denormals-are-zero at random; exceptions masked. */
const mxcsr = (random: Random): number =>
  0x1f80 | (below(random, 4) << 13) | (below(random, 3) === 0 ? 0x8000 : 0) | (below(random, 3) === 0 ? 0x40 : 0)

interface Row {
  readonly name: string
  readonly operation: number
  readonly a: (random: Random) => readonly number[]
  readonly words: number
  /** Computes; the answer stands in the unit. */
  readonly run: (unit: SseArithmetic, a: readonly number[], b: readonly number[]) => number
}

const s = (random: Random): number[] => [single(random)]
const at = (words: readonly number[], index: number): number => words[index]!

const pair = (name: string, operation: number, code: number): Row[] => [
  { name: `${name}ss`, operation, a: s, words: 1, run: (u, a, b) => u.binary32(code, at(a, 0), at(b, 0)) },
  {
    name: `${name}sd`, operation: operation + 1, a: double, words: 2,
    run: (u, a, b) => u.binary64(code, at(a, 0), at(a, 1), at(b, 0), at(b, 1)),
  },
]

const compares: Row[] = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((predicate): Row[] => [
  {
    name: `cmpss ${predicate}`, operation: 120 + 2 * predicate, a: s, words: 1,
    run: (u, a, b) => u.compare32(predicate, at(a, 0), at(b, 0)),
  },
  {
    name: `cmpsd ${predicate}`, operation: 121 + 2 * predicate, a: double, words: 2,
    run: (u, a, b) => u.compare64(predicate, at(a, 0), at(a, 1), at(b, 0), at(b, 1)),
  },
])

const rounds: Row[] = [0, 1, 2, 3, 4, 8, 9, 10, 11, 12].flatMap((immediate): Row[] => [
  {
    name: `roundss ${immediate}`, operation: 170 + 2 * immediate, a: s, words: 1,
    run: (u, a) => roundSingle(u, at(a, 0), immediate),
  },
  {
    name: `roundsd ${immediate}`, operation: 171 + 2 * immediate, a: double, words: 2,
    run: (u, a) => roundDouble(u, at(a, 0), at(a, 1), immediate),
  },
])

const toIntegers: Row[] = ([32, 64] as const).flatMap((size, wide): Row[] =>
  [ROUNDING_OF_MXCSR, ROUNDING.ZERO].flatMap((rounding, truncated): Row[] => [
    {
      name: `cvt${'t'.repeat(truncated)}ss2si ${size}`, operation: 150 + 4 * truncated + 2 * wide, a: s,
      words: size / 32, run: (u, a) => singleToInteger(u, at(a, 0), size, rounding),
    },
    {
      name: `cvt${'t'.repeat(truncated)}sd2si ${size}`, operation: 151 + 4 * truncated + 2 * wide, a: double,
      words: size / 32, run: (u, a) => doubleToInteger(u, at(a, 0), at(a, 1), { size, rounding }),
    },
  ]))

const { ADD, SUB, MUL, DIV, MIN, MAX } = SSE_OPERATION
const rows: Row[] = [
  ...pair('add', 100, ADD), ...pair('sub', 102, SUB), ...pair('mul', 104, MUL), ...pair('div', 106, DIV),
  ...pair('min', 108, MIN), ...pair('max', 110, MAX),
  { name: 'sqrtss', operation: 112, a: s, words: 1, run: (u, a) => u.squareRoot32(at(a, 0)) },
  { name: 'sqrtsd', operation: 113, a: double, words: 2, run: (u, a) => u.squareRoot64(at(a, 0), at(a, 1)) },
  ...compares, ...rounds, ...toIntegers,
  {
    name: 'cvtsi2ss 32', operation: 160, a: integer, words: 1,
    run: (u, a) => integerToSingle(u, at(a, 0), at(a, 0) >> 31),
  },
  {
    name: 'cvtsi2sd 32', operation: 161, a: integer, words: 2,
    run: (u, a) => integerToDouble(u, at(a, 0), at(a, 0) >> 31),
  },
  { name: 'cvtsi2ss 64', operation: 162, a: integer, words: 1, run: (u, a) => integerToSingle(u, at(a, 0), at(a, 1)) },
  { name: 'cvtsi2sd 64', operation: 163, a: integer, words: 2, run: (u, a) => integerToDouble(u, at(a, 0), at(a, 1)) },
  { name: 'cvtss2sd', operation: 164, a: s, words: 2, run: (u, a) => singleToDouble(u, at(a, 0)) },
  { name: 'cvtsd2ss', operation: 165, a: double, words: 1, run: (u, a) => doubleToSingle(u, at(a, 0), at(a, 1)) },
]

function makeCases(row: Row, random: Random): FloatCase[] {
  return Array.from({ length: CASES }, () => {
    const a = row.a(random)
    const related = below(random, 8) === 0
    return { operation: row.operation, control: mxcsr(random), a, b: related ? a : row.a(random) }
  })
}

describe.skipIf(harness.path === undefined)(`SSE against the processor (${harness.reason === undefined ? 'native' : `SKIPPED: ${harness.reason}`})`, () => {
  test.each(rows.map((row) => [row.name, row] as const))('%s gives the processor\'s result and flags', (_name, row) => {
    const unit = new SseArithmetic()
    const cases = makeCases(row, new SeededRandom(row.operation))
    const answers = runNatively(harness.path!, cases)
    const wrong: string[] = []
    cases.forEach((one, index) => {
      unit.setMxcsr(one.control)
      const flags = row.run(unit, one.a, one.b)
      const ours = [unit.low >>> 0, unit.high >>> 0].slice(0, row.words)
      const { first, status } = answers[index]!
      const theirs = first.slice(0, row.words)
      if (hex(ours) === hex(theirs) && flags === status) return
      wrong.push(`${one.control.toString(16)}: ${hex(one.a)} ${hex(one.b)} -> ${hex(ours)} ${flags.toString(16)}, ` +
        `processor ${hex(theirs)} ${status.toString(16)}`)
    })
    expect(wrong.slice(0, 8), `${wrong.length} of ${CASES} differ`).toEqual([])
  })

  test.each([
    ['comiss', 140, 0, 1], ['comisd', 141, 0, 2], ['ucomiss', 142, 1, 1], ['ucomisd', 143, 1, 2],
  ] as const)('%s orders as the processor does', (_name, operation, quiet, words) => {
    const unit = new SseArithmetic()
    const operand = words === 1 ? s : double
    const cases = makeCases({ name: '', operation, a: operand, words, run: () => 0 }, new SeededRandom(operation))
    const answers = runNatively(harness.path!, cases)
    const ours = cases.map(({ control, a, b }) => {
      unit.setMxcsr(control)
      const flags = words === 1
        ? unit.order32(quiet, at(a, 0), at(b, 0))
        : unit.order64(quiet, at(a, 0), at(a, 1), at(b, 0), at(b, 1))
      return (flags | (unit.low << 16)) >>> 0
    })
    expect(ours).toEqual(answers.map((answer) => answer.status))
  })

  test.each([
    ['rcpss', 166, reciprocalSingle], ['rsqrtss', 167, reciprocalRootSingle],
  ] as const)('%s lies within the architecture\'s error of the processor\'s', (_name, operation, run) => {
    const unit = new SseArithmetic()
    const cases = makeCases({ name: '', operation, a: s, words: 1, run: () => 0 }, new SeededRandom(operation))
    const view = new DataView(new ArrayBuffer(4))
    const number = (bits: number): number => {
      view.setUint32(0, bits)
      return view.getFloat32(0)
    }
    const answers = runNatively(harness.path!, cases)
    const wrong = cases.filter(({ a }, index) => {
      run(unit, at(a, 0))
      const theirs = number(answers[index]!.first[0]!)
      const ours = number(unit.low)
      return !Object.is(ours, theirs) && !(Math.abs(ours - theirs) <= Math.abs(theirs) * 3 * 2 ** -12)
    })
    expect(wrong.map(({ a }) => hex(a)).slice(0, 8)).toEqual([])
  })
})

test.each([
  // (1 - m * 2^-23) * (1 + m * 2^-23) is 1 - m^2 * 2^-46: above or below what rounds to 1 with 24 bits.
  ['least normal number', 256, FLOAT_FLAG.PRECISION], ['least normal number, from further below', 1000, FLOAT_FLAG.PRECISION],
  ['number below', 1600, FLOAT_FLAG.PRECISION | FLOAT_FLAG.UNDERFLOW],
])('a product of binary32 that rounds to the %s is tiny only when it would be with any exponent', (_, m, flags) => {
  const unit = new SseArithmetic()
  const bits = (value: number): number => new Int32Array(Float32Array.of(value).buffer)[0]!
  expect(unit.binary32(SSE_OPERATION.MUL, bits((1 - m * 2 ** -23) * 2 ** -63), bits((1 + m * 2 ** -23) * 2 ** -63))).toBe(flags)
})
