/**
 * The way that a processor takes from a hot place on, block by block: which of the code around it is executed, and where what works
 * that out leads. A few hundred blocks, for which generated code comes back after each, cost a tenth of what compiling them does,
 * and what is never executed need not be compiled.
 */
import type { Views } from '../../core/core.ts'

/** Blocks that are followed at most; times that the place is come to again. */
const [MOST_BLOCKS, MOST_ROUNDS] = [256, 24]
/** A trace has a block for so many instructions that were executed before the place was taken for hot: the first ones cost as much. */
const PACE = 64

/** How many blocks are followed where a place is hot after so many instructions; none is not worth while. */
export const traceLength = (instructions: number): number => Math.min(MOST_BLOCKS, Math.floor(instructions / PACE))

/** What is followed from where. */
export interface TraceStart {
  /** The decoded block that is to be compiled, and its address. */
  readonly block: number
  readonly entry: number
  /** Number of the sample with which it begins. */
  readonly since: number
  /** Blocks. */
  readonly length: number
}

/** A trace under way. */
export class BlockTrace {
  /** Addresses of blocks, as they were executed; one that is executed again and again stands there once. */
  readonly blocks: number[] = []
  readonly core: Views<'registers' | 'memory'>
  readonly start: TraceStart
  private left: number
  private rounds = 0

  constructor(core: Views<'registers' | 'memory'>, start: TraceStart) {
    this.core = core
    this.start = start
    this.left = start.length
  }

  /** A block is executed next; true when the trace is long enough. */
  note(rip: number): boolean {
    if (rip === this.start.entry) this.rounds += 1
    if (rip !== this.blocks[this.blocks.length - 1]) this.blocks.push(rip)
    this.left -= 1
    return this.left <= 0 || this.rounds === MOST_ROUNDS
  }
}
