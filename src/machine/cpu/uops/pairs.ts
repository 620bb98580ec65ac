/**
 * Pairs: a comparison and the conditional jump behind it, dispatched once. The records of both stay as they are, only
 * the first one's number tells of the pair. Frequent conditions have a pair of their own; the others share one that
 * takes the condition from the jump's record.
 */
import type { Condition } from '../../../x86/index.ts'
import { SELECTABLE, isDirect, pushSelected } from '../emit/conditions.ts'
import { isAmong } from './micro.ts'
import type { Emit, Micro, MicroList, Pattern } from './micro.ts'
import { conditionalJump } from './stack.ts'

/** The pair that takes its condition from the jump's record. */
const ANY = 'any'

interface Rule {
  readonly first: Pattern
  readonly forms?: readonly (1 | 2)[]
  readonly conditions: readonly (Condition | typeof ANY)[]
}

const RULES: readonly Rule[] = [
  { first: ['cmp', [32, 64], ['rr', 'ri']], conditions: ['e', 'ne', ANY] },
  { first: ['cmp', 8, 'ri'], conditions: ['e', 'ne', ANY] },
  { first: ['cmp', [32, 64], 'mi'], forms: [1], conditions: ['e', 'ne', ANY] },
  { first: ['cmp', [32, 64], ['rm', 'mr']], forms: [1], conditions: [ANY] },
  { first: [['cmp', 'test'], 8, 'mi'], forms: [1], conditions: ['e', 'ne'] },
  { first: ['test', [32, 64], 'rr'], conditions: ['e', 'ne', ANY] },
  { first: ['test', 8, ['rr', 'ri']], conditions: ['e', 'ne'] },
  { first: ['test', 32, 'ri'], conditions: ['e', 'ne'] },
  { first: ['sub', [32, 64], 'ri'], conditions: ['e', 'ne'] },
  { first: [['inc', 'dec'], [32, 64], 'r'], conditions: ['ne'] },
]

/** Jumps as the jump's record says. */
const selectedJump: Emit = (b, before) => {
  if (before === undefined) throw new Error('a pair needs to know what set the flags')
  pushSelected(b, before)
  b.code.if()
  b.branch('middle')
  b.code.end()
}

function addPair(list: MicroList, first: Micro, condition: Condition | typeof ANY): void {
  const kind = first.facts.flagSource
  if (kind === undefined) throw new Error('the first half of a pair leaves what a condition needs')
  if (condition === ANY) {
    const conditions = SELECTABLE[kind === 'sub' ? 'sub' : 'logic']
    list.addPair({ first, second: selectedJump, conditions, isSelected: true }, ANY)
  } else if (isDirect(kind, condition)) {
    list.addPair({ first, second: conditionalJump(condition), conditions: [condition], isSelected: false }, condition)
  }
}

/** Adds the pairs; to be called when all singles are there. */
export function definePairs(list: MicroList): void {
  const singles = list.all.filter(({ twinOf }) => twinOf === undefined)
  for (const { first, forms, conditions } of RULES) {
    for (const single of singles.filter((micro) => isAmong(micro, first, forms))) {
      for (const condition of conditions) addPair(list, single, condition)
    }
  }
}
