/**
 * The three words that the arithmetic flags are stored in (flags.ts says what they mean), and the parts by which they are
 * read and written: a whole word, a few of its bits where a narrow load will do, two words at once.
 */
import type { Code, MemoryName } from '../../../wasm/index.ts'
import { State } from '../layout/state.ts'

/** The words: `result` is an i64, the others are i32. */
export type FlagWord = 'result' | 'low' | 'high'

const RESULT = State.flagResult.offset
const LOW = State.flagLow.offset
const HIGH = State.flagHigh.offset

interface ReadPart {
  readonly word: FlagWord
  readonly offset: number
  readonly load: MemoryName
  /** Where the part begins in its word, and its bits where they are not all that is above. */
  readonly shift: number
  readonly mask?: number
}

/** What can be read. All but `result` are pushed as i32. */
export const FLAG_READS = {
  result: { word: 'result', offset: RESULT, load: 'i64.load', shift: 0 },
  /** The upper half of the result. */
  resultTop: { word: 'result', offset: RESULT + 4, load: 'i32.load', shift: 32 },
  /** Its lowest byte. */
  resultByte: { word: 'result', offset: RESULT, load: 'i32.load8_u', shift: 0, mask: 0xff },
  low: { word: 'low', offset: LOW, load: 'i32.load', shift: 0 },
  /** AF and what lies beside it: the lowest byte of `low`. */
  lowByte: { word: 'low', offset: LOW, load: 'i32.load8_u', shift: 0, mask: 0xff },
  /** What turns over SF and PF: bits 15..8 of `low`. */
  corrections: { word: 'low', offset: LOW + 1, load: 'i32.load8_u', shift: 8, mask: 0xff },
  high: { word: 'high', offset: HIGH, load: 'i32.load', shift: 0 },
} as const satisfies Readonly<Record<string, ReadPart>>
/** Name of a part that can be read. */
export type FlagRead = keyof typeof FLAG_READS

/** What can be written; `carries` is an i64: `low` in its lower half, `high` in its upper one. */
export const FLAG_WRITES = {
  result: { offset: RESULT, store: 'i64.store' },
  low: { offset: LOW, store: 'i32.store' },
  high: { offset: HIGH, store: 'i32.store' },
  carries: { offset: LOW, store: 'i64.store' },
} as const satisfies Readonly<Record<string, { offset: number; store: MemoryName }>>
/** Name of a part that can be written. */
export type FlagWrite = keyof typeof FLAG_WRITES

/** Locals that stand for the words. */
export type FlagLocals = Readonly<Record<FlagWord, number>>

/** Pushes a part of the words in locals. */
export function pushFlagPart(c: Code, locals: FlagLocals, part: FlagRead): void {
  const { word, shift, mask }: ReadPart = FLAG_READS[part]
  c.get(locals[word])
  if (part === 'result') return
  if (word === 'result') {
    if (shift > 0) {
      c.i64(shift)
      c.op('i64.shr_u')
    }
    c.op('i32.wrap_i64')
  } else if (shift > 0) {
    c.i32(shift)
    c.op('i32.shr_u')
  }
  if (mask === undefined) return
  c.i32(mask)
  c.op('i32.and')
}

/** Sets a part of the words in locals to what `push` pushes. */
export function setFlagPart(c: Code, locals: FlagLocals, part: FlagWrite, push: () => void): void {
  push()
  if (part !== 'carries') return c.set(locals[part])
  const both = c.local('i64')
  c.tee(both)
  c.op('i32.wrap_i64')
  c.set(locals.low)
  c.get(both)
  c.i64(32)
  c.op('i64.shr_u', 'i32.wrap_i64')
  c.set(locals.high)
  c.release('i64', both)
}
