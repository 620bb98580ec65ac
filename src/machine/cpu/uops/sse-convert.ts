/**
 * Fast paths of conversions between the floating point formats and integers, and of rounding. See sse-float.ts for when
 * they are taken.
 */
import type { PlainName } from '../../../wasm/index.ts'
import type { Binder } from '../emit/binder.ts'
import { from, fromVector, into, intoVector, perhapsByHandler } from './facts.ts'
import type { MicroList } from './micro.ts'
import { pushVector, vectorPlace } from './sse-place.ts'
import {
  DEFAULT_AND_INEXACT, DEFAULT_CONTROL, INEXACT, SCALAR, giveUpIf, part, pushNotNormal, pushOdd, pushOtherControl, pushIsZero, result,
} from './sse-scalar.ts'
import type { ScalarKind } from './sse-scalar.ts'

/** From integers: exact where the integer has no more bits than the significand, else only with PRECISION noted. */
function fromInteger(b: Binder, kind: ScalarKind, size: 32 | 64): void {
  const c = b.code
  const { float, store } = SCALAR[kind]
  const type = size === 64 ? 'i64' : 'i32'
  const value = c.local(type)
  b.get('source', size)
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
  vectorPlace(b, 'destination').store(store, () => {
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
  pushVector(b, 'source', `${float}.load`)
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
  b.place('destination', options.size).set(() => c.get(result))
  c.release(float, x, back)
  c.release(type, result)
}

/** ROUNDSS and ROUNDSD: the mode is in control. */
export function roundToWhole(b: Binder, kind: ScalarKind): void {
  const c = b.code
  const { float } = SCALAR[kind]
  const [x, r, mode] = [c.local(float), c.local(float), c.local('i32')]
  pushVector(b, 'source', `${float}.load`)
  c.set(x)
  b.small('control')
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
  vectorPlace(b, 'destination').store(`${float}.store`, () => c.get(r))
  c.release(float, x, r)
  c.release('i32', mode)
}

/** CVTSS2SD, exact but for NaNs and denormals, and CVTSD2SS. */
function betweenFormats(b: Binder, to: ScalarKind): void {
  const c = b.code
  const from = to === 'sd' ? 'ss' : 'sd'
  const [x, r] = [c.local(SCALAR[from].int), c.local(SCALAR[to].int)]
  pushVector(b, 'source', SCALAR[from].load)
  c.tee(x)
  if (to === 'sd') c.op('f32.reinterpret_i32', 'f64.promote_f32', 'i64.reinterpret_f64')
  else c.op('f64.reinterpret_i64', 'f32.demote_f64', 'i32.reinterpret_f32')
  c.set(r)
  pushOdd(b, from, [x])
  if (to === 'ss') {
    // A result that is not normal: fine only for zero.
    pushNotNormal(b, 'ss', r)
    pushIsZero(b, 'sd', x)
    c.op('i32.eqz', 'i32.and', 'i32.or')
    pushOtherControl(b, DEFAULT_AND_INEXACT)
    c.op('i32.or')
  }
  giveUpIf(b)
  vectorPlace(b, 'destination').store(SCALAR[to].store, () => c.get(r))
  c.release(SCALAR[from].int, x)
  c.release(SCALAR[to].int, r)
}

/** Adds the conversions. */
export function defineConversions(list: MicroList): void {
  for (const kind of ['sd', 'ss'] as const) {
    for (const size of [32, 64] as const) {
      const whole = [part('source', kind), into('destination', size), ...INEXACT]
      // A double holds every integer of 32 bits.
      const rounds = kind === 'ss' || size === 64
      list.add([`cvtsi2${kind}`, size, 'vr'], [from('source', size), result(kind), rounds ? INEXACT : []],
        (b) => fromInteger(b, kind, size))
      list.add([`cvtt${kind}2si`, size, 'rv'], whole, (b) => toInteger(b, kind, { size, truncate: true }))
      list.add([`cvt${kind}2si`, size, 'rv'], whole, (b) => toInteger(b, kind, { size, truncate: false }))
    }
  }
  list.add(['cvtss2sd', 'vv'], [part('source', 'ss'), result('sd'), perhapsByHandler], (b) => betweenFormats(b, 'sd'))
  list.add(['cvtsd2ss', 'vv'], [part('source', 'sd'), result('ss'), ...INEXACT], (b) => betweenFormats(b, 'ss'))
  list.add(['cvtdq2pd', 'vv'], [
    fromVector('source'), intoVector('destination'),
  ], (b) => vectorPlace(b, 'destination').store('v128.store', () => {
    pushVector(b, 'source')
    b.code.op('f64x2.convert_low_i32x4_s')
  }))
}
