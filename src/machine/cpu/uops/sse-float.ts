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
import { field, fromVector, intoVector, perhapsByHandler, setsFlags } from './facts.ts'
import type { Effect } from './facts.ts'
import type { MicroList } from './micro.ts'
import { defineConversions, roundToWhole } from './sse-convert.ts'
import { storeZeroAndCarry } from './sse-shuffle.ts'
import { pushVector, splat32, vectorPlace } from './sse-place.ts'
import {
  DEFAULT_AND_INEXACT, INEXACT, SCALAR, giveUpIf, part, pushDenormal, pushNotNormal, pushOdd, pushOtherControl, pushIsZero, result,
} from './sse-scalar.ts'
import type { ScalarKind } from './sse-scalar.ts'

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
  pushIsZero(b, kind, o.r)
  if (o.operation === 'mul' || o.operation === 'div') {
    pushIsZero(b, kind, o.x)
    if (o.operation === 'mul') {
      pushIsZero(b, kind, o.y)
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
  const place = vectorPlace(b, 'destination')
  pushVector(b, 'source', load)
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
  const place = vectorPlace(b, 'destination')
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
  pushVector(b, 'source', SCALAR[kind].load)
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

/** COMIS and UCOMIS, which differ only for NaNs. */
function scalarOrder(b: Binder, kind: ScalarKind): void {
  const c = b.code
  const { int, load } = SCALAR[kind]
  const [x, y] = [c.local(int), c.local(int)]
  takeBoth(b, kind, { x, y, first: () => pushVector(b, 'destination', load) })
  pushOdd(b, kind, [x, y])
  giveUpIf(b)
  compareFloats(b, kind, { x, y, comparison: 'ne' })
  compareFloats(b, kind, { x, y, comparison: 'lt' })
  c.op('i32.eqz')
  storeZeroAndCarry(b)
  c.release(int, x, y)
}

const scalar = (kind: ScalarKind, isBinary: boolean): Effect[] =>
  [part('source', kind), ...(isBinary ? [part('destination', kind)] : []), result(kind), ...INEXACT]

const packed = (operation: Operation): Effect[] =>
  [fromVector('source'), ...(operation === 'sqrt' ? [] : [fromVector('destination')]), intoVector('destination')]

function defineScalars(list: MicroList): void {
  for (const kind of ['sd', 'ss'] as const) {
    for (const operation of ['add', 'sub', 'mul', 'div', 'sqrt'] as const) {
      list.add([operation + kind, 'vv'], scalar(kind, operation !== 'sqrt'), (b) => scalarArithmetic(b, kind, operation))
    }
    for (const [name, comparison] of [['min', 'lt'], ['max', 'gt']] as const) {
      list.add([name + kind, 'vv'], [part('source', kind), part('destination', kind), result(kind), perhapsByHandler],
        (b) => scalarExtreme(b, kind, comparison))
    }
    list.add([`round${kind}`, 'vv'], [...scalar(kind, false), field('control')], (b) => roundToWhole(b, kind))
    for (const name of ['comi', 'ucomi']) {
      list.add([name + kind, 'vv'], [part('source', kind), part('destination', kind), setsFlags(), perhapsByHandler],
        (b) => scalarOrder(b, kind))
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
  const place = vectorPlace(b, 'destination')
  pushVector(b, 'source')
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
      list.add([operation + kind, 'vv'], [...packed(operation), ...INEXACT], (b) => packedArithmetic(b, kind, operation))
    }
  }
}

/** Adds the family. */
export function defineVectorFloats(list: MicroList): void {
  defineScalars(list)
  definePacked(list)
  defineConversions(list)
}
