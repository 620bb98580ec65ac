/**
 * Exact reads from a stream that arrives in pieces of any size. It counts offsets, so that an error can say where.
 */
import { XenError } from '../../util/index.ts'

/** What a stream may be read from: a web ReadableStream, a Node stream, a generator. */
export type ByteChunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>

/** Reads exact numbers of bytes. */
export class ByteSource {
  private readonly iterator: AsyncIterator<Uint8Array> | Iterator<Uint8Array>
  private chunks: Uint8Array[] = []
  private available = 0
  private consumed = 0

  constructor(source: ByteChunks) {
    this.iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
  }

  /** Bytes read so far. */
  get offset(): number {
    return this.consumed
  }

  /** The next `size` bytes. Throws INVALID_STREAM when the stream ends before. */
  async read(size: number, what: string): Promise<Uint8Array> {
    while (this.available < size) {
      const next = await this.iterator.next()
      if (next.done === true) {
        throw new XenError('INVALID_STREAM', `stream ends inside ${what}: ${size} bytes wanted at offset ${this.consumed}, ${this.available} left`, {
          details: { what, offset: this.consumed, wanted: size, available: this.available },
        })
      }
      if (next.value.length === 0) continue
      this.chunks.push(next.value)
      this.available += next.value.length
    }
    this.available -= size
    this.consumed += size
    return this.cut(size)
  }

  /** Takes `size` bytes off the queue; shares memory with the chunk when they lie in one. */
  private cut(size: number): Uint8Array {
    if (size === 0) return new Uint8Array(0)
    const first = this.chunks[0]!
    if (first.length >= size) {
      if (first.length === size) this.chunks.shift()
      else this.chunks[0] = first.subarray(size)
      return first.subarray(0, size)
    }
    const out = new Uint8Array(size)
    let filled = 0
    while (filled < size) {
      const chunk = this.chunks[0]!
      const part = Math.min(chunk.length, size - filled)
      out.set(chunk.subarray(0, part), filled)
      filled += part
      if (part === chunk.length) this.chunks.shift()
      else this.chunks[0] = chunk.subarray(part)
    }
    return out
  }

  /** Tells the source that nothing more will be read. */
  async close(): Promise<void> {
    await this.iterator.return?.()
  }
}
