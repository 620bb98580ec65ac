/**
 * Arithmetic flags, kept lazily: an operation stores its result (sign-extended to 64 bits) and its carries, and a flag
 * is worked out when somebody reads it.
 *
 *   ZF  result is zero
 *   SF  sign of result, turned over by bit 8 of low
 *   PF  parity of the result's low byte, turned over by bit 9 of low
 *   CF  bit 31 of high          OF  bits 31 and 30 of high differ          AF  bit 3 of low
 *
 * `high` and `low` are the halves of the vector of carries (borrows) out of each bit, its top aligned to bit 63:
 * for a + b = r it is r ^ ((a ^ r) | (b ^ r)), for a - b = r it is a ^ ((a ^ b) | (a ^ r)).
 */
import { RFLAGS } from '../../../x86/index.ts'
import type { Code } from '../../../wasm/index.ts'
import { State } from '../layout/state.ts'
import { signExtend64, typeOf } from './binder.ts'
import type { Binder, FlagSource, Size } from './binder.ts'

const RESULT = State.flagResult.offset
const LOW = State.flagLow.offset
const HIGH = State.flagHigh.offset

/** Offsets of the three parts, for TypeScript. */
export const FLAG_STATE = { result: RESULT, low: LOW, high: HIGH } as const

function storeResult(b: Binder, size: Size, result: number): void {
  b.code.get(b.base)
  b.code.get(result)
  signExtend64(b.code, size)
  b.code.memory('i64.store', RESULT)
}

/** Stores the vector of carries in local `vector`, of the size's type. */
function storeCarries(b: Binder, size: Size, vector: number): void {
  const c = b.code
  if (size === 64) {
    c.get(b.base)
    c.get(vector)
    c.i64(8, -1)
    c.op('i64.and')
    c.memory('i64.store', LOW)
    return
  }
  c.get(b.base)
  c.get(vector)
  if (size < 32) {
    c.i32(32 - size)
    c.op('i32.shl')
  }
  c.memory('i32.store', HIGH)
  c.get(b.base)
  c.get(vector)
  c.i32(8)
  c.op('i32.and')
  c.memory('i32.store', LOW)
}

/** Pushes the vector of carries. */
function carries(c: Code, kind: 'add' | 'sub', source: Omit<FlagSource, 'kind'>): void {
  const t = typeOf(source.size)
  const { left, right, result } = source
  const [first, ...pairs] = kind === 'add'
    ? [result, [left, result], [right, result]] as const
    : [left, [left, right], [left, result]] as const
  c.get(first)
  for (const [x, y] of pairs) {
    c.get(x)
    c.get(y)
    c.op(`${t}.xor`)
  }
  c.op(`${t}.or`, `${t}.xor`)
}

/** Flags of an addition or subtraction, with or without carry in. */
export function arithmeticFlags(b: Binder, kind: 'add' | 'sub', source: Omit<FlagSource, 'kind'>): FlagSource {
  const { size } = source
  const vector = b.code.local(typeOf(size))
  storeResult(b, size, source.result)
  carries(b.code, kind, source)
  b.code.set(vector)
  storeCarries(b, size, vector)
  b.code.release(typeOf(size), vector)
  return { kind, ...source }
}

/** Flags of INC and DEC: as for adding or subtracting 1, but CF stays. */
export function stepFlags(b: Binder, kind: 'add' | 'sub', source: Omit<FlagSource, 'kind'>): FlagSource {
  const c = b.code
  const { size } = source
  const t = typeOf(size)
  const vector = c.local(t)
  const high = c.local('i32')
  storeResult(b, size, source.result)
  carries(c, kind, source)
  c.set(vector)
  // The top two bits are turned over together where CF would change, so that OF stays as computed.
  c.get(vector)
  if (size === 64) {
    c.i64(32)
    c.op('i64.shr_u', 'i32.wrap_i64')
  } else {
    c.i32(32 - size)
    c.op('i32.shl')
  }
  c.set(high)
  c.get(b.base)
  c.get(high)
  c.get(b.base)
  c.memory('i32.load', HIGH)
  c.get(high)
  c.op('i32.xor')
  c.i32(31)
  c.op('i32.shr_s')
  c.i32(0xc000_0000)
  c.op('i32.and', 'i32.xor')
  c.memory('i32.store', HIGH)
  c.get(b.base)
  c.get(vector)
  if (size === 64) c.op('i32.wrap_i64')
  c.i32(8)
  c.op('i32.and')
  c.memory('i32.store', LOW)
  c.release(t, vector)
  c.release('i32', high)
  return { kind: 'step', ...source }
}

/** Flags of AND, OR, XOR, TEST: CF and OF clear (and AF, which the manual leaves open). */
export function logicFlags(b: Binder, size: Size, result: number): FlagSource {
  storeResult(b, size, result)
  b.code.get(b.base)
  b.code.i64(0)
  b.code.memory('i64.store', LOW)
  return { kind: 'logic', size, left: result, right: result, result }
}

/** Flags from a result and explicit CF and OF, both i32 locals holding 0 or 1; AF clear. */
export function explicitFlags(b: Binder, size: Size, parts: { result: number; carry: number; overflow: number }): void {
  storeResult(b, size, parts.result)
  explicitCarries(b, parts.carry, parts.overflow)
}

/** CF and OF from i32 locals holding 0 or 1; clears AF and leaves the others to the stored result. */
export function explicitCarries(b: Binder, carry: number, overflow: number): void {
  const c = b.code
  c.get(b.base)
  pushHigh(c, carry, overflow)
  c.memory('i32.store', HIGH)
  c.get(b.base)
  c.i32(0)
  c.memory('i32.store', LOW)
}

function pushHigh(c: Code, carry: number, overflow: number): void {
  c.get(carry)
  c.i32(31)
  c.op('i32.shl')
  c.get(carry)
  c.get(overflow)
  c.op('i32.xor')
  c.i32(30)
  c.op('i32.shl', 'i32.or')
}

/** Sets CF and OF from i32 locals and leaves all other flags as they are (rotations). */
export function replaceCarries(b: Binder, carry: number, overflow: number): void {
  b.code.get(b.base)
  pushHigh(b.code, carry, overflow)
  b.code.memory('i32.store', HIGH)
}

/** Sets CF from an i32 local holding 0 or 1 and leaves all other flags as they are. */
export function replaceCarry(b: Binder, carry: number): void {
  const c = b.code
  const overflow = c.local('i32')
  pushOverflow(b)
  c.set(overflow)
  replaceCarries(b, carry, overflow)
  c.release('i32', overflow)
}

const loadHigh = (b: Binder): void => {
  b.code.get(b.base)
  b.code.memory('i32.load', HIGH)
}

/** Pushes CF as 0 or 1. */
export function pushCarry(b: Binder): void {
  loadHigh(b)
  b.code.i32(31)
  b.code.op('i32.shr_u')
}

/** Pushes OF as 0 or 1. */
export function pushOverflow(b: Binder): void {
  const high = b.code.local('i32')
  loadHigh(b)
  b.code.tee(high)
  b.code.get(high)
  b.code.i32(1)
  b.code.op('i32.shl', 'i32.xor')
  b.code.i32(31)
  b.code.op('i32.shr_u')
  b.code.release('i32', high)
}

/** Pushes ZF as 0 or 1. */
export function pushZero(b: Binder): void {
  b.code.get(b.base)
  b.code.memory('i64.load', RESULT)
  b.code.op('i64.eqz')
}

/** Pushes SF as 0 or 1. */
export function pushSign(b: Binder): void {
  const c = b.code
  c.get(b.base)
  c.memory('i32.load', RESULT + 4)
  c.i32(31)
  c.op('i32.shr_u')
  c.get(b.base)
  c.memory('i32.load8_u', LOW + 1)
  c.i32(1)
  c.op('i32.and', 'i32.xor')
}

/** Pushes PF as 0 or 1. */
export function pushParity(b: Binder): void {
  const c = b.code
  c.get(b.base)
  c.memory('i32.load8_u', RESULT)
  c.op('i32.popcnt')
  c.get(b.base)
  c.memory('i32.load8_u', LOW + 1)
  c.i32(1)
  c.op('i32.shr_u', 'i32.xor')
  c.i32(1)
  c.op('i32.and')
  c.op('i32.eqz')
}

/** Pushes AF as 0 or 1. */
export function pushAdjust(b: Binder): void {
  b.code.get(b.base)
  b.code.memory('i32.load8_u', LOW)
  b.code.i32(3)
  b.code.op('i32.shr_u')
  b.code.i32(1)
  b.code.op('i32.and')
}

/** Pushes the whole of RFLAGS. */
export function pushFlags(b: Binder): void {
  const c = b.code
  c.get(b.base)
  c.memory('i32.load', State.systemFlags.offset)
  const parts: [(b: Binder) => void, number][] = [
    [pushCarry, 0], [pushParity, 2], [pushAdjust, 4], [pushZero, 6], [pushSign, 7], [pushOverflow, 11],
  ]
  for (const [push, bit] of parts) {
    push(b)
    c.i32(bit)
    c.op('i32.shl', 'i32.or')
  }
  c.i32(RFLAGS.FIXED)
  c.op('i32.or')
}

/** Takes the arithmetic flags out of the i32 local `flags`, OF only where `overflow` says so (SAHF leaves it). */
export function takeFlags(b: Binder, flags: number, overflow: 'with overflow' | 'without overflow'): void {
  const c = b.code
  const bit = (position: number): void => {
    c.get(flags)
    c.i32(position)
    c.op('i32.shr_u')
    c.i32(1)
    c.op('i32.and')
  }
  const carry = c.local('i32')
  const over = c.local('i32')
  if (overflow === 'with overflow') bit(11)
  else pushOverflow(b)
  c.set(over)
  bit(0)
  c.set(carry)
  replaceCarries(b, carry, over)
  c.get(b.base)
  bit(6)
  c.op('i32.eqz', 'i64.extend_i32_u')
  c.memory('i64.store', RESULT)
  // low = AF << 3 | SF << 8 | (PF ^ ZF) << 9: the result is 0 or 1, whose own PF equals ZF and whose SF is 0.
  c.get(b.base)
  bit(4)
  c.i32(3)
  c.op('i32.shl')
  bit(7)
  c.i32(8)
  c.op('i32.shl', 'i32.or')
  bit(2)
  bit(6)
  c.op('i32.xor')
  c.i32(9)
  c.op('i32.shl', 'i32.or')
  c.memory('i32.store', LOW)
  c.release('i32', carry, over)
}
