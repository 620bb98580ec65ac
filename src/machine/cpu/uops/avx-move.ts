/**
 * Moves of vectors that SSE has not: of 256 bits, to and from memory and between registers, one value in all lanes,
 * clearing what lies above. A load into a register clears what lies above what it loads.
 * Reference: Intel SDM volume 2, VMOVAPS, VBROADCAST, VPBROADCAST, VZEROUPPER, VZEROALL.
 */
import type { MemoryName, PlainName } from '../../../wasm/index.ts'
import type { AddressForm } from '../emit/binder.ts'
import { State, UPPER_HALF } from '../layout/state.ts'
import { fromVector, intoUnit, intoVector, memory, raises } from './facts.ts'
import type { Effect, MemoryUse } from './facts.ts'
import type { MicroList } from './micro.ts'
import { halvesOf, intoWhole, storeHalves } from './vex.ts'

/** An access to memory, and the demand that it be aligned. */
const access = (form: AddressForm, use: MemoryUse, size: { bytes: number; aligned: boolean }): Effect[] =>
  (size.aligned
    ? [memory(form, use, { bytes: size.bytes, align: size.bytes }), raises]
    : [memory(form, use, { bytes: size.bytes })])

/** Loads that leave zero above: name, bytes, kind. */
const LOADS: readonly (readonly [name: string, bytes: number, load: MemoryName, aligned: boolean])[] = [
  ['128', 16, 'v128.load', false], ['128a', 16, 'v128.load', true], ['64z', 8, 'v128.load64_zero', false],
  ['32z', 4, 'v128.load32_zero', false],
]

function defineShortLoads(list: MicroList): void {
  for (const [name, bytes, load, aligned] of LOADS) {
    list.addForms({
      parts: ['vvload', name, 'm'], isShortOnlyInLoop: true,
      facts: (form) => [intoWhole, ...access(form, 'read', { bytes, aligned })],
      emit: (b, form) => {
        const c = b.code
        const [address, value] = [c.local('i64'), c.local('v128')]
        b.address(form)
        c.set(address)
        if (aligned) b.requireAligned(address, bytes)
        b.hostForRead(address, bytes)
        c.memory(load)
        c.set(value)
        storeHalves(b, [value])
        c.release('i64', address)
      },
    })
  }
}

function defineLongAccesses(list: MicroList): void {
  const bytes = 32
  for (const [name, aligned] of [['256', false], ['256a', true]] as const) {
    list.addForms({
      parts: ['vload', name, 'm'], isShortOnlyInLoop: true,
      facts: (form) => [intoWhole, ...access(form, 'read', { bytes, aligned })],
      emit: (b, form) => {
        const c = b.code
        const [address, host] = [c.local('i64'), c.local('i32')]
        const values = [c.local('v128'), c.local('v128')]
        b.address(form)
        c.set(address)
        if (aligned) b.requireAligned(address, bytes)
        b.hostForRead(address, bytes)
        c.set(host)
        for (const half of [0, 1]) {
          c.get(host)
          c.memory('v128.load', half * 16)
          c.set(values[half]!)
        }
        storeHalves(b, values)
        c.release('i64', address)
        c.release('i32', host)
      },
    }, {
      parts: ['vstore', name, 'm'], isShortOnlyInLoop: true,
      facts: (form) => [fromVector('register'), fromVector('register', { from: UPPER_HALF }), ...access(form, 'write', { bytes, aligned })],
      emit: (b, form) => {
        const c = b.code
        const [address, host] = [c.local('i64'), c.local('i32')]
        b.address(form)
        c.set(address)
        if (aligned) b.requireAligned(address, bytes)
        b.hostForWrite(address, bytes)
        c.set(host)
        for (const half of [0, 1]) {
          c.get(host)
          b.vectorGet('register', 'v128.load', half * UPPER_HALF)
          c.memory('v128.store', half * 16)
        }
        b.written(host)
        c.release('i64', address)
        c.release('i32', host)
      },
    })
  }
}

/**
 * The halves of a register out of two units: moves between registers, insertion, extraction and exchange of halves. Each
 * operand is a unit by itself, an upper half or the unit that is always zero.
 */
function defineHalves(list: MicroList): void {
  list.add(['halves', 'vv'], [fromVector('source'), fromVector('addend'), intoWhole], (b) => {
    const c = b.code
    const values = [c.local('v128'), c.local('v128')]
    b.vectorGet('source', 'v128.load')
    c.set(values[0]!)
    b.vectorGet('addend', 'v128.load')
    c.set(values[1]!)
    storeHalves(b, values)
  })
}

const LANES = [
  { size: 8, load: 'i32.load8_u', splat: 'i8x16.splat' }, { size: 16, load: 'i32.load16_u', splat: 'i16x8.splat' },
  { size: 32, load: 'i32.load', splat: 'i32x4.splat' }, { size: 64, load: 'i64.load', splat: 'i64x2.splat' },
] as const satisfies readonly { size: number; load: MemoryName; splat: PlainName }[]

function defineBroadcasts(list: MicroList): void {
  for (const { size, load, splat } of LANES) {
    for (const length of [128, 256] as const) {
      list.add(['broadcast', size, 'v', length], [fromVector('source', { bytes: size / 8 }), intoWhole], (b) => {
        const values = halvesOf(length).map(() => b.code.local('v128'))
        b.vectorGet('source', load)
        b.code.op(splat)
        b.code.set(values[0]!)
        for (const value of values.slice(1)) {
          b.code.get(values[0]!)
          b.code.set(value)
        }
        storeHalves(b, values)
      })
    }
  }
}

/** Registers that the instructions reach from code of that width. */
const registersOf = (width: 32 | 64): number => (width === 64 ? 16 : 8)

function defineZeroing(list: MicroList): void {
  list.add(['zero-upper', 'v'], [intoVector('destination', { from: UPPER_HALF })], (b) =>
    b.vector('destination').store('v128.store', () => b.code.v128(new Uint8Array(16)), UPPER_HALF))
  for (const [name, places] of [['vzeroupper', [State.ymmHigh]], ['vzeroall', [State.ymmHigh, State.xmm]]] as const) {
    const units = name === 'vzeroupper' ? ['uppers'] as const : ['uppers', 'vectors', 'xmm0'] as const
    list.add([name], [intoUnit(...units)], (b) => {
      for (const place of places) {
        for (let register = 0; register < registersOf(b.width); register += 1) {
          b.code.get(b.base)
          b.code.v128(new Uint8Array(16))
          b.code.memory('v128.store', place.offset + register * 16)
        }
      }
    })
  }
}

/** Adds the family. */
export function defineLongMoves(list: MicroList): void {
  defineShortLoads(list)
  defineLongAccesses(list)
  defineHalves(list)
  defineBroadcasts(list)
  defineZeroing(list)
}
