/**
 * Blocks that were dropped because their frame was written, for when the same code stands there again: a page that is brought back to
 * what it was, or written beside its code. Behind a block's records lies what it was made of:
 *
 *   | header | records | end record | bytes covered | bytes looked at | linear address | these bytes, by whole words |
 *
 * They are compared whole: a block that comes back is the one that decoding would make. A run of 10 million instructions from a moment
 * of Linux decodes 3,000 blocks fewer.
 */
import { PAGE_SIZE } from '../../../x86/index.ts'
import type { MachineMemory } from '../../memory/machine-memory.ts'
import { BLOCK, BLOCK_DEAD, BLOCK_WINDOW, RECORD } from '../layout/record.ts'

/** Bytes behind a block that decoding may have looked at: an instruction has 15 at most. */
const BEHIND = 15
const WORD = 4
/** Offsets in what stands behind the end record. */
const ORIGIN = { covered: 0, looked: 2, rip: 4, bytes: 12 } as const
/** Bytes that all of that takes at most: a block's last instruction begins within its window. */
export const ORIGIN_ROOM = ORIGIN.bytes + BLOCK_WINDOW + 2 * BEHIND + 2 * WORD + RECORD.bytes

/** Where a block is decoded from. */
export interface BlockOrigin {
  readonly host: number
  readonly mode: number
  /** Linear address. */
  readonly rip: number
}

/** Dropped blocks, none of which goes on into another page. */
export class DroppedBlocks {
  private readonly memory: MachineMemory
  /** By the host address of their code: the one of those there that was dropped last. */
  private readonly blocks = new Map<number, number>()

  constructor(memory: MachineMemory) {
    this.memory = memory
  }

  /** Writes what a block was made of behind its end record; tells where that ends. */
  sign({ host, rip }: BlockOrigin, { bytes: covered, end }: { readonly bytes: number; readonly end: number }): number {
    const { view, words } = this.memory
    const looked = Math.min(covered + BEHIND, PAGE_SIZE - (host % PAGE_SIZE))
    const last = (host + looked - 1) >>> 2
    let to = (end + ORIGIN.bytes) >>> 2
    view.setUint16(end + ORIGIN.covered, covered, true)
    view.setUint16(end + ORIGIN.looked, looked, true)
    view.setFloat64(end + ORIGIN.rip, rip, true)
    for (let word = host >>> 2; word <= last; word += 1) {
      words[to] = words[word]!
      to += 1
    }
    return Math.ceil((to * WORD) / RECORD.bytes) * RECORD.bytes
  }

  /** Keeps a block that has been dropped, in the place of another of its address. */
  keep(block: number): void {
    this.blocks.set(this.memory.view.getUint32(block + BLOCK.physical, true), block)
  }

  /**
   * The block of this place, if what it was made of stands there again, and its bytes; undefined where there is none. It stays in the map, where it is when it is dropped again: frames that are
   * written again and again would have it taken out and put in each time, and what is taken out of a Map lengthens the search for others until the Map is made anew.
   */
  take(origin: BlockOrigin, { atSameAddress }: { readonly atSameAddress: boolean }): { readonly block: number; readonly bytes: number } | undefined {
    if (this.blocks.size === 0) return undefined
    const block = this.blocks.get(origin.host)
    if (block === undefined) return undefined
    const { view } = this.memory
    const mode = view.getUint32(block + BLOCK.mode, true)
    if ((mode & BLOCK_DEAD) === 0 || (mode & 0xff) !== origin.mode) return undefined
    const end = this.endOf(block)
    if (atSameAddress && view.getFloat64(end + ORIGIN.rip, true) !== origin.rip) return undefined
    if (!this.isSame(origin.host, end + ORIGIN.bytes, view.getUint16(end + ORIGIN.looked, true))) return undefined
    return { block, bytes: view.getUint16(end + ORIGIN.covered, true) }
  }

  /** None comes back: what they were made by is no longer what they would be made by. */
  clear(): void {
    this.blocks.clear()
  }

  private isSame(host: number, kept: number, length: number): boolean {
    const { words } = this.memory
    const [first, last] = [host >>> 2, (host + length - 1) >>> 2]
    for (let word = first; word <= last; word += 1) {
      let difference = words[word]! ^ words[(kept >>> 2) + word - first]!
      // Bytes before the first one and behind the last one do not count.
      if (word === first) difference &= -1 << ((host % WORD) * 8)
      if (word === last) difference &= -1 >>> ((WORD - 1 - ((host + length - 1) % WORD)) * 8)
      if (difference !== 0) return false
    }
    return true
  }

  /** Address behind a block's end record. */
  private endOf(block: number): number {
    let record = block + BLOCK.bytes
    while (this.memory.view.getUint16(record + RECORD.number, true) !== 0) record += RECORD.bytes
    return record + RECORD.bytes
  }
}
