/** Records of a moment's file: each with its kind, its length and a hash. See docs/moment-format.md. */
import { StateHasher, XenError } from '../../util/index.ts'
import type { ByteSource } from '../stream/index.ts'

/** What a file begins with: a byte that is no text, letters, and an end of line that other programs would change. */
export const MAGIC = /* @__PURE__ */ Uint8Array.of(0x89, 0x50, 0x56, 0x4d, 0x4f, 0x4d, 0x0d, 0x0a)
/** The version that is written, and the only one that is read. */
export const FILE_VERSION = 1
/** Bytes before the body. */
export const HEADER_BYTES = 24

/** Kinds of records. */
export const RECORD_KIND = { head: 1, pages: 2, index: 3, facts: 4, part: 5, end: 6 } as const
/** A kind's name. */
export type RecordKind = keyof typeof RECORD_KIND

/** Bytes of kind and length, and of the hash behind what is in a record. */
const FRAME_BYTES = 8
/** Largest record that is read: the parts of a host, and a few pages at a time. */
const MOST_BYTES = 2 ** 30

/** The two words that stand behind a record. */
export function recordHash(kind: number, payload: Uint8Array): { readonly first: number; readonly second: number } {
  const hasher = new StateHasher()
  hasher.word(kind)
  hasher.word(payload.length)
  const whole = payload.length >>> 2
  const own = payload.byteOffset % 4 === 0 ? payload : new Uint8Array(payload)
  hasher.words(new Uint32Array(own.buffer, own.byteOffset, whole), 0, whole)
  for (const byte of own.subarray(whole * 4)) hasher.word(byte)
  return hasher.pair()
}

/** The bytes of a record, in the pieces in which they are written. */
export function recordBytes(name: RecordKind, payload: Uint8Array): readonly Uint8Array[] {
  const kind = RECORD_KIND[name]
  const { first, second } = recordHash(kind, payload)
  const words = (...values: number[]): Uint8Array => {
    const view = new DataView(new ArrayBuffer(values.length * 4))
    values.forEach((value, i) => view.setUint32(i * 4, value, true))
    return new Uint8Array(view.buffer)
  }
  return [words(kind, payload.length), payload, words(first, second)]
}

/** A record as it was read. */
export interface FileRecord {
  readonly kind: RecordKind
  readonly payload: Uint8Array
}

/** The error for a file that is none; `where` is what of it. */
export const badFile = (where: string, what: string): XenError =>
  new XenError('INVALID_STREAM', `the file of a moment is damaged in ${where}: ${what}`, { details: { where, what } })

/** Reads the next record. Throws INVALID_STREAM. */
export async function readRecord(source: ByteSource, place: number): Promise<FileRecord> {
  const where = `record ${place}`
  const frame = await source.read(FRAME_BYTES, where)
  const view = new DataView(frame.buffer, frame.byteOffset, FRAME_BYTES)
  const [kind, size] = [view.getUint32(0, true), view.getUint32(4, true)]
  const name = (Object.keys(RECORD_KIND) as RecordKind[]).find((each) => RECORD_KIND[each] === kind)
  if (name === undefined) throw badFile(where, `it is of no known kind (${kind})`)
  if (size > MOST_BYTES) throw badFile(where, `it says that it has ${size} bytes`)
  const payload = await source.read(size, `${where} (${name})`)
  const tail = await source.read(FRAME_BYTES, where)
  const hash = new DataView(tail.buffer, tail.byteOffset, FRAME_BYTES)
  const { first, second } = recordHash(kind, payload)
  if (hash.getUint32(0, true) !== first || hash.getUint32(4, true) !== second) throw badFile(`${where} (${name})`, 'its hash is another')
  return { kind: name, payload }
}
