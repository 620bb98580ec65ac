/**
 * What the fast paths of SSE floating point share: the two scalar formats, the checks whether WebAssembly's result is the
 * processor's, and their parts of the facts. When they hold is said in sse-float.ts.
 */
import type { Binder, RegisterField } from '../emit/binder.ts'
import { State } from '../layout/state.ts'
import { fromUnit, fromVector, intoVector, perhapsByHandler } from './facts.ts'
import type { Effect } from './facts.ts'

/** Rounding to nearest, everything masked, denormals as they are; the flags are left out. */
export const DEFAULT_CONTROL = { mask: 0xffc0, value: 0x1f80 } as const
/** The same with PRECISION already noted. */
export const DEFAULT_AND_INEXACT = { mask: 0xffe0, value: 0x1fa0 } as const

/** Pushes 1 unless MXCSR is as demanded. */
export function pushOtherControl(b: Binder, wanted: { mask: number; value: number }): void {
  b.code.get(b.base)
  b.code.memory('i32.load', State.mxcsr.offset)
  b.code.i32(wanted.mask)
  b.code.op('i32.and')
  b.code.i32(wanted.value)
  b.code.op('i32.ne')
}

/** Gives up when the i32 on the stack is not zero. */
export function giveUpIf(b: Binder): void {
  b.code.if()
  b.giveUp()
  b.code.end()
}

/** The two scalar formats: the integer type with the same bits, twice the least normal number, that span of normals. */
export const SCALAR = {
  sd: {
    float: 'f64', int: 'i64', load: 'i64.load', store: 'i64.store',
    constant: (b: Binder, high: number) => b.code.i64(0, high), leastTwice: 0x0020_0000, span: 0xffc0_0000 | 0,
  },
  ss: {
    float: 'f32', int: 'i32', load: 'i32.load', store: 'i32.store',
    constant: (b: Binder, high: number) => b.code.i32(high), leastTwice: 0x0100_0000, span: 0xfe00_0000 | 0,
  },
} as const
/** Double or single. */
export type ScalarKind = keyof typeof SCALAR

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
export function pushDenormal(b: Binder, kind: ScalarKind, bits: number): void {
  const { int, constant, leastTwice } = SCALAR[kind]
  pushMagnitude(b, kind, bits)
  one(b, kind)
  b.code.op(`${int}.sub`)
  constant(b, leastTwice)
  one(b, kind)
  b.code.op(`${int}.sub`, `${int}.lt_u`)
}

/** Pushes 1 when the bits are neither normal nor zero. */
export function pushNotNormal(b: Binder, kind: ScalarKind, bits: number): void {
  const { int, constant, leastTwice, span } = SCALAR[kind]
  pushMagnitude(b, kind, bits)
  constant(b, leastTwice)
  b.code.op(`${int}.sub`)
  constant(b, span)
  b.code.op(`${int}.ge_u`)
}

/** Pushes 1 when the bits are a zero of either sign. */
export function pushIsZero(b: Binder, kind: ScalarKind, bits: number): void {
  pushMagnitude(b, kind, bits)
  b.code.op(`${SCALAR[kind].int}.eqz`)
}

/** Pushes 1 when an operand is a denormal, a NaN or infinite. */
export function pushOdd(b: Binder, kind: ScalarKind, operands: readonly number[]): void {
  operands.forEach((bits, index) => {
    pushNotNormal(b, kind, bits)
    pushIsZero(b, kind, bits)
    b.code.op('i32.eqz', 'i32.and')
    if (index > 0) b.code.op('i32.or')
  })
}

const BYTES = { sd: 8, ss: 4 } as const
/** A scalar operand. */
export const part = (name: RegisterField, kind: ScalarKind): Effect => fromVector(name, { bytes: BYTES[kind] })
/** A scalar result. */
export const result = (kind: ScalarKind): Effect => intoVector('destination', { bytes: BYTES[kind] })
/** Depends on MXCSR, and goes to the handler where that does not fit. */
export const INEXACT = [/* @__PURE__ */ fromUnit('mxcsr'), perhapsByHandler]
