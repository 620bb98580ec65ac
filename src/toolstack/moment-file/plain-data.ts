/**
 * Plain data as bytes, and back: the values that saved state consists of. What comes back is hostile: a length is believed
 * only as far as there are bytes, and nothing is nested deeper than state is. The form is in docs/moment-format.md.
 */
import { XenError, type StateArray } from '../../util/index.ts'
import { sameBytes } from './apart.ts'

/** What a value begins with. */
const TAG = { none: 1, null: 2, no: 3, yes: 4, number: 5, bigint: 6, text: 7, list: 8, record: 9, array: 10, apart: 11 } as const
/** Classes of numbers in rows, by their number in a file. */
const ARRAYS = [Uint8Array, Int8Array, Uint16Array, Int16Array, Uint32Array, Int32Array, Float64Array, BigUint64Array] as const
/** Deepest nesting that is read. */
const MOST_DEPTH = 64

/** Collects bytes. */
class Output {
  /** Bytes that are named by their place in this list. */
  readonly apart: readonly Uint8Array[]
  private bytes = new Uint8Array(1 << 12)
  private view = new DataView(this.bytes.buffer)
  private length = 0

  constructor(apart: readonly Uint8Array[]) {
    this.apart = apart
  }

  private room(size: number): number {
    const at = this.length
    this.length += size
    if (this.length > this.bytes.length) {
      const grown = new Uint8Array(2 ** Math.ceil(Math.log2(this.length)))
      grown.set(this.bytes)
      this.bytes = grown
      this.view = new DataView(grown.buffer)
    }
    return at
  }

  byte(value: number): void {
    const at = this.room(1)
    this.bytes[at] = value
  }

  word(value: number): void {
    const at = this.room(4)
    this.view.setUint32(at, value, true)
  }

  real(value: number): void {
    const at = this.room(8)
    this.view.setFloat64(at, value, true)
  }

  raw(value: Uint8Array): void {
    const at = this.room(value.length)
    this.bytes.set(value, at)
  }

  text(value: string): void {
    const bytes = new TextEncoder().encode(value)
    this.word(bytes.length)
    this.raw(bytes)
  }

  take(): Uint8Array {
    return this.bytes.subarray(0, this.length)
  }
}

/** The bytes of plain data; rows of bytes that are among `apart` are named by their place there. Throws a plain Error for what is none. */
export function encodePlain(value: unknown, apart: readonly Uint8Array[] = []): Uint8Array {
  const output = new Output(apart)
  write(output, value)
  return output.take()
}

function write(output: Output, value: unknown): void {
  switch (typeof value) {
    case 'undefined': return output.byte(TAG.none)
    case 'boolean': return output.byte(value ? TAG.yes : TAG.no)
    case 'number':
      output.byte(TAG.number)
      return output.real(value)
    case 'bigint':
      output.byte(TAG.bigint)
      return output.text(value.toString(16))
    case 'string':
      output.byte(TAG.text)
      return output.text(value)
    case 'object': return writeObject(output, value)
    default: throw new Error(`a ${typeof value} is no plain data`)
  }
}

function writeObject(output: Output, value: object | null): void {
  if (value === null) return output.byte(TAG.null)
  if (Array.isArray(value)) {
    output.byte(TAG.list)
    output.word(value.length)
    for (const each of value as readonly unknown[]) write(output, each)
    return
  }
  if (ArrayBuffer.isView(value)) {
    const place = value instanceof Uint8Array ? output.apart.findIndex((each) => sameBytes(each, value)) : -1
    if (place >= 0) {
      output.byte(TAG.apart)
      return output.word(place)
    }
    const kind = ARRAYS.findIndex((each) => value instanceof each)
    if (kind < 0) throw new Error('rows of another class are no plain data')
    output.byte(TAG.array)
    output.byte(kind)
    output.word(value.byteLength)
    return output.raw(new Uint8Array(value.buffer, value.byteOffset, value.byteLength))
  }
  const names = Object.keys(value).filter((name) => (value as Record<string, unknown>)[name] !== undefined).sort()
  output.byte(TAG.record)
  output.word(names.length)
  for (const name of names) {
    output.text(name)
    write(output, (value as Record<string, unknown>)[name])
  }
}

/** Reads bytes that come from anywhere. */
class Input {
  readonly apart: readonly Uint8Array[]
  private readonly bytes: Uint8Array
  private readonly view: DataView
  private at = 0

  constructor(bytes: Uint8Array, apart: readonly Uint8Array[]) {
    this.apart = apart
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get left(): number {
    return this.bytes.length - this.at
  }

  raw(size: number): Uint8Array {
    if (size > this.left) throw malformed(`${size} bytes are wanted where ${this.left} are left`)
    this.at += size
    return this.bytes.subarray(this.at - size, this.at)
  }

  byte(): number {
    return this.raw(1)[0]!
  }

  word(): number {
    this.raw(4)
    return this.view.getUint32(this.at - 4, true)
  }

  real(): number {
    this.raw(8)
    return this.view.getFloat64(this.at - 8, true)
  }

  text(): string {
    const bytes = this.raw(this.word())
    const plain = bytes.length <= SHORT ? asciiOf(bytes) : undefined
    if (plain !== undefined) return plain
    try {
      return decoder.decode(bytes)
    } catch (error) {
      throw XenError.is(error) ? error : malformed('a text is not UTF-8')
    }
  }
}

const decoder = /* @__PURE__ */ new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Bytes of texts that a decoder takes longer to be called for than they take: nearly all are names of fields. */
const SHORT = 64

/** What bytes of ASCII spell; undefined for others. hot path: some ten thousand of a file. */
function asciiOf(bytes: Uint8Array): string | undefined {
  for (let i = 0; i < bytes.length; i += 1) if (bytes[i]! >= 0x80) return undefined
  return String.fromCharCode.apply(undefined, bytes as unknown as number[])
}

const malformed = (what: string): XenError => new XenError('INVALID_STREAM', `plain data that is none: ${what}`, { details: { what } })

/** The plain data that bytes stand for, all of them; `apart`: rows that are named by their place there. Throws INVALID_STREAM. */
export function decodePlain(bytes: Uint8Array, apart: readonly Uint8Array[] = []): unknown {
  const input = new Input(bytes, apart)
  const value = read(input, 0)
  if (input.left > 0) throw malformed(`${input.left} bytes are left over`)
  return value
}

function read(input: Input, depth: number): unknown {
  if (depth > MOST_DEPTH) throw malformed('it is nested too deeply')
  switch (input.byte()) {
    case TAG.none: return undefined
    case TAG.null: return null
    case TAG.no: return false
    case TAG.yes: return true
    case TAG.number: return input.real()
    case TAG.bigint: return readBigint(input.text())
    case TAG.text: return input.text()
    case TAG.list: return readList(input, depth)
    case TAG.record: return readRecord(input, depth)
    case TAG.array: return readArray(input)
    case TAG.apart: return readApart(input)
    default: throw malformed('a value is of no known kind')
  }
}

function readBigint(digits: string): bigint {
  if (!/^[0-9a-f]{1,64}$/.test(digits)) throw malformed('a whole number has other digits')
  return BigInt(`0x${digits}`)
}

function readList(input: Input, depth: number): unknown[] {
  const count = input.word()
  // Each takes a byte at least.
  if (count > input.left) throw malformed(`a list of ${count} values in ${input.left} bytes`)
  return Array.from({ length: count }, () => read(input, depth + 1))
}

function readRecord(input: Input, depth: number): Record<string, unknown> {
  const count = input.word()
  if (count > input.left) throw malformed(`a record of ${count} fields in ${input.left} bytes`)
  const found: [string, unknown][] = []
  for (let i = 0; i < count; i += 1) {
    const name = input.text()
    if (name === '__proto__' || (i > 0 && name <= found[i - 1]![0])) throw malformed('fields are out of order')
    found.push([name, read(input, depth + 1)])
  }
  return Object.fromEntries(found)
}

function readArray(input: Input): StateArray {
  const kind = ARRAYS[input.byte()]
  if (kind === undefined) throw malformed('rows are of no known class')
  const size = input.word()
  if (size % kind.BYTES_PER_ELEMENT !== 0) throw malformed('rows end within a number')
  // A copy of its own lies on the boundary that its class needs.
  return new kind(new Uint8Array(input.raw(size)).buffer)
}

function readApart(input: Input): Uint8Array {
  const place = input.word()
  const bytes = input.apart[place]
  if (bytes === undefined) throw malformed(`bytes that are left out, number ${place} of ${input.apart.length}`)
  return bytes
}
