/** Products wider than WebAssembly has them, and what their lower halves lose. */
import type { Code } from '../../../wasm/index.ts'
import type { Size } from './binder.ts'

/** Sets `high` to the upper 64 bits of the product of two i64 locals: four products of halves. */
export function highProduct(c: Code, operands: { left: number; right: number; high: number }, sign: 'zero' | 'sign'): void {
  const { left, right, high } = operands
  const middle = c.local('i64')
  const half = (local: number, part: 'low' | 'high'): void => {
    c.get(local)
    if (part === 'high') {
      c.i64(32)
      c.op('i64.shr_u')
    } else {
      c.i64(-1, 0)
      c.op('i64.and')
    }
  }
  const product = (x: 'low' | 'high', y: 'low' | 'high'): void => {
    half(left, x)
    half(right, y)
    c.op('i64.mul')
  }
  product('low', 'low')
  c.i64(32)
  c.op('i64.shr_u')
  product('high', 'low')
  c.op('i64.add')
  c.set(middle)
  product('high', 'high')
  half(middle, 'high')
  c.op('i64.add')
  half(middle, 'low')
  product('low', 'high')
  c.op('i64.add')
  c.i64(32)
  c.op('i64.shr_u', 'i64.add')
  c.set(high)
  if (sign === 'sign') {
    for (const [negative, other] of [[left, right], [right, left]] as const) {
      c.get(high)
      c.get(negative)
      c.i64(63)
      c.op('i64.shr_s')
      c.get(other)
      c.op('i64.and', 'i64.sub')
      c.set(high)
    }
  }
  c.release('i64', middle)
}

/** Pushes 1 when the upper half is not just the lower one's extension. */
export function pushProductOverflow(
  c: Code, size: Size, parts: { low: number; high: number }, sign: 'zero' | 'sign',
): void {
  if (size === 64) {
    c.get(parts.high)
    if (sign === 'zero') c.i64(0)
    else {
      c.get(parts.low)
      c.i64(63)
      c.op('i64.shr_s')
    }
    return c.op('i64.ne')
  }
  c.get(parts.low)
  c.get(parts.low)
  if (sign === 'sign') c.op(size === 8 ? 'i64.extend8_s' : size === 16 ? 'i64.extend16_s' : 'i64.extend32_s')
  else {
    c.i64(size === 32 ? -1 : (1 << size) - 1, 0)
    c.op('i64.and')
  }
  c.op('i64.ne')
}
