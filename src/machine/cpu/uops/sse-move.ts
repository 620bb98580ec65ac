/**
 * Moves of vectors and of parts of them: between registers, memory and general registers. Loads into the temporary
 * give all other vector instructions their memory operands.
 */
import type { MemoryName } from '../../../wasm/index.ts'
import type { AddressForm, Binder } from '../emit/binder.ts'
import { from, fromVector, into, intoVector, memory, raises } from './facts.ts'
import type { Effect, MemoryUse } from './facts.ts'
import type { MicroList, Parts } from './micro.ts'
import { pushVector, vectorPlace } from './sse-place.ts'

/** How a part of a register is loaded or stored. */
interface Part {
  readonly name: string
  readonly bytes: number
  readonly load: MemoryName
  readonly store: MemoryName
  /** Byte in the register. */
  readonly at?: number
  readonly aligned?: boolean
}

/** How a load fills the register: bytes read, kind of load, and where in the register it goes. */
const LOADS: readonly Part[] = [
  { name: '128', bytes: 16, load: 'v128.load', store: 'v128.store' },
  { name: '128a', bytes: 16, load: 'v128.load', store: 'v128.store', aligned: true },
  { name: '64z', bytes: 8, load: 'v128.load64_zero', store: 'v128.store' },
  { name: '32z', bytes: 4, load: 'v128.load32_zero', store: 'v128.store' },
  { name: '16z', bytes: 2, load: 'i64.load16_u', store: 'i64.store' },
  { name: '8z', bytes: 1, load: 'i64.load8_u', store: 'i64.store' },
  { name: '64', bytes: 8, load: 'i64.load', store: 'i64.store' },
  { name: '64h', bytes: 8, load: 'i64.load', store: 'i64.store', at: 8 },
]

function defineLoads(list: MicroList): void {
  for (const { name, bytes, load, store, at, aligned } of LOADS) {
    const [type, filled] = store === 'v128.store' ? ['v128', 16] as const : ['i64', 8] as const
    list.addForms({
      parts: ['vload', name, 'm'], isShortOnlyInLoop: true,
      facts: (form) => [intoVector('destination', { from: at ?? 0, bytes: filled }), ...access(form, 'read', { bytes, aligned })],
      emit: (b, form) => {
        const c = b.code
        const [address, value] = [c.local('i64'), c.local(type)]
        b.address(form)
        c.set(address)
        if (aligned === true) b.requireAligned(address, bytes)
        b.hostForRead(address, bytes)
        c.memory(load)
        c.set(value)
        vectorPlace(b, 'destination').store(store, () => c.get(value), at)
        c.release('i64', address)
        c.release(type, value)
      },
    })
  }
}

/** An access to memory, and the demand that it be aligned. */
const access = (form: AddressForm, use: MemoryUse, size: { bytes: number; aligned: boolean | undefined }): Effect[] =>
  (size.aligned === true
    ? [memory(form, use, { bytes: size.bytes, align: size.bytes }), raises]
    : [memory(form, use, { bytes: size.bytes })])

/**
 * How a store takes a part of the register: bytes written, kinds of load and store, and where in the register it
 * begins.
 */
const STORES: readonly Part[] = [
  { name: '128', bytes: 16, load: 'v128.load', store: 'v128.store' },
  { name: '128a', bytes: 16, load: 'v128.load', store: 'v128.store', aligned: true },
  { name: '64', bytes: 8, load: 'i64.load', store: 'i64.store' },
  { name: '64h', bytes: 8, load: 'i64.load', store: 'i64.store', at: 8 },
  { name: '32', bytes: 4, load: 'i32.load', store: 'i32.store' },
]

function defineStores(list: MicroList): void {
  for (const { name, bytes, load, store, at, aligned } of STORES) {
    list.addForms({
      parts: ['vstore', name, 'm'], isShortOnlyInLoop: true,
      facts: (form) => [fromVector('register', { from: at ?? 0, bytes }), ...access(form, 'write', { bytes, aligned })],
      emit: (b, form) => {
        const c = b.code
        const [address, host] = [c.local('i64'), c.local('i32')]
        b.address(form)
        c.set(address)
        if (aligned === true) b.requireAligned(address, bytes)
        b.hostForWrite(address, bytes)
        c.tee(host)
        vectorPlace(b, 'register').load(load, at)
        c.memory(store)
        b.written(host)
        c.release('i64', address)
        c.release('i32', host)
      },
    })
  }
}

/** A part of the source goes to a part of the destination. */
function part(list: MicroList, parts: Parts, how: {
  load: MemoryName; store: MemoryName; bytes: number; filled?: number; from?: number; to?: number
}): void {
  const facts = [
    fromVector('source', { from: how.from ?? 0, bytes: how.bytes }),
    intoVector('destination', { from: how.to ?? 0, bytes: how.filled ?? how.bytes }),
  ]
  list.add(parts, facts, (b) => vectorPlace(b, 'destination').store(how.store, () => {
    pushVector(b, 'source', how.load, how.from ?? 0)
  }, how.to))
}

/** Moves between vector and general registers; a name's letters are those of destination and source. */
function defineCrossings(list: MicroList): void {
  list.add(['vmov', 32, 'vr'], [
    intoVector('destination'), from('source', 32),
  ], (b) => vectorPlace(b, 'destination').store('v128.store', () => {
    byteZero(b)
    b.get('source', 32)
    b.code.lane('i32x4.replace_lane', 0)
  }))
  list.add(['vmov', 64, 'vr'], [
    intoVector('destination'), from('source', 64),
  ], (b) => vectorPlace(b, 'destination').store('v128.store', () => {
    byteZero(b)
    b.get('source', 64)
    b.code.lane('i64x2.replace_lane', 0)
  }))
  for (const size of [32, 64] as const) {
    list.add(['vmov', size, 'rv'], [into('destination', size), fromVector('source', { bytes: size / 8 })], (b) =>
      b.place('destination', size).set(() => pushVector(b, 'source', size === 64 ? 'i64.load' : 'i32.load')))
  }
}

function byteZero(b: Binder): void {
  b.code.v128(new Uint8Array(16))
}

/** Adds the family. */
export function defineVectorMoves(list: MicroList): void {
  defineLoads(list)
  defineStores(list)
  defineCrossings(list)
  const quadword = { load: 'i64.load', store: 'i64.store', bytes: 8 } as const
  part(list, ['vmov', 128], { load: 'v128.load', store: 'v128.store', bytes: 16 })
  part(list, ['vmov', '64z'], { load: 'v128.load64_zero', store: 'v128.store', bytes: 8, filled: 16 })
  part(list, ['vmov', 64], quadword)
  part(list, ['vmov', 32], { load: 'i32.load', store: 'i32.store', bytes: 4 })
  part(list, ['vmov', 64, 'lh'], { ...quadword, from: 8 })
  part(list, ['vmov', 64, 'hl'], { ...quadword, to: 8 })
}
