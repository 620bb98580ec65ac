/**
 * Messages in the encoding of protocol buffers: fields by number, the length of a message before it. It knows no message in particular.
 * Reference: protobuf.dev, "Encoding".
 */

const VARINT = 0
const FIXED64 = 1
const BYTES = 2
const encoder = /* @__PURE__ */ new TextEncoder()

/** Writes the fields of a message, in the order in which they are given. */
export class MessageWriter {
  private bytes: Uint8Array<ArrayBuffer>
  private length = 0

  constructor(room = 256) {
    this.bytes = new Uint8Array(room)
  }

  /** A whole number, or a flag or enumeration; negative ones take ten bytes. */
  number(field: number, value: number | bigint): this {
    this.varint(field * 8 + VARINT)
    this.varint(value)
    return this
  }

  /** Whole numbers in one field, packed. */
  numbers(field: number, values: readonly (number | bigint)[]): this {
    return this.message(field, (inner) => { for (const value of values) inner.varint(value) })
  }

  /** 64 bits of a fixed width. */
  fixed64(field: number, value: bigint): this {
    this.varint(field * 8 + FIXED64)
    this.room(8)
    new DataView(this.bytes.buffer).setBigUint64(this.length, BigInt.asUintN(64, value), true)
    this.length += 8
    return this
  }

  text(field: number, value: string): this {
    return this.raw(field, encoder.encode(value))
  }

  /** A message within. */
  message(field: number, write: (inner: MessageWriter) => void): this {
    const inner = new MessageWriter(64)
    write(inner)
    return this.raw(field, inner.take())
  }

  /** Bytes that are a field's contents already. */
  raw(field: number, value: Uint8Array): this {
    this.varint(field * 8 + BYTES)
    this.varint(value.length)
    this.room(value.length)
    this.bytes.set(value, this.length)
    this.length += value.length
    return this
  }

  /** What has been written; the writer begins anew. */
  take(): Uint8Array {
    const taken = this.bytes.slice(0, this.length)
    this.length = 0
    return taken
  }

  private varint(value: number | bigint): void {
    this.room(10)
    if (typeof value === 'number' && value >= 0) {
      let rest = value
      for (; rest >= 128; rest = Math.floor(rest / 128)) this.bytes[this.length++] = (rest % 128) | 128
      this.bytes[this.length++] = rest
      return
    }
    let rest = BigInt.asUintN(64, BigInt(value))
    for (; rest >= 128n; rest >>= 7n) this.bytes[this.length++] = Number(rest & 127n) | 128
    this.bytes[this.length++] = Number(rest)
  }

  private room(bytes: number): void {
    if (this.length + bytes <= this.bytes.length) return
    const grown = new Uint8Array(Math.max(this.bytes.length * 2, this.length + bytes))
    grown.set(this.bytes.subarray(0, this.length))
    this.bytes = grown
  }
}
