/**
 * Functions that regions call where they know only at run time what set the flags: one small module for a machine.
 */
import type { OwnBytes } from '../../../../util/index.ts'
import { ModuleWriter } from '../../../../wasm/index.ts'
import type { Code } from '../../../../wasm/index.ts'
import { signExtend32, typeOf } from '../../emit/binder.ts'
import type { FlagBinder, FlagSource } from '../../emit/binder.ts'
import { pushCarryOf } from '../../emit/flag-operands.ts'
import { FLAG_READS, FLAG_WRITES } from '../../emit/flag-words.ts'
import { storeFlags } from '../../emit/flags.ts'
import { FROM_LEFT, KEPT_KINDS, KEPT_SIZES, flagKind } from './flag-kinds.ts'
import type { KeptKind } from './flag-kinds.ts'

/** Exports of the module: see FlagFunctions in region-flags.ts. */
export const FLAG_HELPERS = {
  storeFlags: { parameters: ['i32', 'i32', 'i64', 'i64', 'i32'], results: [] },
  carryOf: { parameters: ['i32', 'i64', 'i64', 'i32'], results: ['i32'] },
} as const

/** Locals of a helper. */
interface Kept {
  readonly kind: number
  readonly first: number
  readonly second: number
  readonly carry: number
}

type Operands = Omit<FlagSource, 'kind'> & { readonly kind: KeptKind }

/** What makes the result of left and right. */
const RESULTS: Readonly<Partial<Record<KeptKind, 'sub' | 'shl' | 'shr_u' | 'shr_s' | 'mul'>>> =
  { cmp: 'sub', shl: 'shl', shr: 'shr_u', sar: 'shr_s', imul: 'mul' }

/** Writes the module; it imports the memory. */
export function writeFlagHelpers(): OwnBytes {
  const module = new ModuleWriter()
  module.importMemory('env', 'memory')
  const store = module.function(FLAG_HELPERS.storeFlags.parameters, FLAG_HELPERS.storeFlags.results)
  const words = wordsOf(store.code, 0)
  forEachKind(store.code, { kind: 1, first: 2, second: 3, carry: 4 }, (source) => storeFlags(words, source))
  module.export('storeFlags', store.index)
  const carry = module.function(FLAG_HELPERS.carryOf.parameters, FLAG_HELPERS.carryOf.results)
  forEachKind(carry.code, { kind: 0, first: 1, second: 2, carry: 3 }, (source) => pushCarryOf(carry.code, source))
  carry.code.op('unreachable')
  module.export('carryOf', carry.index)
  return module.finish()
}

/** The words in the state at the address in a local. */
const wordsOf = (c: Code, base: number): FlagBinder => ({
  code: c,
  flagGet: (part) => {
    c.get(base)
    c.memory(FLAG_READS[part].load, FLAG_READS[part].offset)
  },
  flagSet: (part, push) => {
    c.get(base)
    push()
    c.memory(FLAG_WRITES[part].store, FLAG_WRITES[part].offset)
  },
  renewFlags: () => {},
})

/** Returns from each kind's case with what `body` leaves. */
function forEachKind(c: Code, kept: Kept, body: (source: FlagSource) => void): void {
  const cases = KEPT_KINDS.flatMap((kind) => KEPT_SIZES.map((size) => ({ kind, size })))
  const other = c.block()
  const labels = [...cases].reverse().map(() => c.block()).reverse()
  c.get(kept.kind)
  c.brTable([other, ...labels], other)
  for (const { kind, size } of cases) {
    c.end()
    const t = typeOf(size)
    const [left, right, result] = [c.local(t), c.local(t), c.local(t)]
    operands(c, kept, { kind, size, left, right, result })
    body({ kind: flagKind(kind), size, left, right, result, carry: kept.carry })
    c.op('return')
    c.release(t, left, right, result)
  }
  c.end()
}

/** Works out the result. */
function resultOf(c: Code, { kind, size, left, right, result }: Operands): void {
  c.get(left)
  if (kind === 'sar') signExtend32(c, size)
  c.get(right)
  c.op(`${typeOf(size)}.${RESULTS[kind]!}`)
  c.set(result)
}

/** Works out what has not been kept. */
function operands(c: Code, kept: Kept, to: Operands): void {
  const { kind, size, left, right, result } = to
  const t = typeOf(size)
  const take = (from: number, local: number): void => {
    c.get(from)
    if (size !== 64) c.op('i32.wrap_i64')
    c.set(local)
  }
  const sum = (local: number, [one, step, other]: readonly [number, 'add' | 'sub', number]): void => {
    c.get(one)
    c.get(other)
    c.op(`${t}.${step}`)
    c.set(local)
  }
  const isStep = kind === 'inc' || kind === 'dec'
  take(kept.first, FROM_LEFT.has(kind) ? left : result)
  if (isStep) {
    if (size === 64) c.i64(1)
    else c.i32(1)
    c.set(right)
  } else take(kept.second, right)
  if (FROM_LEFT.has(kind)) return resultOf(c, to)
  const subtracts = kind === 'sub' || kind === 'sbb' || kind === 'dec'
  sum(left, [result, subtracts ? 'add' : 'sub', right])
  if (kind === 'adc' || kind === 'sbb') {
    c.get(left)
    c.get(kept.carry)
    if (size === 64) c.op('i64.extend_i32_u')
    c.op(`${t}.${subtracts ? 'add' : 'sub'}`)
    c.set(left)
  }
  // Operands are zero-extended; the result need not be.
  if (size >= 32) return
  c.get(left)
  c.i32(size === 8 ? 0xff : 0xffff)
  c.op('i32.and')
  c.set(left)
}
