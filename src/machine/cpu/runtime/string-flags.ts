/** Flags of the comparison that SCAS and CMPS make, for an element size known only at run time. */
import type { Code } from '../../../wasm/index.ts'
import { State } from '../layout/state.ts'

/** Stores the flags of `left - right`, both i64 locals with zero-extended elements of `1 << shift` bytes. */
export function compareFlags(c: Code, o: { base: number; left: number; right: number; shift: number }): void {
  const [bits, result, vector] = [c.local('i64'), c.local('i64'), c.local('i64')]
  // 64 minus the element's bits: operands are moved to the top, where sign and carries are those of 64 bits.
  c.i64(64)
  c.i64(8)
  c.get(o.shift)
  c.op('i64.extend_i32_u', 'i64.shl', 'i64.sub')
  c.set(bits)
  c.get(o.left)
  c.get(o.right)
  c.op('i64.sub')
  c.set(result)
  c.get(o.left)
  c.get(o.left)
  c.get(o.right)
  c.op('i64.xor')
  c.get(o.left)
  c.get(result)
  c.op('i64.xor', 'i64.or', 'i64.xor')
  c.set(vector)
  c.get(o.base)
  c.get(result)
  c.get(bits)
  c.op('i64.shl')
  c.get(bits)
  c.op('i64.shr_s')
  c.memory('i64.store', State.flagResult.offset)
  c.get(o.base)
  c.get(vector)
  c.get(bits)
  c.op('i64.shl')
  c.i64(0, 0xc000_0000)
  c.op('i64.and')
  c.get(vector)
  c.i64(8)
  c.op('i64.and', 'i64.or')
  c.memory('i64.store', State.flagLow.offset)
  c.release('i64', bits, result, vector)
}
