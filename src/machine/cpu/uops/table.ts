/** All micro-operations, numbered: 0 ends a block, those of the interpreter's loop come first, the others follow. */
import { defineArithmeticFamily } from './arithmetic.ts'
import { defineBitFamily } from './bits.ts'
import { defineBitManipulation } from './bmi.ts'
import { endsBlock } from './facts.ts'
import { hotOf } from './hot.ts'
import { defineInterruptReturn } from './interrupt-return.ts'
import { MicroList } from './micro.ts'
import { MicroTable, pairKey, type MicroIndex } from './micro-table.ts'
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
  defineInterruptReturn(list)
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

/** Numbers of both forms of each that has an address. */
function memoryForms(all: readonly Micro[], numberOf: ReadonlyMap<Micro, number>): (readonly [number, number])[] {
  const isUsual = ({ form, pair, twinOf }: Micro): boolean => form !== 0 && pair === undefined && twinOf === undefined
  const shorter = new Map(all.filter((micro) => isUsual(micro) && micro.form === 1).map((micro) => [micro.parts, numberOf.get(micro)!]))
  // The longer form always exists.
  return all.filter((micro) => isUsual(micro) && micro.form === 2).map((micro) => {
    const long = numberOf.get(micro)!
    return [shorter.get(micro.parts) ?? long, long]
  })
}

function pairNumbers(all: readonly Micro[], numberOf: ReadonlyMap<Micro, number>): Map<number, number> {
  const numbers = new Map<number, number>()
  // Those that take the condition from the record come first, so that those made for one condition override them.
  for (const isSelected of [true, false]) {
    all.forEach(({ pair }, number) => {
      if (pair?.isSelected !== isSelected) return
      const first = pairKey(numberOf.get(pair.first)!, 0)
      for (const second of pair.seconds) numbers.set(first + numberOf.get(second)!, number)
    })
  }
  return numbers
}

/** All of them, in the order of their numbers, and how many of them are in the loop. */
function numbered({ all: defined }: MicroList): { readonly all: readonly Micro[]; readonly hotCount: number } {
  const hot = hotOf(defined)
  const inLoop = new Set(hot)
  return { all: [...hot, ...defined.filter((micro) => micro.isKept && !inLoop.has(micro))], hotCount: hot.length }
}

function indexOf({ all, hotCount }: ReturnType<typeof numbered>): MicroIndex {
  const names = all.map(({ name }) => name)
  if (new Set(names).size !== all.length) throw new Error('two micro-operations have the same name')
  const numberOf = new Map(all.map((micro, number) => [micro, number]))
  return {
    names, hotCount, ends: all.map(({ outline }) => outline.ends), memory: memoryForms(all, numberOf),
    firsts: all.flatMap(({ pair }, number) => (pair === undefined ? [] : [[number, numberOf.get(pair.first)!] as const])),
    twins: all.flatMap(({ twinOf }, number) => (twinOf === undefined ? [] : [[numberOf.get(twinOf)!, number] as const])),
    pairs: [...pairNumbers(all, numberOf)],
  }
}

/** Builds the table. */
export function buildMicroTable(): MicroTable {
  const list = defineAll()
  const made = numbered(list)
  return new MicroTable(indexOf(made), () => made.all)
}

/** The table by its index; the micro-operations themselves are made when one of them is asked for. */
export const microTableBy = (index: MicroIndex): MicroTable => new MicroTable(index, () => numbered(defineAll()).all)
