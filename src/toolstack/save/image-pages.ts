/**
 * The pages of an image that is being read: the frame that each has got and the type that it was last sent with.
 * hot path: one entry a page of the domain, so typed arrays instead of a map of objects.
 */
import type { Mfn } from '../../util/index.ts'

/** What stands for a page that the image does not hold. */
const NONE = -1
/** What stands for a page that is to get its frame in a moment. */
const RESERVED = -2

/** Pages by pfn. */
export class ImagePages {
  private readonly frames: Int32Array
  private readonly types: Uint8Array
  private present = 0

  /** `end` is one past the highest pfn. */
  constructor(end: number) {
    this.frames = new Int32Array(end).fill(NONE)
    this.types = new Uint8Array(end)
  }

  /** One past the highest pfn. */
  get end(): number {
    return this.frames.length
  }

  /** How many pages the image holds. */
  get count(): number {
    return this.present
  }

  has(pfn: number): boolean {
    return (this.frames[pfn] ?? NONE) !== NONE
  }

  /** Its frame; undefined for a page that the image does not hold. */
  frame(pfn: number): Mfn | undefined {
    const frame = this.frames[pfn] ?? NONE
    return frame < 0 ? undefined : (frame as Mfn)
  }

  /** The same as a number; below 0 for a page that the image does not hold. Only for numbers below the end. */
  frameNumber(pfn: number): number {
    return this.frames[pfn]!
  }

  /** Keeps a place for a page; false when it has one. `add` has to follow. */
  reserve(pfn: number): boolean {
    if (this.frames[pfn] !== NONE) return false
    this.frames[pfn] = RESERVED
    return true
  }

  /** Gives pages that follow each other, and have a place kept, their frames. */
  add(first: number, frames: readonly Mfn[]): void {
    this.frames.set(frames, first)
    this.present += frames.length
  }

  delete(pfn: number): void {
    this.frames[pfn] = NONE
    this.present -= 1
  }

  /** The type that it was sent with last. */
  type(pfn: number): number {
    return this.types[pfn] ?? 0
  }

  setType(pfn: number, type: number): void {
    this.types[pfn] = type
  }

  /** The frame of each pfn. */
  list(): (Mfn | undefined)[] {
    return Array.from(this.frames, (frame) => (frame === NONE ? undefined : (frame as Mfn)))
  }
}
