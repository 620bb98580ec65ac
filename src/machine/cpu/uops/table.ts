/** All micro-operations, numbered: 0 ends a block, those of the interpreter's loop come first, the others follow. */
import type { Condition } from '../../../x86/index.ts'
import { defineArithmeticFamily } from './arithmetic.ts'
import { defineBitFamily } from './bits.ts'
import { defineBitManipulation } from './bmi.ts'
import { endsBlock } from './facts.ts'
import { hotOf } from './hot.ts'
import { MicroList } from './micro.ts'
import type { Micro } from './micro.ts'
import { defineMoveFamily } from './move.ts'
import { defineMultiplyFamily } from './multiply.ts'
import { definePairs } from './pairs.ts'
import { defineSegmentFamily } from './segment.ts'
import { defineShiftFamily } from './shift.ts'
import { defineLongMoves } from './avx-move.ts'
import { defineLongShuffles } from './avx-shuffle.ts'
import { defineVectorFloats } from './sse-float.ts'
import { defineVectorIntegers } from './sse-integer.ts'
import { defineVectorMoves } from './sse-move.ts'
import { defineVectorShuffles } from './sse-shuffle.ts'
import { defineVectorSystem } from './sse-system.ts'
import { defineStackFamily } from './stack.ts'
import { defineSystemFamily } from './system.ts'
import { defineDerived, defineWidening } from './vex.ts'

/** A micro-operation in both forms of an address. */
export interface MemoryForms {
  /** Numbers for the shorter form (or the longer one, where that is the only one) and for the longer. */
  readonly numbers: readonly [number, number]
  /** The longer form. */
  readonly micro: Micro
}

/** Micro-operations by number, and what lifters find them by. */
export interface MicroTable {
  readonly all: readonly Micro[]
  /** Those below this number are in the loop. */
  readonly hotCount: number
  /** Numbers by the names that lifters ask for. */
  readonly numbers: ReadonlyMap<string, number>
  /** Those with an address, by the same names without the address's form. */
  readonly memory: ReadonlyMap<string, MemoryForms>
  /** Numbers of the twins for code whose segments are not flat. */
  readonly twins: ReadonlyMap<number, number>
  /** For each pair: the number that two consecutive records are given, by `first * 65536 + second`. */
  readonly pairs: ReadonlyMap<number, number>
  /** 1 for each number that some pair begins with. */
  readonly beginsPair: Uint8Array
}

function defineAll(): MicroList {
  const list = new MicroList()
  list.add(['end'], [endsBlock], (b) => b.branch('end'))
  defineMoveFamily(list)
  defineArithmeticFamily(list)
  defineShiftFamily(list)
  defineMultiplyFamily(list)
  defineBitFamily(list)
  defineStackFamily(list)
  defineSystemFamily(list)
  list.group = 'segmented'
  defineSegmentFamily(list)
  list.group = 'common'
  definePairs(list)
  list.group = 'vector'
  defineVectorMoves(list)
  defineVectorIntegers(list)
  defineVectorShuffles(list)
  defineVectorFloats(list)
  defineVectorSystem(list)
  const operations = list.all.filter(({ group }) => group === 'vector')
  list.group = 'avx'
  defineDerived(list, operations)
  defineWidening(list, operations)
  defineLongMoves(list)
  defineLongShuffles(list)
  defineBitManipulation(list)
  return list
}

/** Numbers of both forms by the name that they share. */
function memoryForms(all: readonly Micro[], numberOf: ReadonlyMap<Micro, number>): Map<string, MemoryForms> {
  const isUsual = ({ form, pair, twinOf }: Micro): boolean => form !== 0 && pair === undefined && twinOf === undefined
  const forms = new Map<string, MemoryForms>()
  const shorter = new Map(all.filter((micro) => isUsual(micro) && micro.form === 1).map((micro) => [micro.parts, micro]))
  // The longer form always exists.
  for (const micro of all.filter((other) => isUsual(other) && other.form === 2)) {
    const long = numberOf.get(micro)!
    const short = shorter.get(micro.parts)
    const numbers = [short === undefined ? long : numberOf.get(short)!, long] as const
    forms.set(micro.parts.join('.'), { numbers, micro })
  }
  return forms
}

function pairNumbers(
  all: readonly Micro[], numberOf: ReadonlyMap<Micro, number>, jumps: ReadonlyMap<Condition, Micro>,
): Map<number, number> {
  const numbers = new Map<number, number>()
  // Those that take the condition from the record come first, so that those made for one condition override them.
  for (const isSelected of [true, false]) {
    all.forEach(({ pair }, number) => {
      if (pair?.isSelected !== isSelected) return
      const first = numberOf.get(pair.first)! * 65_536
      for (const condition of pair.conditions) numbers.set(first + numberOf.get(jumps.get(condition)!)!, number)
    })
  }
  return numbers
}

/** Builds the table. */
export function buildMicroTable(): MicroTable {
  const list = defineAll()
  const hot = hotOf(list.all)
  const inLoop = new Set(hot)
  const all = [...hot, ...list.all.filter((micro) => micro.isKept && !inLoop.has(micro))]
  const numberOf = new Map(all.map((micro, number) => [micro, number]))
  const numbers = new Map(all.map(({ name }, number) => [name, number]))
  if (numbers.size !== all.length) throw new Error('two micro-operations have the same name')
  const twins = new Map(all.flatMap(({ twinOf }, number) =>
    (twinOf === undefined ? [] : [[numberOf.get(twinOf)!, number] as const])))
  const pairs = pairNumbers(all, numberOf, list.jumps)
  const beginsPair = new Uint8Array(all.length)
  for (const key of pairs.keys()) beginsPair[Math.floor(key / 65_536)] = 1
  return { all, hotCount: hot.length, numbers, twins, memory: memoryForms(all, numberOf), pairs, beginsPair }
}
