/**
 * Arithmetic flags, kept lazily: an operation stores its result (sign-extended to 64 bits) and its carries, and a flag
 * is worked out when somebody reads it. Words are reached through the binder only, which may remember the operands of what
 * set the flags instead (flag-operands.ts).
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
import type { Binder, FlagBinder, FlagSource, Size } from './binder.ts'
import {
  isExplicit, pushAdjustOf, pushCarryOf, pushOverflowOf, pushParityOf, pushSignOf, pushCarries, pushZeroOf,
} from './flag-operands.ts'

function storeResult(b: FlagBinder, size: Size, result: number): void {
  b.flagSet('result', () => {
    b.code.get(result)
    signExtend64(b.code, size)
  })
}

/** Stores the vector of carries in local `vector`, of the size's type. */
function storeCarries(b: FlagBinder, size: Size, vector: number): void {
  const c = b.code
  if (size === 64) {
    b.flagSet('carries', () => {
      c.get(vector)
      c.i64(8, -1)
      c.op('i64.and')
    })
    return
  }
  b.flagSet('high', () => {
    c.get(vector)
    if (size === 32) return
    c.i32(32 - size)
    c.op('i32.shl')
  })
  b.flagSet('low', () => {
    c.get(vector)
    c.i32(8)
    c.op('i32.and')
  })
}

/** Sets all flags as an operation's operands tell, CF of INC and DEC excepted; gives them back for a condition behind it. */
export function sourceFlags(b: Binder, source: FlagSource): FlagSource {
  if (!b.keepFlags(source)) storeFlags(b, source)
  return source
}

/** Stores the words of flags that are known by operands. */
export function storeFlags(b: FlagBinder, source: FlagSource): void {
  const { kind, size } = source
  if (kind === 'inc' || kind === 'dec') return storeStep(b, source)
  if (isExplicit(kind)) return storeExplicit(b, source)
  b.renewFlags()
  const vector = kind === 'logic' ? undefined : b.code.local(typeOf(size))
  storeResult(b, size, source.result)
  // AF, which the manual leaves open after logic, is clear.
  if (vector === undefined) return b.flagSet('carries', () => b.code.i64(0))
  pushCarries(b.code, source)
  b.code.set(vector)
  storeCarries(b, size, vector)
  b.code.release(typeOf(size), vector)
}

function storeExplicit(b: FlagBinder, source: FlagSource): void {
  const c = b.code
  const [carry, overflow] = [c.local('i32'), c.local('i32')]
  pushCarryOf(c, source)
  c.set(carry)
  pushOverflowOf(c, source)
  c.set(overflow)
  explicitFlags(b, source.size, { result: source.result, carry, overflow })
  c.release('i32', carry, overflow)
}

/** Words of INC and DEC: as for adding or subtracting 1, but CF stays. */
function storeStep(b: FlagBinder, source: FlagSource): void {
  const c = b.code
  const { size } = source
  const t = typeOf(size)
  const vector = c.local(t)
  const high = c.local('i32')
  storeResult(b, size, source.result)
  pushCarries(c, source)
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
  b.flagSet('high', () => {
    c.get(high)
    pushOldCarry(b, source.carry)
    c.get(high)
    c.op('i32.xor')
    c.i32(31)
    c.op('i32.shr_s')
    c.i32(0xc000_0000)
    c.op('i32.and', 'i32.xor')
  })
  b.flagSet('low', () => {
    c.get(vector)
    if (size === 64) c.op('i32.wrap_i64')
    c.i32(8)
    c.op('i32.and')
  })
  c.release(t, vector)
  c.release('i32', high)
}

/** Pushes a number with CF of before in its top bit. */
function pushOldCarry(b: FlagBinder, carry: number | undefined): void {
  if (carry === undefined) return b.flagGet('high')
  b.code.get(carry)
  b.code.i32(31)
  b.code.op('i32.shl')
}

/** Flags from a result and explicit CF and OF, both i32 locals holding 0 or 1; AF clear. */
export function explicitFlags(b: FlagBinder, size: Size, parts: { result: number; carry: number; overflow: number }): void {
  b.renewFlags()
  storeResult(b, size, parts.result)
  b.flagSet('high', () => pushHigh(b.code, parts.carry, parts.overflow))
  b.flagSet('low', () => b.code.i32(0))
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
  b.flagSet('high', () => pushHigh(b.code, carry, overflow))
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

/** Flags from two i32 locals: ZF where the first is 0, CF where the second is 0; all others clear. */
export function zeroAndCarryFlags(b: Binder, notZero: number, notCarry: number): void {
  const c = b.code
  b.renewFlags()
  storeOnlyZero(b, () => c.get(notZero))
  // The result 1 has odd parity, the result 0 even, which is turned over. CF without OF sets both top bits.
  b.flagSet('low', () => {
    c.get(notZero)
    c.op('i32.eqz')
    c.i32(9)
    c.op('i32.shl')
  })
  b.flagSet('high', () => {
    c.i32(0)
    c.i32(0xc000_0000)
    c.get(notCarry)
    c.op('select')
  })
}

/** Flags of POPCNT: ZF where the value in a local is 0, all others clear. */
export function zeroFlags(b: Binder, size: Size, value: number): void {
  const c = b.code
  const t = typeOf(size)
  b.renewFlags()
  // A stored result of 1 has neither PF nor SF, and the parity of 0 is turned over.
  storeOnlyZero(b, () => {
    c.get(value)
    c.op(`${t}.eqz`, 'i32.eqz')
  })
  b.flagSet('carries', () => {
    c.get(value)
    c.op(`${t}.eqz`, 'i64.extend_i32_u')
    c.i64(9)
    c.op('i64.shl')
  })
}

/** Stores 0 or 1, the i32 that `push` pushes, as the result. */
function storeOnlyZero(b: Binder, push: () => void): void {
  b.flagSet('result', () => {
    push()
    b.code.op('i64.extend_i32_u')
  })
}

/** Pushes CF as 0 or 1. */
export function pushCarry(b: Binder): void {
  const known = b.knownFlags()
  if (known !== undefined) return pushCarryOf(b.code, known)
  b.flagGet('high')
  b.code.i32(31)
  b.code.op('i32.shr_u')
}

/** Pushes OF as 0 or 1. */
export function pushOverflow(b: Binder): void {
  const known = b.knownFlags()
  if (known !== undefined) return pushOverflowOf(b.code, known)
  const high = b.code.local('i32')
  b.flagGet('high')
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
  const known = b.knownFlags()
  if (known !== undefined) return pushZeroOf(b.code, known)
  b.flagGet('result')
  b.code.op('i64.eqz')
}

/** Pushes SF as 0 or 1. */
export function pushSign(b: Binder): void {
  const c = b.code
  const known = b.knownFlags()
  if (known !== undefined) return pushSignOf(c, known)
  b.flagGet('resultTop')
  c.i32(31)
  c.op('i32.shr_u')
  b.flagGet('corrections')
  c.i32(1)
  c.op('i32.and', 'i32.xor')
}

/** Pushes PF as 0 or 1. */
export function pushParity(b: Binder): void {
  const c = b.code
  const known = b.knownFlags()
  if (known !== undefined) return pushParityOf(c, known)
  b.flagGet('resultByte')
  c.op('i32.popcnt')
  b.flagGet('corrections')
  c.i32(1)
  c.op('i32.shr_u', 'i32.xor')
  c.i32(1)
  c.op('i32.and')
  c.op('i32.eqz')
}

/** Pushes AF as 0 or 1. */
export function pushAdjust(b: Binder): void {
  const known = b.knownFlags()
  if (known !== undefined) return pushAdjustOf(b.code, known)
  b.flagGet('lowByte')
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
  b.renewFlags()
  replaceCarries(b, carry, over)
  storeOnlyZero(b, () => {
    bit(6)
    c.op('i32.eqz')
  })
  // low = AF << 3 | SF << 8 | (PF ^ ZF) << 9: the result is 0 or 1, whose own PF equals ZF and whose SF is 0.
  b.flagSet('low', () => {
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
  })
  c.release('i32', carry, over)
}
