/**
 * Which basic blocks were executed, and over which edges control came to them. While it is on, a record `cover` stands where one begins in decoded code - at the
 * beginning of what is decoded together and behind each conditional branch - and counts block and edge, in the interpreter and in compiled regions alike; so
 * nothing is looked for while it is off. Where code is entered in the midst of a block, as behind an interrupt, one more begins.
 *
 *   | map: 65,536 counters of 8 bits, by edge | counters of blocks, 32 bits each |
 *
 * The map is AFL's: a counter's number is that of the block xor half that of the block before. A block has its number from its linear address, so that it
 * is the same in every run. Map and counters lie at the end of the area for decoded code.
 */
import type { CoveredBlock } from '../../interface/coverage.ts'
import type { MachineMemory } from '../../memory/machine-memory.ts'

/** Edges that are told apart. */
export const EDGES = 1 << 16
/** Blocks that are told apart; those that come later are counted as one. */
const MOST_BLOCKS = 1 << 17
/** Bytes of map and counters. */
export const COVERAGE_BYTES = EDGES + MOST_BLOCKS * 4

/** Where a block is decoded from. */
export interface CoveredPlace {
  readonly host: number
  readonly mode: number
  readonly rip: number
}

/** What lifts the instructions of a decoded block, as far as it is looked at. */
export interface CountingLifter {
  /** Instructions before the one at hand, and conditional branches (each counted twice) among them. */
  readonly count: number
  readonly branchCount: number
  /** Has a block counted that begins with the instruction at hand: host addresses of its counter and of its number in the map. */
  cover(counter: number, edge: number): void
}

/** What has been decoded there. */
interface KnownBlock {
  readonly address: number
  bytes: number
  instructions: number
}

/** A number of 16 bits that depends on all bits of an address. */
export function blockNumber(address: number): number {
  const high = Math.floor(address / 2 ** 32) | 0
  let mixed = Math.imul((address | 0) ^ Math.imul(high, 0x9e37_79b1), 0x85eb_ca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35)
  return (mixed ^ (mixed >>> 16)) & (EDGES - 1)
}

/** Coverage of a machine's code. */
export class BlockCoverage {
  /** Host address of the map, a multiple of its size. */
  readonly mapAt: number
  private readonly memory: MachineMemory
  private readonly countersAt: number
  private readonly slots = new Map<number, number>()
  private readonly known: KnownBlock[] = []
  /** The basic block at hand: its slot, its host address, the number of its first instruction, conditional branches before it. */
  private slot = 0
  private host = 0
  private first = 0
  private branches = 0

  constructor(memory: MachineMemory) {
    this.memory = memory
    this.mapAt = coverageStart(memory)
    this.countersAt = this.mapAt + EDGES
    this.reset()
  }

  /** The counters of edges as they stand: bytes of the machine itself, which change as it runs. */
  get map(): Uint8Array {
    return this.memory.bytes.subarray(this.mapAt, this.mapAt + EDGES)
  }

  /** Sets all counters to zero; which blocks are known stays. */
  reset(): void {
    this.memory.bytes.fill(0, this.mapAt, this.countersAt + this.known.length * 4)
  }

  /** An instruction of a decoded block is about to be lifted: where a basic block begins with it, that is counted. */
  begin(lifter: CountingLifter, host: number, place: CoveredPlace): void {
    const { count, branchCount } = lifter
    if (count > 0 && branchCount === this.branches) return
    if (count > 0) this.end(lifter, host)
    this.branches = branchCount
    this.host = host
    this.first = count
    this.slot = this.slotOf(host * 256 + place.mode, place.rip + host - place.host)
    lifter.cover(this.countersAt + this.slot * 4, this.mapAt + blockNumber(this.known[this.slot]!.address))
  }

  /** The basic block that was begun last ends in front of a host address. */
  end({ count }: Pick<CountingLifter, 'count'>, host: number): void {
    const block = this.known[this.slot]!
    block.bytes = host - this.host
    block.instructions = count - this.first
  }

  private slotOf(key: number, address: number): number {
    const found = this.slots.get(key)
    if (found !== undefined) return found
    const slot = Math.min(this.known.length, MOST_BLOCKS - 1)
    if (slot === this.known.length) this.known.push({ address, bytes: 0, instructions: 0 })
    this.slots.set(key, slot)
    return slot
  }

  /** Blocks that were executed since the last reset, by address. */
  blocks(): CoveredBlock[] {
    const { view } = this.memory
    const found = this.known.map((block, slot): CoveredBlock => ({ ...block, hits: view.getUint32(this.countersAt + slot * 4, true) }))
    return found.filter(({ hits }) => hits > 0).sort((one, other) => one.address - other.address)
  }
}

/** Where the area for decoded code ends while there is coverage. */
export const coverageStart = ({ layout }: MachineMemory): number => Math.floor((layout.recordCacheEnd - COVERAGE_BYTES) / EDGES) * EDGES

