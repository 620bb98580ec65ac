/** BT BTS BTR BTC, BSF BSR POPCNT, CMPXCHG XADD CMPXCHG8B/16B, and instructions on single flags. */
import { GPR, RFLAGS } from '../../../x86/index.ts'
import { constant, typeOf } from '../emit/binder.ts'
import type { Binder, Size } from '../emit/binder.ts'
import {
  explicitFlags, pushAdjust, pushCarry, pushFlags, pushParity, pushSign, pushZero, replaceCarry, takeFlags, zeroFlags,
} from '../emit/flags.ts'
import { SLOT, State } from '../layout/state.ts'
import { binary } from './arithmetic.ts'
import { ARITHMETIC_FLAGS } from '../layout/flag-word.ts'
import {
  addresses, change, changeRegister, from, fromRegister, fromUnit, immediate, into, intoRegister, intoSlot, intoUnit, memory,
  pushes, raises, readsFlags, setsFlags, sometimes,
} from './facts.ts'
import type { MicroList } from './micro.ts'
import { pushValue } from './stack.ts'

/** Slot of AH. */
const AH = GPR.rax * 8 + 1

/** The group's operations in the order of ModRM.reg from 4 on. */
export const BIT_TESTS = ['bt', 'bts', 'btr', 'btc'] as const

function bitTest(b: Binder, name: (typeof BIT_TESTS)[number], size: Size, push: () => void): void {
  const c = b.code
  const type = typeOf(size)
  const [value, bit] = [c.local(type), c.local(type)]
  const carry = c.local('i32')
  const place = b.place('destination', size)
  push()
  constant(c, size, size - 1)
  c.op(`${type}.and`)
  c.set(bit)
  place.get()
  c.tee(value)
  c.get(bit)
  c.op(`${type}.shr_u`)
  if (size === 64) c.op('i32.wrap_i64')
  c.i32(1)
  c.op('i32.and')
  c.set(carry)
  if (name !== 'bt') {
    place.set(() => {
      c.get(value)
      constant(c, size, 1)
      c.get(bit)
      c.op(`${type}.shl`)
      if (name === 'btr') {
        constant(c, size, -1)
        c.op(`${type}.xor`, `${type}.and`)
      } else c.op(name === 'bts' ? `${type}.or` : `${type}.xor`)
    })
  }
  replaceCarry(b, carry)
  c.release(type, value, bit)
  c.release('i32', carry)
}

function defineBitTests(list: MicroList): void {
  const carry = setsFlags(RFLAGS.CF)
  for (const size of [16, 32, 64] as const) {
    for (const name of BIT_TESTS) {
      const target = name === 'bt' ? from('destination', size) : change('destination', size)
      list.add([name, size, 'rr'], [target, from('source', size), carry],
        (b) => bitTest(b, name, size, () => b.get('source', size)))
      list.add([name, size, 'ri'], [target, immediate, carry], (b) => bitTest(b, name, size, () => b.immediate(size)))
    }
  }
}

/** Address of the word that holds the bit: memory operand plus the signed bit offset in a register, whole words of `size`. */
function defineBitAddresses(list: MicroList): void {
  for (const size of [16, 32, 64] as const) {
    for (const width of [16, 32, 64] as const) {
      list.add(['bit-word', size, width], [intoSlot(SLOT.t1), addresses(1), from('register', size)], (b) => {
        const c = b.code
        b.slot(SLOT.t1, 64).set(() => {
          b.address(1)
          b.get('register', size)
          if (size === 16) c.op('i32.extend16_s')
          if (size !== 64) c.op('i64.extend_i32_s')
          c.i64(3)
          c.op('i64.shr_s')
          c.i64(-size / 8)
          c.op('i64.and', 'i64.add')
          if (width === 64) return
          c.i64(width === 32 ? -1 : 0xffff, 0)
          c.op('i64.and')
        })
      })
    }
  }
}

function scan(b: Binder, name: 'bsf' | 'bsr', size: Size): void {
  const c = b.code
  const type = typeOf(size)
  const [value, result] = [c.local(type), c.local(type)]
  const zero = c.local('i32')
  const place = b.place('destination', size)
  b.get('source', size)
  c.tee(value)
  constant(c, size, 0)
  c.op(`${type}.ne`)
  // For zero the destination stays as it is (its upper half too), which the manual leaves open and processors do.
  c.if()
  if (name === 'bsf') {
    c.get(value)
    c.op(`${type}.ctz`)
  } else {
    constant(c, size, size === 64 ? 63 : 31)
    c.get(value)
    c.op(`${type}.clz`, `${type}.sub`)
  }
  c.set(result)
  place.set(() => c.get(result))
  c.end()
  c.i32(0)
  c.set(zero)
  explicitFlags(b, size, { result: value, carry: zero, overflow: zero })
  c.release(type, value, result)
  c.release('i32', zero)
}

function defineScans(list: MicroList): void {
  for (const size of [16, 32, 64] as const) {
    const type = typeOf(size)
    const found = [from('source', size), sometimes(into('destination', size)), setsFlags()]
    list.add(['bsf', size, 'rr'], found, (b) => scan(b, 'bsf', size))
    list.add(['bsr', size, 'rr'], found, (b) => scan(b, 'bsr', size))
    list.add(['popcnt', size, 'rr'], [into('destination', size), from('source', size), setsFlags()], (b) => {
      const c = b.code
      const value = c.local(type)
      b.get('source', size)
      c.set(value)
      b.place('destination', size).set(() => {
        c.get(value)
        c.op(`${type}.popcnt`)
      })
      zeroFlags(b, size, value)
      c.release(type, value)
    })
  }
}

function defineCompareExchange(list: MicroList): void {
  for (const size of [8, 16, 32, 64] as const) {
    const type = typeOf(size)
    // The accumulator takes the old value when they differ.
    const compared = [
      from('destination', size), fromRegister(GPR.rax), from('source', size), setsFlags(),
      sometimes(into('destination', size), intoRegister(GPR.rax, size)),
    ]
    list.add(['cmpxchg', size, 'rr'], compared, (b) => {
      const c = b.code
      const [left, right, result] = [c.local(type), c.local(type), c.local(type)]
      const destination = b.place('destination', size)
      const accumulator = b.fixed(GPR.rax, size)
      accumulator.get()
      c.set(left)
      destination.get()
      c.set(right)
      binary(b, 'cmp', { size, left, right, result })
      c.get(left)
      c.get(right)
      c.op(`${type}.eq`)
      c.if()
      destination.set(() => b.get('source', size))
      c.else()
      accumulator.set(() => c.get(right))
      c.end()
      c.release(type, left, right, result)
    })
    list.add(['xadd', size, 'rr'], [change('destination', size), change('source', size), setsFlags()], (b) => {
      const c = b.code
      const [left, right, result] = [c.local(type), c.local(type), c.local(type)]
      const [destination, source] = [b.place('destination', size), b.place('source', size)]
      destination.get()
      c.set(left)
      source.get()
      c.set(right)
      binary(b, 'add', { size, left, right, result })
      source.set(() => c.get(left))
      destination.set(() => c.get(result))
      c.release(type, left, right, result)
    })
  }
  const pair = [
    fromRegister(GPR.rbx), fromRegister(GPR.rcx), sometimes(changeRegister(GPR.rax, 32), changeRegister(GPR.rdx, 32)),
    readsFlags(ARITHMETIC_FLAGS & ~RFLAGS.ZF), setsFlags(), fromUnit('systemFlags'),
  ]
  list.addLong(['cmpxchg8b', 'm'], [memory(2, 'update', { bytes: 8 }), ...pair], (b) => compareExchangePair(b, 32))
  list.addLong(['cmpxchg16b', 'm'], [memory(2, 'update', { bytes: 16, align: 16 }), raises, ...pair],
    (b) => compareExchangePair(b, 64))
}

/** CMPXCHG8B and CMPXCHG16B: two words of `size` against rdx:rax, taken from rcx:rbx. Only ZF changes. */
function compareExchangePair(b: Binder, size: 32 | 64): void {
  const c = b.code
  const type = typeOf(size)
  const bytes = size / 8
  const [low, high] = [c.local(type), c.local(type)]
  const [address, host, equal] = [c.local('i64'), c.local('i32'), c.local('i32')]
  const flags = c.local('i32')
  b.address(2)
  c.set(address)
  if (size === 64) b.requireAligned(address, 16)
  b.hostForWrite(address, 2 * bytes)
  c.set(host)
  for (const [local, offset] of [[low, 0], [high, bytes]] as const) {
    c.get(host)
    c.memory(`${type}.load`, offset)
    c.set(local)
  }
  c.get(low)
  b.fixed(GPR.rax, size).get()
  c.op(`${type}.eq`)
  c.get(high)
  b.fixed(GPR.rdx, size).get()
  c.op(`${type}.eq`, 'i32.and')
  c.tee(equal)
  c.if()
  for (const [register, offset] of [[GPR.rbx, 0], [GPR.rcx, bytes]] as const) {
    c.get(host)
    b.fixed(register, size).get()
    c.memory(`${type}.store`, offset)
  }
  c.else()
  b.fixed(GPR.rax, size).set(() => c.get(low))
  b.fixed(GPR.rdx, size).set(() => c.get(high))
  c.end()
  b.written(host)
  pushFlags(b)
  c.i32(~RFLAGS.ZF)
  c.op('i32.and')
  c.get(equal)
  c.i32(6)
  c.op('i32.shl', 'i32.or')
  c.set(flags)
  takeFlags(b, flags, 'with overflow')
  c.release(type, low, high)
  c.release('i64', address)
  c.release('i32', host, equal, flags)
}

function defineFlagInstructions(list: MicroList): void {
  const setCarry = (name: string, push: (b: Binder) => void, read = 0): void => {
    list.add([name], [readsFlags(read), setsFlags(RFLAGS.CF)], (b) => {
      const carry = b.code.local('i32')
      push(b)
      b.code.set(carry)
      replaceCarry(b, carry)
      b.code.release('i32', carry)
    })
  }
  setCarry('clc', (b) => b.code.i32(0))
  setCarry('stc', (b) => b.code.i32(1))
  setCarry('cmc', (b) => {
    pushCarry(b)
    b.code.op('i32.eqz')
  }, RFLAGS.CF)
  const setDirection = (name: string, set: number): void => {
    list.add([name], [fromUnit('systemFlags'), intoUnit('systemFlags')], (b) => {
      b.code.get(b.base)
      b.code.get(b.base)
      b.code.memory('i32.load', State.systemFlags.offset)
      b.code.i32(~RFLAGS.DF)
      b.code.op('i32.and')
      b.code.i32(set)
      b.code.op('i32.or')
      b.code.memory('i32.store', State.systemFlags.offset)
    })
  }
  setDirection('cld', 0)
  setDirection('std', RFLAGS.DF)
  list.add(['lahf'], [intoRegister(GPR.rax, 8), readsFlags(ARITHMETIC_FLAGS & ~RFLAGS.OF)], (b) => {
    const c = b.code
    b.slot(AH, 8).set(() => {
      c.i32(RFLAGS.FIXED)
      const parts = [[pushCarry, 0], [pushParity, 2], [pushAdjust, 4], [pushZero, 6], [pushSign, 7]] as const
      for (const [push, bit] of parts) {
        push(b)
        c.i32(bit)
        c.op('i32.shl', 'i32.or')
      }
    })
  })
  list.add(['sahf'], [fromRegister(GPR.rax), setsFlags(ARITHMETIC_FLAGS & ~RFLAGS.OF)], (b) => {
    const flags = b.code.local('i32')
    b.slot(AH, 8).get()
    b.code.set(flags)
    takeFlags(b, flags, 'without overflow')
    b.code.release('i32', flags)
  })
  list.add(['salc'], [intoRegister(GPR.rax, 8), readsFlags(RFLAGS.CF)], (b) => b.fixed(GPR.rax, 8).set(() => {
    b.code.i32(0)
    pushCarry(b)
    b.code.op('i32.sub')
  }))
  for (const size of [16, 32, 64] as const) {
    list.add(['pushf', size], [pushes(size), readsFlags(ARITHMETIC_FLAGS), fromUnit('systemFlags')], (b) =>
      pushValue(b, size, () => {
        pushFlags(b)
        b.code.i32(~(RFLAGS.RF | RFLAGS.VM))
        b.code.op('i32.and')
        if (size === 64) b.code.op('i64.extend_i32_u')
      }))
  }
}

/** Adds the family. */
export function defineBitFamily(list: MicroList): void {
  defineBitTests(list)
  defineBitAddresses(list)
  defineScans(list)
  defineCompareExchange(list)
  defineFlagInstructions(list)
}
