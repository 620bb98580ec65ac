/**
 * Reading and writing binary records in order. Lengths come from outside, so every read is bounds-checked
 * and an error says which structure and which offset.
 */
import type { XenErrorCode } from './error-codes.ts'
import { XenError } from './errors.ts'

/** Bytes with a buffer of their own. Spelled so that compilers before TypeScript 5.7, to which arrays are not generic, take it. */
export type OwnBytes = InstanceType<Uint8ArrayConstructor>

/** Reads little-endian values one after another out of a byte array. */
export class ByteReader {
  private readonly view: DataView
  private place = 0
  private readonly source: Uint8Array
  private readonly name: string
  private readonly code: XenErrorCode

  /** `name` and `code` go into the error when the bytes run out. */
  constructor(source: Uint8Array, name: string, code: XenErrorCode = 'INVALID_STREAM') {
    this.source = source
    this.name = name
    this.code = code
    this.view = new DataView(source.buffer, source.byteOffset, source.byteLength)
  }

  /** Where the next read starts. */
  get offset(): number {
    return this.place
  }

  /** Bytes that are left. */
  get remaining(): number {
    return this.source.length - this.place
  }

  private take(size: number): number {
    if (size < 0 || size > this.remaining) {
      throw new XenError(this.code, `${this.name}: ${size} bytes wanted at offset ${this.place}, ${this.remaining} left`, {
        details: { structure: this.name, offset: this.place, wanted: size, remaining: this.remaining },
      })
    }
    const start = this.place
    this.place += size
    return start
  }

  /** The next byte; like every read, throws the reader's error code when too few are left. */
  u8(): number {
    return this.view.getUint8(this.take(1))
  }

  /** The next 2 bytes, unsigned. */
  u16(): number {
    return this.view.getUint16(this.take(2), true)
  }

  /** The next 4 bytes, unsigned. */
  u32(): number {
    return this.view.getUint32(this.take(4), true)
  }

  /** The next 8 bytes, unsigned. */
  u64(): bigint {
    return this.view.getBigUint64(this.take(8), true)
  }

  /** The next `size` bytes, shared with the source. */
  bytes(size: number): Uint8Array {
    const start = this.take(size)
    return this.source.subarray(start, start + size)
  }

  /** Passes over `size` bytes; throws when there are fewer. */
  skip(size: number): void {
    this.take(size)
  }
}

/** Collects bytes in a buffer that doubles when full. */
export class ByteWriter {
  private buffer: OwnBytes
  private view: DataView
  private end = 0

  constructor(capacity = 256) {
    this.buffer = new Uint8Array(capacity)
    this.view = new DataView(this.buffer.buffer)
  }

  /** Bytes written so far. */
  get length(): number {
    return this.end
  }

  private room(size: number): number {
    const start = this.end
    this.end += size
    if (this.end > this.buffer.length) {
      const larger = new Uint8Array(Math.max(this.end, this.buffer.length * 2))
      larger.set(this.buffer)
      this.buffer = larger
      this.view = new DataView(larger.buffer)
    }
    return start
  }

  /** Appends the low 8 bits of `value`. */
  u8(value: number): this {
    const at = this.room(1)
    this.view.setUint8(at, value)
    return this
  }

  /** Appends the low 16 bits of `value`, least significant byte first. */
  u16(value: number): this {
    const at = this.room(2)
    this.view.setUint16(at, value, true)
    return this
  }

  /** Appends the low 32 bits of `value`, least significant byte first. */
  u32(value: number): this {
    const at = this.room(4)
    this.view.setUint32(at, value, true)
    return this
  }

  /** Appends the low 64 bits of `value`, least significant byte first. */
  u64(value: bigint): this {
    const at = this.room(8)
    this.view.setBigUint64(at, value, true)
    return this
  }

  /** Appends a copy of `value`, without a length in front. */
  bytes(value: Uint8Array): this {
    const at = this.room(value.length)
    this.buffer.set(value, at)
    return this
  }

  /** Zeros until the length is a multiple of `alignment`. */
  pad(alignment: number): this {
    const rest = this.end % alignment
    if (rest !== 0) this.room(alignment - rest)
    return this
  }

  /** What was written, shared with the writer until the next write. */
  finish(): OwnBytes {
    return this.buffer.subarray(0, this.end)
  }
}

/** Runs of bytes one behind the other, in memory of its own. */
export function joinBytes(pieces: readonly Uint8Array[]): OwnBytes {
  const bytes = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const piece of pieces) {
    bytes.set(piece, at)
    at += piece.length
  }
  return bytes
}
