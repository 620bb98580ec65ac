/**
 * Messages of 9P as bytes: what a front-end has sent is taken apart field by field, and an answer is put together. What is sent is hostile: a field that is
 * not there or cannot be is refused with EINVAL, a text that is no UTF-8 with EILSEQ, a name that is none with EINVAL or ENOENT.
 */
import { ByteReader, ByteWriter } from '../../util/index.ts'
import { fileError, type FileStat, type FileTime } from './file-store.ts'
import { HEADER, NAME_LIMIT, typesOf, versionOf } from './protocol.ts'

const decoder = /* @__PURE__ */ new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const encoder = /* @__PURE__ */ new TextEncoder()

/** Bytes of a text. */
export const textBytes = (text: string): Uint8Array => encoder.encode(text)

/** Reads one message from behind its header on. */
export class MessageReader {
  readonly type: number
  readonly tag: number
  private readonly reader: ByteReader

  constructor(message: Uint8Array) {
    this.reader = new ByteReader(message, '9P message')
    this.reader.u32()
    this.type = this.reader.u8()
    this.tag = this.reader.u16()
  }

  private read<T>(read: (reader: ByteReader) => T): T {
    try {
      return read(this.reader)
    } catch {
      throw fileError('EINVAL', 'the message ends before its fields do')
    }
  }

  /** A byte. Throws EINVAL behind the message's end, as all of these do. */
  u8(): number {
    return this.read((reader) => reader.u8())
  }

  /** A number of 16 bits. */
  u16(): number {
    return this.read((reader) => reader.u16())
  }

  /** A number of 32 bits. */
  u32(): number {
    return this.read((reader) => reader.u32())
  }

  /** A 64-bit number, exact. Throws EINVAL beyond 2^53. */
  u64(): number {
    const value = this.read((reader) => reader.u64())
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw fileError('EINVAL', `${value} is beyond what a file can have`)
    return Number(value)
  }

  /** A 64-bit number that may be any. */
  wide(): bigint {
    return this.read((reader) => reader.u64())
  }

  /** Bytes that have to be there, shared with the message. */
  bytes(length: number): Uint8Array {
    return this.read((reader) => reader.bytes(length))
  }

  /** A text behind its length. Throws EILSEQ for what is no UTF-8. */
  text(): string {
    const bytes = this.bytes(this.u16())
    try {
      return decoder.decode(bytes)
    } catch {
      throw fileError('EILSEQ', 'a text is no UTF-8')
    }
  }

  /** A step of a walk, `..` among them. Throws ENOENT for a name that nothing can have. */
  step(): string {
    const name = this.text()
    if (name === '' || name.includes('/') || name.includes('\0')) throw fileError('ENOENT', 'a name has characters that none has')
    if (textBytes(name).length > NAME_LIMIT) throw fileError('ENAMETOOLONG')
    return name
  }

  /** A name to be made, changed or removed; `dots` is thrown for `.` and `..`. */
  name(dots: 'EEXIST' | 'EISDIR' | 'EINVAL' | 'ENOTEMPTY'): string {
    const name = this.step()
    if (name === '.' || name === '..') throw fileError(dots, `${name} cannot be made, changed or removed`)
    return name
  }

  /** Seconds and nanoseconds. Throws EINVAL for what is no time. */
  time(): FileTime {
    const [seconds, nanoseconds] = [this.wide(), this.u64()]
    // Times before 1970 are negative numbers of 64 bits.
    const signed = Number(BigInt.asIntN(64, seconds))
    if (!Number.isSafeInteger(signed) || nanoseconds >= 1e9) throw fileError('EINVAL', 'there is no such time')
    return { seconds: signed, nanoseconds }
  }
}

/** Writes one answer, whose header is written when it is finished. */
export class MessageWriter extends ByteWriter {
  constructor() {
    super(256)
    this.u32(0).u8(0).u16(0)
  }

  /** Writes a text behind its length of 16 bits. */
  text(value: string): this {
    const bytes = textBytes(value)
    return this.u16(bytes.length).bytes(bytes)
  }

  /** Writes a whole number in 64 bits. */
  number(value: number): this {
    return this.u64(BigInt(value))
  }

  /** Writes what 9P knows a file by: kind, version, number. */
  qid(stat: FileStat): this {
    return this.u8(typesOf(stat.kind).qid).u32(versionOf(stat)).number(stat.identity)
  }

  /** Writes seconds and nanoseconds, 64 bits each. */
  time({ seconds, nanoseconds }: FileTime): this {
    return this.u64(BigInt.asUintN(64, BigInt(seconds))).number(nanoseconds)
  }

  /** The whole message. */
  message(type: number, tag: number): Uint8Array {
    const bytes = this.finish()
    const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER)
    view.setUint32(0, bytes.length, true)
    view.setUint8(4, type)
    view.setUint16(5, tag, true)
    return bytes
  }
}
