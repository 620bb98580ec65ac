/**
 * A byte buffer that grows, with the variable-length integers of WebAssembly (LEB128).
 * Reference: WebAssembly core specification 2.0, sections 5.2 and 5.3.
 */

/** Appends bytes to a growing Uint8Array. Up to 64 bytes V8 allocates among its objects, which is much cheaper. */
export class ByteSink {
  private buffer: Uint8Array
  private used = 0

  constructor(capacity = 64) {
    this.buffer = new Uint8Array(capacity)
  }

  /** Bytes written so far. */
  get length(): number {
    return this.used
  }

  /** The bytes written so far: a view, valid until the next write. */
  view(): Uint8Array {
    return this.buffer.subarray(0, this.used)
  }

  /** Forgets what was written. */
  clear(): void {
    this.used = 0
  }

  private reserve(count: number): void {
    if (this.used + count > this.buffer.length) this.grow(count)
  }

  private grow(count: number): void {
    const larger = new Uint8Array(Math.max(this.buffer.length * 4, this.used + count))
    larger.set(this.buffer)
    this.buffer = larger
  }

  /** One byte. */
  byte(value: number): void {
    if (this.used === this.buffer.length) this.grow(1)
    this.buffer[this.used++] = value
  }

  /** Two bytes. */
  twoBytes(first: number, second: number): void {
    if (this.used + 2 > this.buffer.length) this.grow(2)
    this.buffer[this.used++] = first
    this.buffer[this.used++] = second
  }

  /** Bytes as they are. */
  bytes(values: ArrayLike<number>): void {
    this.reserve(values.length)
    this.buffer.set(values, this.used)
    this.used += values.length
  }

  /** An unsigned 32-bit number as LEB128. */
  unsigned(value: number): void {
    let rest = value >>> 0
    this.reserve(5)
    while (rest >= 0x80) {
      this.buffer[this.used++] = (rest & 0x7f) | 0x80
      rest >>>= 7
    }
    this.buffer[this.used++] = rest
  }

  /** A signed 32-bit number as LEB128. */
  signed(value: number): void {
    let rest = value | 0
    this.reserve(5)
    while (rest < -0x40 || rest >= 0x40) {
      this.buffer[this.used++] = (rest & 0x7f) | 0x80
      rest >>= 7
    }
    this.buffer[this.used++] = rest & 0x7f
  }

  /** A signed 64-bit number, given as two halves, as LEB128. */
  signed64(low: number, high: number): void {
    if (low >> 31 === (high | 0)) return this.signed(low)
    let rest = (BigInt(high | 0) << 32n) | BigInt(low >>> 0)
    while (rest < -0x40n || rest >= 0x40n) {
      this.byte(Number(rest & 0x7fn) | 0x80)
      rest >>= 7n
    }
    this.byte(Number(rest & 0x7fn))
  }

  /** A double, little-endian. */
  float64(value: number): void {
    this.bytes(new Uint8Array(new Float64Array([value]).buffer))
  }

  /** A UTF-8 string behind its length. */
  name(text: string): void {
    const encoded = new TextEncoder().encode(text)
    this.unsigned(encoded.length)
    this.bytes(encoded)
  }
}
