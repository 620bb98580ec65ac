/**
 * Bodies of PAGE_DATA records, which are nearly all of a stream: in bulk, without an object for each page.
 *
 *   u32 count, u32 0 | count x u64 (type << 60 | pfn) | 4 KiB for each page whose type has contents
 *
 * hot path: counts and sizes come from outside and are checked before anything is made of them.
 * Reference: xen/docs/specs/libxc-migration-stream.pandoc, PAGE_DATA.
 */
import { XenError } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import { hasContents, isPageType, PAGE_TYPE } from './format.ts'

/** One page in a PAGE_DATA record. */
export interface PageEntry {
  readonly pfn: number
  /** PAGE_TYPE. */
  readonly type: number
  /** 4096 bytes, or undefined for types without contents. */
  readonly contents: Uint8Array | undefined
}

/** Pages to be written. */
export interface PageSource {
  readonly pfns: ArrayLike<number>
  /** PAGE_TYPE of each. */
  readonly types: Uint8Array
  /** Puts the contents of those that have any into `into`, one behind the other. */
  copy(into: Uint8Array): void
}

/** Pages that were read. */
export interface PageBatch {
  readonly pfns: Float64Array
  /** PAGE_TYPE of each. */
  readonly types: Uint8Array
  /** The contents of those that have any, one behind the other. */
  readonly contents: Uint8Array
  /** All of them are only named: ALLOCATE_ONLY. */
  readonly isNamed: boolean
}

/** Memory for the body of a record: as many bytes as asked for, in any state. */
export type Allocate = (size: number) => Uint8Array

const HEADER_SIZE = 8
const ENTRY_SIZE = 8
const PFN_HIGH_MASK = 0x000f_ffff
const RESERVED_MASK = 0x0ff0_0000
const TYPE_SHIFT = 28
const TWO_32 = 0x1_0000_0000
/** Upper word of an entry that only names its page, of the first 2^32. */
const NAMED_HIGH = (PAGE_TYPE.ALLOCATE_ONLY << TYPE_SHIFT) >>> 0

const bad = (what: string, details: Record<string, unknown> = {}): XenError =>
  new XenError('INVALID_STREAM', `PAGE_DATA: ${what}`, { details })

/** How many pages of these types have contents. */
export function countFull(types: Uint8Array): number {
  let full = 0
  for (let i = 0; i < types.length; i += 1) if (hasContents(types[i]!)) full += 1
  return full
}

/** Encodes pages; `copy` is called before this returns. */
export function encodePageSource({ pfns, types, copy }: PageSource, allocate: Allocate): Uint8Array {
  const start = HEADER_SIZE + pfns.length * ENTRY_SIZE
  const body = allocate(start + countFull(types) * PAGE_SIZE)
  const view = new DataView(body.buffer, body.byteOffset, start)
  view.setUint32(0, pfns.length, true)
  view.setUint32(4, 0, true)
  for (let i = 0; i < pfns.length; i += 1) {
    const pfn = pfns[i]!
    view.setUint32(HEADER_SIZE + i * ENTRY_SIZE, pfn >>> 0, true)
    const high = (types[i]! << TYPE_SHIFT) | (Math.floor(pfn / TWO_32) & PFN_HIGH_MASK)
    view.setUint32(HEADER_SIZE + i * ENTRY_SIZE + 4, high, true)
  }
  copy(body.subarray(start))
  return body
}

/** Encodes pages that are only named. hot path: of a domain that has just begun these are nearly all. */
export function encodeNamedPages(pfns: Uint32Array, allocate: Allocate): Uint8Array {
  const body = allocate(HEADER_SIZE + pfns.length * ENTRY_SIZE)
  const words = new Uint32Array(body.buffer, body.byteOffset, body.length >>> 2)
  words[0] = pfns.length
  words[1] = 0
  for (let i = 0; i < pfns.length; i += 1) {
    words[2 * i + 2] = pfns[i]!
    words[2 * i + 3] = NAMED_HIGH
  }
  return body
}

/** Pages, each an object of its own, as a source. */
export function sourceOf(pages: readonly PageEntry[]): PageSource {
  return {
    pfns: pages.map(({ pfn }) => pfn),
    types: Uint8Array.from(pages, ({ type }) => type),
    copy: (into) => {
      let at = 0
      for (const { pfn, type, contents } of pages) {
        if (!hasContents(type)) continue
        if (contents?.length !== PAGE_SIZE)
          throw new XenError('INVALID_ARGUMENT', `page ${pfn} has no ${PAGE_SIZE} bytes`)
        into.set(contents, at)
        at += PAGE_SIZE
      }
    },
  }
}

/** Decodes the body of a PAGE_DATA record; the contents are shared with it. Throws INVALID_STREAM. */
export function decodePageBatch(body: Uint8Array): PageBatch {
  if (body.length < HEADER_SIZE) throw bad(`${body.length} bytes are no record`)
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  const count = view.getUint32(0, true)
  if (view.getUint32(4, true) !== 0) throw bad('reserved field is not zero')
  if (count === 0) throw bad('no pages')
  const start = HEADER_SIZE + count * ENTRY_SIZE
  if (start > body.length) throw bad(`${count} pages do not fit into the record`, { count })
  const pfns = new Float64Array(count)
  const types = new Uint8Array(count)
  if (start === body.length && takeNamed(body, pfns)) return { pfns, types: types.fill(PAGE_TYPE.ALLOCATE_ONLY), contents: body.subarray(start), isNamed: true }
  let wanted = 0
  for (let i = 0; i < count; i += 1) {
    const low = view.getUint32(HEADER_SIZE + i * ENTRY_SIZE, true)
    const high = view.getUint32(HEADER_SIZE + i * ENTRY_SIZE + 4, true)
    const type = high >>> TYPE_SHIFT
    if ((high & RESERVED_MASK) !== 0) throw bad('reserved bits of a page number are set', { low, high })
    if (!isPageType(type)) throw bad(`page type ${type} is reserved`, { type })
    pfns[i] = (high & PFN_HIGH_MASK) * TWO_32 + low
    types[i] = type
    if (hasContents(type)) wanted += PAGE_SIZE
  }
  const contents = body.subarray(start)
  if (contents.length < wanted) throw bad(`${wanted} bytes of contents wanted, ${contents.length} left`)
  if (contents.length > wanted) throw bad(`${contents.length - wanted} bytes too many`)
  return { pfns, types, contents, isNamed: false }
}

/** Takes the numbers of pages that are all only named; false where there are others, or where they do not lie at words. hot path. */
function takeNamed({ buffer, byteOffset }: Uint8Array, pfns: Float64Array): boolean {
  if (byteOffset % 4 !== 0) return false
  const words = new Uint32Array(buffer, byteOffset + HEADER_SIZE, pfns.length * 2)
  for (let i = 0; i < pfns.length; i += 1) {
    if (words[2 * i + 1] !== NAMED_HIGH) return false
    pfns[i] = words[2 * i]!
  }
  return true
}

/** The pages of a batch, each as an object that shares the batch's memory. */
export function entriesOf({ pfns, types, contents }: PageBatch): PageEntry[] {
  let at = 0
  return Array.from(pfns, (pfn, i): PageEntry => {
    const type = types[i]!
    if (!hasContents(type)) return { pfn, type, contents: undefined }
    at += PAGE_SIZE
    return { pfn, type, contents: contents.subarray(at - PAGE_SIZE, at) }
  })
}
