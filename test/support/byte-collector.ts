/** A sink that keeps what it is given, for tests of what was written. */
import type { ByteSink } from '../../src/toolstack/stream/index.ts'

/** Collects chunks; may take its time, and may fail after a number of bytes. */
export class ByteCollector implements ByteSink {
  closed = false
  aborted: unknown
  /** Most writes that were under way at once: 1 when the writer waits. */
  busiest = 0
  private readonly chunks: Uint8Array[] = []
  private readonly failAfter: number
  private total = 0
  private busy = 0

  constructor(failAfter = Infinity) {
    this.failAfter = failAfter
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.busy += 1
    this.busiest = Math.max(this.busiest, this.busy)
    await new Promise((resolve) => setImmediate(resolve))
    this.busy -= 1
    if (this.total + chunk.length > this.failAfter) throw new Error('the disk is full')
    this.chunks.push(chunk.slice())
    this.total += chunk.length
  }

  close(): void {
    this.closed = true
  }

  abort(reason: unknown): void {
    this.aborted = reason
  }

  /** Everything so far. */
  bytes(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.chunks))
  }
}
