/**
 * Exact reads from a stream that arrives in pieces of any size: a web ReadableStream, a Node Readable, a generator, or
 * bytes that are all there. It counts offsets, so that an error can say where.
 */
import { isInstance, shown, thrownMessage, XenError, type Check } from '../../util/index.ts'

/** Pieces of a stream; a Node Readable is one. */
export type ByteChunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>

/** Pieces that are also to be had on loan: each is good until the next one is asked for. */
export interface LendingChunks extends AsyncIterable<Uint8Array> {
  readonly lent: AsyncIterable<Uint8Array>
}

/** Pieces whose memory is given away with them: whoever reads them may keep it and write to it. */
export interface GivenChunks extends AsyncIterable<Uint8Array> {
  readonly given: true
}

/**
 * A file that nobody changes while it is held: any part of it is read when it is wanted, into where it is wanted. Iterated over, it is its
 * pieces, which are given away.
 */
export interface HeldFile extends GivenChunks {
  /** Bytes that there are. */
  readonly size: number
  /** Fills rows, one behind the other, with what stands from an offset on. Rejects where the file cannot be read so far. */
  fill(rows: readonly Uint8Array[], from: number): Promise<void>
  /** The same at once, for little, or where somebody waits. Throws. */
  fillNow(row: Uint8Array, from: number): void
  /** Lets it go, once; it may be called again. */
  release(): void
}

/** What a stream may be read from. */
export type ByteInput = ByteChunks | LendingChunks | GivenChunks | HeldFile | ReadableStream<Uint8Array> | Uint8Array

/** Whose memory a reader gives out: memory for the caller to keep, or memory that is used again by the next read. */
export type ReadMemory = 'fresh' | 'reused'

/** Gives one piece after another. */
export type ChunkIterator = AsyncIterator<Uint8Array> | Iterator<Uint8Array>

/** Iterates over a web stream; not every browser's streams can do that themselves. */
function fromWebStream(stream: ReadableStream<Uint8Array>): ChunkIterator {
  const reader = stream.getReader()
  return {
    next: async () => {
      const { done, value } = await reader.read()
      return done ? { done: true, value: undefined } : { done: false, value }
    },
    return: async () => {
      await reader.cancel()
      return { done: true, value: undefined }
    },
  }
}

/** What a stream can be read from. */
export const byteInput: Check = (value) =>
  typeof value === 'object' && value !== null && ['lent', 'getReader', Symbol.asyncIterator, Symbol.iterator].some((name) => name in value)
    ? undefined : `must be bytes, a stream or an iterable of bytes, got ${shown(value)}`

/** Reads up to this size always get memory of their own; those beyond the larger one do so, too. */
const REUSED = { from: 1 << 16, to: 1 << 23 } as const

/** Iterates over an input, by its own memory where it lends that. */
export function iterate(input: ByteInput, memory: ReadMemory): ChunkIterator {
  if (input instanceof Uint8Array) return [input][Symbol.iterator]()
  if (memory === 'reused' && 'lent' in input) return input.lent[Symbol.asyncIterator]()
  if ('getReader' in input) return fromWebStream(input)
  return Symbol.asyncIterator in input ? input[Symbol.asyncIterator]() : input[Symbol.iterator]()
}

/** Reads exact numbers of bytes. */
export class ByteSource {
  private readonly iterator: ChunkIterator
  private readonly signal: AbortSignal | undefined
  private chunks: Uint8Array[] = []
  private available = 0
  private consumed = 0
  private readonly memory: ReadMemory
  private scratch = new Uint8Array(0)

  /** With a signal, a read that waits is given up when it fires. `reused`: what is read holds until the next read. */
  constructor(input: ByteInput, signal?: AbortSignal, memory: ReadMemory = 'fresh') {
    this.iterator = iterate(input, memory)
    this.signal = signal
    this.memory = memory
  }

  /** Bytes read so far. */
  get offset(): number {
    return this.consumed
  }

  /** Bytes that have come and were not read yet. */
  get ahead(): number {
    return this.available
  }

  /** The next `size` bytes. Throws INVALID_STREAM when the stream ends before, IO when it fails, ABORTED. */
  async read(size: number, what: string): Promise<Uint8Array> {
    while (this.available < size) {
      const next = await this.next(what)
      if (next.done === true) {
        throw new XenError(
          'INVALID_STREAM',
          `stream ends inside ${what}: ${size} bytes wanted at offset ${this.consumed}, ${this.available} left`,
          {
            details: { what, offset: this.consumed, wanted: size, available: this.available },
          },
        )
      }
      if (next.value.length === 0) continue
      this.chunks.push(next.value)
      this.available += next.value.length
    }
    this.available -= size
    this.consumed += size
    return this.cut(size)
  }

  /** True where nothing more comes. Throws as {@link ByteSource.read}. */
  async isAtEnd(what: string): Promise<boolean> {
    while (this.available === 0) {
      const next = await this.next(what)
      if (next.done === true) return true
      if (next.value.length > 0) {
        this.chunks.push(next.value)
        this.available = next.value.length
      }
    }
    return false
  }

  /** The next piece. Throws INVALID_ARGUMENT where it is no bytes. */
  private async next(what: string): Promise<IteratorResult<Uint8Array>> {
    const next = await this.pull(what)
    if (next.done === true || isInstance(next.value, Uint8Array)) return next
    throw new XenError('INVALID_ARGUMENT', `a stream is pieces of type Uint8Array, got ${shown(next.value)}`, { details: { what, offset: this.consumed } })
  }

  private async pull(what: string): Promise<IteratorResult<Uint8Array>> {
    const { signal } = this
    if (signal?.aborted === true) throw this.aborted(what)
    let onAbort: (() => void) | undefined
    try {
      if (signal === undefined) return await this.iterator.next()
      return await Promise.race([this.iterator.next(), new Promise<never>((_, reject) => {
        onAbort = () => reject(this.aborted(what))
        signal.addEventListener('abort', onAbort)
      })])
    } catch (cause) {
      if (XenError.is(cause)) throw cause
      const why = thrownMessage(cause)
      throw new XenError('IO', `the stream cannot be read: ${why}`, { details: { what, offset: this.consumed }, cause })
    } finally {
      if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort)
    }
  }

  private aborted(what: string): XenError {
    return new XenError('ABORTED', `reading ${what} was aborted`, {
      details: { offset: this.consumed },
      cause: this.signal?.reason,
    })
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
    const out = this.allocate(size)
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

  private allocate(size: number): Uint8Array {
    if (this.memory === 'fresh' || size < REUSED.from || size > REUSED.to) return new Uint8Array(size)
    if (this.scratch.length < size) this.scratch = new Uint8Array(size)
    return this.scratch.subarray(0, size)
  }

  /** Tells the source that nothing more will be read. Does not wait for a read that is under way. */
  async close(): Promise<void> {
    await this.iterator.return?.()
  }
}
