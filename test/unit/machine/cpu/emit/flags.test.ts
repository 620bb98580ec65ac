/**
 * Flags and conditions worked out of remembered operands are those that the stored words tell, for every kind of
 * operation, size and condition; the words in locals are those in the state.
 */
import { describe, expect, test } from 'vitest'
import { signExtend32, typeOf } from '../../../../../src/machine/cpu/emit/binder.ts'
import type { FlagKind, FlagSource, Size } from '../../../../../src/machine/cpu/emit/binder.ts'
import { pushCondition } from '../../../../../src/machine/cpu/emit/conditions.ts'
import { pushFlagPart, setFlagPart } from '../../../../../src/machine/cpu/emit/flag-words.ts'
import type { FlagLocals, FlagRead, FlagWrite } from '../../../../../src/machine/cpu/emit/flag-words.ts'
import { pushAdjust, pushFlags, sourceFlags, takeFlags } from '../../../../../src/machine/cpu/emit/flags.ts'
import { FullBinder } from '../../../../../src/machine/cpu/emit/full-binder.ts'
import { ARITHMETIC_FLAGS, writeFlags } from '../../../../../src/machine/cpu/layout/flag-word.ts'
import { binary } from '../../../../../src/machine/cpu/uops/arithmetic.ts'
import { ModuleWriter } from '../../../../../src/wasm/index.ts'
import type { Code } from '../../../../../src/wasm/index.ts'
import { CONDITIONS, RFLAGS } from '../../../../../src/x86/index.ts'

const SIZES: readonly Size[] = [8, 16, 32, 64]
const KINDS: readonly FlagKind[] = ['add', 'adc', 'inc', 'sub', 'sbb', 'dec', 'logic', 'shl', 'shr', 'sar', 'imul']
/** What makes the result where no carries tell the flags. */
const EXPLICIT = { shl: 'shl', shr: 'shr_u', sar: 'shr_s', imul: 'mul' } as const
const isExplicit = (kind: FlagKind): kind is keyof typeof EXPLICIT => kind in EXPLICIT
const isStep = (kind: FlagKind): kind is 'inc' | 'dec' => kind === 'inc' || kind === 'dec'
const NONE = { forRead: 0, forWrite: 0, commit: 0, checkSegment: 0, handler: 0, runtime: new Map(), runtimeInSegments: new Map() }

const binder = (code: Code): FullBinder => new FullBinder(code, { base: 0, record: 1, status: 2, width: 64, functions: NONE })

/** Keeps the words in locals. */
class InLocals extends FullBinder {
  private readonly words: FlagLocals

  constructor(code: Code) {
    super(code, { base: 0, record: 1, status: 2, width: 64, functions: NONE })
    this.words = { result: code.local('i64'), low: code.local('i32'), high: code.local('i32') }
    const state = binder(code)
    this.flagSet('result', () => state.flagGet('result'))
    this.flagSet('low', () => state.flagGet('low'))
    this.flagSet('high', () => state.flagGet('high'))
  }

  override flagGet(part: FlagRead): void {
    pushFlagPart(this.code, this.words, part)
  }

  override flagSet(part: FlagWrite, push: () => void): void {
    setFlagPart(this.code, this.words, part, push)
  }
}

/** Remembers operands, as long as the locals that it is told of hold them. */
class Remembering extends FullBinder {
  private source: FlagSource | undefined
  /** CF of before, for INC and DEC. */
  private readonly carry: number

  constructor(code: Code, carry: number) {
    super(code, { base: 0, record: 1, status: 2, width: 64, functions: NONE })
    this.carry = carry
  }

  override keepFlags(source: FlagSource): boolean {
    this.source = source.kind === 'inc' || source.kind === 'dec' ? { ...source, carry: this.carry } : source
    return true
  }

  override knownFlags(): FlagSource | undefined {
    return this.source
  }
}

const memory = new WebAssembly.Memory({ initial: 2 })
const view = new DataView(memory.buffer)

/** (base, left, right) -> flags: what the operation sets, and the sixteen conditions above them, as told by a binder. */
function operation(module: ModuleWriter, kind: FlagKind, size: Size, make: (code: Code, carry: number) => FullBinder): number {
  const { index, code } = module.function(['i32', 'i64', 'i64'], ['i64'])
  const type = typeOf(size)
  const source = { size, left: code.local(type), right: code.local(type), result: code.local(type) }
  const carry = code.local('i32')
  const told = code.local('i64')
  const before = binder(code)
  before.flagGet('high')
  code.i32(31)
  code.op('i32.shr_u')
  code.set(carry)
  for (const [parameter, local] of [[1, source.left], [2, source.right]] as const) {
    code.get(parameter)
    if (size !== 64) code.op('i32.wrap_i64')
    code.set(local)
  }
  const b = make(code, carry)
  if (isStep(kind) || isExplicit(kind)) {
    code.get(source.left)
    if (kind === 'sar') signExtend32(code, size)
    code.get(source.right)
    code.op(`${type}.${isExplicit(kind) ? EXPLICIT[kind] : kind === 'inc' ? 'add' : 'sub'}`)
    code.set(source.result)
    sourceFlags(b, { kind, ...source })
  } else binary(b, kind === 'logic' ? 'xor' : kind, source)
  pushFlags(b)
  code.i32(ARITHMETIC_FLAGS)
  code.op('i32.and', 'i64.extend_i32_u')
  code.set(told)
  CONDITIONS.forEach((condition, number) => {
    code.get(told)
    pushCondition(b, condition)
    code.i32(0)
    code.op('i32.ne', 'i64.extend_i32_u')
    code.i64(32 + number)
    code.op('i64.shl', 'i64.or')
    code.set(told)
  })
  code.get(told)
  return index
}

type Told = (base: number, left: bigint, right: bigint) => bigint
const MAKERS = { stored: binder, inLocals: (code: Code) => new InLocals(code), remembered: (code: Code, carry: number) => new Remembering(code, carry) }

function compiled(): Record<string, Told> {
  const module = new ModuleWriter()
  module.importMemory('env', 'memory')
  for (const kind of KINDS) {
    for (const size of SIZES) {
      for (const [name, make] of Object.entries(MAKERS)) module.export(`${name} ${kind} ${size}`, operation(module, kind, size, make))
    }
  }
  return new WebAssembly.Instance(new WebAssembly.Module(module.finish()), { env: { memory } }).exports as Record<string, Told>
}

/** What is told of shifts and products: OF of shifts as for a count of 1, no AF. */
function expectedExplicit(kind: keyof typeof EXPLICIT, size: Size, { left, right }: { left: bigint; right: bigint }): number {
  const signed = (value: bigint): bigint => BigInt.asIntN(size, value)
  const [cut, top] = [(value: bigint): bigint => BigInt.asUintN(size, value), BigInt(size - 1)]
  const whole = {
    shl: () => left << right, shr: () => left >> right, sar: () => signed(left) >> right, imul: () => signed(left) * signed(right),
  }[kind]()
  const result = cut(whole)
  const lost = kind === 'shl' ? (left << right) >> (top + 1n) : kind === 'imul' ? 0n : (kind === 'shr' ? left : signed(left)) >> (right - 1n)
  const isCarry = kind === 'imul' ? signed(whole) !== whole : (lost & 1n) === 1n
  const isOverflow = { shl: (result >> top === 1n) !== isCarry, shr: left >> top === 1n, sar: false, imul: isCarry }[kind]
  const ones = (result & 0xffn).toString(2).replaceAll('0', '').length
  return (isCarry ? RFLAGS.CF : 0) | (ones % 2 === 0 ? RFLAGS.PF : 0) | (result === 0n ? RFLAGS.ZF : 0) |
    (result >> top === 1n ? RFLAGS.SF : 0) | (isOverflow ? RFLAGS.OF : 0)
}

/** What the manual says, by arithmetic on numbers. */
function expected(kind: FlagKind, size: Size, operands: { left: bigint; right: bigint; carry: bigint }): number {
  if (isExplicit(kind)) return expectedExplicit(kind, size, operands)
  const { left, right, carry } = operands
  const bits = BigInt(size)
  const signed = (value: bigint): bigint => BigInt.asIntN(size, value)
  const cut = (value: bigint): bigint => BigInt.asUintN(size, value)
  const carryIn = kind === 'adc' || kind === 'sbb' ? carry : 0n
  const isSum = kind === 'add' || kind === 'adc' || kind === 'inc'
  const whole = kind === 'logic' ? left ^ right : isSum ? left + right + carryIn : left - right - carryIn
  const exact = kind === 'logic' ? signed(whole) : isSum ? signed(left) + signed(right) + carryIn : signed(left) - signed(right) - carryIn
  const result = cut(whole)
  const nibble = isSum ? (left & 15n) + (right & 15n) + carryIn > 15n : (left & 15n) - (right & 15n) - carryIn < 0n
  const ones = (result & 0xffn).toString(2).replaceAll('0', '').length
  const carryOut = kind === 'inc' || kind === 'dec' ? carry === 1n : kind !== 'logic' && whole >> bits !== 0n
  return (carryOut ? RFLAGS.CF : 0) | (ones % 2 === 0 ? RFLAGS.PF : 0) | (kind !== 'logic' && nibble ? RFLAGS.AF : 0) |
    (result === 0n ? RFLAGS.ZF : 0) | (signed(result) < 0n ? RFLAGS.SF : 0) | (exact !== signed(result) ? RFLAGS.OF : 0)
}

function conditionsOf(flags: number): number {
  const is = (flag: number): boolean => (flags & flag) !== 0
  const plain = [
    is(RFLAGS.OF), is(RFLAGS.CF), is(RFLAGS.ZF), is(RFLAGS.CF) || is(RFLAGS.ZF), is(RFLAGS.SF), is(RFLAGS.PF),
    is(RFLAGS.SF) !== is(RFLAGS.OF), is(RFLAGS.ZF) || is(RFLAGS.SF) !== is(RFLAGS.OF),
  ]
  return plain.reduce((set, holds, index) => set | (holds ? 1 << (2 * index) : 2 << (2 * index)), 0)
}

/** Operands at the edges of a size. */
function edges(size: Size): bigint[] {
  const top = 1n << BigInt(size - 1)
  return [0n, 1n, 7n, 8n, 15n, 16n, 0x5an, top - 1n, top, top + 1n, 2n * top - 16n, 2n * top - 2n, 2n * top - 1n]
}

describe('flags by operands and by words', () => {
  const functions = compiled()
  test.each(KINDS.flatMap((kind) => SIZES.map((size) => ({ kind, size }))))('$kind of $size bits', ({ kind, size }) => {
    const counts = [1n, 2n, 7n, 8n, 9n, 15n, 16n, 17n, 31n, ...size === 64 ? [32n, 63n] : []]
    const rights = isStep(kind) ? [1n] : isExplicit(kind) && kind !== 'imul' ? counts : edges(size)
    for (const left of edges(size)) {
      for (const right of rights) {
        for (const carry of [0n, 1n]) {
          const flags = expected(kind, size, { left, right, carry })
          const wanted = (BigInt(conditionsOf(flags)) << 32n) | BigInt(flags)
          for (const name of Object.keys(MAKERS)) {
            writeFlags(view, 0, Number(carry) | RFLAGS.OF)
            const told = functions[`${name} ${kind} ${size}`]!(0, left, right)
            expect({ name, left, right, carry, told: BigInt.asUintN(64, told).toString(16) }).toEqual({ name, left, right, carry, told: wanted.toString(16) })
          }
        }
      }
    }
  })
})

test('flags taken from a number come back as that number, from words in the state and in locals', () => {
  const module = new ModuleWriter()
  module.importMemory('env', 'memory')
  for (const [name, make] of [['state', binder], ['locals', MAKERS.inLocals]] as const) {
    const { index, code } = module.function(['i32', 'i32'], ['i32'])
    const b = make(code)
    takeFlags(b, 1, 'with overflow')
    pushFlags(b)
    pushAdjust(b)
    code.i32(16)
    code.op('i32.shl', 'i32.or')
    module.export(name, index)
  }
  const exports = new WebAssembly.Instance(new WebAssembly.Module(module.finish()), { env: { memory } }).exports as Record<string, (base: number, flags: number) => number>
  const bits = [RFLAGS.CF, RFLAGS.PF, RFLAGS.AF, RFLAGS.ZF, RFLAGS.SF, RFLAGS.OF]
  for (let set = 0; set < 64; set += 1) {
    const flags = bits.reduce((sum, flag, index) => sum | ((set >> index) & 1 ? flag : 0), 0)
    writeFlags(view, 0, 0)
    const wanted = flags | RFLAGS.FIXED | ((flags & RFLAGS.AF) !== 0 ? 0x1_0000 : 0)
    expect([exports['state']!(0, flags), exports['locals']!(0, flags)]).toEqual([wanted, wanted])
  }
})
