/**
 * The interpreter's loop: fetches a record's number, branches to its micro-operation, goes on with the next record.
 * Blocks are entered through a check of the budget; the jump cache is looked at here, everything slower is a call.
 *
 * hot path: 3 locals live around the loop (record, budget, base), see the note on each label.
 */
import { PAGE_SIZE } from '../../../x86/index.ts'
import type { Code, Label } from '../../../wasm/index.ts'
import type { AddressWidth } from '../emit/binder.ts'
import { FastBinder } from '../emit/fast-binder.ts'
import type { LoopLabels, LoopOptions } from '../emit/fast-binder.ts'
import { BLOCK, IP, RECORD } from '../layout/record.ts'
import { pushJumpEntry } from '../runtime/blocks.ts'
import type { BlockFunctions } from '../runtime/blocks.ts'
import { JUMP, STATUS, State } from '../layout/state.ts'
import type { Micro } from '../uops/micro.ts'
import { fitsWidth } from '../uops/hot.ts'
import type { MicroTable } from '../uops/micro-table.ts'

/** What the loop calls. */
export interface LoopFunctions {
  readonly blocks: BlockFunctions
  /** Type of the functions that execute one record completely, (base, record) -> status: table 0, by its number. */
  readonly single: number
  readonly width: AddressWidth
}

interface Loop {
  readonly code: Code
  readonly functions: LoopFunctions
  readonly base: number
  readonly record: number
  readonly budget: number
  readonly target: number
  readonly status: number
}

/** Writes `run(base, block)`: starts with that block at rip, or looks rip up when it is 0. */
export function writeLoop(c: Code, table: MicroTable, functions: LoopFunctions): void {
  const l: Loop = {
    code: c, functions, base: 0, record: 1, budget: c.local('i32'), target: c.local('i64'), status: c.local('i32'),
  }
  loadRip(l)
  c.get(l.base)
  c.memory('i32.load', State.budget.offset)
  c.set(l.budget)
  c.get(l.record)
  c.op('i32.eqz')
  c.if()
  lookUpTarget(l)
  c.end()
  setPage(l)
  enterBlock(l)
  const top = c.loop()
  const enter = c.block()
  const lookUp = c.block()
  const follow = c.block()
  const slow = c.block()
  writeHandlers(l, table, { labels: { slow, lookUp, enter, follow }, top })
  c.end()
  writeSlow(l, { top, lookUp })
  c.end()
  writeFollow(l, enter)
  c.end()
  lookUpTarget(l)
  setPage(l)
  c.end()
  enterBlock(l)
  c.br(top)
  c.end()
  c.op('unreachable')
}

function loadRip(l: Loop): void {
  l.code.get(l.base)
  l.code.memory('i64.load', State.rip.offset)
  l.code.set(l.target)
}

/** The page of `target` becomes that of the running block. */
function setPage(l: Loop): void {
  const c = l.code
  c.get(l.base)
  c.get(l.target)
  c.i64(-PAGE_SIZE)
  c.op('i64.and')
  c.memory('i64.store', State.page.offset)
}

/** Sets `record` to the block at `target`, or leaves to the driver. */
function find(l: Loop): void {
  const c = l.code
  c.get(l.base)
  c.get(l.target)
  c.call(l.functions.blocks.find)
  c.tee(l.record)
  c.op('i32.eqz')
  c.if()
  c.get(l.base)
  c.get(l.target)
  c.memory('i64.store', State.rip.offset)
  leave(l, () => c.i32(STATUS.NEED_BLOCK))
  c.end()
}

function leave(l: Loop, push: () => void): void {
  const c = l.code
  c.get(l.base)
  c.get(l.budget)
  c.memory('i32.store', State.budget.offset)
  c.get(l.base)
  c.get(l.record)
  c.memory('i32.store', State.record.offset)
  push()
  c.op('return')
}

/** Looks `target` up in the jump cache. */
function lookUpTarget(l: Loop): void {
  const c = l.code
  const entry = c.local('i32')
  pushJumpEntry(c, l.base, l.target)
  c.tee(entry)
  c.memory('i64.load', JUMP.offset)
  c.get(l.target)
  c.op('i64.eq')
  c.get(entry)
  c.memory('i32.load', JUMP.offset + JUMP.context)
  c.get(l.base)
  c.memory('i32.load', State.context.offset)
  c.op('i32.eq', 'i32.and')
  c.if()
  c.get(entry)
  c.memory('i32.load', JUMP.offset + JUMP.block)
  c.set(l.record)
  c.else()
  find(l)
  c.end()
  c.release('i32', entry)
}

/** Pays for the block that `record` points at and moves on to its first record. */
function enterBlock(l: Loop): void {
  const c = l.code
  c.get(l.budget)
  c.get(l.record)
  c.memory('i32.load', BLOCK.count)
  c.op('i32.sub')
  c.tee(l.budget)
  c.i32(0)
  c.op('i32.lt_s')
  c.if()
  c.get(l.budget)
  c.get(l.record)
  c.memory('i32.load', BLOCK.count)
  c.op('i32.add')
  c.set(l.budget)
  c.get(l.base)
  c.get(l.base)
  c.memory('i64.load', State.page.offset)
  c.get(l.record)
  c.memory('i64.load16_u', BLOCK.bytes + RECORD.ip)
  c.i64(IP.OFFSET)
  c.op('i64.and', 'i64.add')
  c.memory('i64.store', State.rip.offset)
  leave(l, () => c.i32(STATUS.BUDGET))
  c.end()
  advance(l, BLOCK.bytes)
}

function advance(l: Loop, bytes: number): void {
  l.code.get(l.record)
  l.code.i32(bytes)
  l.code.op('i32.add')
  l.code.set(l.record)
}

/** The dispatch and all micro-operations of the loop. */
function writeHandlers(l: Loop, table: MicroTable, to: { labels: LoopLabels; top: Label }): void {
  const c = l.code
  const hot = table.all.slice(0, table.hotCount).filter((micro) => fitsWidth(micro, l.functions.width))
  const labels = new Map([...hot].reverse().map((micro) => [micro, c.block()]))
  pushNumber(c, l.record)
  c.brTable(table.all.slice(0, table.hotCount).map((micro) => labels.get(micro) ?? to.labels.slow), to.labels.slow)
  for (const micro of hot) {
    c.end()
    writeHandler(l, micro, to.labels)
    advance(l, micro.pair === undefined ? RECORD.bytes : 2 * RECORD.bytes)
    c.br(to.top)
  }
}

function writeHandler(l: Loop, micro: Micro, labels: LoopLabels): void {
  const { base, record, target, budget } = l
  const options: LoopOptions = { base, record, target, budget, labels, width: l.functions.width }
  const flags = micro.emit(new FastBinder(l.code, options))
  if (micro.pair === undefined) return
  micro.pair.second(new FastBinder(l.code, { ...options, at: RECORD.bytes }), flags ?? undefined)
}

/** Pushes the record's number. */
export function pushNumber(c: Code, record: number): void {
  c.get(record)
  c.memory('i32.load16_u', RECORD.number)
}

/** Executes the record by a call and goes on as its status says. */
function writeSlow(l: Loop, to: { top: Label; lookUp: Label }): void {
  const c = l.code
  c.get(l.base)
  c.get(l.budget)
  c.memory('i32.store', State.budget.offset)
  c.get(l.base)
  c.get(l.record)
  pushNumber(c, l.record)
  c.callIndirect(l.functions.single)
  c.set(l.status)
  c.get(l.base)
  c.memory('i32.load', State.budget.offset)
  c.set(l.budget)
  const is = (status: number): void => {
    c.get(l.status)
    c.i32(status)
    c.op('i32.eq')
    c.if()
  }
  c.get(l.status)
  c.op('i32.eqz')
  c.if()
  advance(l, RECORD.bytes)
  c.br(to.top)
  c.end()
  is(STATUS.JUMP)
  loadRip(l)
  c.br(to.lookUp)
  c.end()
  is(STATUS.RELOAD)
  c.get(l.record)
  c.call(l.functions.blocks.remaining)
  c.get(l.budget)
  c.op('i32.add')
  c.set(l.budget)
  bind(l).nextIp()
  if (l.functions.width === 32) {
    c.i64(-1, 0)
    c.op('i64.and')
  }
  c.set(l.target)
  c.br(to.lookUp)
  c.end()
  leave(l, () => c.get(l.status))
}

const bind = (l: Loop): FastBinder =>
  new FastBinder(l.code, {
    base: l.base, record: l.record, target: l.target, budget: l.budget, width: l.functions.width,
    labels: { slow: 0, lookUp: 0, enter: 0, follow: 0 },
  })

/** Works out a branch's target; one in the same page is linked to its block, so that the next time needs no look-up. */
function writeFollow(l: Loop, enter: Label): void {
  const c = l.code
  const block = c.local('i32')
  bind(l).nextIp()
  c.get(l.record)
  c.memory('i64.load32_s', RECORD.displacement)
  c.op('i64.add')
  if (l.functions.width === 32) {
    c.i64(-1, 0)
    c.op('i64.and')
  }
  c.tee(l.target)
  c.i64(-PAGE_SIZE)
  c.op('i64.and')
  c.get(l.base)
  c.memory('i64.load', State.page.offset)
  c.op('i64.eq')
  c.if()
  c.get(l.base)
  c.get(l.record)
  c.get(l.target)
  c.call(l.functions.blocks.link)
  c.tee(block)
  c.if()
  c.get(block)
  c.set(l.record)
  c.br(enter)
  c.end()
  c.end()
  c.release('i32', block)
}
