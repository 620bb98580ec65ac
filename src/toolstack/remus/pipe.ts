/** Bytes that are put in by one part and read by another, in the order in which they come; nothing holds who puts them in back. */

/** A pipe. It is read by `for await`, by one reader. */
export class Pipe implements AsyncIterable<Uint8Array> {
  private readonly chunks: Uint8Array[] = []
  private wake: () => void = () => undefined
  private isEnded = false

  /** Puts bytes in; they are the reader's. */
  push(chunk: Uint8Array): void {
    this.chunks.push(chunk)
    this.wake()
  }

  /** Nothing more comes. */
  end(): void {
    this.isEnded = true
    this.wake()
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return {
      next: async () => {
        while (this.chunks.length === 0 && !this.isEnded) await new Promise<void>((resolve) => { this.wake = resolve })
        const value = this.chunks.shift()
        return value === undefined ? { done: true, value: undefined } : { done: false, value }
      },
    }
  }
}
