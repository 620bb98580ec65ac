/**
 * Finding decoded blocks: the table by physical address, behind the jump cache by rip that the interpreter's loop
 * looks at itself; and links between blocks of one page.
 */
import type { Code, ModuleWriter } from '../../../wasm/index.ts'
import { PAGE_SHIFT, PAGE_SIZE } from '../../../x86/index.ts'
import { BLOCK_BUCKETS } from '../../memory/layout.ts'
import type { AddressWidth } from '../emit/binder.ts'
import { BLOCK, BLOCK_CROSSES, RECORD } from '../layout/record.ts'
import { ACCESS, JUMP, State } from '../layout/state.ts'
import type { WalkFunctions } from './walk.ts'

/** Multiplier that spreads physical addresses over the buckets. */
const SPREAD = 0x9e37_79b1

/** Bits of a product that are no bucket. */
const BUCKET_SHIFT = /* @__PURE__ */ 32 - Math.log2(BLOCK_BUCKETS)

/** Bucket of a physical address; the same as generated code computes. */
export const bucketOf = (physical: number): number => Math.imul(physical, SPREAD) >>> BUCKET_SHIFT

/** Numbers of the functions. */
export interface BlockFunctions {
  /** (base, rip) -> block, 0 when it is not decoded or its page cannot be fetched. Enters it into the jump cache. */
  readonly find: number
  /** (base, record, rip) -> block: like `find`, and links the record's branch to it. */
  readonly link: number
  /** (record) -> instructions of the block behind the record's instruction. */
  readonly remaining: number
}

/** Adds the functions. */
export function defineBlocks(module: ModuleWriter, walks: Pick<WalkFunctions, 'probe' | 'peek'>, width: AddressWidth): BlockFunctions {
  const find = module.function(['i32', 'i64'], ['i32'])
  writeFind(find.code, walks, width)
  const link = module.function(['i32', 'i32', 'i64'], ['i32'])
  writeLink(link.code, find.index)
  const remaining = module.function(['i32'], ['i32'])
  writeRemaining(remaining.code)
  return { find: find.index, link: link.index, remaining: remaining.index }
}

/** Pushes the address of the jump cache's entry for the rip in an i64 local. */
export function pushJumpEntry(c: Code, base: number, rip: number): void {
  c.get(base)
  c.get(rip)
  c.op('i32.wrap_i64')
  c.get(rip)
  c.i64(11)
  c.op('i64.shr_u', 'i32.wrap_i64', 'i32.xor')
  c.i32(JUMP.entries - 1)
  c.op('i32.and')
  c.i32(4)
  c.op('i32.shl', 'i32.add')
}

/** Locals of the search for a block. */
interface Search {
  readonly base: number
  readonly rip: number
  /** The jump cache's entry for it. */
  readonly entry: number
  readonly block: number
  readonly physical: number
  readonly mode: number
}

/** Pushes 1 when a block begins at that physical address. */
function pushIsAt(c: Code, { block, physical }: Pick<Search, 'block' | 'physical'>): void {
  c.get(block)
  c.memory('i32.load', BLOCK.physical)
  c.get(physical)
  c.op('i32.eq')
}

/** Pushes 1 when a block is the one of that physical address and mode. */
function pushIsOf(c: Code, { block, physical, mode }: Pick<Search, 'block' | 'physical' | 'mode'>): void {
  pushIsAt(c, { block, physical })
  c.get(block)
  c.memory('i32.load', BLOCK.mode)
  c.get(mode)
  c.op('i32.eq', 'i32.and')
}

/** An entry of the jump cache holds from now on as it holds for the present context. */
function renew(c: Code, base: number, entry: number): void {
  c.get(entry)
  c.get(base)
  c.memory('i32.load', State.context.offset)
  c.memory('i32.store', JUMP.offset + JUMP.context)
}

/**
 * Returns the block that was jumped to before translations were dropped, if that is the block of this place still: mostly it is,
 * and the way to it through the table is one of memory that no cache holds. A dropped block has another mode; where the memory of blocks
 * is used anew, the jump cache is empty.
 */
function takeHint(c: Code, search: Search): void {
  const { base, rip, entry, block } = search
  c.get(entry)
  c.memory('i64.load', JUMP.offset)
  c.get(rip)
  c.op('i64.eq')
  c.if()
  c.get(entry)
  c.memory('i32.load', JUMP.offset + JUMP.block)
  c.set(block)
  pushIsOf(c, search)
  c.if()
  renew(c, base, entry)
  c.get(block)
  c.op('return')
  c.end()
  c.end()
}

function writeFind(c: Code, { probe, peek }: Pick<WalkFunctions, 'probe' | 'peek'>, width: AddressWidth): void {
  const [base, rip] = [0, 1]
  const [physical, block, entry, mode] = [c.local('i32'), c.local('i32'), c.local('i32'), c.local('i32')]
  c.get(base)
  c.get(rip)
  c.i32(ACCESS.EXECUTE)
  c.call(probe)
  c.tee(physical)
  c.op('i32.eqz')
  c.if()
  c.i32(0)
  c.op('return')
  c.end()
  c.get(base)
  c.memory('i32.load', State.mode.offset)
  c.set(mode)
  pushJumpEntry(c, base, rip)
  c.set(entry)
  takeHint(c, { base, rip, entry, block, physical, mode })
  c.get(base)
  c.memory('i32.load', State.blockTable.offset)
  c.get(physical)
  c.i32(SPREAD)
  c.op('i32.mul')
  c.i32(BUCKET_SHIFT)
  c.op('i32.shr_u')
  c.i32(2)
  c.op('i32.shl', 'i32.add')
  c.memory('i32.load')
  c.set(block)
  const done = c.block()
  const again = c.loop()
  c.get(block)
  c.op('i32.eqz')
  c.brIf(done)
  pushIsOf(c, { block, physical, mode })
  c.if('i32')
  c.i32(1)
  c.else()
  pushIsSecond(c, { base, rip, block, physical, mode, peek, width })
  c.end()
  c.if()
  c.get(entry)
  c.get(rip)
  c.memory('i64.store', JUMP.offset)
  renew(c, base, entry)
  c.get(entry)
  c.get(block)
  c.memory('i32.store', JUMP.offset + JUMP.block)
  c.br(done)
  c.end()
  c.get(block)
  c.memory('i32.load', BLOCK.next)
  c.set(block)
  c.br(again)
  c.end()
  c.end()
  c.get(block)
}

interface CrossingSearch extends Omit<Search, 'entry'> {
  readonly peek: number
  readonly width: AddressWidth
}

/**
 * Pushes 1 when a block is the one of that physical address and mode which goes on into the page that follows in linear memory. A walk to that
 * leaves nothing behind: where it would, the driver looks.
 */
function pushIsSecond(c: Code, { base, rip, block, physical, mode, peek, width }: CrossingSearch): void {
  pushIsAt(c, { block, physical })
  c.get(block)
  c.memory('i32.load', BLOCK.mode)
  c.i32(PAGE_SIZE - 1)
  c.op('i32.and')
  c.get(mode)
  c.i32(BLOCK_CROSSES)
  c.op('i32.or', 'i32.eq', 'i32.and')
  c.if('i32')
  c.get(base)
  c.get(rip)
  c.i64(-PAGE_SIZE)
  c.op('i64.and')
  c.i64(PAGE_SIZE)
  c.op('i64.add')
  if (width === 32) {
    c.i64(-1, 0)
    c.op('i64.and')
  }
  c.i32(ACCESS.EXECUTE)
  c.call(peek)
  c.get(block)
  c.memory('i32.load', BLOCK.mode)
  c.i32(-PAGE_SIZE)
  c.op('i32.and', 'i32.eq')
  c.else()
  c.i32(0)
  c.end()
}

/**
 * Finds the block at `rip`, and links the record to it where both lie in one frame. One that goes on into another page is
 * none to be linked. Their linear page is the same, but the page may lead elsewhere by now: a block outlives a translation that was dropped or replaced while it runs, and
 * its frame may be mapped in other places, in other domains too, where the branch leads to the frame's own bytes.
 */
function writeLink(c: Code, find: number): void {
  const [base, record, rip] = [0, 1, 2]
  const block = c.local('i32')
  c.get(base)
  c.get(rip)
  c.call(find)
  c.tee(block)
  c.if()
  c.get(block)
  c.memory('i32.load', BLOCK.mode)
  c.i32(BLOCK_CROSSES)
  c.op('i32.and', 'i32.eqz')
  c.if()
  c.get(block)
  c.memory('i32.load', BLOCK.physical)
  c.i32(PAGE_SHIFT)
  c.op('i32.shr_u')
  pushFrame(c, record)
  c.op('i32.eq')
  c.if()
  c.get(record)
  c.get(block)
  c.memory('i32.store', RECORD.immediate)
  c.end()
  c.end()
  c.end()
  c.get(block)
}

/** Pushes the frame of the block that a record stands in, which the block's end record tells. */
function pushFrame(c: Code, record: number): void {
  const at = c.local('i32')
  c.get(record)
  c.set(at)
  const done = c.block()
  const again = c.loop()
  c.get(at)
  c.memory('i32.load16_u', RECORD.number)
  c.op('i32.eqz')
  c.brIf(done)
  c.get(at)
  c.i32(RECORD.bytes)
  c.op('i32.add')
  c.set(at)
  c.br(again)
  c.end()
  c.end()
  c.get(at)
  c.memory('i32.load', RECORD.frame - 1)
  c.i32(8)
  c.op('i32.shr_u')
}

/** Walks to the end record (number 0) and counts the instructions on the way. */
function writeRemaining(c: Code): void {
  const record = 0
  const [count, ip, last] = [c.local('i32'), c.local('i32'), c.local('i32')]
  c.get(record)
  c.memory('i32.load16_u', RECORD.ip)
  c.set(last)
  const done = c.block()
  const again = c.loop()
  c.get(record)
  c.i32(RECORD.bytes)
  c.op('i32.add')
  c.tee(record)
  c.memory('i32.load16_u', RECORD.number)
  c.op('i32.eqz')
  c.brIf(done)
  c.get(record)
  c.memory('i32.load16_u', RECORD.ip)
  c.tee(ip)
  c.get(last)
  c.op('i32.ne')
  c.get(count)
  c.op('i32.add')
  c.set(count)
  c.get(ip)
  c.set(last)
  c.br(again)
  c.end()
  c.end()
  c.get(count)
}
