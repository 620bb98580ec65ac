/**
 * Pairs: two micro-operations behind one another that are dispatched once. The records of both stay as they are, only
 * the first one's number tells of the pair. One kind is a comparison and the conditional jump behind it: frequent conditions
 * have a pair of their own, the others share one that takes the condition from the jump's record. The other kind is what stands
 * behind one another most in code that is executed too seldom to be compiled: the beginnings and ends of functions, and moves.
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

/** One micro-operation, and the form of its address. */
type Half = readonly [pattern: readonly (string | number)[], form?: 1 | 2]

const PUSH: Half = [['push', 64, 'r']]
const POP: Half = [['pop', 64, 'r']]
const MOVE: Half = [['mov', 64, 'rr']]
const MOVE_32: Half = [['mov', 32, 'rr']]
const LOAD: Half = [['mov', 64, 'rm'], 1]
const STORE: Half = [['mov', 64, 'mr'], 1]
const CALL: Half = [['call', 64]]
const RETURN: Half = [['ret', 64]]
const JUMP: Half = [['jmp']]

/**
 * What stands behind one another most in a boot of Linux outside of compiled code, the second halves by their first. Nothing that a
 * pair with a conditional jump begins with is a second half: that is worth more as a first one.
 */
const SEQUENCES: readonly (readonly [first: Half, ...seconds: Half[]])[] = [
  [POP, POP, RETURN, JUMP],
  [PUSH, PUSH, MOVE, MOVE_32, LOAD, CALL],
  [MOVE, MOVE, PUSH, CALL, MOVE_32, POP, LOAD, JUMP],
  [MOVE_32, PUSH, MOVE],
  [LOAD, LOAD, MOVE],
  [STORE, STORE, RETURN],
  [[['nop']], PUSH, RETURN, LOAD],
  [[['add', 64, 'ri']], POP, MOVE],
  [[['xor', 32, 'rr']], JUMP, POP, MOVE_32],
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
    list.addPair({ first, second: selectedJump, seconds: conditions.map((one) => list.jumps.get(one)!), isSelected: true }, `j${ANY}`)
  } else if (isDirect(kind, condition)) {
    list.addPair({ first, second: conditionalJump(condition), seconds: [list.jumps.get(condition)!], isSelected: false }, `j${condition}`)
  }
}

/** The only micro-operation that a pattern means. */
function only(singles: readonly Micro[], [pattern, form]: Half): Micro {
  const [found, ...more] = singles.filter((micro) => isAmong(micro, pattern, [form ?? 0]))
  if (found === undefined || more.length > 0) throw new Error(`half a pair is one micro-operation: ${pattern.join('.')}`)
  return found
}

function addSequence(list: MicroList, first: Micro, second: Micro): void {
  // What the first half has left in flags is asked for in the ordinary way.
  list.addPair({ first, second: (b) => second.emit(b), seconds: [second], isSelected: false }, second.name)
}

/** Adds the pairs; to be called when all singles are there. */
export function definePairs(list: MicroList): void {
  const singles = list.all.filter(({ twinOf }) => twinOf === undefined)
  for (const [first, ...seconds] of SEQUENCES) {
    for (const second of seconds) addSequence(list, only(singles, first), only(singles, second))
  }
  for (const { first, forms, conditions } of RULES) {
    for (const single of singles.filter((micro) => isAmong(micro, first, forms))) {
      for (const condition of conditions) addPair(list, single, condition)
    }
  }
}
