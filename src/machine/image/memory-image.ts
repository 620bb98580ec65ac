/**
 * An image of a machine's memory: its pages, those lines of code that were paid for (pages of the machine's own), which
 * frames were handed out, and which count as clean. It never changes, and shares its pages with images before and behind it.
 */
import { hashState } from '../../util/index.ts'
import type { PageIndex } from './page-index.ts'

/** What an image consists of. */
export interface ImageFacts {
  readonly pages: PageIndex
  /** Frames that are written by TypeScript without a word, ascending. */
  readonly silent: Uint32Array
  readonly handedOut: Uint32Array
  readonly clean: Uint32Array
}

/** An image, until it is released. */
export class MemoryImage implements ImageFacts {
  readonly pages: PageIndex
  readonly silent: Uint32Array
  readonly handedOut: Uint32Array
  readonly clean: Uint32Array

  constructor({ pages, silent, handedOut, clean }: ImageFacts) {
    this.pages = pages
    this.silent = silent
    this.handedOut = handedOut
    this.clean = clean
  }

  /** The same image for somebody else, who releases it. */
  share(): MemoryImage {
    return new MemoryImage({ ...this, pages: this.pages.share() })
  }

  /** 16 digits for all that it is. Only what is new since the image before is looked at. */
  hash(): string {
    const { first, second } = this.pages.hash()
    return hashState({ first, second, handedOut: this.handedOut, clean: this.clean })
  }

  /** Lets its pages go. */
  release(): void {
    this.pages.release()
  }
}
