/** Moves: MOV, MOVZX, MOVSX, LEA, XCHG, CMOVcc, SETcc, BSWAP, loads and stores of temporaries. */
import { CONDITIONS, GPR } from '../../../x86/index.ts'
import { pushCondition } from '../emit/conditions.ts'
import { typeOf } from '../emit/binder.ts'
import type { AddressForm, Binder, Size } from '../emit/binder.ts'
import { SLOT } from '../layout/state.ts'
import {
  addresses, change, codeAddress, field, finishes, from, fromRegister, fromSlot, immediate, into, intoSlot, intoUnit, loads,
  memory, on, stores,
} from './facts.ts'
import type { MicroList } from './micro.ts'

const SIZES: readonly Size[] = [8, 16, 32, 64]

/** Converts the value on the stack from one size to a larger one. */
export function extend(b: Binder, sizes: { from: Size; to: Size }, sign: 'zero' | 'sign'): void {
  const { from, to } = sizes
  if (sign === 'sign' && from < 32) b.code.op(from === 8 ? 'i32.extend8_s' : 'i32.extend16_s')
  if (to === 64 && from !== 64) b.code.op(sign === 'sign' ? 'i64.extend_i32_s' : 'i64.extend_i32_u')
}

function defineMoves(list: MicroList): void {
  for (const size of SIZES) {
    list.add(['mov', size, 'rr'], [into('destination', size), from('source', size)],
      (b) => b.place('destination', size).set(() => b.get('source', size)))
    list.add(['mov', size, 'ri'], [into('destination', size), immediate],
      (b) => b.place('destination', size).set(() => b.immediate(size)))
    list.addForms({
      parts: ['mov', size, 'rm'], facts: (form) => [into('destination', size), loads(form, size)],
      emit: (b, form) => {
        const value = b.code.local(typeOf(size))
        b.load(form, size)
        b.code.set(value)
        b.place('destination', size).set(() => b.code.get(value))
        b.code.release(typeOf(size), value)
      },
    }, {
      parts: ['mov', size, 'mr'], facts: (form) => [from('register', size), stores(form, size)],
      emit: (b, form) => b.store(form, size, () => b.get('register', size)),
    }, {
      parts: ['mov', size, 'mi'], facts: (form) => [immediate, stores(form, size)],
      emit: (b, form) => b.store(form, size, () => b.immediate(size)),
    })
  }
  list.add(['mov', 64, 'rw'], [into('destination', 64), field('displacement'), immediate],
    (b) => b.place('destination', 64).set(() => b.wideImmediate()))
}

function defineExtensions(list: MicroList): void {
  for (const sign of ['zero', 'sign'] as const) {
    const name = sign === 'zero' ? 'movzx' : 'movsx'
    for (const to of [16, 32, 64] as const) {
      for (const size of SIZES.filter((other) => other < to)) {
        list.add([name, to, size, 'rr'], [into('destination', to), from('source', size)], (b) =>
          b.place('destination', to).set(() => {
            b.get('source', size)
            extend(b, { from: size, to }, sign)
          }))
        list.addForms({
          parts: [name, to, size, 'rm'], facts: (form) => [into('destination', to), loads(form, size)], isShortOnlyInLoop: true,
          emit: (b, form) => {
            const value = b.code.local('i32')
            b.load(form, size)
            b.code.set(value)
            b.place('destination', to).set(() => {
              b.code.get(value)
              extend(b, { from: size, to }, sign)
            })
            b.code.release('i32', value)
          },
        })
      }
    }
  }
}

function defineAddresses(list: MicroList): void {
  list.addForms(...([64, 32, 16] as const).map((size) => ({
    parts: ['lea', size, ''] as const, facts: (form: AddressForm) => [into('destination', size), addresses(form)],
    emit: (b: Binder, form: AddressForm) => b.place('destination', size).set(() => {
      b.address(form)
      if (size !== 64) b.code.op('i32.wrap_i64')
    }),
  })))
  // An offset of 16 bits on its way to becoming an address.
  list.add(['offset', 16, 2], [into('destination', 32), addresses(2)], (b) =>
    b.place('destination', 32).set(() => {
      b.address(2)
      b.code.op('i32.wrap_i64')
      b.code.i32(0xffff)
      b.code.op('i32.and')
    }))
  // Adds a segment base to an address that was cut to 32 bits.
  list.add(['segment'], [into('destination', 64), from('source', 64), from('addend', 64)], (b) => {
    b.place('destination', 64).set(() => {
      b.get('source', 64)
      b.get('addend', 64)
      b.code.op('i64.add')
    })
  })
  list.add(['next-ip'], [into('destination', 64), codeAddress], (b) => b.place('destination', 64).set(() => b.nextIp()))
}

/** Loads into a temporary, loads for a later write, and that write. */
function defineTemporaries(list: MicroList): void {
  for (const size of SIZES) {
    list.addForms({
      parts: ['modify', size, ''],
      facts: (form) => [memory(form, 'prepare', { bytes: size / 8 }), intoSlot(SLOT.t0), intoUnit('host')],
      emit: (b, form) => {
        const address = b.code.local('i64')
        const host = b.code.local('i32')
        b.address(form)
        b.code.set(address)
        b.hostForWrite(address, size / 8)
        b.code.set(host)
        b.holdHost(host)
        b.slot(SLOT.t0, 64).set(() => {
          b.code.get(host)
          if (size === 64) b.code.memory('i64.load')
          else b.code.memory(size === 32 ? 'i64.load32_u' : size === 16 ? 'i64.load16_u' : 'i64.load8_u')
        })
        b.code.release('i64', address)
        b.code.release('i32', host)
      },
    })
    list.add(['finish', size], [finishes(size), fromSlot(SLOT.t0)], (b) => {
      const host = b.code.local('i32')
      b.heldHost()
      b.code.tee(host)
      b.slot(SLOT.t0, size === 64 ? 64 : 32).get()
      b.code.memory(size === 64 ? 'i64.store' : size === 32 ? 'i32.store' : size === 16 ? 'i32.store16' : 'i32.store8')
      b.written(host)
      b.code.release('i32', host)
    })
  }
}

function defineExchanges(list: MicroList): void {
  for (const size of SIZES) {
    const type = typeOf(size)
    list.add(['xchg', size, 'rr'], [change('destination', size), change('source', size)], (b) => {
      const old = b.code.local(type)
      const [first, second] = [b.place('destination', size), b.place('source', size)]
      first.get()
      b.code.set(old)
      first.set(() => second.get())
      second.set(() => b.code.get(old))
      b.code.release(type, old)
    })
  }
  for (const size of [32, 64] as const) list.add(['bswap', size, 'r'], [change('destination', size)], (b) => swapBytes(b, size))
  // The manual leaves the 16-bit form open; processors give zero.
  list.add(['bswap', 16, 'r'], [into('destination', 16)], (b) => b.place('destination', 16).set(() => b.code.i32(0)))
}

function swapBytes(b: Binder, size: 32 | 64): void {
  const c = b.code
  const place = b.place('destination', size)
  const value = c.local('i64')
  const masks: readonly [number, number][] = [[8, 0x00ff_00ff], [16, 0x0000_ffff]]
  place.get()
  if (size === 32) {
    c.op('i64.extend_i32_u')
    c.i64(32)
    c.op('i64.shl')
  }
  c.set(value)
  for (const [shift, mask] of masks) {
    c.get(value)
    c.i64(shift)
    c.op('i64.shr_u')
    c.i64(mask, mask)
    c.op('i64.and')
    c.get(value)
    c.i64(mask, mask)
    c.op('i64.and')
    c.i64(shift)
    c.op('i64.shl', 'i64.or')
    c.set(value)
  }
  place.set(() => {
    c.get(value)
    c.i64(32)
    c.op('i64.rotl')
    if (size === 32) c.op('i32.wrap_i64')
  })
  c.release('i64', value)
}

function defineConditional(list: MicroList): void {
  for (const condition of CONDITIONS) {
    for (const size of [16, 32, 64] as const) {
      list.add([`cmov${condition}`, size, 'rr'], [change('destination', size), from('source', size), on(condition)], (b) => {
        const place = b.place('destination', size)
        // With 32 bits the upper half is cleared whether or not the value moves.
        place.set(() => {
          b.get('source', size)
          place.get()
          pushCondition(b, condition)
          b.code.op('select')
        })
      })
    }
    list.add([`set${condition}`, 8, 'r'], [into('destination', 8), on(condition)],
      (b) => b.place('destination', 8).set(() => pushBoolean(b, condition)))
  }
}

/** Pushes a condition as 0 or 1. */
function pushBoolean(b: Binder, condition: (typeof CONDITIONS)[number]): void {
  pushCondition(b, condition)
  b.code.i32(0)
  b.code.op('i32.ne')
}

/** Adds all moves. */
export function defineMoveFamily(list: MicroList): void {
  defineMoves(list)
  defineExtensions(list)
  defineAddresses(list)
  defineTemporaries(list)
  defineExchanges(list)
  defineConditional(list)
  // XLAT: where its byte lies, rbx + al.
  for (const width of [16, 32, 64] as const) {
    list.add(['xlat', width], [into('destination', 64), fromRegister(GPR.rbx), fromRegister(GPR.rax)], (b) =>
      b.place('destination', 64).set(() => {
        b.fixed(GPR.rbx, 64).get()
        b.fixed(GPR.rax, 8).get()
        b.code.op('i64.extend_i32_u', 'i64.add')
        if (width === 64) return
        b.code.i64(width === 32 ? -1 : 0xffff, 0)
        b.code.op('i64.and')
      }))
  }
}
