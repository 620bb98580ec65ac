/**
 * Pairs: a comparison and the conditional jump behind it, dispatched once. The records of both stay as they are, only
 * the first one's number tells of the pair. Frequent conditions have a pair of their own; the others share one that
 * takes the condition from the jump's record.
 */
import { SELECTABLE, isDirect, pushSelected } from '../emit/conditions.ts'
import type { Condition } from '../emit/conditions.ts'
import type { FlagSource } from '../emit/binder.ts'
import type { Emit, MicroList } from './micro.ts'
import { conditionalJump } from './stack.ts'

/** Name of the jump in a pair that takes its condition from the record. */
export const ANY = 'any'

interface Rule {
  readonly pattern: RegExp
  readonly conditions: readonly (Condition | typeof ANY)[]
}

const RULES: readonly Rule[] = [
  { pattern: /^cmp\.(32|64)\.r[ri]$/, conditions: ['e', 'ne', ANY] },
  { pattern: /^cmp\.8\.ri$/, conditions: ['e', 'ne', ANY] },
  { pattern: /^cmp\.(32|64)\.mi1$/, conditions: ['e', 'ne', ANY] },
  { pattern: /^cmp\.(32|64)\.(rm1|mr1)$/, conditions: [ANY] },
  { pattern: /^(cmp|test)\.8\.mi1$/, conditions: ['e', 'ne'] },
  { pattern: /^test\.(32|64)\.rr$/, conditions: ['e', 'ne', ANY] },
  { pattern: /^test\.8\.r[ri]$/, conditions: ['e', 'ne'] },
  { pattern: /^test\.32\.ri$/, conditions: ['e', 'ne'] },
  { pattern: /^sub\.(32|64)\.ri$/, conditions: ['e', 'ne'] },
  { pattern: /^(inc|dec)\.(32|64)\.r$/, conditions: ['ne'] },
]

const kindOf = (name: string): FlagSource['kind'] =>
  name.startsWith('cmp') ? 'sub' : name.startsWith('test') ? 'logic' : 'step'

/** Jumps as the jump's record says. */
const selectedJump: Emit = (b, before) => {
  if (before === undefined) throw new Error('a pair needs to know what set the flags')
  pushSelected(b, before)
  b.code.if()
  b.branch('middle')
  b.code.end()
}

/** Adds the pairs; to be called when all singles are there. */
export function definePairs(list: MicroList): void {
  const singles = [...list.all]
  for (const { pattern, conditions } of RULES) {
    for (const single of singles.filter((micro) => pattern.test(micro.name))) {
      const { name } = single
      for (const condition of conditions) {
        if (condition !== ANY && !isDirect(kindOf(name), condition)) continue
        const second = condition === ANY ? selectedJump : conditionalJump(condition)
        list.addPair(`${name}+j${condition}`, single, second)
      }
    }
  }
}

/** Names of the jumps that a pair stands for. */
export function jumpsOf(pair: string): string[] {
  const [first = '', jump = ''] = pair.split('+')
  if (jump !== `j${ANY}`) return [jump]
  return SELECTABLE[kindOf(first) === 'sub' ? 'sub' : 'logic'].map((condition) => `j${condition}`)
}
