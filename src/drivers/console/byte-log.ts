/**
 * The last bytes of a stream, numbered from its beginning: readers at different places share one bounded log, and one
 * that is too slow learns how much it has missed.
 */

/** A bounded log of bytes. */
export class ByteLog {
  private chunks: Uint8Array[] = []
  private first = 0
  private last = 0
  private limit: number

  /** Keeps at least the last `limit` bytes' whole chunks that fit, and never more than `limit` bytes. */
  constructor(limit: number) {
    this.limit = limit
  }

  /** Number of the oldest byte that is kept. */
  get start(): number {
    return this.first
  }

  /** Number of the byte that comes next. */
  get end(): number {
    return this.last
  }

  /** Changes how much is kept. */
  resize(limit: number): void {
    this.limit = limit
    this.trim()
  }

  /** Adds bytes, which are copied. */
  append(bytes: Uint8Array): void {
    this.chunks.push(bytes.slice())
    this.last += bytes.length
    this.trim()
  }

  /** The bytes from number `from` on that are still there, in one piece. */
  since(from: number): Uint8Array {
    const begin = Math.max(from, this.first)
    const result = new Uint8Array(Math.max(0, this.last - begin))
    let place = this.first
    for (const chunk of this.chunks) {
      const skip = Math.min(chunk.length, Math.max(0, begin - place))
      if (skip < chunk.length) result.set(chunk.subarray(skip), place + skip - begin)
      place += chunk.length
    }
    return result
  }

  private trim(): void {
    let excess = this.last - this.first - this.limit
    while (excess > 0) {
      const chunk = this.chunks[0]!
      const cut = Math.min(excess, chunk.length)
      if (cut === chunk.length) this.chunks.shift()
      else this.chunks[0] = chunk.subarray(cut)
      this.first += cut
      excess -= cut
    }
  }
}
