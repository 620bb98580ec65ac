/**
 * The pages of an image that is being read: the frame that each has got and the type that it was last sent with.
 * hot path: one entry a page of the domain, so typed arrays instead of a map of objects.
 */
import type { Mfn } from '../../util/index.ts'
import { PAGE_TYPE } from '../stream/index.ts'
import { NO_FRAME } from './p2m.ts'

/** What stands for a page that the image does not hold. */
const NONE = -1
/** What stands for a page that is to get its frame in a moment. */
const RESERVED = -2

/** hot path: no object of a host's, as in p2m.ts. */
function endOfAbsent(frames: Int32Array, first: number, end: number): number {
  let at = first
  while (at < end && frames[at] === NONE) at += 1
  return at
}

/** hot path, as above. */
function pick(frames: Int32Array, pfns: Uint32Array): Uint32Array {
  const numbers = new Uint32Array(pfns.length)
  for (let i = 0; i < pfns.length; i += 1) {
    const pfn = pfns[i]!
    const frame = pfn < frames.length ? frames[pfn]! : NONE
    numbers[i] = frame < 0 ? NO_FRAME : frame
  }
  return numbers
}

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

  /** Frames of pages by any numbers, in order; NO_FRAME for a page that the image does not hold. hot path: all that page tables map. */
  numbers(pfns: Uint32Array): Uint32Array {
    return pick(this.frames, pfns)
  }

  /** Frames of pages that follow each other, up to the last; below 0 for one that the image does not hold, and then NO_FRAME as a word, where none is to come in a moment. Shared. */
  numbersFrom(first: number, most: number): Int32Array {
    return this.frames.subarray(first, first + most)
  }

  /** Says of pages that follow each other that they are only named, up to the last number or to one that the image holds; how many these are, of at most `most`. */
  nameFrom(first: number, most: number): number {
    const { frames, types } = this
    const end = endOfAbsent(frames, first, Math.min(first + most, frames.length))
    types.fill(PAGE_TYPE.ALLOCATE_ONLY, first, end)
    return end - first
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
