/** All micro-operations, numbered: 0 ends a block, those of the interpreter's loop come first, the others follow. */
import { defineArithmeticFamily } from './arithmetic.ts'
import { defineBitFamily } from './bits.ts'
import { MicroList } from './micro.ts'
import type { Micro } from './micro.ts'
import { defineMoveFamily } from './move.ts'
import { defineMultiplyFamily } from './multiply.ts'
import { defineShiftFamily } from './shift.ts'
import { defineVectorFloats } from './sse-float.ts'
import { defineVectorIntegers } from './sse-integer.ts'
import { defineVectorMoves } from './sse-move.ts'
import { defineVectorShuffles } from './sse-shuffle.ts'
import { defineVectorSystem } from './sse-system.ts'
import { definePairs, defineStackFamily } from './stack.ts'
import { defineSystemFamily } from './system.ts'

/** Micro-operations by number and by name. */
export interface MicroTable {
  readonly all: readonly Micro[]
  /** Those below this number are in the loop. */
  readonly hotCount: number
  readonly numbers: ReadonlyMap<string, number>
  /** For each pair: the number that two consecutive records are given, by `first * 65536 + second`. */
  readonly pairs: ReadonlyMap<number, number>
}

/** Builds the table. */
export function buildMicroTable(): MicroTable {
  const list = new MicroList()
  list.hot('end', (b) => b.branch('end'))
  defineMoveFamily(list)
  defineArithmeticFamily(list)
  defineShiftFamily(list)
  defineMultiplyFamily(list)
  defineBitFamily(list)
  defineStackFamily(list)
  defineSystemFamily(list)
  defineVectorMoves(list)
  defineVectorIntegers(list)
  defineVectorShuffles(list)
  defineVectorFloats(list)
  defineVectorSystem(list)
  definePairs(list)
  const all = [...list.all.filter(({ hot }) => hot), ...list.all.filter(({ hot }) => !hot)]
  const numbers = new Map(all.map(({ name }, number) => [name, number]))
  if (numbers.size !== all.length) throw new Error('two micro-operations have the same name')
  const pairs = new Map<number, number>()
  all.forEach(({ name, first }, number) => {
    if (first === undefined) return
    const second = numbers.get(name.slice(name.indexOf('+') + 1))!
    pairs.set(numbers.get(first)! * 65_536 + second, number)
  })
  return { all, hotCount: list.all.filter(({ hot }) => hot).length, numbers, pairs }
}
