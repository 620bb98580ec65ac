/**
 * Blocks cut short: a copy of a block's first instructions, for a budget that does not reach its end. Copies are
 * executed once and are not found by anybody.
 */
import { invariant, onceFor } from '../../../util/index.ts'
import { BLOCK, RECORD } from '../layout/record.ts'
import type { MicroTable } from '../uops/micro-table.ts'

/** What of a table's micro-operations is looked at, by number. */
const rowsOf = /* @__PURE__ */ onceFor(({ index: { ends, firsts } }: MicroTable) => {
  const single = Uint16Array.from(ends, (_, number) => number)
  for (const [pair, first] of firsts) single[pair] = first
  return { single, branches: Uint8Array.from(ends, (end) => (end === 'conditional' ? 1 : 0)) }
})

/** Makes such copies. */
export class Clipper {
  private readonly view: DataView
  private readonly bytes: Uint8Array
  /** For a pair's number: that of its first half. Otherwise the number itself. */
  private readonly single: Uint16Array
  /** Numbers of micro-operations that branch out of the middle of a block. */
  private readonly branches: Uint8Array

  constructor(view: DataView, table: MicroTable) {
    this.view = view
    this.bytes = new Uint8Array(view.buffer)
    const { single, branches } = rowsOf(table)
    this.single = single
    this.branches = branches
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
        view.setUint8(to + RECORD.behind, view.getUint8(from + RECORD.behind) - (total - count))
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
