/** Vector registers: loads, stores, moves between them and general registers. Record fields hold the register's number times 16. */
import { VECTOR } from '../../../x86/index.ts'
import type { AddressForm, Binder } from '../emit/binder.ts'
import { State } from '../state.ts'
import type { MicroList } from './micro.ts'
import { raise } from './multiply.ts'

const XMM = State.xmm.offset

/** Leaves the memory operand's host address, for 16 bytes, in a local and runs `body`. */
function withHost(
  b: Binder,
  operand: { form: AddressForm; aligned: boolean; access: 'read' | 'write' },
  body: (host: number) => void,
): void {
  const c = b.code
  const [address, host] = [c.local('i64'), c.local('i32')]
  b.address(operand.form)
  c.set(address)
  if (operand.aligned) {
    c.get(address)
    c.i64(15)
    c.op('i64.and', 'i64.eqz', 'i32.eqz')
    c.if()
    raise(b, VECTOR.GP)
    c.end()
  }
  if (operand.access === 'read') b.hostForRead(address, 16)
  else b.hostForWrite(address, 16)
  c.set(host)
  body(host)
  c.release('i64', address)
  c.release('i32', host)
}

function defineMemory(list: MicroList): void {
  for (const aligned of [false, true]) {
    const suffix = aligned ? 'a' : 'u'
    list.rare(`load128.${suffix}2`, (b) =>
      withHost(b, { form: 2, aligned, access: 'read' }, (host) => {
        b.slotAddress('a')
        b.code.get(host)
        b.code.memory('v128.load')
        b.code.memory('v128.store', XMM)
      }))
    list.rare(`store128.${suffix}2`, (b) =>
      withHost(b, { form: 2, aligned, access: 'write' }, (host) => {
        b.code.get(host)
        b.slotAddress('a')
        b.code.memory('v128.load', XMM)
        b.code.memory('v128.store')
        b.written(host)
      }))
  }
}

/** Adds the family. */
export function defineVectorFamily(list: MicroList): void {
  defineMemory(list)
  list.rare('move128', (b) => {
    b.slotAddress('a')
    b.slotAddress('b')
    b.code.memory('v128.load', XMM)
    b.code.memory('v128.store', XMM)
  })
  // General slot into the low lane, zeros above; and the low lane into a slot.
  for (const bits of [32, 64] as const) {
    list.rare(`vector-from.${bits}`, (b) => {
      b.slotAddress('a')
      b.slotAddress('b')
      b.code.memory(bits === 32 ? 'v128.load32_zero' : 'v128.load64_zero')
      b.code.memory('v128.store', XMM)
    })
    list.rare(`vector-to.${bits}`, (b) => {
      b.slotAddress('a')
      b.slotAddress('b')
      b.code.memory(bits === 32 ? 'i64.load32_u' : 'i64.load', XMM)
      b.code.memory('i64.store')
    })
  }
  list.rare('v128.xor', (b) => {
    b.slotAddress('a')
    b.slotAddress('a')
    b.code.memory('v128.load', XMM)
    b.slotAddress('b')
    b.code.memory('v128.load', XMM)
    b.code.op('v128.xor')
    b.code.memory('v128.store', XMM)
  })
}
