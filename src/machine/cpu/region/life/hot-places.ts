/**
 * Which decoded blocks are hot, by samples; which of them are better compiled without windows; and which frames are written so often that compiling what lies in them is
 * work for nothing: after each writing that cost a region, a frame has to stay unwritten for twice as long.
 */

/** Samples that a frame has to stay unwritten after regions in it were dropped for the first time. */
const FIRST_REST = 64
/** Doublings at most. */
const MOST_DOUBLINGS = 16

/** A block whose samples are at least one in so many of all since its first one is a loop at work: it is compiled at once. */
const DENSE = 3
/**
 * Any other one needs so many times the samples: for what compiling costs its code has to be executed for long, and most code
 * that is sampled a few times here and there never is.
 */
const SCATTERED = 5

interface Counted {
  count: number
  /** Number of its first sample. */
  readonly since: number
}

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
  private readonly counts = new Map<number, Counted>()
  private readonly refused = new Set<number>()
  private readonly narrow = new Set<number>()
  private readonly written = new Map<number, Written>()

  constructor(threshold: number) {
    this.threshold = threshold
  }

  /** Counts a sample of a block; true when it has been sampled often enough to be compiled. */
  count(block: number, mfn: number): boolean {
    if (this.refused.has(block)) return false
    let counted = this.counts.get(block)
    if (counted === undefined) this.counts.set(block, (counted = { count: 0, since: this.now }))
    counted.count += 1
    return this.isHot(counted) && this.now >= (this.written.get(mfn)?.restsUntil ?? 0)
  }

  private isHot({ count, since }: Counted): boolean {
    return count >= this.threshold && (count * DENSE > this.now - since || count >= this.threshold * SCATTERED)
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

  isRefused(block: number): boolean {
    return this.refused.has(block)
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
