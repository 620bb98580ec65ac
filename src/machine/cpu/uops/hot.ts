/**
 * Which micro-operations stand in the interpreter's loop: those that a boot of Linux and ordinary compiled code execute
 * most. All others are executed by a call, which costs some 7 ns more.
 *
 * The loop is one function, and V8 gives a function of more than 8,192 virtual registers to a register allocator that
 * makes it about 1.7 times slower (measured on Node 20). --trace-wasm-compilation-times tells the size of the code: it
 * is another with --no-turbo-use-mid-tier-regalloc-for-huge-functions once that has happened. With the loop's body at
 * 40 KB it has not, today it has 38. test/bench/cpu decides on a line; vector operations do not belong here: they make
 * all others slower, a boot of Linux by 15 %.
 */
import { isAmong } from './micro.ts'
import type { Micro, Pattern } from './micro.ts'

/** Without an address. */
const PLAIN: readonly Pattern[] = [
  [['end', 'nop', 'jmp', 'cover']],
  ['mov', [32, 64], ['rr', 'ri']],
  ['mov', 64, 'rw'],
  ['movzx', 32, [8, 16], 'rr'],
  ['movsx', 64, 32, 'rr'],
  ['movsx', 32, 8, 'rr'],
  [['add', 'sub', 'and', 'or', 'xor', 'cmp', 'test'], [32, 64], ['rr', 'ri']],
  [['cmp', 'test', 'and', 'or', 'xor'], 8, ['rr', 'ri']],
  [['adc', 'sbb'], 64, ['rr', 'ri']],
  ['sbb', 32, 'rr'],
  [['inc', 'dec', 'neg', 'not'], [32, 64], 'r'],
  [['shl', 'shr', 'sar'], [32, 64], 'ri'],
  [['rol', 'ror'], 32, 'ri'],
  ['rol', 64, 'ri'],
  ['shl', [32, 64], 'rc'],
  ['imul', [32, 64], ['rr', 'rri']],
  ['mul', 64, 'r'],
  [['cmovb', 'cmovae', 'cmove', 'cmovne', 'cmovs', 'cmovns'], [32, 64], 'rr'],
  [['setb', 'setae', 'sete', 'setne', 'seta', 'setl', 'setg'], 8, 'r'],
  ['widen', 64],
  ['xchg', [32, 64], 'rr'],
  ['bswap', [32, 64], 'r'],
  [['push', 'pop'], [32, 64], 'r'],
  ['push', [32, 64], 'i'],
  [['call', 'ret', 'leave'], [32, 64]],
  [['call', 'jmp'], [32, 64], 'r'],
  [['jb', 'jae', 'je', 'jne', 'jbe', 'ja', 'js', 'jns', 'jl', 'jge', 'jle', 'jg']],
]

/** With an address, and the forms of it. */
const ADDRESSED: readonly (readonly [Pattern, ...forms: (1 | 2)[]])[] = [
  [['mov', [32, 64], ['rm', 'mr', 'mi']], 1, 2],
  [['mov', 8, ['mr', 'mi']], 1, 2],
  [['mov', 8, 'rm'], 1],
  [['mov', 16, 'mr'], 1],
  [['movzx', 32, [8, 16], 'rm'], 1, 2],
  [['movsx', 64, 32, 'rm'], 1, 2],
  [['movsx', 32, [8, 16], 'rm'], 1],
  [['lea', [32, 64], ''], 1, 2],
  [[['add', 'sub', 'and', 'or', 'xor', 'cmp'], [32, 64], 'rm'], 1],
  [[['add', 'sub', 'cmp'], [32, 64], 'rm'], 2],
  [['xor', 32, 'rm'], 2],
  [['cmp', 8, 'rm'], 2],
  [['cmp', [8, 32, 64], 'mi'], 1],
  [['test', 8, 'mi'], 1, 2],
  [['cmp', [32, 64], 'mr'], 1],
  [[['add', 'or', 'and', 'sub', 'xor'], [32, 64], ['mr', 'mi']], 1, 2],
  [[['inc', 'dec'], [32, 64], 'm'], 1],
  [[['inc', 'dec'], 32, 'm'], 2],
]

interface HotRow {
  readonly pattern: Pattern
  readonly forms: readonly number[]
}

/** The rows by operation. */
function byOperation(): ReadonlyMap<string, HotRow[]> {
  const rows = [...PLAIN.map((pattern) => [pattern, 0] as const), ...ADDRESSED]
  const found = new Map<string, HotRow[]>()
  for (const [pattern, ...forms] of rows) {
    for (const operation of [pattern[0]!].flat()) {
      const known = found.get(String(operation))
      if (known === undefined) found.set(String(operation), [{ pattern, forms }])
      else known.push({ pattern, forms })
    }
  }
  return found
}

/** Those of the micro-operations that are of the loop. */
export function hotOf(all: readonly Micro[]): Micro[] {
  const rows = byOperation()
  return all.filter((micro) => micro.twinOf === undefined && (micro.pair !== undefined
    || rows.get(micro.parts[0])?.some(({ pattern, forms }) => isAmong(micro, pattern, forms)) === true))
}

/** True unless the operation is as good as never met in code with linear addresses of this width. */
export const fitsWidth = ({ outline }: Micro, width: 32 | 64): boolean => outline.width === undefined || outline.width === width
