/**
 * Fast paths of SSE floating point: WebAssembly's own arithmetic where it gives what the processor would, flags
 * included.
 *
 * That is so when MXCSR rounds to nearest, masks all exceptions and treats denormals as numbers, when no operand is
 * denormal and the result is normal (or a zero that is exact), so that of all flags only PRECISION can be new. Flags
 * are sticky: once PRECISION stands in MXCSR nothing has to be detected. Programs reach that state with their first
 * inexact result; until then, and in all other cases, the record's handler does the work by soft-float. Operations
 * that are exact for the operands at hand (conversions of small integers, comparisons) need no such state.
 * Reference: Intel SDM volume 1, section 11.5.
 */
import type { PlainName } from '../../../wasm/index.ts'
import type { Binder } from '../emit/binder.ts'
import { State } from '../layout/state.ts'
import type { MicroList } from './micro.ts'
import { storeZeroAndCarry } from './sse-shuffle.ts'
import { pushVector, splat32, vectorPlace } from './sse-place.ts'

/** Rounding to nearest, everything masked, denormals as they are; the flags are left out. */
const DEFAULT_CONTROL = { mask: 0xffc0, value: 0x1f80 } as const
/** The same with PRECISION already noted. */
const DEFAULT_AND_INEXACT = { mask: 0xffe0, value: 0x1fa0 } as const

/** Pushes 1 unless MXCSR is as demanded. */
function pushOtherControl(b: Binder, wanted: { mask: number; value: number }): void {
  b.code.get(b.base)
  b.code.memory('i32.load', State.mxcsr.offset)
  b.code.i32(wanted.mask)
  b.code.op('i32.and')
  b.code.i32(wanted.value)
  b.code.op('i32.ne')
}

/** Gives up when the i32 on the stack is not zero. */
function giveUpIf(b: Binder): void {
  b.code.if()
  b.giveUp()
  b.code.end()
}

/** The two scalar formats: the integer type with the same bits, twice the least normal number, that span of normals. */
const SCALAR = {
  sd: {
    float: 'f64', int: 'i64', load: 'i64.load', store: 'i64.store',
    constant: (b: Binder, high: number) => b.code.i64(0, high), leastTwice: 0x0020_0000, span: 0xffc0_0000 | 0,
  },
  ss: {
    float: 'f32', int: 'i32', load: 'i32.load', store: 'i32.store',
    constant: (b: Binder, high: number) => b.code.i32(high), leastTwice: 0x0100_0000, span: 0xfe00_0000 | 0,
  },
} as const
type ScalarKind = keyof typeof SCALAR

function one(b: Binder, kind: ScalarKind): void {
  if (kind === 'sd') b.code.i64(1)
  else b.code.i32(1)
}

/** Pushes twice the bits, which drops the sign. */
function pushMagnitude(b: Binder, kind: ScalarKind, bits: number): void {
  b.code.get(bits)
  one(b, kind)
  b.code.op(`${SCALAR[kind].int}.shl`)
}

/** Pushes 1 when the bits in a local are a denormal. */
function pushDenormal(b: Binder, kind: ScalarKind, bits: number): void {
  const { int, constant, leastTwice } = SCALAR[kind]
  pushMagnitude(b, kind, bits)
  one(b, kind)
  b.code.op(`${int}.sub`)
  constant(b, leastTwice)
  one(b, kind)
  b.code.op(`${int}.sub`, `${int}.lt_u`)
}

/** Pushes 1 when the bits are neither normal nor zero. */
function pushNotNormal(b: Binder, kind: ScalarKind, bits: number): void {
  const { int, constant, leastTwice, span } = SCALAR[kind]
  pushMagnitude(b, kind, bits)
  constant(b, leastTwice)
  b.code.op(`${int}.sub`)
  constant(b, span)
  b.code.op(`${int}.ge_u`)
}

function pushZero(b: Binder, kind: ScalarKind, bits: number): void {
  pushMagnitude(b, kind, bits)
  b.code.op(`${SCALAR[kind].int}.eqz`)
}

type Operation = 'add' | 'sub' | 'mul' | 'div' | 'sqrt'

/** An operation, its operands and its result, as locals. */
interface Computed {
  readonly operation: Operation
  readonly x: number
  readonly y: number
  readonly r: number
}

/** Pushes 1 when the result in a local may be something else than an exact zero or a normal number. */
function pushOddResult(b: Binder, kind: ScalarKind, o: Computed): void {
  pushNotNormal(b, kind, o.r)
  b.code.if('i32')
  pushZero(b, kind, o.r)
  if (o.operation === 'mul' || o.operation === 'div') {
    pushZero(b, kind, o.x)
    if (o.operation === 'mul') {
      pushZero(b, kind, o.y)
      b.code.op('i32.or')
    }
    b.code.op('i32.and')
  }
  b.code.op('i32.eqz')
  b.code.else()
  b.code.i32(0)
  b.code.end()
}

function scalarArithmetic(b: Binder, kind: ScalarKind, operation: Operation): void {
  const c = b.code
  const { float, int, load, store } = SCALAR[kind]
  const [x, y, r] = [c.local(int), c.local(int), c.local(int)]
  const place = vectorPlace(b, 'a')
  pushVector(b, 'b', load)
  c.set(y)
  if (operation !== 'sqrt') {
    place.load(load)
    c.tee(x)
    c.op(`${float}.reinterpret_${int}` as PlainName)
  }
  c.get(y)
  c.op(`${float}.reinterpret_${int}` as PlainName, `${float}.${operation}`, `${int}.reinterpret_${float}` as PlainName)
  c.set(r)
  pushOtherControl(b, DEFAULT_AND_INEXACT)
  pushDenormal(b, kind, y)
  c.op('i32.or')
  if (operation !== 'sqrt') {
    pushDenormal(b, kind, x)
    c.op('i32.or')
  }
  pushOddResult(b, kind, { operation, x, y, r })
  c.op('i32.or')
  giveUpIf(b)
  place.store(store, () => c.get(r))
  c.release(int, x, y, r)
}

/** MINSD and MAXSD: the second operand unless the first is smaller (larger). */
function scalarExtreme(b: Binder, kind: ScalarKind, comparison: 'lt' | 'gt'): void {
  const c = b.code
  const { int, load, store } = SCALAR[kind]
  const [x, y] = [c.local(int), c.local(int)]
  const place = vectorPlace(b, 'a')
  takeBoth(b, kind, { x, y, first: () => place.load(load) })
  pushOdd(b, kind, [x, y])
  giveUpIf(b)
  place.store(store, () => {
    c.get(x)
    c.get(y)
    compareFloats(b, kind, { x, y, comparison })
    c.op('select')
  })
  c.release(int, x, y)
}

function takeBoth(b: Binder, kind: ScalarKind, o: { x: number; y: number; first: () => void }): void {
  o.first()
  b.code.set(o.x)
  pushVector(b, 'b', SCALAR[kind].load)
  b.code.set(o.y)
}

function compareFloats(
  b: Binder, kind: ScalarKind, o: { x: number; y: number; comparison: 'lt' | 'gt' | 'ne' | 'eq' },
): void {
  const { float, int } = SCALAR[kind]
  for (const local of [o.x, o.y]) {
    b.code.get(local)
    b.code.op(`${float}.reinterpret_${int}` as PlainName)
  }
  b.code.op(`${float}.${o.comparison}`)
}

/** Pushes 1 when an operand is a denormal, a NaN or infinite. */
function pushOdd(b: Binder, kind: ScalarKind, operands: readonly number[]): void {
  operands.forEach((bits, index) => {
    pushNotNormal(b, kind, bits)
    pushZero(b, kind, bits)
    b.code.op('i32.eqz', 'i32.and')
    if (index > 0) b.code.op('i32.or')
  })
}

/** COMIS and UCOMIS, which differ only for NaNs. */
function scalarOrder(b: Binder, kind: ScalarKind): void {
  const c = b.code
  const { int, load } = SCALAR[kind]
  const [x, y] = [c.local(int), c.local(int)]
  takeBoth(b, kind, { x, y, first: () => pushVector(b, 'a', load) })
  pushOdd(b, kind, [x, y])
  giveUpIf(b)
  compareFloats(b, kind, { x, y, comparison: 'ne' })
  compareFloats(b, kind, { x, y, comparison: 'lt' })
  c.op('i32.eqz')
  storeZeroAndCarry(b)
  c.release(int, x, y)
}

function defineScalars(list: MicroList): void {
  for (const kind of ['sd', 'ss'] as const) {
    for (const operation of ['add', 'sub', 'mul', 'div', 'sqrt'] as const) {
      list.add(`${operation}${kind}.vv`, (b) => scalarArithmetic(b, kind, operation))
    }
    for (const [name, comparison] of [['min', 'lt'], ['max', 'gt']] as const) {
      list.add(`${name}${kind}.vv`, (b) => scalarExtreme(b, kind, comparison))
    }
    list.add(`round${kind}.vv`, (b) => roundToWhole(b, kind))
    for (const name of ['comi', 'ucomi']) {
      list.add(`${name}${kind}.vv`, (b) => scalarOrder(b, kind))
    }
  }
}

const PACKED = {
  pd: { shape: 'f64x2', least: [0, 0x0010_0000], infinity: [0, 0x7ff0_0000] },
  ps: { shape: 'f32x4', least: [0x0080_0000], infinity: [0x7f80_0000] },
} as const

function pushLanes(b: Binder, words: readonly number[]): void {
  if (words.length === 1) return splat32(b.code, words[0]!)
  b.code.i64(words[0]!, words[1]!)
  b.code.op('i64x2.splat')
}

/** Pushes a mask of the lanes of a local that are below the normal range but not zero. */
function pushTiny(b: Binder, kind: keyof typeof PACKED, local: number): void {
  const { shape, least } = PACKED[kind]
  b.code.get(local)
  b.code.op(`${shape}.abs`)
  pushLanes(b, least)
  b.code.op(`${shape}.lt`)
  b.code.get(local)
  b.code.v128(new Uint8Array(16))
  b.code.op(`${shape}.ne`, 'v128.and')
}

/** Pushes a mask of the lanes that are not below infinity. */
function pushBeyond(b: Binder, kind: keyof typeof PACKED, local: number): void {
  const { shape, infinity } = PACKED[kind]
  b.code.get(local)
  b.code.op(`${shape}.abs`)
  pushLanes(b, infinity)
  b.code.op(`${shape}.lt`, 'v128.not')
}

/** Pushes a mask of the lanes where a product or quotient is zero although the first factor (and the second) is not. */
function pushVanished(b: Binder, kind: keyof typeof PACKED, o: Computed): void {
  const { shape } = PACKED[kind]
  const compare = (local: number, comparison: 'eq' | 'ne'): void => {
    b.code.get(local)
    b.code.v128(new Uint8Array(16))
    b.code.op(`${shape}.${comparison}`)
  }
  compare(o.r, 'eq')
  compare(o.x, 'ne')
  b.code.op('v128.and')
  if (o.operation !== 'mul') return
  compare(o.y, 'ne')
  b.code.op('v128.and')
}

function packedArithmetic(b: Binder, kind: keyof typeof PACKED, operation: Operation): void {
  const c = b.code
  const [x, y, r] = [c.local('v128'), c.local('v128'), c.local('v128')]
  const place = vectorPlace(b, 'a')
  pushVector(b, 'b')
  c.set(y)
  if (operation !== 'sqrt') {
    place.load('v128.load')
    c.tee(x)
  }
  c.get(y)
  c.op(`${PACKED[kind].shape}.${operation}`)
  c.set(r)
  pushBeyond(b, kind, r)
  for (const local of operation === 'sqrt' ? [y, r] : [x, y, r]) {
    pushTiny(b, kind, local)
    c.op('v128.or')
  }
  if (operation === 'mul' || operation === 'div') {
    pushVanished(b, kind, { operation, x, y, r })
    c.op('v128.or')
  }
  c.op('v128.any_true')
  pushOtherControl(b, DEFAULT_AND_INEXACT)
  c.op('i32.or')
  giveUpIf(b)
  place.store('v128.store', () => c.get(r))
  c.release('v128', x, y, r)
}

function definePacked(list: MicroList): void {
  for (const kind of ['pd', 'ps'] as const) {
    for (const operation of ['add', 'sub', 'mul', 'div', 'sqrt'] as const) {
      list.add(`${operation}${kind}.vv`, (b) => packedArithmetic(b, kind, operation))
    }
  }
}

/** From integers: exact where the integer has no more bits than the significand, else only with PRECISION noted. */
function fromInteger(b: Binder, kind: ScalarKind, size: 32 | 64): void {
  const c = b.code
  const { float, store } = SCALAR[kind]
  const type = size === 64 ? 'i64' : 'i32'
  const value = c.local(type)
  b.get('b', size)
  c.set(value)
  if (kind === 'ss' || size === 64) {
    // |value| is at most 2^24 or 2^53.
    const push = (low: number, high: number): void => (size === 64 ? c.i64(low, high) : c.i32(low))
    c.get(value)
    if (kind === 'ss') push(0x100_0000, 0)
    else push(0, 0x20_0000)
    c.op(`${type}.add`)
    if (kind === 'ss') push(0x200_0000, 0)
    else push(0, 0x40_0000)
    c.op(`${type}.gt_u`)
    pushOtherControl(b, DEFAULT_AND_INEXACT)
    c.op('i32.and')
    giveUpIf(b)
  }
  vectorPlace(b, 'a').store(store, () => {
    c.get(value)
    c.op(`${float}.convert_${type}_s` as PlainName, `${SCALAR[kind].int}.reinterpret_${float}` as PlainName)
  })
  c.release(type, value)
}

/** To integers: within range, and either whole or with PRECISION noted. */
function toInteger(b: Binder, kind: ScalarKind, options: { size: 32 | 64; truncate: boolean }): void {
  const c = b.code
  const { float } = SCALAR[kind]
  const type = options.size === 64 ? 'i64' : 'i32'
  const [x, back] = [c.local(float), c.local(float)]
  const result = c.local(type)
  pushVector(b, 'b', `${float}.load`)
  c.tee(x)
  if (!options.truncate) c.op(`${float}.nearest`)
  c.op(`${type}.trunc_sat_${float}_s` as PlainName)
  c.tee(result)
  c.op(`${float}.convert_${type}_s` as PlainName)
  c.tee(back)
  c.get(x)
  c.op(`${float}.ne`)
  c.if()
  // Not whole, not a number, or out of range. Where a whole number has no neighbour nearer than 1, it cannot be the
  // first.
  c.get(back)
  c.get(x)
  c.op(`${float}.sub`, `${float}.abs`)
  if (float === 'f64') c.f64(1)
  else {
    c.f64(1)
    c.op('f32.demote_f64')
  }
  c.op(`${float}.lt`, 'i32.eqz')
  pushOtherControl(b, DEFAULT_AND_INEXACT)
  c.op('i32.or')
  giveUpIf(b)
  c.end()
  // A saturated result may look whole: 2^63 and 2^31 are not in range although they convert back.
  c.get(result)
  if (type === 'i64') c.i64(-1, 0x7fff_ffff)
  else c.i32(0x7fff_ffff)
  c.op(`${type}.eq`)
  giveUpIf(b)
  b.place('a', options.size).set(() => c.get(result))
  c.release(float, x, back)
  c.release(type, result)
}

/** ROUNDSS and ROUNDSD: the mode is in d. */
function roundToWhole(b: Binder, kind: ScalarKind): void {
  const c = b.code
  const { float } = SCALAR[kind]
  const [x, r, mode] = [c.local(float), c.local(float), c.local('i32')]
  pushVector(b, 'b', `${float}.load`)
  c.set(x)
  b.small('d')
  c.set(mode)
  const round = (operation: 'nearest' | 'floor' | 'ceil' | 'trunc'): void => {
    c.get(x)
    c.op(`${float}.${operation}`)
  }
  round('nearest')
  c.set(r)
  // MXCSR's mode, which bit 2 asks for, is to nearest wherever this path is taken.
  for (const [number, operation] of [[1, 'floor'], [2, 'ceil'], [3, 'trunc']] as const) {
    c.get(mode)
    c.i32(7)
    c.op('i32.and')
    c.i32(number)
    c.op('i32.eq')
    c.if()
    round(operation)
    c.set(r)
    c.end()
  }
  c.get(x)
  c.get(x)
  c.op(`${float}.ne`)
  pushOtherControl(b, DEFAULT_CONTROL)
  c.op('i32.or')
  // Inexact, to be reported, and not yet noted.
  c.get(x)
  c.get(r)
  c.op(`${float}.ne`)
  c.get(mode)
  c.i32(8)
  c.op('i32.and', 'i32.eqz', 'i32.and')
  pushOtherControl(b, DEFAULT_AND_INEXACT)
  c.op('i32.and', 'i32.or')
  giveUpIf(b)
  vectorPlace(b, 'a').store(`${float}.store`, () => c.get(r))
  c.release(float, x, r)
  c.release('i32', mode)
}

/** CVTSS2SD, exact but for NaNs and denormals, and CVTSD2SS. */
function betweenFormats(b: Binder, to: ScalarKind): void {
  const c = b.code
  const from = to === 'sd' ? 'ss' : 'sd'
  const [x, r] = [c.local(SCALAR[from].int), c.local(SCALAR[to].int)]
  pushVector(b, 'b', SCALAR[from].load)
  c.tee(x)
  if (to === 'sd') c.op('f32.reinterpret_i32', 'f64.promote_f32', 'i64.reinterpret_f64')
  else c.op('f64.reinterpret_i64', 'f32.demote_f64', 'i32.reinterpret_f32')
  c.set(r)
  pushOdd(b, from, [x])
  if (to === 'ss') {
    // A result that is not normal: fine only for zero.
    pushNotNormal(b, 'ss', r)
    pushZero(b, 'sd', x)
    c.op('i32.eqz', 'i32.and', 'i32.or')
    pushOtherControl(b, DEFAULT_AND_INEXACT)
    c.op('i32.or')
  }
  giveUpIf(b)
  vectorPlace(b, 'a').store(SCALAR[to].store, () => c.get(r))
  c.release(SCALAR[from].int, x)
  c.release(SCALAR[to].int, r)
}

function defineConversions(list: MicroList): void {
  for (const kind of ['sd', 'ss'] as const) {
    for (const size of [32, 64] as const) {
      list.add(`cvtsi2${kind}.${size}.vr`, (b) => fromInteger(b, kind, size))
      list.add(`cvtt${kind}2si.${size}.rv`, (b) => toInteger(b, kind, { size, truncate: true }))
      list.add(`cvt${kind}2si.${size}.rv`, (b) => toInteger(b, kind, { size, truncate: false }))
    }
  }
  list.add('cvtss2sd.vv', (b) => betweenFormats(b, 'sd'))
  list.add('cvtsd2ss.vv', (b) => betweenFormats(b, 'ss'))
  list.add('cvtdq2pd.vv', (b) => vectorPlace(b, 'a').store('v128.store', () => {
    pushVector(b, 'b')
    b.code.op('f64x2.convert_low_i32x4_s')
  }))
}

const KINDS = ['ss', 'sd', 'ps', 'pd']
/** Names of handlers that have a fast path: a micro-operation tries first. */
export const FLOAT_FAST: ReadonlySet<string> = /* @__PURE__ */ new Set([
  ...['add', 'sub', 'mul', 'div', 'sqrt'].flatMap((name) => KINDS.map((kind) => name + kind)),
  'roundss', 'roundsd', 'minss', 'minsd', 'maxss', 'maxsd', 'comiss', 'comisd', 'ucomiss', 'ucomisd', 'cvtss2sd', 'cvtsd2ss', 'cvtdq2pd',
  ...['cvtsi2ss', 'cvtsi2sd', 'cvtss2si', 'cvttss2si', 'cvtsd2si', 'cvttsd2si']
    .flatMap((name) => [`${name}.32`, `${name}.64`]),
])

/** Adds the family. */
export function defineVectorFloats(list: MicroList): void {
  defineScalars(list)
  definePacked(list)
  defineConversions(list)
}
