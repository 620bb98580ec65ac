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
import { isHot } from './hot.ts'
import { ANY, definePairs, jumpsOf } from './pairs.ts'
import { defineSegmentFamily } from './segment.ts'
import { defineStackFamily } from './stack.ts'
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
  list.add('end', (b) => b.branch('end'))
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
  // The shorter form of an address is worth its code only in the loop.
  const [hot, others]: [Micro[], Micro[]] = [[], []]
  for (const micro of list.all) {
    if (isHot(micro.name)) hot.push(micro)
    else if (!/m1$|\.1$/.test(micro.name) || singleForm(micro.name)) others.push(micro)
  }
  const all = [...hot, ...others]
  const numbers = new Map(all.map(({ name }, number) => [name, number]))
  if (numbers.size !== all.length) throw new Error('two micro-operations have the same name')
  const pairs = new Map<number, number>()
  // Those that take the condition from the record come first, so that those made for one condition override them.
  for (const any of [true, false]) {
    all.forEach(({ name, first }, number) => {
      if (first === undefined || name.endsWith(`+j${ANY}`) !== any) return
      for (const jump of jumpsOf(name)) pairs.set(numbers.get(first)! * 65_536 + numbers.get(jump)!, number)
    })
  }
  return { all, hotCount: hot.length, numbers, pairs }
}

/** Micro-operations that lifters ask for in the shorter form by name. */
const singleForm = (name: string): boolean => /^(lea|mov|modify)\.|^movzx\.32\.16/.test(name)
