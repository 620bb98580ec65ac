/**
 * VEX forms of SSE operations, derived: dest := first op second, with 128 or 256 bits, out of the micro-operation that does
 * first := first op second with 128. It runs once for each half; its results are kept until the last half is done, as
 * a later half may give up and as the destination may be an operand. What lies above the result becomes zero.
 *
 * Records: SHAPES.operands: the first operand is `addend`, the second `source`; an operation of one operand has only `source`.
 * Reference: Intel SDM volume 1, section 14.1; volume 2, section 2.3.10.
 */
import type { LaneName } from '../../../wasm/index.ts'
import type { Binder, VectorForm } from '../emit/binder.ts'
import { factsOf, field, fieldBit, fromVector, intoVector } from './facts.ts'
import type { Effect, MicroFacts, OperandFact } from './facts.ts'
import { isAmong } from './micro.ts'
import type { Emit, Micro, MicroList, Parts, Pattern } from './micro.ts'
import { UPPER_HALF } from '../layout/state.ts'

/** Lengths of registers in bits. */
export type VectorLength = 128 | 256

/** Instructions that put a part of a result into a register, in place of the stores of that part. */
const MERGES: Readonly<Record<string, LaneName>> = {
  'i64.store': 'i64x2.replace_lane', 'i32.store': 'i32x4.replace_lane', 'f64.store': 'f64x2.replace_lane', 'f32.store': 'f32x4.replace_lane',
}
const MERGE_BYTES: Readonly<Record<string, number>> = { 'i64.store': 8, 'i32.store': 4, 'f64.store': 8, 'f32.store': 4 }

/** Halves of a register of that length. */
export const halvesOf = (length: VectorLength): readonly (0 | 1)[] => (length === 256 ? [0, 1] : [0])

/** What an operation does, half for half, whose results go to locals. */
export interface Halves {
  readonly length: VectorLength
  /** Bytes of the second operand's register at which the upper half of the operation finds its part. */
  readonly second?: number
  /** Bytes of a half that the upper one skips there: it widens. */
  readonly skipped?: number
}

/** Runs an operation on 128 bits for each half and gives the locals with the results. The caller releases them. */
export function runHalves(b: Binder, halves: Halves, emit: (half: 0 | 1) => void): number[] {
  const c = b.code
  const results = halvesOf(halves.length).map(() => c.local('v128'))
  for (const half of halvesOf(halves.length)) {
    const form: VectorForm = {
      half, second: half * (halves.second ?? UPPER_HALF), skipped: half * (halves.skipped ?? 0),
      store: (name, push, offset) => {
        if (name !== 'v128.store') b.vectorGet('addend', 'v128.load', half * UPPER_HALF)
        push()
        if (name !== 'v128.store') c.lane(MERGES[name]!, offset / MERGE_BYTES[name]!)
        c.set(results[half]!)
      },
    }
    b.vectors = form
    emit(half)
    b.vectors = undefined
  }
  return results
}

/** Stores one or two results in the destination, zero where there is none. */
export function storeHalves(b: Binder, results: readonly number[]): void {
  const place = b.vector('destination')
  for (const half of [0, 1]) {
    place.store('v128.store', () => {
      if (results[half] === undefined) b.code.v128(new Uint8Array(16))
      else b.code.get(results[half])
    }, half * UPPER_HALF)
  }
  b.code.release('v128', ...results)
}

/** Writes the whole of the destination. */
export const intoWhole: Effect = /* @__PURE__ */ [
  /* @__PURE__ */ intoVector('destination'), /* @__PURE__ */ intoVector('destination', { from: UPPER_HALF }),
]

/** Reads both halves of an operand, or the lower one. */
export const fromHalves = (name: 'source' | 'addend' | 'chooser', length: VectorLength): Effect =>
  halvesOf(length).map((half) => fromVector(name, { from: half * UPPER_HALF }))

/** Which halves of its operands an operation reads. */
interface Reading {
  readonly length: VectorLength
  /** The second operand is the lower half for both. */
  readonly sharesSecond: boolean
}

function derivedOperands(operand: OperandFact, { length, sharesSecond }: Reading): OperandFact[] {
  if (operand.file === 'general') return [operand]
  if (operand.use === 'write') return []
  const isFirst = operand.field === 'destination'
  const halves = isFirst || !sharesSecond ? halvesOf(length) : [0]
  return halves.map((half) => ({ ...operand, field: isFirst ? 'addend' as const : operand.field, from: operand.from + half * UPPER_HALF }))
}

const isVectorWrite = ({ file, use }: OperandFact): boolean => file === 'vector' && use === 'write'

function derivedFacts({ facts }: Micro, reading: Reading): MicroFacts {
  const isMerged = facts.operands.some((operand) => isVectorWrite(operand) && operand.bytes < 16)
  const readsFirst = isMerged || facts.operands.some(({ field: name, use, file }) => name === 'destination' && use === 'read' && file === 'vector')
  const operands = facts.operands.flatMap((operand) => derivedOperands(operand, reading))
  return factsOf({ ...facts, operands }, intoWhole, isMerged ? fromVector('addend') : [], readsFirst ? { fields: fieldBit('addend') } : [])
}

/** What is said of a derived operation. */
export interface Derivation {
  readonly lengths: readonly VectorLength[]
  readonly sharesSecond?: boolean
}

/** Adds the forms of an operation with 128 and 256 bits: `v`, its name, the length and what operands it has. */
export function deriveVex(list: MicroList, micro: Micro, { lengths, sharesSecond = false }: Derivation): void {
  const [operation, ...rest] = micro.parts
  for (const length of lengths) {
    const parts: Parts = [`v${operation}`, ...rest, length]
    const halves: Halves = { length, ...(sharesSecond ? { second: 0 } : {}) }
    const emit: Emit = (b) => storeHalves(b, runHalves(b, halves, () => {
      micro.emit(b)
    }))
    list.addLike(micro, { parts, facts: () => derivedFacts(micro, { length, sharesSecond }), emit })
  }
}

/** Shifts count by the lower half of their second operand. */
const SHIFTS: Pattern = [['psllw', 'pslld', 'psllq', 'psrlw', 'psrld', 'psrlq', 'psraw', 'psrad'], 'vv']
/** Operations whose registers have 128 bits only. */
const SHORT: readonly Pattern[] = [
  [['add', 'sub', 'mul', 'div', 'sqrt', 'min', 'max', 'round'].flatMap((name) => [`${name}ss`, `${name}sd`]), 'vv'],
  [['cvtss2sd', 'cvtsd2ss', 'cvtdq2pd'], 'vv'], [['cvtsi2ss', 'cvtsi2sd'], [32, 64], 'vr'],
  [['pmovsx', 'pmovzx'].flatMap((name) => ['bw', 'bd', 'bq', 'wd', 'wq', 'dq'].map((sizes) => name + sizes)), 'vv'],
  ['vmov', ['64z', 32, 64]], ['vmov', 64, ['lh', 'hl']], ['vmov', [32, 64], 'vr'],
]
/** What has no VEX form of its own: it writes no vector, or chooses by XMM0. */
const NOT_DERIVED: readonly Pattern[] = [
  [['ptest', 'blendvps', 'blendvpd', 'pblendvb', 'comiss', 'comisd', 'ucomiss', 'ucomisd'], 'vv'],
]
/** All others of these operands have both lengths. */
const BOTH = new Set<string | number>(['vv', 'vi', 'vvi'])

const matches = (micro: Micro, patterns: readonly Pattern[]): boolean => patterns.some((pattern) => isAmong(micro, pattern))

/** Adds the derived forms of the operations that a list holds. */
export function defineDerived(list: MicroList, operations: readonly Micro[]): void {
  for (const micro of operations) {
    if (matches(micro, NOT_DERIVED)) continue
    if (matches(micro, SHORT)) deriveVex(list, micro, { lengths: [128] })
    else if (BOTH.has(micro.parts[micro.parts.length - 1]!)) deriveVex(list, micro, { lengths: [128, 256], sharesSecond: isAmong(micro, SHIFTS) })
  }
}

/** Conversions and extensions to lanes of twice the size and more: the upper half reads further in the lower one of the source. */
const WIDENING: readonly (readonly [names: readonly string[], skipped: number])[] = [
  [['pmovsxbw', 'pmovsxwd', 'pmovsxdq', 'pmovzxbw', 'pmovzxwd', 'pmovzxdq', 'cvtdq2pd'], 8],
  [['pmovsxbd', 'pmovsxwq', 'pmovzxbd', 'pmovzxwq'], 4], [['pmovsxbq', 'pmovzxbq'], 2],
]

/** Adds the widening operations with 256 bits. */
export function defineWidening(list: MicroList, operations: readonly Micro[]): void {
  for (const [names, skipped] of WIDENING) {
    for (const micro of operations.filter((one) => isAmong(one, [names, 'vv']))) {
      list.add([`v${micro.parts[0]}`, 'vv', 256], [field('destination'), fromVector('source'), intoWhole], (b) => {
        storeHalves(b, runHalves(b, { length: 256, second: 0, skipped }, () => {
          micro.emit(b)
        }))
      })
    }
  }
}
