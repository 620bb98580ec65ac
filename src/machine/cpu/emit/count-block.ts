/** The code that counts a block and the edge to it, while coverage is on (code/coverage.ts). It touches nothing of what a guest sees. */
import { State } from '../layout/state.ts'
import type { Binder } from './binder.ts'

/** Bits of a block's number. */
const EDGE_MASK = 0xffff

/**
 * Counts a block, at the record's immediate, and the edge to it, in a map that begins at a multiple of its size: the displacement is the place of the block's
 * number in it.
 */
export function countBlock(b: Pick<Binder, 'code' | 'base' | 'wideImmediate'>): void {
  const c = b.code
  const [both, edge, counter] = [c.local('i64'), c.local('i32'), c.local('i32')]
  b.wideImmediate()
  c.tee(both)
  c.op('i32.wrap_i64')
  c.get(b.base)
  c.memory('i32.load', State.coveredBefore.offset)
  c.op('i32.xor')
  c.tee(edge)
  c.get(edge)
  c.memory('i32.load8_u')
  c.i32(1)
  c.op('i32.add')
  c.memory('i32.store8')
  c.get(b.base)
  c.get(both)
  c.op('i32.wrap_i64')
  c.i32(EDGE_MASK)
  c.op('i32.and')
  c.i32(1)
  c.op('i32.shr_u')
  c.memory('i32.store', State.coveredBefore.offset)
  c.get(both)
  c.i64(32)
  c.op('i64.shr_u', 'i32.wrap_i64')
  c.tee(counter)
  c.get(counter)
  c.memory('i32.load')
  c.i32(1)
  c.op('i32.add')
  c.memory('i32.store')
  c.release('i64', both)
  c.release('i32', edge)
  c.release('i32', counter)
}
