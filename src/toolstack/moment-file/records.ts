/**
 * Records of a moment's file: each with its kind, its length, a hash of all of it, and one of a sample. See docs/moment-format.md.
 *
 * hot path: the hash of all pages is a tenth of the time in which a file is read; the sample's is nothing.
 */
import { StateHasher, XenError } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import type { ByteSource } from '../stream/index.ts'

/** What a file begins with: a byte that is no text, letters, and an end of line that other programs would change. */
export const MAGIC = /* @__PURE__ */ Uint8Array.of(0x89, 0x50, 0x56, 0x4d, 0x4f, 0x4d, 0x0d, 0x0a)
/** The version that is written, and the only one that is read. */
export const FILE_VERSION = 3
/** Bytes before the body. */
export const HEADER_BYTES = 24

/** Kinds of records. */
export const RECORD_KIND = { head: 1, pages: 2, index: 3, facts: 4, part: 5, end: 6, apart: 7 } as const
/** A kind's name. */
export type RecordKind = keyof typeof RECORD_KIND

/** Bytes of kind and length. */
const FRAME_BYTES = 8
/** Bytes of the two hashes behind what is in a record. */
const TAIL_BYTES = 16
/** Words from one that the sample has to the next. */
const SAMPLE_STEP = 64
const MEBIBYTE = 2 ** 20
/** Largest record of each kind that is read: a page's place takes 8 bytes, and a part may hold a ramdisk. */
const MOST_BYTES: Readonly<Record<RecordKind, number>> = {
  head: MEBIBYTE, apart: MEBIBYTE, pages: 8 * MEBIBYTE, index: 9 * MEBIBYTE, facts: 13 * MEBIBYTE, part: 1024 * MEBIBYTE, end: 0,
}

/** What is hashed of a record: all of it, or a word of every 64, which tells whether it is whole and in its place. */
export type RecordHash = 'all' | 'sample'

/** The two words of a hash. */
function recordHash(kind: number, payload: Uint8Array, what: RecordHash): { readonly first: number; readonly second: number } {
  const hasher = new StateHasher()
  hasher.word(kind)
  hasher.word(payload.length)
  const count = payload.length >>> 2
  const own = payload.byteOffset % 4 === 0 ? payload : new Uint8Array(payload)
  const words = new Uint32Array(own.buffer, own.byteOffset, count)
  if (what === 'sample') for (let i = 0; i < count; i += SAMPLE_STEP) hasher.word(words[i]!)
  else {
    hasher.words(words, 0, count)
    for (const byte of own.subarray(count * 4)) hasher.word(byte)
  }
  return hasher.pair()
}

const HASHES = ['all', 'sample'] as const

/** The bytes of a record, in the pieces in which they are written. */
export function recordBytes(name: RecordKind, payload: Uint8Array): readonly Uint8Array[] {
  const kind = RECORD_KIND[name]
  const words = (...values: number[]): Uint8Array => {
    const view = new DataView(new ArrayBuffer(values.length * 4))
    values.forEach((value, i) => view.setUint32(i * 4, value, true))
    return new Uint8Array(view.buffer)
  }
  const tail = HASHES.flatMap((what) => {
    const { first, second } = recordHash(kind, payload, what)
    return [first, second]
  })
  return [words(kind, payload.length), payload, words(...tail)]
}

/** A record as it was read. */
export interface FileRecord {
  readonly kind: RecordKind
  readonly payload: Uint8Array
}

/** The error for a file that is none; `where` is what of it. */
export const badFile = (where: string, what: string): XenError =>
  new XenError('INVALID_STREAM', `the file of a moment is damaged in ${where}: ${what}`, { details: { where, what } })

/** Records of which only the sample is looked at where a file is trusted: memory's, which are nearly all of it. */
const SAMPLED: readonly RecordKind[] = ['pages']

/** Reads the next record; `hash`: what is looked at of memory. Throws INVALID_STREAM. */
export async function readRecord(source: ByteSource, place: number, hash: RecordHash): Promise<FileRecord> {
  const where = `record ${place}`
  const frame = await source.read(FRAME_BYTES, where)
  const view = new DataView(frame.buffer, frame.byteOffset, FRAME_BYTES)
  const [kind, size] = [view.getUint32(0, true), view.getUint32(4, true)]
  const name = (Object.keys(RECORD_KIND) as RecordKind[]).find((each) => RECORD_KIND[each] === kind)
  if (name === undefined) throw badFile(where, `it is of no known kind (${kind})`)
  if (size > MOST_BYTES[name]) throw badFile(`${where} (${name})`, `it says that it has ${size} bytes`)
  const payload = await source.read(size, `${where} (${name})`)
  const tail = await source.read(TAIL_BYTES, where)
  const stands = new DataView(tail.buffer, tail.byteOffset, TAIL_BYTES)
  for (const [i, what] of HASHES.entries()) {
    if (what === 'all' && hash === 'sample' && SAMPLED.includes(name)) continue
    const { first, second } = recordHash(kind, payload, what)
    if (stands.getUint32(i * 8, true) !== first || stands.getUint32(i * 8 + 4, true) !== second) throw badFile(`${where} (${name})`, 'its hash is another')
  }
  return { kind: name, payload }
}

/** A record of pages as it lies in a file, without the pages. */
export interface PageRecord {
  /** Where its pages begin, from its own beginning. */
  readonly at: number
  readonly count: number
  /** The hash of its sample. */
  readonly first: number
  readonly second: number
}

/** What stands at an offset of a block. */
type ReadBlock = (row: Uint8Array, from: number) => void

/** The record of pages that a block of `length` bytes is; undefined where it is something else, or more. */
export function pageRecordBehind(read: ReadBlock, length: number): PageRecord | undefined {
  const size = length - FRAME_BYTES - TAIL_BYTES
  if (size <= 0 || size % PAGE_SIZE !== 0) return undefined
  const row = new Uint8Array(TAIL_BYTES)
  const view = new DataView(row.buffer)
  read(row.subarray(0, FRAME_BYTES), 0)
  if (view.getUint32(0, true) !== RECORD_KIND.pages || view.getUint32(4, true) !== size) return undefined
  read(row, FRAME_BYTES + size)
  return { at: FRAME_BYTES, count: size / PAGE_SIZE, first: view.getUint32(8, true), second: view.getUint32(12, true) }
}

/** The hash of the sample of a record of pages, which come one by one. */
export class RecordSample {
  private readonly hasher = new StateHasher()

  /** `size`: bytes of its pages. */
  constructor(size: number) {
    this.hasher.word(RECORD_KIND.pages)
    this.hasher.word(size)
  }

  /** Takes the next page, which begins at a word. */
  page(words: Uint32Array, at: number): void {
    for (let i = at; i < at + PAGE_SIZE / 4; i += SAMPLE_STEP) this.hasher.word(words[i]!)
  }

  /** True where it is that of a record, behind all of its pages. */
  isThat({ first, second }: PageRecord): boolean {
    const found = this.hasher.pair()
    return found.first === first && found.second === second
  }
}
