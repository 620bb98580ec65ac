/**
 * Images of a machine's memory between two runs of its processors. Their registers are not part of them: whoever has
 * processors saves those, and makes them anew where memory is brought back.
 */
import type { MemoryHistory, Restoration } from './memory-history.ts'
import type { ImageFacts, MemoryImage } from './memory-image.ts'

/** What is needed of a processor. */
export interface ImagedProcessor {
  flushTlb(): void
  destroy(): void
}

/** Keeps images of one machine. */
export class MachineImages {
  private readonly processors: ReadonlySet<ImagedProcessor>
  private readonly history: MemoryHistory

  constructor(processors: ReadonlySet<ImagedProcessor>, history: MemoryHistory) {
    this.processors = processors
    this.history = history
  }

  /**
   * The image of memory as it is, which whoever gets it releases. Every processor forgets its translations, as it may at any time: so that a
   * machine which goes on and one that is brought back to here begin alike. `silent`: frames that may have been written
   * without `markWritten`, ascending. Undefined, and all is as it was, where it would need more than `room` pages.
   */
  capture(silent: Uint32Array, room = Infinity): MemoryImage | undefined {
    const image = this.history.capture(silent, room)
    if (image === undefined) return undefined
    for (const processor of this.processors) processor.flushTlb()
    return image
  }

  /** Pages that may have been written between the image that was captured last and the capture or restoration before it, ascending. */
  get written(): Uint32Array {
    return this.history.written
  }

  /** An image for this machine out of what comes from anywhere. Throws INVALID_STATE. */
  adopt(facts: ImageFacts): MemoryImage {
    return this.history.adopt(facts)
  }

  /** Brings memory to an image of this machine or of one of the same size. All processors are destroyed. */
  restore(image: MemoryImage, silent: ArrayLike<number>): Restoration {
    for (const processor of [...this.processors]) processor.destroy()
    return this.history.restore(image, silent)
  }

  /** The same for a machine that nothing has been done with, where somebody has written the image's frames already. */
  restoreFilled(image: MemoryImage): Restoration {
    return this.history.restoreFilled(image)
  }

  /** The same for whoever brings the processors back: they are kept, and forget their translations. */
  rewind(image: MemoryImage, silent: ArrayLike<number>): Restoration {
    for (const processor of this.processors) processor.flushTlb()
    return this.history.restore(image, silent)
  }

  /** Keeps no more images; those that there are stay. */
  end(): void {
    this.history.release()
  }
}
