/**
 * Vector operands of records: a field numbers 16-byte units of the processor's state, so that the same micro-operations
 * reach XMM registers, MMX registers (the significands of the x87 unit) and one temporary.
 */
import type { Code, MemoryName } from '../../../wasm/index.ts'
import type { Binder, RegisterField, VectorPlace } from '../emit/binder.ts'
import { SLOT, State } from '../layout/state.ts'

/** Units of the vector registers: XMM0, MM0 (physical x87 register 0), and the temporary in t1 and t2. */
export const VECTOR_UNIT = {
  xmm: State.xmm.offset / 16, mmx: State.x87.offset / 16, temporary: SLOT.t1 / 16,
} as const

/** Works out the place of a vector operand. */
export const vectorPlace = (b: Binder, field: RegisterField): VectorPlace => b.vector(field)

/** Pushes a whole vector operand that is only read. */
export const pushVector = (b: Binder, field: RegisterField, name: MemoryName = 'v128.load'): void => b.vectorGet(field, name)

/** Pushes the same 32-bit constant in all four lanes. */
export function splat32(c: Code, value: number): void {
  const bytes = [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff)
  c.v128([...bytes, ...bytes, ...bytes, ...bytes])
}

/** Pushes a vector of sixteen bytes made from their numbers. */
export function byteVector(c: Code, make: (index: number) => number): void {
  c.v128(Array.from({ length: 16 }, (_, index) => make(index) & 0xff))
}
