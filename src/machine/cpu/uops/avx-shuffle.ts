/**
 * AVX and AVX2 instructions without an SSE form that rearrange or look across the whole register: permutations, blends by a
 * fourth operand, shifts of each lane by its own count, tests and sign masks of 256 bits.
 * Reference: Intel SDM volume 2, the instructions' pages.
 */
import type { Code } from '../../../wasm/index.ts'
import type { Binder } from '../emit/binder.ts'
import { zeroAndCarryFlags } from '../emit/flags.ts'
import { field, fromVector, into, setsFlags } from './facts.ts'
import type { Effect } from './facts.ts'
import type { MicroList } from './micro.ts'
import { byteVector, pushVector, splat32, vectorPlace } from './sse-place.ts'
import { fromHalves, halvesOf, intoWhole, runHalves, storeHalves } from './vex.ts'
import type { VectorLength } from './vex.ts'
import { UPPER_HALF } from '../layout/state.ts'

const LENGTHS = [128, 256] as const

/** Adds dest := first op second, half for half, for both lengths. */
function lanewise(list: MicroList, name: string, push: (b: Binder) => void, more: readonly 'chooser'[] = []): void {
  for (const length of LENGTHS) {
    list.add([name, 'vv', length], [...(['addend', 'source', ...more] as const).map((one) => fromHalves(one, length)), intoWhole], (b) => {
      storeHalves(b, runHalves(b, { length }, () => vectorPlace(b, 'destination').store('v128.store', () => push(b))))
    })
  }
}

const pushFirst = (b: Binder): void => pushVector(b, 'destination')
const pushSecond = (b: Binder): void => pushVector(b, 'source')

/** Turns numbers of lanes on the stack, in lanes of 32 bits, into byte numbers for a swizzle. */
function lanesToBytes(c: Code, most: number): void {
  splat32(c, most)
  c.op('v128.and')
  splat32(c, 0x0404_0404)
  c.op('i32x4.mul')
  splat32(c, 0x0302_0100)
  c.op('i8x16.add')
}

/** VPERMILPS and VPERMILPD by a vector, whose lanes hold numbers of lanes within each half. */
function defineLocalPermutations(list: MicroList): void {
  lanewise(list, 'vpermilps', (b) => {
    pushFirst(b)
    pushSecond(b)
    lanesToBytes(b.code, 3)
    b.code.op('i8x16.swizzle')
  })
  lanewise(list, 'vpermilpd', (b) => {
    const c = b.code
    pushFirst(b)
    // Bit 1 of each control lane picks: 8 is its byte in the same place, spread over all bytes of the lane.
    pushSecond(b)
    c.i64(2)
    c.op('i64x2.splat', 'v128.and')
    c.i32(2)
    c.op('i64x2.shl')
    const picks = c.local('v128')
    c.set(picks)
    c.get(picks)
    c.get(picks)
    c.shuffle(Array.from({ length: 16 }, (_, index) => index & 8))
    byteVector(c, (index) => index & 7)
    c.op('i8x16.add', 'i8x16.swizzle')
    c.release('v128', picks)
  })
}

/** VPERMD and VPERMPS: lanes of all of the second operand by the numbers in the first. */
function defineWholePermutation(list: MicroList): void {
  list.add(['vpermd', 'vv', 256], [fromHalves('addend', 256), fromHalves('source', 256), intoWhole], (b) => {
    const c = b.code
    const [picks, low, high] = [c.local('v128'), c.local('v128'), c.local('v128')]
    pushSecond(b)
    c.set(low)
    b.vectorGet('source', 'v128.load', UPPER_HALF)
    c.set(high)
    storeHalves(b, runHalves(b, { length: 256 }, () => vectorPlace(b, 'destination').store('v128.store', () => {
      pushFirst(b)
      lanesToBytes(c, 7)
      c.set(picks)
      c.get(low)
      c.get(picks)
      c.op('i8x16.swizzle')
      // Numbers out of range give zero: each half picks its own.
      c.get(high)
      c.get(picks)
      byteVector(c, () => -16)
      c.op('i8x16.add', 'i8x16.swizzle', 'v128.or')
    })))
    c.release('v128', picks, low, high)
  })
}

/** VPERMQ and VPERMPD: quadwords by two bits each of control. */
function defineQuadwordPermutation(list: MicroList): void {
  list.add(['vpermq', 'vvi', 256], [fromHalves('source', 256), field('control'), intoWhole], (b) => {
    const c = b.code
    const [low, high, number] = [c.local('v128'), c.local('v128'), c.local('i32')]
    pushSecond(b)
    c.set(low)
    b.vectorGet('source', 'v128.load', UPPER_HALF)
    c.set(high)
    /** Pushes the quadword that control names for a lane, in both lanes. */
    const pick = (lane: number): void => {
      b.small('control')
      c.i32(lane * 2)
      c.op('i32.shr_u')
      c.set(number)
      c.get(high)
      c.get(low)
      c.get(number)
      c.i32(2)
      c.op('i32.and', 'select')
      c.i32(8)
      c.i32(0)
      c.get(number)
      c.i32(1)
      c.op('i32.and', 'select', 'i8x16.splat')
      byteVector(c, (index) => index & 7)
      c.op('i8x16.add', 'i8x16.swizzle')
    }
    const results = [0, 1].map((half) => {
      const result = c.local('v128')
      pick(half * 2)
      pick(half * 2 + 1)
      c.shuffle([0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23])
      c.set(result)
      return result
    })
    storeHalves(b, results)
    c.release('v128', low, high)
    c.release('i32', number)
  })
}

/** Blends by the top bits of lanes of a register that control names. */
function defineVariableBlends(list: MicroList): void {
  for (const [name, shape] of [['vblendvps', 'i32x4'], ['vblendvpd', 'i64x2'], ['vpblendvb', 'i8x16']] as const) {
    const push = (b: Binder): void => {
      const c = b.code
      pushSecond(b)
      pushFirst(b)
      b.vectorGet('chooser', 'v128.load', (b.vectors?.half ?? 0) * UPPER_HALF)
      c.v128(new Uint8Array(16))
      c.op(`${shape}.lt_s`, 'v128.bitselect')
    }
    lanewise(list, name, push, ['chooser'])
  }
}

const SHAPES = { d: { type: 'i32', shape: 'i32x4', lanes: 4 }, q: { type: 'i64', shape: 'i64x2', lanes: 2 } } as const

/** Shifts each lane of first by the number in the same lane of second. */
function shiftLanes(b: Binder, size: keyof typeof SHAPES, kind: 'shl' | 'shr_u' | 'shr_s'): void {
  const c = b.code
  const { type, shape, lanes } = SHAPES[size]
  const bits = type === 'i64' ? 64 : 32
  const [first, second, result, count] = [c.local('v128'), c.local('v128'), c.local('v128'), c.local(type)]
  const number = (value: number): void => (type === 'i64' ? c.i64(value) : c.i32(value))
  pushFirst(b)
  c.set(first)
  pushSecond(b)
  c.set(second)
  c.v128(new Uint8Array(16))
  c.set(result)
  for (let lane = 0; lane < lanes; lane += 1) {
    c.get(second)
    c.lane(`${shape}.extract_lane`, lane)
    c.set(count)
    c.get(result)
    c.get(first)
    c.lane(`${shape}.extract_lane`, lane)
    c.get(count)
    if (kind === 'shr_s') {
      number(bits - 1)
      c.get(count)
      number(bits)
      c.op(`${type}.lt_u`, 'select', `${type}.${kind}`)
    } else {
      c.op(`${type}.${kind}`)
      number(0)
      c.get(count)
      number(bits)
      c.op(`${type}.lt_u`, 'select')
    }
    c.lane(`${shape}.replace_lane`, lane)
    c.set(result)
  }
  c.get(result)
  c.release('v128', first, second, result)
  c.release(type, count)
}

/** Flags of VPTEST, VTESTPS and VTESTPD: the bits of all lanes, or their top bits. */
function defineTests(list: MicroList): void {
  const masks = { vptest: undefined, vtestps: [0, 0, 0, 0x80], vtestpd: [0, 0, 0, 0, 0, 0, 0, 0x80] } as const
  for (const [name, mask] of Object.entries(masks)) {
    for (const length of LENGTHS) {
      const facts: Effect[] = [
        halvesOf(length).map((half) => fromVector('destination', { from: half * UPPER_HALF })), fromHalves('source', length), setsFlags(),
      ]
      list.add([name, 'vv', length], facts, (b) => test(b, length, mask))
    }
  }
}

function test(b: Binder, length: VectorLength, mask: readonly number[] | undefined): void {
  const c = b.code
  const [both, rest] = [c.local('v128'), c.local('v128')]
  const [notZero, notCarry] = [c.local('i32'), c.local('i32')]
  for (const half of halvesOf(length)) {
    for (const [op, sum] of [['v128.and', both], ['v128.andnot', rest]] as const) {
      b.vectorGet('source', 'v128.load', half * UPPER_HALF)
      b.vectorGet('destination', 'v128.load', half * UPPER_HALF)
      c.op(op)
      if (half === 1) {
        c.get(sum)
        c.op('v128.or')
      }
      c.set(sum)
    }
  }
  for (const [sum, flag] of [[both, notZero], [rest, notCarry]] as const) {
    c.get(sum)
    if (mask !== undefined) {
      byteVector(c, (index) => mask[index % mask.length]!)
      c.op('v128.and')
    }
    c.op('v128.any_true')
    c.set(flag)
  }
  zeroAndCarryFlags(b, notZero, notCarry)
  c.release('v128', both, rest)
  c.release('i32', notZero, notCarry)
}

function defineLongMasks(list: MicroList): void {
  for (const [name, shape, lanes] of [['pmovmskb', 'i8x16', 16], ['movmskps', 'i32x4', 4], ['movmskpd', 'i64x2', 2]] as const) {
    list.add([name, 'rv', 256], [into('destination', 32), fromHalves('source', 256)], (b) => b.place('destination', 32).set(() => {
      for (const half of [0, 1]) {
        b.vectorGet('source', 'v128.load', half * UPPER_HALF)
        b.code.op(`${shape}.bitmask`)
      }
      b.code.i32(lanes)
      b.code.op('i32.shl', 'i32.or')
    }))
  }
}

/** Adds the family. */
export function defineLongShuffles(list: MicroList): void {
  defineLocalPermutations(list)
  defineWholePermutation(list)
  defineQuadwordPermutation(list)
  defineVariableBlends(list)
  for (const [name, size, kind] of [
    ['vpsllvd', 'd', 'shl'], ['vpsllvq', 'q', 'shl'], ['vpsrlvd', 'd', 'shr_u'], ['vpsrlvq', 'q', 'shr_u'], ['vpsravd', 'd', 'shr_s'],
  ] as const) lanewise(list, name, (b) => shiftLanes(b, size, kind))
  defineTests(list)
  defineLongMasks(list)
}
