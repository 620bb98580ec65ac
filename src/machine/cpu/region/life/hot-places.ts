/**
 * Which decoded blocks are hot, by samples; which of them are better compiled without windows; and which frames are written so often that compiling what lies in them is
 * work for nothing: after each writing that cost a region, a frame has to stay unwritten for twice as long.
 */

/** Samples that a frame has to stay unwritten after regions in it were dropped for the first time. */
const FIRST_REST = 64
/** Doublings at most. */
const MOST_DOUBLINGS = 16

interface Written {
  readonly times: number
  /** Number of the sample from which on it may be compiled. */
  readonly restsUntil: number
}

/** Samples of a machine's decoded code. */
export class HotPlaces {
  /** Samples taken: the clock of everything here. */
  now = 0
  private readonly threshold: number
  private readonly counts = new Map<number, number>()
  private readonly refused = new Set<number>()
  private readonly narrow = new Set<number>()
  private readonly written = new Map<number, Written>()

  constructor(threshold: number) {
    this.threshold = threshold
  }

  /** Counts a sample of a block; true when it has been sampled often enough to be compiled. */
  count(block: number, mfn: number): boolean {
    if (this.refused.has(block)) return false
    const count = (this.counts.get(block) ?? 0) + 1
    this.counts.set(block, count)
    return count >= this.threshold && this.now >= (this.written.get(mfn)?.restsUntil ?? 0)
  }

  /** A block is begun anew: it has been compiled, or lies in a region that has. */
  forget(block: number): void {
    this.counts.delete(block)
  }

  /** A block is never compiled. */
  refuse(block: number): void {
    this.counts.delete(block)
    this.refused.add(block)
  }

  /** A block's accesses are looked up one by one from now on. */
  noteNarrow(block: number): void {
    this.narrow.add(block)
  }

  isNarrow(block: number): boolean {
    return this.narrow.has(block)
  }

  /** A frame has been written, and that cost regions. */
  noteWritten(mfn: number): void {
    const times = (this.written.get(mfn)?.times ?? 0) + 1
    const rest = FIRST_REST * 2 ** Math.min(times - 1, MOST_DOUBLINGS)
    this.written.set(mfn, { times, restsUntil: this.now + rest })
  }

  /** Decoded code is gone: blocks that come to lie at the same addresses are others. */
  clear(): void {
    this.counts.clear()
    this.refused.clear()
    this.narrow.clear()
  }
}
