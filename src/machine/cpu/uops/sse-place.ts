/**
 * Vector operands of records: a field numbers 16-byte units of the processor's state, so that the same micro-operations
 * reach XMM registers, MMX registers (the significands of the x87 unit) and one temporary.
 */
import type { Code, MemoryName } from '../../../wasm/index.ts'
import type { Binder, RegisterField, VectorForm, VectorPlace } from '../emit/binder.ts'
import { SLOT, State, UPPER_HALF } from '../layout/state.ts'

/** Units of the vector registers: XMM0, MM0 (physical x87 register 0), the temporary in t1 and t2, and one that is zero. */
export const VECTOR_UNIT = {
  xmm: State.xmm.offset / 16, mmx: State.x87.offset / 16, temporary: SLOT.t1 / 16, zero: State.zeroVector.offset / 16,
} as const

/** Works out the place of a vector operand, the first one's for reading where the operation works for another one. */
export function vectorPlace(b: Binder, field: RegisterField): VectorPlace {
  const { vectors } = b
  return vectors !== undefined && field === 'destination' ? placeInForm(b, vectors) : b.vector(field)
}

const placeInForm = (b: Binder, form: VectorForm): VectorPlace => ({
  load: (name, offset = 0) => b.vectorGet('addend', name, offset + form.half * UPPER_HALF),
  store: (name, push, offset = 0) => form.store(name, push, offset),
})

/** Pushes a vector operand that is only read, or the part of it at byte `offset`. */
export function pushVector(b: Binder, field: RegisterField, name: MemoryName = 'v128.load', offset = 0): void {
  const { code: c, vectors: form } = b
  if (form === undefined) return b.vectorGet(field, name, offset)
  if (field === 'destination') return placeInForm(b, form).load(name, offset)
  b.vectorGet(field, name, offset + form.second)
  if (form.skipped === 0) return
  c.v128(new Uint8Array(16))
  c.shuffle(Array.from({ length: 16 }, (_, index) => index + form.skipped))
}

/** Pushes the immediate of an operation that has `lanes` bits of it for each 16 bytes: those of the half at hand. */
export function pushControl(b: Binder, lanes: number): void {
  b.small('control')
  if (b.vectors?.half !== 1) return
  b.code.i32(lanes)
  b.code.op('i32.shr_u')
}

/** Pushes the same 32-bit constant in all four lanes. */
export function splat32(c: Code, value: number): void {
  const bytes = [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff)
  c.v128([...bytes, ...bytes, ...bytes, ...bytes])
}

/** Pushes a vector of sixteen bytes made from their numbers. */
export function byteVector(c: Code, make: (index: number) => number): void {
  c.v128(Array.from({ length: 16 }, (_, index) => make(index) & 0xff))
}
