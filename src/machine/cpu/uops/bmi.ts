/**
 * Bit manipulation of x86-64-v3: BMI1, BMI2, LZCNT and MOVBE. Operands: source is the operand in ModRM.rm, addend the one in
 * VEX.vvvv.
 * Reference: Intel SDM volume 1, section 5.19; volume 2, the instructions' pages.
 */
import type { ValueType } from '../../../wasm/index.ts'
import { GPR } from '../../../x86/index.ts'
import { constant, typeOf } from '../emit/binder.ts'
import type { Binder } from '../emit/binder.ts'
import { highProduct } from '../emit/products.ts'
import { explicitFlags, zeroAndCarryFlags } from '../emit/flags.ts'
import { field, from, fromRegister, into, setsFlags } from './facts.ts'
import type { Effect } from './facts.ts'
import type { MicroList } from './micro.ts'

type Width = 32 | 64
type Type = 'i32' | 'i64'

/** What an operation works with. */
interface Scope {
  readonly b: Binder
  readonly size: Width
  readonly type: Type
  /** Locals with the operand in ModRM.rm, the one in VEX.vvvv, and the result. */
  readonly source: number
  readonly second: number
  readonly result: number
}

/** Runs `body`, which sets the result, and stores that. `flags` pushes CF; without it flags stay. */
function operation(b: Binder, size: Width, body: (s: Scope) => void, o: { flags?: (s: Scope) => void; isUnary?: boolean } = {}): void {
  const c = b.code
  const type: Type = typeOf(size)
  const scope: Scope = { b, size, type, source: c.local(type), second: c.local(type), result: c.local(type) }
  b.get('source', size)
  c.set(scope.source)
  if (o.isUnary !== true) {
    b.get('addend', size)
    c.set(scope.second)
  }
  body(scope)
  b.place('destination', size).set(() => c.get(scope.result))
  if (o.flags !== undefined) {
    const [carry, zero] = [c.local('i32'), c.local('i32')]
    o.flags(scope)
    c.set(carry)
    c.i32(0)
    c.set(zero)
    explicitFlags(b, size, { result: scope.result, carry, overflow: zero })
    c.release('i32', carry, zero)
  }
  c.release(type, scope.source, scope.second, scope.result)
}

/** The source and itself less 1, or its negative, put together. */
const lowest = (name: 'blsr' | 'blsmsk' | 'blsi') => ({ b: { code: c }, size, type, source, result }: Scope): void => {
  if (name === 'blsi') constant(c, size, 0)
  c.get(source)
  if (name !== 'blsi') constant(c, size, 1)
  c.op(`${type}.sub`)
  c.get(source)
  c.op(name === 'blsmsk' ? `${type}.xor` : `${type}.and`)
  c.set(result)
}

/** Pushes 1 where the source is 0. */
const isZero = ({ b, type, source }: Scope): void => {
  b.code.get(source)
  b.code.op(`${type}.eqz`)
}

const isNotZero = (s: Scope): void => {
  isZero(s)
  s.b.code.op('i32.eqz')
}

function defineLowest(list: MicroList): void {
  for (const size of [32, 64] as const) {
    for (const [name, flags] of [['blsr', isZero], ['blsmsk', isZero], ['blsi', isNotZero]] as const) {
      list.add([name, size, 'rr'], [into('destination', size), from('source', size), setsFlags()], (b) =>
        operation(b, size, lowest(name), { flags, isUnary: true }))
    }
    list.add(['andn', size, 'rrr'], [into('destination', size), from('source', size), from('addend', size), setsFlags()], (b) =>
      operation(b, size, ({ b: { code: c }, type, source, second, result }) => {
        c.get(second)
        constant(c, size, -1)
        c.op(`${type}.xor`)
        c.get(source)
        c.op(`${type}.and`)
        c.set(result)
      }, { flags: () => b.code.i32(0) }))
  }
}

/** Pushes eight bits of the second operand, from `start` on. */
function pushByte({ b: { code: c }, size, type, second }: Scope, start: 0 | 8): void {
  c.get(second)
  constant(c, size, start)
  c.op(`${type}.shr_u`)
  constant(c, size, 0xff)
  c.op(`${type}.and`)
}

/** Clears what a local has from a bit on that another one numbers; all of it stays where that is beyond the operand. */
function cut({ b: { code: c }, size, type }: Scope, value: number, length: number): void {
  c.get(value)
  constant(c, size, 1)
  c.get(length)
  c.op(`${type}.shl`)
  constant(c, size, 1)
  c.op(`${type}.sub`, `${type}.and`)
  c.get(value)
  c.get(length)
  constant(c, size, size)
  c.op(`${type}.lt_u`, 'select')
}

function defineFields(list: MicroList): void {
  for (const size of [32, 64] as const) {
    const facts: Effect[] = [into('destination', size), from('source', size), from('addend', size), setsFlags()]
    list.add(['bzhi', size, 'rrr'], facts, (b) => {
      const length = b.code.local(typeOf(size))
      operation(b, size, (s) => {
        pushByte(s, 0)
        b.code.set(length)
        cut(s, s.source, length)
        b.code.set(s.result)
      }, {
        flags: ({ type }) => {
          b.code.get(length)
          constant(b.code, size, size)
          b.code.op(`${type}.ge_u`)
        },
      })
      b.code.release(typeOf(size), length)
    })
    list.add(['bextr', size, 'rrr'], facts, (b) => {
      const c = b.code
      const [start, length] = [c.local(typeOf(size)), c.local(typeOf(size))]
      operation(b, size, (s) => {
        pushByte(s, 0)
        c.set(start)
        pushByte(s, 8)
        c.set(length)
        c.get(s.source)
        c.get(start)
        c.op(`${s.type}.shr_u`)
        constant(c, size, 0)
        c.get(start)
        constant(c, size, size)
        c.op(`${s.type}.lt_u`, 'select')
        c.set(s.result)
        cut(s, s.result, length)
        c.set(s.result)
      }, { flags: () => c.i32(0) })
      c.release(typeOf(size), start, length)
    })
  }
}

function defineShifts(list: MicroList): void {
  for (const size of [32, 64] as const) {
    const type = typeOf(size)
    // WebAssembly's shifts take as many bits of the count as these do.
    for (const [name, kind] of [['shlx', 'shl'], ['sarx', 'shr_s'], ['shrx', 'shr_u']] as const) {
      list.add([name, size, 'rrr'], [into('destination', size), from('source', size), from('addend', size)], (b) =>
        b.place('destination', size).set(() => {
          b.get('source', size)
          b.get('addend', size)
          b.code.op(`${type}.${kind}`)
        }))
    }
    list.add(['rorx', size, 'rri'], [into('destination', size), from('source', size), field('control')], (b) =>
      b.place('destination', size).set(() => {
        b.get('source', size)
        b.small('control')
        if (size === 64) b.code.op('i64.extend_i32_u')
        b.code.op(`${type}.rotr`)
      }))
  }
}

/** MULX: the lower half to the operand in VEX.vvvv first, as the upper one counts where both are the same. */
function defineProduct(list: MicroList): void {
  for (const size of [32, 64] as const) {
    list.add(['mulx', size, 'rrr'], [
      into('destination', size), into('addend', size), from('source', size), fromRegister(GPR.rdx),
    ], (b) => {
      const c = b.code
      const [left, right, low, high] = [c.local('i64'), c.local('i64'), c.local('i64'), c.local('i64')]
      const wide = (local: number, push: () => void): void => {
        push()
        if (size === 32) c.op('i64.extend_i32_u')
        c.set(local)
      }
      wide(left, () => b.get('source', size))
      wide(right, () => b.fixed(GPR.rdx, size).get())
      c.get(left)
      c.get(right)
      c.op('i64.mul')
      c.set(low)
      if (size === 64) highProduct(c, { left, right, high }, 'zero')
      else {
        c.get(low)
        c.i64(32)
        c.op('i64.shr_u')
        c.set(high)
      }
      for (const [name, local] of [['addend', low], ['destination', high]] as const) {
        b.place(name, size).set(() => {
          c.get(local)
          if (size === 32) c.op('i32.wrap_i64')
        })
      }
      c.release('i64', left, right, low, high)
    })
  }
}

/** PEXT and PDEP: one round for each bit of the mask, which is the source. */
function scatter(s: Scope, name: 'pext' | 'pdep'): void {
  const { b: { code: c }, size, type, source: mask, second, result } = s
  const [bit, lowestBit] = [c.local(type), c.local(type)]
  constant(c, size, 0)
  c.set(result)
  constant(c, size, 1)
  c.set(bit)
  c.get(mask)
  c.op(`${type}.eqz`, 'i32.eqz')
  c.if()
  const again = c.loop()
  constant(c, size, 0)
  c.get(mask)
  c.op(`${type}.sub`)
  c.get(mask)
  c.op(`${type}.and`)
  c.set(lowestBit)
  const [looked, given] = name === 'pext' ? [lowestBit, bit] : [bit, lowestBit]
  c.get(result)
  c.get(given)
  constant(c, size, 0)
  c.get(second)
  c.get(looked)
  c.op(`${type}.and`, `${type}.eqz`, 'i32.eqz', 'select', `${type}.or`)
  c.set(result)
  c.get(bit)
  constant(c, size, 1)
  c.op(`${type}.shl`)
  c.set(bit)
  c.get(mask)
  c.get(lowestBit)
  c.op(`${type}.xor`)
  c.tee(mask)
  c.op(`${type}.eqz`, 'i32.eqz')
  c.brIf(again)
  c.end()
  c.end()
  c.release(type, bit, lowestBit)
}

function defineScatters(list: MicroList): void {
  for (const size of [32, 64] as const) {
    for (const name of ['pext', 'pdep'] as const) {
      list.add([name, size, 'rrr'], [into('destination', size), from('source', size), from('addend', size)],
        (b) => operation(b, size, (s) => scatter(s, name)))
    }
  }
}

/** TZCNT and LZCNT: CF where the source is 0, ZF where the count is. */
function count(b: Binder, size: 16 | Width, name: 'tzcnt' | 'lzcnt'): void {
  const c = b.code
  const type = typeOf(size)
  const [value, result] = [c.local(type), c.local(type)]
  const [notZero, notCarry] = [c.local('i32'), c.local('i32')]
  b.get('source', size)
  c.set(value)
  c.get(value)
  if (size === 16 && name === 'tzcnt') {
    c.i32(0x1_0000)
    c.op('i32.or')
  }
  c.op(name === 'tzcnt' ? `${type}.ctz` : `${type}.clz`)
  if (size === 16 && name === 'lzcnt') {
    c.i32(16)
    c.op('i32.sub')
  }
  c.set(result)
  for (const [local, flag] of [[value, notCarry], [result, notZero]] as const) {
    c.get(local)
    c.op(`${type}.eqz`, 'i32.eqz')
    c.set(flag)
  }
  b.place('destination', size).set(() => c.get(result))
  zeroAndCarryFlags(b, notZero, notCarry)
  c.release(type, value, result)
  c.release('i32', notZero, notCarry)
}

/** Pushes the bytes of the value on the stack in reverse. */
function reverseBytes(b: Binder, size: 16 | Width): void {
  const c = b.code
  const type: ValueType = typeOf(size)
  if (size === 16) {
    const value = c.local('i32')
    c.set(value)
    c.get(value)
    c.i32(8)
    c.op('i32.shr_u')
    c.get(value)
    c.i32(8)
    c.op('i32.shl', 'i32.or')
    c.i32(0xffff)
    c.op('i32.and')
    return c.release('i32', value)
  }
  c.op(`${type === 'i64' ? 'i64x2' : 'i32x4'}.splat`)
  const value = c.local('v128')
  c.set(value)
  c.get(value)
  c.get(value)
  c.shuffle(Array.from({ length: 16 }, (_, index) => (index & -(size / 8)) + size / 8 - 1 - (index & (size / 8 - 1))))
  c.lane(type === 'i64' ? 'i64x2.extract_lane' : 'i32x4.extract_lane', 0)
  c.release('v128', value)
}

/** Adds the family. */
export function defineBitManipulation(list: MicroList): void {
  defineLowest(list)
  defineFields(list)
  defineShifts(list)
  defineProduct(list)
  defineScatters(list)
  for (const size of [16, 32, 64] as const) {
    for (const name of ['tzcnt', 'lzcnt'] as const) {
      list.add([name, size, 'rr'], [into('destination', size), from('source', size), setsFlags()], (b) => count(b, size, name))
    }
    list.add(['movbe', size, 'rr'], [into('destination', size), from('source', size)], (b) => b.place('destination', size).set(() => {
      b.get('source', size)
      reverseBytes(b, size)
    }))
  }
}

