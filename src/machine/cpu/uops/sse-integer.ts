/**
 * Packed integer instructions of two operands, first := first op second, for XMM and for MMX registers. An MMX
 * operand is the low half of a vector whose upper half is zero: lane by lane nothing changes; instructions that look
 * across lanes (packing, horizontal sums) see both operands joined into one vector.
 * Reference: Intel SDM volume 2, the instructions' pages.
 */
import type { Code, PlainName } from '../../../wasm/index.ts'
import type { Binder } from '../emit/binder.ts'
import { State } from '../layout/state.ts'
import { all, changeVector, field, fromUnit, fromVector, intoUnit, intoVector } from './facts.ts'
import type { Effect } from './facts.ts'
import type { MicroList } from './micro.ts'
import { byteVector, pushVector, splat32, vectorPlace } from './sse-place.ts'

/** Pushes the result for two v128 locals. */
export type VectorOperation = (c: Code, first: number, second: number) => void

const plain = (...ops: PlainName[]): VectorOperation => (c, first, second) => {
  c.get(first)
  c.get(second)
  c.op(...ops)
}
const swapped = (...ops: PlainName[]): VectorOperation => (c, first, second) => plain(...ops)(c, second, first)

/** Picks lanes of both operands; `pick` gives for each byte of the result a byte of first (0-15) or second (16-31). */
const shuffle = (pick: (index: number) => number): VectorOperation => (c, first, second) => {
  c.get(first)
  c.get(second)
  c.shuffle(Array.from({ length: 16 }, (_, index) => pick(index)))
}

/** Interleaves lanes of `bytes` bytes from byte `from` on. */
const interleave = (bytes: number, from: number): VectorOperation => shuffle((index) => {
  const lane = Math.floor(index / bytes)
  return from + (lane >> 1) * bytes + (index % bytes) + (lane & 1) * 16
})

/** Even (0) or odd (1) lanes of `bytes` bytes, first operand's before second's. */
const lanes = (bytes: number, which: number): VectorOperation => shuffle((index) => {
  const lane = Math.floor(index / bytes) * 2 + which
  return lane * bytes + (index % bytes)
})

const horizontal = (bytes: number, ...ops: PlainName[]): VectorOperation => (c, first, second) => {
  lanes(bytes, 0)(c, first, second)
  lanes(bytes, 1)(c, first, second)
  c.op(...ops)
}

/** Upper halves of the products of words. */
const multiplyHigh = (sign: 's' | 'u'): VectorOperation => (c, first, second) => {
  const [low, high] = [c.local('v128'), c.local('v128')]
  plain(`i32x4.extmul_low_i16x8_${sign}`)(c, first, second)
  c.set(low)
  plain(`i32x4.extmul_high_i16x8_${sign}`)(c, first, second)
  c.set(high)
  lanes(2, 1)(c, low, high)
  c.release('v128', low, high)
}

/** (product >> 14) + 1 >> 1 of words. */
const multiplyRounded: VectorOperation = (c, first, second) => {
  const [low, high] = [c.local('v128'), c.local('v128')]
  for (const [part, local] of [['low', low], ['high', high]] as const) {
    plain(`i32x4.extmul_${part}_i16x8_s`)(c, first, second)
    c.i32(14)
    c.op('i32x4.shr_s')
    splat32(c, 1)
    c.op('i32x4.add')
    c.i32(1)
    c.op('i32x4.shr_s')
    c.set(local)
  }
  lanes(2, 0)(c, low, high)
  c.release('v128', low, high)
}

/** Unsigned bytes of first times signed bytes of second, neighbours added with saturation. */
const multiplyAddBytes: VectorOperation = (c, first, second) => {
  const [even, odd] = [c.local('v128'), c.local('v128')]
  for (const [which, local] of [[0, even], [1, odd]] as const) {
    for (const [operand, sign] of [[first, 'u'], [second, 's']] as const) {
      c.get(operand)
      if (which === 0) {
        c.i32(8)
        c.op('i16x8.shl')
      }
      c.i32(8)
      c.op(`i16x8.shr_${sign}`)
    }
    c.op('i16x8.mul')
    c.set(local)
  }
  plain('i16x8.add_sat_s')(c, even, odd)
  c.release('v128', even, odd)
}

/** Sums of absolute differences of eight bytes each. */
const sumOfDifferences: VectorOperation = (c, first, second) => {
  plain('i8x16.max_u')(c, first, second)
  plain('i8x16.min_u')(c, first, second)
  c.op('i8x16.sub', 'i16x8.extadd_pairwise_i8x16_u', 'i32x4.extadd_pairwise_i16x8_u')
  const sums = c.local('v128')
  c.tee(sums)
  c.get(sums)
  c.i32(32)
  c.op('i64x2.shr_u', 'i32x4.add')
  c.i64(-1, 0)
  c.op('i64x2.splat', 'v128.and')
  c.release('v128', sums)
}

/** Products of the even 32-bit lanes. */
const multiplyEven = (sign: 's' | 'u'): VectorOperation => (c, first, second) => {
  for (const operand of [first, second]) {
    c.get(operand)
    c.get(operand)
    c.shuffle([0, 1, 2, 3, 8, 9, 10, 11, 0, 0, 0, 0, 0, 0, 0, 0])
  }
  c.op(`i64x2.extmul_low_i32x4_${sign}`)
}

/** First with the sign of second: negated where that is negative, zero where it is zero. */
const withSign = (shape: 'i8x16' | 'i16x8' | 'i32x4'): VectorOperation => (c, first, second) => {
  c.get(first)
  c.op(`${shape}.neg`)
  c.get(first)
  c.get(second)
  c.v128(new Uint8Array(16))
  c.op(`${shape}.lt_s`, 'v128.bitselect')
  c.get(second)
  c.v128(new Uint8Array(16))
  c.op(`${shape}.ne`, 'v128.and')
}

/** Bytes of first by the numbers in second; bit 7 gives zero, of the rest `mask` counts. */
const shuffleBytes = (mask: number): VectorOperation => (c, first, second) => {
  c.get(first)
  c.get(second)
  byteVector(c, () => mask)
  c.op('v128.and', 'i8x16.swizzle')
}

/** Shifts by the low 64 bits of second; `most` is what larger counts amount to. */
const shift = (shape: 'i16x8' | 'i32x4' | 'i64x2', kind: 'shl' | 'shr_u' | 'shr_s', bits: number): VectorOperation =>
  (c, first, second) => {
    const count = c.local('i64')
    c.get(second)
    c.lane('i64x2.extract_lane', 0)
    c.set(count)
    shiftBy(c, { shape, kind, bits, first, count })
    c.release('i64', count)
  }

/** Pushes `first` shifted by an i64 local. */
function shiftBy(c: Code, how: {
  shape: 'i16x8' | 'i32x4' | 'i64x2'; kind: 'shl' | 'shr_u' | 'shr_s'; bits: number; first: number; count: number
}): void {
  c.get(how.first)
  c.get(how.count)
  if (how.kind === 'shr_s') c.i64(how.bits - 1)
  else c.i64(0)
  c.get(how.count)
  c.i64(how.bits)
  c.op('i64.lt_u', 'select', 'i32.wrap_i64', `${how.shape}.${how.kind}`)
  if (how.kind === 'shr_s') return
  // All ones where the count is below the lanes' size.
  c.i64(-1)
  c.i64(0)
  c.get(how.count)
  c.i64(how.bits)
  c.op('i64.lt_u', 'select', 'i64x2.splat', 'v128.and')
}

/**
 * Equality of, or sign of the difference between, 64-bit lanes and so on: instructions that are one of WebAssembly's.
 */
const BOTH_PLAIN: Readonly<Record<string, PlainName>> = {
  paddb: 'i8x16.add', paddw: 'i16x8.add', paddd: 'i32x4.add', paddq: 'i64x2.add',
  psubb: 'i8x16.sub', psubw: 'i16x8.sub', psubd: 'i32x4.sub', psubq: 'i64x2.sub',
  paddsb: 'i8x16.add_sat_s', paddsw: 'i16x8.add_sat_s', paddusb: 'i8x16.add_sat_u', paddusw: 'i16x8.add_sat_u',
  psubsb: 'i8x16.sub_sat_s', psubsw: 'i16x8.sub_sat_s', psubusb: 'i8x16.sub_sat_u', psubusw: 'i16x8.sub_sat_u',
  pand: 'v128.and', por: 'v128.or', pxor: 'v128.xor',
  pcmpeqb: 'i8x16.eq', pcmpeqw: 'i16x8.eq', pcmpeqd: 'i32x4.eq',
  pcmpgtb: 'i8x16.gt_s', pcmpgtw: 'i16x8.gt_s', pcmpgtd: 'i32x4.gt_s',
  pminub: 'i8x16.min_u', pmaxub: 'i8x16.max_u', pminsw: 'i16x8.min_s', pmaxsw: 'i16x8.max_s',
  pavgb: 'i8x16.avgr_u', pavgw: 'i16x8.avgr_u', pmullw: 'i16x8.mul', pmaddwd: 'i32x4.dot_i16x8_s',
}
const XMM_PLAIN: Readonly<Record<string, PlainName>> = {
  andps: 'v128.and', andpd: 'v128.and', orps: 'v128.or', orpd: 'v128.or', xorps: 'v128.xor', xorpd: 'v128.xor',
  pcmpeqq: 'i64x2.eq', pcmpgtq: 'i64x2.gt_s', pmulld: 'i32x4.mul',
  pminsb: 'i8x16.min_s', pminsd: 'i32x4.min_s', pminuw: 'i16x8.min_u', pminud: 'i32x4.min_u',
  pmaxsb: 'i8x16.max_s', pmaxsd: 'i32x4.max_s', pmaxuw: 'i16x8.max_u', pmaxud: 'i32x4.max_u',
}

/** Instructions that are the same for MMX, lane by lane. */
const BOTH: Readonly<Record<string, VectorOperation>> = {
  ...Object.fromEntries(Object.entries(BOTH_PLAIN).map(([name, op]) => [name, plain(op)])),
  pandn: swapped('v128.andnot'),
  pmulhw: multiplyHigh('s'), pmulhuw: multiplyHigh('u'), pmulhrsw: multiplyRounded, pmaddubsw: multiplyAddBytes,
  pmuludq: multiplyEven('u'), psadbw: sumOfDifferences,
  punpcklbw: interleave(1, 0), punpcklwd: interleave(2, 0), punpckldq: interleave(4, 0),
  psignb: withSign('i8x16'), psignw: withSign('i16x8'), psignd: withSign('i32x4'),
  pabsb: (c, _, second) => absolute(c, 'i8x16', second),
  pabsw: (c, _, second) => absolute(c, 'i16x8', second),
  pabsd: (c, _, second) => absolute(c, 'i32x4', second),
  psllw: shift('i16x8', 'shl', 16), pslld: shift('i32x4', 'shl', 32), psllq: shift('i64x2', 'shl', 64),
  psrlw: shift('i16x8', 'shr_u', 16), psrld: shift('i32x4', 'shr_u', 32), psrlq: shift('i64x2', 'shr_u', 64),
  psraw: shift('i16x8', 'shr_s', 16), psrad: shift('i32x4', 'shr_s', 32),
}

function absolute(c: Code, shape: 'i8x16' | 'i16x8' | 'i32x4', operand: number): void {
  c.get(operand)
  c.op(`${shape}.abs`)
}

/** Instructions whose MMX form works on both operands joined. */
const JOINED: Readonly<Record<string, VectorOperation>> = {
  packsswb: plain('i8x16.narrow_i16x8_s'), packuswb: plain('i8x16.narrow_i16x8_u'),
  packssdw: plain('i16x8.narrow_i32x4_s'),
  phaddw: horizontal(2, 'i16x8.add'), phaddd: horizontal(4, 'i32x4.add'), phaddsw: horizontal(2, 'i16x8.add_sat_s'),
  phsubw: horizontal(2, 'i16x8.sub'), phsubd: horizontal(4, 'i32x4.sub'), phsubsw: horizontal(2, 'i16x8.sub_sat_s'),
}

const XMM_ONLY: Readonly<Record<string, VectorOperation>> = {
  ...Object.fromEntries(Object.entries(XMM_PLAIN).map(([name, op]) => [name, plain(op)])),
  andnps: swapped('v128.andnot'), andnpd: swapped('v128.andnot'),
  packusdw: plain('i16x8.narrow_i32x4_u'), pmuldq: multiplyEven('s'), pshufb: shuffleBytes(0x8f),
  punpckhbw: interleave(1, 8), punpckhwd: interleave(2, 8), punpckhdq: interleave(4, 8),
  punpcklqdq: interleave(8, 0), punpckhqdq: interleave(8, 8),
  unpcklps: interleave(4, 0), unpckhps: interleave(4, 8), unpcklpd: interleave(8, 0), unpckhpd: interleave(8, 8),
  movsldup: (c, _, second) => shuffle((index) => (index & 0xb))(c, second, second),
  movshdup: (c, _, second) => shuffle((index) => (index | 4))(c, second, second),
  movddup: (c, _, second) => shuffle((index) => (index & 7))(c, second, second),
}

const MMX_ONLY: Readonly<Record<string, VectorOperation>> = {
  pshufb: shuffleBytes(0x87),
  punpckhbw: interleave(1, 4), punpckhwd: interleave(2, 4), punpckhdq: interleave(4, 4),
}

/** Packed integer instructions of two operands by name, for XMM registers. */
export const XMM_OPERATIONS: Readonly<Record<string, VectorOperation>> = { ...BOTH, ...JOINED, ...XMM_ONLY }
/** The same for MMX registers. */
export const MMX_OPERATIONS: Readonly<Record<string, VectorOperation>> = {
  ...BOTH, ...MMX_ONLY,
  ...Object.fromEntries(Object.entries(JOINED).map(([name, operation]) => [name, joined(operation)])),
}

function joined(operation: VectorOperation): VectorOperation {
  return (c, first, second) => {
    const both = c.local('v128')
    interleave(8, 0)(c, first, second)
    c.set(both)
    operation(c, both, both)
    c.release('v128', both)
  }
}

/** Writes an MMX register's new value: the part of the x87 register above it becomes all ones. */
export function storeMmx(b: Binder, value: number): void {
  const place = vectorPlace(b, 'destination')
  place.store('i64.store', () => {
    b.code.get(value)
    b.code.lane('i64x2.extract_lane', 0)
  })
  place.store('i32.store16', () => b.code.i32(-1), 8)
}

/** An MMX instruction makes register 0 the top of the stack and all registers valid. */
export function enterMmx(b: Binder): void {
  const c = b.code
  c.get(b.base)
  c.get(b.base)
  c.memory('i32.load', State.x87Status.offset)
  c.i32(~0x3800)
  c.op('i32.and')
  c.memory('i32.store', State.x87Status.offset)
  c.get(b.base)
  c.i32(0xff)
  c.memory('i32.store', State.x87Tags.offset)
}

/** What `enterMmx` does. */
export const MMX: Effect = /* @__PURE__ */ all(/* @__PURE__ */ fromUnit('x87Status'), /* @__PURE__ */ intoUnit('x87Status', 'x87Tags'))
/** What `storeMmx` does in an MMX instruction. */
export const intoMmx: Effect = /* @__PURE__ */ all(
  MMX, /* @__PURE__ */ intoVector('destination', { bytes: 8 }), /* @__PURE__ */ intoVector('destination', { from: 8, bytes: 2 }))
/** An MMX register that is also the first operand. */
export const changeMmx: Effect = /* @__PURE__ */ all(intoMmx, /* @__PURE__ */ fromVector('destination', { bytes: 8 }))
/** The second operand. */
export const fromMmx: Effect = /* @__PURE__ */ fromVector('source', { bytes: 8 })

/** Shifts by an immediate count in control. */
const SHAPES = { w: ['i16x8', 16], d: ['i32x4', 32], q: ['i64x2', 64] } as const
const KINDS = { psll: 'shl', psrl: 'shr_u', psra: 'shr_s' } as const

function immediateShift(b: Binder, name: keyof typeof KINDS, size: keyof typeof SHAPES, value: number): void {
  const c = b.code
  const count = c.local('i64')
  b.small('control')
  c.op('i64.extend_i32_u')
  c.set(count)
  const [shape, bits] = SHAPES[size]
  shiftBy(c, { shape, kind: KINDS[name], bits, first: value, count })
  c.release('i64', count)
}

function defineImmediateShifts(list: MicroList): void {
  for (const name of ['psll', 'psrl', 'psra'] as const) {
    for (const size of ['w', 'd', 'q'] as const) {
      if (name === 'psra' && size === 'q') continue
      list.add([`${name}${size}`, 'vi'], [changeVector('destination'), field('control')], (b) => {
        const value = b.code.local('v128')
        const place = vectorPlace(b, 'destination')
        place.load('v128.load')
        b.code.set(value)
        place.store('v128.store', () => immediateShift(b, name, size, value))
        b.code.release('v128', value)
      })
      list.add([`${name}${size}`, 'mmx', 'i'], [changeMmx, field('control')], (b) => {
        const value = b.code.local('v128')
        enterMmx(b)
        pushVector(b, 'destination', 'v128.load64_zero')
        b.code.set(value)
        immediateShift(b, name, size, value)
        b.code.set(value)
        storeMmx(b, value)
        b.code.release('v128', value)
      })
    }
  }
}

/** Adds the family. */
export function defineVectorIntegers(list: MicroList): void {
  for (const [name, operation] of Object.entries(XMM_OPERATIONS)) {
    list.add([name, 'vv'], [changeVector('destination'), fromVector('source')], (b) => {
      const [first, second] = [b.code.local('v128'), b.code.local('v128')]
      const place = vectorPlace(b, 'destination')
      place.load('v128.load')
      b.code.set(first)
      pushVector(b, 'source')
      b.code.set(second)
      place.store('v128.store', () => operation(b.code, first, second))
      b.code.release('v128', first, second)
    })
  }
  for (const [name, operation] of Object.entries(MMX_OPERATIONS)) {
    list.add([name, 'mmx'], [changeMmx, fromMmx], (b) => {
      const [first, second] = [b.code.local('v128'), b.code.local('v128')]
      enterMmx(b)
      pushVector(b, 'destination', 'v128.load64_zero')
      b.code.set(first)
      pushVector(b, 'source', 'v128.load64_zero')
      b.code.set(second)
      operation(b.code, first, second)
      b.code.set(first)
      storeMmx(b, first)
      b.code.release('v128', first, second)
    })
  }
  defineImmediateShifts(list)
}
