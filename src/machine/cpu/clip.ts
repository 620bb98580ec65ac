/**
 * Blocks cut short: a copy of a block's first instructions, for a budget that does not reach its end. Copies are
 * executed once and are not found by anybody.
 */
import { invariant } from '../../util/index.ts'
import { GPR } from '../../x86/index.ts'
import { HANDLER_NUMBERS } from './handlers/index.ts'
import { BLOCK, RECORD } from './record.ts'
import { SLOT } from './state.ts'
import type { MicroTable } from './uops/index.ts'

const STACK_HANDLERS = /^(pop|push|iret|retf|enter|far-call|short-(call|ret))/

/** Micro-operations that work on the stack. */
const STACK_OPERATIONS = /^(push|pop\.\d+\.r|pop-|call|ret|leave|enter)/
/** Micro-operations that branch out of the middle of a block. */
const SIDE_BRANCHES = /^(segmented\.)?(j(?!mp)|loop)/

/** Makes such copies. */
export class Clipper {
  private readonly view: DataView
  private readonly bytes: Uint8Array
  /** For a pair's number: that of its first half. Otherwise the number itself. */
  private readonly single: Uint16Array
  /** Numbers of micro-operations that work on the stack. */
  private readonly stack: Uint8Array
  private readonly pops: Uint8Array
  /** Number of the micro-operation that calls a handler, and numbers of the handlers that work on the stack. */
  private readonly handler: number
  private readonly stackHandlers = new Set(
    [...HANDLER_NUMBERS].filter(([name]) => STACK_HANDLERS.test(name)).map(([, number]) => number))
  /** Numbers of micro-operations that branch out of the middle of a block. */
  private readonly branches: Uint8Array

  constructor(view: DataView, table: MicroTable) {
    this.view = view
    this.bytes = new Uint8Array(view.buffer)
    const { all, numbers } = table
    this.single = Uint16Array.from(all, ({ first }, number) => (first === undefined ? number : numbers.get(first)!))
    this.stack = Uint8Array.from(all, ({ name }) => (STACK_OPERATIONS.test(name) ? 1 : 0))
    this.pops = Uint8Array.from(table.all, ({ name }) => (/^pop\.\d+\.m/.test(name) ? 1 : 0))
    this.handler = table.numbers.get('handler')!
    this.branches = Uint8Array.from(all, ({ name }) => (SIDE_BRANCHES.test(name) ? 1 : 0))
  }

  /**
   * True when a record's memory access goes through the stack segment: by its base register, or because it is a stack
   * operation.
   */
  usesStack(record: number, atTop: boolean): boolean {
    const { view } = this
    // POP to memory uses both; its own read is at the stack pointer.
    if (atTop && this.popsToMemory(record)) return true
    if (this.stack[this.single[view.getUint16(record + RECORD.number, true)]!] === 1) return true
    const isHandler = view.getUint16(record + RECORD.number, true) === this.handler
    if (isHandler && this.stackHandlers.has(view.getUint32(record + RECORD.immediate, true))) return true
    const base = view.getUint8(record + RECORD.b)
    const bits = view.getUint8(record + RECORD.c) === SLOT.zero && (view.getUint8(record + RECORD.d) & 3) === 3
    if (bits && base === SLOT.t1) return true
    return (base === GPR.rsp * 8 || base === GPR.rbp * 8) && (view.getUint8(record + RECORD.d) & 0xf8) === SLOT.zero
  }

  private popsToMemory(record: number): boolean {
    return this.pops[this.single[this.view.getUint16(record + RECORD.number, true)]!] === 1
  }

  /** Copies the first `count` instructions of a block to `target`: at least one, and fewer than the block has. */
  clip(block: number, count: number, target: number): void {
    const { view } = this
    const total = view.getUint32(block + BLOCK.count, true)
    invariant(count > 0 && count < total, 'a block is cut to fewer instructions than it has, and to one at least')
    view.setUint32(target + BLOCK.count, count, true)
    let from = block + BLOCK.bytes
    let to = target + BLOCK.bytes
    let left = count
    for (;;) {
      const number = view.getUint16(from + RECORD.number, true)
      this.bytes.copyWithin(to, from, from + RECORD.bytes)
      view.setUint16(to + RECORD.number, this.single[number]!, true)
      if (this.branches[number] === 1) {
        view.setUint8(to + RECORD.a, view.getUint8(from + RECORD.a) - (total - count))
      }
      from += RECORD.bytes
      to += RECORD.bytes
      const same = view.getUint16(from + RECORD.ip, true) === view.getUint16(from - RECORD.bytes + RECORD.ip, true)
      if (!same || view.getUint16(from + RECORD.number, true) === 0) left -= 1
      if (left === 0) break
    }
    // The end record: goes on behind the last instruction copied.
    this.bytes.fill(0, to, to + RECORD.bytes)
    view.setUint16(to + RECORD.ip, view.getUint16(to - RECORD.bytes + RECORD.ip, true), true)
  }
}
