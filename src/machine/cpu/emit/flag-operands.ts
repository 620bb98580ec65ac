/**
 * Single flags worked out from the operands of what set them, where a binder remembers those (`knownFlags`): nothing is
 * stored then. Operands are zero-extended to their local's type; a result of 8 or 16 bits may have bits above.
 * Reference: Intel SDM volume 1, 3.4.3.1.
 */
import type { Code } from '../../../wasm/index.ts'
import { constant, signExtend32, signExtend64, truncate, typeOf } from './binder.ts'
import type { FlagKind, FlagSource } from './binder.ts'
import { highProduct, pushProductOverflow } from './products.ts'

/** True where CF and OF are no carries: AF, which the manual leaves open, is clear. */
export const isExplicit = (kind: FlagKind): boolean => kind === 'shl' || kind === 'shr' || kind === 'sar' || kind === 'imul'

/** True when it subtracts: flags of differences are borrows. */
const SUBTRACTS: Readonly<Record<FlagKind, boolean>> =
  { add: false, adc: false, inc: false, sub: true, sbb: true, dec: true, logic: false, shl: false, shr: false, sar: false, imul: false }

/** Pushes the vector of carries (borrows) out of each bit, of the size's type: see flags.ts. */
export function pushCarries(c: Code, { kind, size, left, right, result }: FlagSource): void {
  const t = typeOf(size)
  const [first, ...pairs] = SUBTRACTS[kind]
    ? [left, [left, right], [left, result]] as const
    : [result, [left, result], [right, result]] as const
  c.get(first)
  for (const [x, y] of pairs) {
    c.get(x)
    c.get(y)
    c.op(`${t}.xor`)
  }
  c.op(`${t}.or`, `${t}.xor`)
}

/** Takes the top bit of the value on the stack, as 0 or 1. */
function takeSign(c: Code, { size }: FlagSource): void {
  constant(c, size, size - 1)
  if (size === 64) c.op('i64.shr_u', 'i32.wrap_i64')
  else c.op('i32.shr_u')
  if (size >= 32) return
  c.i32(1)
  c.op('i32.and')
}

/** Pushes CF. */
export function pushCarryOf(c: Code, source: FlagSource): void {
  const { kind, size, left, right, result } = source
  if (kind === 'logic') return c.i32(0)
  if (isExplicit(kind)) return kind === 'imul' ? pushLost(c, source) : pushShifted(c, source)
  if (kind === 'inc' || kind === 'dec') {
    if (source.carry === undefined) throw new Error('who remembers INC or DEC has to remember CF')
    return c.get(source.carry)
  }
  if (kind === 'adc' || kind === 'sbb') {
    pushCarries(c, source)
    return takeSign(c, source)
  }
  if (kind === 'sub') {
    c.get(left)
    c.get(right)
  } else {
    c.get(result)
    truncate(c, size)
    c.get(left)
  }
  c.op(`${typeOf(size)}.lt_u`)
}

/** Pushes the last bit that a shift lost. */
function pushShifted(c: Code, { kind, size, left, right }: FlagSource): void {
  const t = typeOf(size)
  c.get(left)
  if (kind === 'sar') signExtend32(c, size)
  if (kind === 'shl') {
    // Of small operands it is a bit above the result.
    if (size < 32) {
      c.get(right)
      c.op('i32.shl')
      constant(c, size, size)
    } else {
      constant(c, size, size)
      c.get(right)
      c.op(`${t}.sub`)
    }
  } else {
    c.get(right)
    constant(c, size, 1)
    c.op(`${t}.sub`)
  }
  c.op(`${t}.shr_${kind === 'sar' ? 's' : 'u'}`)
  if (size === 64) c.op('i32.wrap_i64')
  c.i32(1)
  c.op('i32.and')
}

/** Pushes 1 when a product of signed numbers does not fit. */
function pushLost(c: Code, { size, left, right }: FlagSource): void {
  const locals = [left, right].map((from) => {
    const local = c.local('i64')
    c.get(from)
    signExtend64(c, size)
    c.set(local)
    return local
  })
  const [one, other] = locals as [number, number]
  const [low, high] = [c.local('i64'), c.local('i64')]
  c.get(one)
  c.get(other)
  c.op('i64.mul')
  c.set(low)
  if (size === 64) highProduct(c, { left: one, right: other, high }, 'sign')
  pushProductOverflow(c, size, { low, high }, 'sign')
  c.release('i64', one, other, low, high)
}

/** Pushes OF. */
export function pushOverflowOf(c: Code, source: FlagSource): void {
  const { kind, size, left, right, result } = source
  if (kind === 'logic' || kind === 'sar') return c.i32(0)
  if (kind === 'imul') return pushLost(c, source)
  if (kind === 'shr') {
    c.get(left)
    return takeSign(c, source)
  }
  if (kind === 'shl') {
    pushSignOf(c, source)
    pushShifted(c, source)
    return c.op('i32.xor')
  }
  const t = typeOf(size)
  // The sign differs from that of both summands; of minuend from that of subtrahend and difference.
  const one = SUBTRACTS[kind] ? left : result
  const others = SUBTRACTS[kind] ? [right, result] : [left, right]
  for (const other of others) {
    c.get(one)
    c.get(other)
    c.op(`${t}.xor`)
  }
  c.op(`${t}.and`)
  takeSign(c, source)
}

/** Pushes ZF. */
export function pushZeroOf(c: Code, { size, result }: FlagSource): void {
  c.get(result)
  truncate(c, size)
  c.op(`${typeOf(size)}.eqz`)
}

/** Pushes SF. */
export function pushSignOf(c: Code, source: FlagSource): void {
  c.get(source.result)
  takeSign(c, source)
}

/** Pushes PF. */
export function pushParityOf(c: Code, { size, result }: FlagSource): void {
  c.get(result)
  if (size === 64) c.op('i32.wrap_i64')
  c.i32(0xff)
  c.op('i32.and', 'i32.popcnt')
  c.i32(1)
  c.op('i32.and', 'i32.eqz')
}

/** Pushes AF: the carry into bit 4. */
export function pushAdjustOf(c: Code, { kind, size, left, right, result }: FlagSource): void {
  if (kind === 'logic' || isExplicit(kind)) return c.i32(0)
  const t = typeOf(size)
  c.get(left)
  c.get(right)
  c.op(`${t}.xor`)
  c.get(result)
  c.op(`${t}.xor`)
  if (size === 64) c.op('i32.wrap_i64')
  c.i32(4)
  c.op('i32.shr_u')
  c.i32(1)
  c.op('i32.and')
}
