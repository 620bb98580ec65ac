/**
 * Which frames are free. Single frames are handed out lowest first, so that two runs with the same requests get the
 * same frames; naturally aligned runs of 2^order frames are searched for.
 */
import { Bitmap } from '../../util/index.ts'

/** Hands out and takes back frame numbers; it knows nothing of owners. */
export class FrameAllocator {
  private readonly used: Bitmap
  private readonly first: number
  private readonly end: number
  /** No frame below this one is free. */
  private hint: number

  constructor(first: number, end: number) {
    this.first = first
    this.end = end
    this.used = new Bitmap(end)
    this.used.addRange(0, first)
    this.hint = first
  }

  /** Frames that can still be had. */
  get free(): number {
    return this.end - this.used.count
  }

  /** True for a frame that nobody has. */
  isFree(mfn: number): boolean {
    return mfn >= this.first && mfn < this.end && !this.used.has(mfn)
  }

  /** One frame, or -1. */
  take(): number {
    const mfn = this.used.firstClear(this.hint)
    if (mfn < 0) return -1
    this.used.add(mfn)
    this.hint = mfn + 1
    return mfn
  }

  /** The lowest frame that is free and those free behind it, `most` at most: the first, and one past the last; undefined where there is none. */
  takeNeighbours(most: number): { readonly first: number; readonly end: number } | undefined {
    const { used } = this
    const first = used.firstClear(this.hint)
    if (first < 0 || most <= 0) return undefined
    const end = used.endOfClear(first, Math.min(first + most, this.end))
    used.addRange(first, end)
    this.hint = end
    return { first, end }
  }

  /** First frame of 2^order free frames in a row, aligned to their number and below `limit`; or -1. */
  takeRun(order: number, limit = this.end): number {
    if (order === 0) {
      const mfn = this.used.firstClear(this.hint)
      return mfn >= 0 && mfn < limit ? this.take() : -1
    }
    const size = 2 ** order
    const last = Math.min(limit, this.end) - size
    for (let start = Math.ceil(this.hint / size) * size; start <= last; start += size) {
      if (!this.isRunFree(start, size)) continue
      this.used.addRange(start, start + size)
      return start
    }
    return -1
  }

  /** Which frames are used, for {@link FrameAllocator.load}. */
  save(): Uint32Array {
    return this.used.save()
  }

  /** Whether the used frames are those that were saved or loaded last. */
  isAsSaved(used: Uint32Array): boolean {
    return this.used.isAsSaved(used)
  }

  /** Takes over which frames are used; those below the first are, always. */
  load(used: Uint32Array): void {
    this.used.restore(used)
    this.hint = this.first
  }

  /** Starts anew: `isUsed` tells of each frame whether somebody has it. */
  follow(isUsed: (mfn: number) => boolean): void {
    for (let mfn = this.first; mfn < this.end; mfn += 1) {
      if (isUsed(mfn)) this.used.add(mfn)
      else this.used.delete(mfn)
    }
    this.hint = this.first
  }

  /** Takes a frame back. */
  give(mfn: number): void {
    if (this.used.delete(mfn) && mfn < this.hint) this.hint = mfn
  }

  private isRunFree(start: number, size: number): boolean {
    for (let mfn = start; mfn < start + size; mfn += 1) if (this.used.has(mfn)) return false
    return true
  }
}
