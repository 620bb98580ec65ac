/**
 * Fronts: blocks that begin with compiled code. A front stands in the place of a decoded block, whose records it repeats
 * behind one record of its own:
 *
 *   | header | front record | records of the block | end |
 *
 * The front record has the first instruction's ip, so that whoever counts instructions by them counts none for it. Its
 * number is a function of table 0: status NEXT goes on with the records. While nothing is compiled it does nothing. The
 * decoded block stays as it was, for those who cut, compare or compile it; links to it are unset, so that they find the
 * front, and remembered jumps are forgotten for the same.
 *
 * Fronts, and lists that compiled code looks at, have an area of their own. When it is full, all of them go at once.
 */
import { PAGE_SHIFT } from '../../../x86/index.ts'
import { onceFor } from '../../../util/index.ts'
import type { MachineMemory } from '../../memory/machine-memory.ts'
import { BLOCK, BLOCK_DEAD, RECORD } from '../layout/record.ts'
import type { MicroTable } from '../uops/micro-table.ts'
import { leaveChain, replaceInChain } from './block-chains.ts'

/** Ends of micro-operations whose immediate is the block that they lead to. */
const LINKED = new Set(['end', 'branch', 'conditional'])

/** Which of a table's micro-operations are those, by number. */
const linkedOf = /* @__PURE__ */ onceFor(({ index }: MicroTable) => Uint8Array.from(index.ends, (end) => (LINKED.has(end) ? 1 : 0)))

/** The fronts of a machine's decoded code. */
export class Fronts {
  private readonly memory: MachineMemory
  private readonly nothing: number
  /** Micro-operations with a link, by number. */
  private readonly linked: Uint8Array
  /** Fronts by decoded block, and the other way. */
  private readonly fronts = new Map<number, number>()
  private readonly blocks = new Map<number, number>()
  private next: number

  constructor(memory: MachineMemory, table: MicroTable) {
    this.memory = memory
    this.nothing = table.numbers.get('nop')!
    this.linked = linkedOf(table)
    this.next = memory.layout.fronts
  }

  /** The decoded block that a front stands for; any other block is itself. */
  behind(block: number): number {
    return this.blocks.get(block) ?? block
  }

  /** The front of a decoded block, 0 when it has none. */
  of(block: number): number {
    return this.fronts.get(block) ?? 0
  }

  /** Fronts that can be entered, with their decoded blocks. */
  all(): IterableIterator<[front: number, block: number]> {
    return this.blocks.entries()
  }

  /** Takes bytes of the area that stay until all fronts go; 0 when it is full. */
  take(bytes: number): number {
    const at = this.next
    const end = at + Math.ceil(bytes / RECORD.bytes) * RECORD.bytes
    if (end > this.memory.layout.frontsEnd) return 0
    this.next = end
    return at
  }

  /** Bytes of the area in use. */
  get bytes(): number {
    return this.next - this.memory.layout.fronts
  }

  /** Makes the front of a block; `neighbours` are the blocks of its frame. 0 when the area is full. */
  make(block: number, neighbours: readonly number[]): number {
    const { view, bytes } = this.memory
    const first = block + BLOCK.bytes
    const end = this.endOf(block)
    const front = this.take(BLOCK.bytes + RECORD.bytes + end - first)
    if (front === 0) return 0
    bytes.copyWithin(front, block, first)
    const record = front + BLOCK.bytes
    bytes.fill(0, record, record + RECORD.bytes)
    view.setUint16(record + RECORD.number, this.nothing, true)
    view.setUint16(record + RECORD.ip, view.getUint16(first + RECORD.ip, true), true)
    bytes.copyWithin(record + RECORD.bytes, first, end)
    replaceInChain(this.memory, block, front)
    this.fronts.set(block, front)
    this.blocks.set(front, block)
    this.unlink(block, neighbours)
    return front
  }

  /** Lets a front begin with a function of table 0, or with nothing when there is none any more. */
  set(front: number, number: number | undefined): void {
    const { view } = this.memory
    const record = front + BLOCK.bytes
    view.setUint16(record + RECORD.number, number ?? this.nothing, true)
    // No context of a processor is at address 0: the next entry looks at the mapping.
    view.setUint32(record + RECORD.immediate, 0, true)
  }

  /** Forgets which processor has looked at a mapping: contexts begin anew. */
  forgetContexts(): void {
    for (const front of this.blocks.keys()) this.memory.view.setUint32(front + BLOCK.bytes + RECORD.immediate, 0, true)
  }

  /** The decoded blocks of a frame have died, and with them their fronts. */
  drop(blocks: readonly number[]): void {
    const { view } = this.memory
    for (const block of blocks) {
      const front = this.fronts.get(block)
      if (front === undefined) continue
      view.setUint32(front + BLOCK.mode, view.getUint32(front + BLOCK.mode, true) | BLOCK_DEAD, true)
      leaveChain(this.memory, front)
      this.fronts.delete(block)
      this.blocks.delete(front)
    }
  }

  /**
   * Decoded blocks take their places back; `neighbours` gives the blocks of a frame. Remembered jumps to fronts are the
   * caller's to forget.
   */
  removeAll(neighbours: (mfn: number) => readonly number[]): void {
    for (const [front, block] of this.blocks) {
      replaceInChain(this.memory, front, block)
      this.unlink(front, neighbours(this.memory.view.getUint32(block + BLOCK.physical, true) >>> PAGE_SHIFT))
    }
    this.forgetAll()
  }

  /** All decoded blocks are gone, and the table of blocks is empty. */
  forgetAll(): void {
    this.fronts.clear()
    this.blocks.clear()
    this.next = this.memory.layout.fronts
  }

  /** Unsets the links to a block in blocks of its frame and their fronts. */
  private unlink(target: number, neighbours: readonly number[]): void {
    for (const block of neighbours) {
      this.unset(block, target)
      const front = this.of(block)
      if (front !== 0) this.unset(front, target)
    }
  }

  /** Unsets all links in a block, or those to a target. */
  unset(block: number, target?: number): void {
    const { view } = this.memory
    for (let record = block + BLOCK.bytes; ; record += RECORD.bytes) {
      const number = view.getUint16(record + RECORD.number, true)
      if (this.linked[number] === 1 && (target === undefined || view.getUint32(record + RECORD.immediate, true) === target)) {
        view.setUint32(record + RECORD.immediate, 0, true)
      }
      if (number === 0) return
    }
  }

  /** Address behind a block's end record. */
  private endOf(block: number): number {
    let record = block + BLOCK.bytes
    while (this.memory.view.getUint16(record + RECORD.number, true) !== 0) record += RECORD.bytes
    return record + RECORD.bytes
  }
}
