/**
 * Vector instructions that rearrange: shuffles by an immediate (control), byte-wise shifts, insertions and extractions
 * of one lane, blends, extensions of lanes, masks of sign bits, PTEST.
 * Reference: Intel SDM volume 2, the instructions' pages.
 */
import type { Code, PlainName } from '../../../wasm/index.ts'
import type { Binder } from '../emit/binder.ts'
import { zeroAndCarryFlags } from '../emit/flags.ts'
import { State } from '../layout/state.ts'
import { changeVector, field, from, fromUnit, fromVector, into, intoLane, intoVector, setsFlags } from './facts.ts'
import type { Effect } from './facts.ts'
import type { MicroList, Parts } from './micro.ts'
import { MMX, changeMmx, enterMmx, fromMmx, intoMmx, storeMmx } from './sse-integer.ts'
import { byteVector, pushControl, pushVector, splat32, VECTOR_UNIT, vectorPlace } from './sse-place.ts'

/** Two operands and the immediate. */
const TWO = [/* @__PURE__ */ changeVector('destination'), /* @__PURE__ */ fromVector('source'), /* @__PURE__ */ field('control')]

/** Runs `body` with both operands in locals and stores what it pushes in the first. */
function withOperands(b: Binder, body: (first: number, second: number) => void): void {
  const [first, second] = [b.code.local('v128'), b.code.local('v128')]
  const place = vectorPlace(b, 'destination')
  place.load('v128.load')
  b.code.set(first)
  pushVector(b, 'source')
  b.code.set(second)
  place.store('v128.store', () => body(first, second))
  b.code.release('v128', first, second)
}

/** The same for MMX registers. */
function withMmx(b: Binder, body: (first: number, second: number) => void): void {
  const [first, second] = [b.code.local('v128'), b.code.local('v128')]
  enterMmx(b)
  pushVector(b, 'destination', 'v128.load64_zero')
  b.code.set(first)
  pushVector(b, 'source', 'v128.load64_zero')
  b.code.set(second)
  body(first, second)
  b.code.set(first)
  storeMmx(b, first)
  b.code.release('v128', first, second)
}

/** Pushes four lane numbers, two bits each of control, in four 32-bit lanes. */
function pushSelectors(b: Binder): void {
  const c = b.code
  b.small('control')
  c.op('i32x4.splat')
  byteVector(c, (index) => ((index & 3) === 0 ? 64 >> ((index >> 2) * 2) : 0))
  c.op('i32x4.mul')
  c.i32(6)
  c.op('i32x4.shr_u')
  splat32(c, 3)
  c.op('v128.and')
}

/** Pushes byte numbers for a swizzle that picks four lanes of 32 bits by control. */
function pushDoublewordPicks(b: Binder): void {
  pushSelectors(b)
  splat32(b.code, 0x0404_0404)
  b.code.op('i32x4.mul')
  splat32(b.code, 0x0302_0100)
  b.code.op('i8x16.add')
}

/** Pushes byte numbers that pick four words by control within one half; the other half stays. */
function pushWordPicks(b: Binder, half: 'low' | 'high'): void {
  const c = b.code
  pushSelectors(b)
  c.v128(new Uint8Array(16))
  c.op('i16x8.narrow_i32x4_u')
  splat32(c, 0x0202_0202)
  c.op('i16x8.mul')
  splat32(c, 0x0100_0100)
  c.op('i8x16.add')
  const picks = c.local('v128')
  c.set(picks)
  // The four picks stand in the lower half.
  c.get(picks)
  byteVector(c, (index) => (half === 'low' ? index : index - 8))
  c.shuffle(Array.from({ length: 16 }, (_, index) =>
    half === 'low' ? (index < 8 ? index : 16 + index) : index < 8 ? 24 + index : index - 8))
  if (half === 'high') {
    byteVector(c, (index) => (index < 8 ? 0 : 8))
    c.op('i8x16.add')
  }
  c.release('v128', picks)
}

function definePicks(list: MicroList): void {
  list.add(['pshufd', 'vvi'], TWO, (b) => withOperands(b, (_, second) => {
    b.code.get(second)
    pushDoublewordPicks(b)
    b.code.op('i8x16.swizzle')
  }))
  for (const half of ['low', 'high'] as const) {
    list.add([`pshuf${half.charAt(0)}w`, 'vvi'], TWO, (b) => withOperands(b, (_, second) => {
      b.code.get(second)
      pushWordPicks(b, half)
      b.code.op('i8x16.swizzle')
    }))
  }
  list.add(['pshufw', 'mmx', 'i'], [changeMmx, fromMmx, field('control')], (b) => withMmx(b, (_, second) => {
    b.code.get(second)
    pushWordPicks(b, 'low')
    b.code.op('i8x16.swizzle')
  }))
  list.add(['shufps', 'vvi'], TWO, (b) => withOperands(b, (first, second) => {
    const c = b.code
    const picks = c.local('v128')
    pushDoublewordPicks(b)
    c.set(picks)
    for (const operand of [first, second]) {
      c.get(operand)
      c.get(picks)
      c.op('i8x16.swizzle')
    }
    c.shuffle(Array.from({ length: 16 }, (_, index) => (index < 8 ? index : index + 16)))
    c.release('v128', picks)
  }))
  list.add(['shufpd', 'vvi'], TWO, (b) => withOperands(b, (first, second) => {
    const c = b.code
    for (const [operand, bit] of [[first, 1], [second, 2]] as const) {
      c.get(operand)
      c.lane('i64x2.extract_lane', 1)
      c.get(operand)
      c.lane('i64x2.extract_lane', 0)
      pushControl(b, 2)
      c.i32(bit)
      c.op('i32.and', 'select')
      if (bit === 1) c.op('i64x2.splat')
      else c.lane('i64x2.replace_lane', 1)
    }
  }))
}

/** Pushes byte numbers `index + control + offset`. */
function pushRun(b: Binder, sign: 1 | -1, offset: number): void {
  const c = b.code
  byteVector(c, (index) => index + offset)
  b.small('control')
  c.op('i8x16.splat', sign === 1 ? 'i8x16.add' : 'i8x16.sub')
}

/** Shifts by whole bytes: control is at most 16, for PALIGNR at most 32, so that no byte number wraps into range. */
function defineByteShifts(list: MicroList): void {
  for (const [name, sign] of [['psrldq', 1], ['pslldq', -1]] as const) {
    list.add([name, 'vi'], [changeVector('destination'), field('control')], (b) => {
      const place = vectorPlace(b, 'destination')
      place.store('v128.store', () => {
        place.load('v128.load')
        pushRun(b, sign, 0)
        b.code.op('i8x16.swizzle')
      })
    })
  }
  list.add(['palignr', 'vvi'], TWO, (b) => withOperands(b, (first, second) => align(b, { first, second })))
  list.add(['palignr', 'mmx', 'i'], [changeMmx, fromMmx, field('control')], (b) => withMmx(b, (first, second) => {
    const c = b.code
    c.get(second)
    c.get(first)
    c.shuffle([0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23])
    pushRun(b, 1, 0)
    c.op('i8x16.swizzle')
  }))
}

function align(b: Binder, operands: { first: number; second: number }): void {
  b.code.get(operands.second)
  pushRun(b, 1, 0)
  b.code.op('i8x16.swizzle')
  b.code.get(operands.first)
  pushRun(b, 1, -16)
  b.code.op('i8x16.swizzle', 'v128.or')
}

/** Byte in the state of the lane that control picks: pushes base + unit * 16 + (control << shift). */
function pushLaneAddress(b: Binder, field: 'destination' | 'source', shift: number): void {
  const c = b.code
  c.get(b.base)
  b.small(field)
  c.i32(4)
  c.op('i32.shl', 'i32.add')
  b.small('control')
  if (shift > 0) {
    c.i32(shift)
    c.op('i32.shl')
  }
  c.op('i32.add')
}

const LANES = [
  { size: 8, shift: 0, load: 'i32.load8_u', store: 'i32.store8' },
  { size: 16, shift: 1, load: 'i32.load16_u', store: 'i32.store16' },
  { size: 32, shift: 2, load: 'i32.load', store: 'i32.store' },
  { size: 64, shift: 3, load: 'i64.load', store: 'i64.store' },
] as const

function defineLanes(list: MicroList): void {
  for (const { size, shift, load, store } of LANES) {
    list.add(['pinsr', size, 'vr'], [intoLane('destination'), field('control'), from('source', size)], (b) => {
      pushLaneAddress(b, 'destination', shift)
      b.get('source', size)
      b.code.memory(store)
    })
    const wide = size === 64 ? 64 : 32
    list.add(['pextr', size, 'rv'], [
      into('destination', wide), fromVector('source'), field('control'),
    ], (b) => b.place('destination', wide).set(() => {
      pushLaneAddress(b, 'source', shift)
      b.code.memory(load)
    }))
  }
  list.add(['pinsr', 'mmx'], [
    MMX, intoLane('destination'), intoVector('destination', { from: 8, bytes: 2 }), field('control'), from('source', 16),
  ], (b) => {
    enterMmx(b)
    pushLaneAddress(b, 'destination', 1)
    b.get('source', 16)
    b.code.memory('i32.store16')
    vectorPlace(b, 'destination').store('i32.store16', () => b.code.i32(-1), 8)
  })
  list.add(['pextr', 'mmx'], [MMX, into('destination', 32), fromVector('source'), field('control')], (b) => {
    enterMmx(b)
    b.place('destination', 32).set(() => {
      pushLaneAddress(b, 'source', 1)
      b.code.memory('i32.load16_u')
    })
  })
}

/** Pushes a mask whose lanes of `bits` bits are all ones where control has the lane's bit. */
function pushBlendMask(b: Binder, shape: 'i16x8' | 'i32x4' | 'i64x2'): void {
  const c = b.code
  const bytes = shape === 'i16x8' ? 2 : shape === 'i32x4' ? 4 : 8
  // Eight words take the whole immediate, in each half.
  if (shape === 'i16x8') b.small('control')
  else pushControl(b, 16 / bytes)
  if (shape === 'i64x2') c.op('i64.extend_i32_u')
  c.op(`${shape}.splat`)
  byteVector(c, (index) => (index % bytes === 0 ? 1 << (index / bytes) : 0))
  c.op('v128.and')
  c.v128(new Uint8Array(16))
  c.op(`${shape}.ne`)
}

function defineBlends(list: MicroList): void {
  for (const [name, shape] of [['blendps', 'i32x4'], ['blendpd', 'i64x2'], ['pblendw', 'i16x8']] as const) {
    list.add([name, 'vvi'], TWO, (b) => withOperands(b, (first, second) => {
      b.code.get(second)
      b.code.get(first)
      pushBlendMask(b, shape)
      b.code.op('v128.bitselect')
    }))
  }
  for (const [name, shape] of [['blendvps', 'i32x4'], ['blendvpd', 'i64x2'], ['pblendvb', 'i8x16']] as const) {
    list.add([name, 'vv'], [
      changeVector('destination'), fromVector('source'), fromUnit('xmm0'),
    ], (b) => withOperands(b, (first, second) => {
      const c = b.code
      c.get(second)
      c.get(first)
      c.get(b.base)
      c.memory('v128.load', VECTOR_UNIT.xmm * 16)
      c.v128(new Uint8Array(16))
      c.op(`${shape}.lt_s`, 'v128.bitselect')
    }))
  }
  // INSERTPS: the source lane stands in the source, a general register; control holds destination lane and zeros.
  list.add(['insertps', 'vr'], [
    changeVector('destination'), intoLane('destination'), field('control'), from('source', 32),
  ], (b) => {
    const c = b.code
    c.get(b.base)
    b.small('destination')
    c.i32(4)
    c.op('i32.shl', 'i32.add')
    b.small('control')
    c.i32(4)
    c.op('i32.shr_u')
    c.i32(3)
    c.op('i32.and')
    c.i32(2)
    c.op('i32.shl', 'i32.add')
    b.get('source', 32)
    c.memory('i32.store')
    const place = vectorPlace(b, 'destination')
    place.store('v128.store', () => {
      place.load('v128.load')
      pushBlendMask(b, 'i32x4')
      c.op('v128.andnot')
    })
  })
}

function defineExtensions(list: MicroList): void {
  type Step = readonly [from: 'i8x16' | 'i16x8' | 'i32x4', to: 'i16x8' | 'i32x4' | 'i64x2']
  const steps: Readonly<Record<string, readonly Step[]>> = {
    bw: [['i8x16', 'i16x8']], bd: [['i8x16', 'i16x8'], ['i16x8', 'i32x4']],
    bq: [['i8x16', 'i16x8'], ['i16x8', 'i32x4'], ['i32x4', 'i64x2']],
    wd: [['i16x8', 'i32x4']], wq: [['i16x8', 'i32x4'], ['i32x4', 'i64x2']], dq: [['i32x4', 'i64x2']],
  }
  for (const [name, sign] of [['pmovsx', 's'], ['pmovzx', 'u']] as const) {
    for (const [sizes, chain] of Object.entries(steps)) {
      const ops = chain.map(([from, to]) => `${to}.extend_low_${from}_${sign}` as PlainName)
      list.add([name + sizes, 'vv'], [
        intoVector('destination'), fromVector('source'),
      ], (b) => vectorPlace(b, 'destination').store('v128.store', () => {
        pushVector(b, 'source')
        b.code.op(...ops)
      }))
    }
  }
}

const BITMASKS = [['pmovmskb', 'i8x16'], ['movmskps', 'i32x4'], ['movmskpd', 'i64x2']] as const

function defineMasks(list: MicroList): void {
  for (const [name, shape] of BITMASKS) {
    list.add([name, 'rv'], [into('destination', 32), fromVector('source')], (b) => b.place('destination', 32).set(() => {
      pushVector(b, 'source')
      b.code.op(`${shape}.bitmask`)
    }))
  }
  list.add(['pmovmskb', 'mmx'], [MMX, into('destination', 32), fromMmx], (b) => {
    enterMmx(b)
    b.place('destination', 32).set(() => {
      pushVector(b, 'source', 'v128.load64_zero')
      b.code.op('i8x16.bitmask')
    })
  })
  list.add(['ptest', 'vv'], [fromVector('destination'), fromVector('source'), setsFlags()], (b) => {
    const c = b.code
    const [first, second] = [c.local('v128'), c.local('v128')]
    pushVector(b, 'destination')
    c.set(first)
    pushVector(b, 'source')
    c.set(second)
    c.get(first)
    c.get(second)
    c.op('v128.and', 'v128.any_true')
    pushAndNot(c, first, second)
    storeZeroAndCarry(b)
    c.release('v128', first, second)
  })
}

function pushAndNot(c: Code, first: number, second: number): void {
  c.get(second)
  c.get(first)
  c.op('v128.andnot', 'v128.any_true')
}

/** Flags from two numbers on the stack: ZF where the first is 0, CF where the second is 0; all others clear. */
export function storeZeroAndCarry(b: Binder): void {
  const c = b.code
  const [notZero, notCarry] = [c.local('i32'), c.local('i32')]
  c.set(notCarry)
  c.set(notZero)
  zeroAndCarryFlags(b, notZero, notCarry)
  c.release('i32', notZero, notCarry)
}

/** Moves between MMX, XMM and general registers, and EMMS. */
function defineMmxMoves(list: MicroList): void {
  const toMmx = (parts: Parts, source: Effect, push: (b: Binder) => void): void => {
    list.add(parts, [intoMmx, source], (b) => {
      const value = b.code.local('v128')
      enterMmx(b)
      push(b)
      b.code.set(value)
      storeMmx(b, value)
      b.code.release('v128', value)
    })
  }
  toMmx(['movq', 'mmx'], fromMmx, (b) => pushVector(b, 'source', 'v128.load64_zero'))
  for (const size of [32, 64] as const) {
    toMmx(['movd', size, 'mmx', 'r'], from('source', size), (b) => {
      b.get('source', size)
      if (size === 32) b.code.op('i64.extend_i32_u')
      b.code.op('i64x2.splat')
    })
  }
  list.add(['mmx'], [MMX], enterMmx)
  list.add(['emms'], [MMX], (b) => {
    enterMmx(b)
    b.code.get(b.base)
    b.code.i32(0)
    b.code.memory('i32.store', State.x87Tags.offset)
  })
}

/** Adds the family. */
export function defineVectorShuffles(list: MicroList): void {
  definePicks(list)
  defineByteShifts(list)
  defineLanes(list)
  defineBlends(list)
  defineExtensions(list)
  defineMasks(list)
  defineMmxMoves(list)
}
