/**
 * Which pages of a stream are all zero: a page that a domain has just been given is so already, and writing zeros to it
 * would only make the host touch its memory.
 * hot path: 32-bit words, eight at a time.
 */
import { PAGE_SIZE } from '../../abi/index.ts'
const WORDS = PAGE_SIZE / 4
const STEP = 8

/** Pages that lie one behind the other. */
export class ZeroPages {
  private readonly bytes: Uint8Array
  /** The same memory as words; undefined where it does not lie so that it can be read by words. */
  private readonly words: Uint32Array | undefined
  private readonly aligned = new Uint32Array(WORDS)

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.words = bytes.byteOffset % 4 === 0
      ? new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2)
      : undefined
  }

  /** Whether the page at this byte offset is all zero. */
  has(at: number): boolean {
    const { bytes, words } = this
    // Most pages that are not show it at one of these.
    if ((bytes[at]! | bytes[at + 1]! | bytes[at + PAGE_SIZE / 2]! | bytes[at + PAGE_SIZE - 8]!) !== 0) return false
    if (words !== undefined) return isZero(words, at >>> 2)
    new Uint8Array(this.aligned.buffer).set(bytes.subarray(at, at + PAGE_SIZE))
    return isZero(this.aligned, 0)
  }
}

/** Whether one page is all zero, that lies as memory's pages do. */
export function isZeroPage(page: Uint8Array): boolean {
  if ((page[0]! | page[1]! | page[PAGE_SIZE / 2]! | page[PAGE_SIZE - 8]!) !== 0) return false
  return isZero(new Uint32Array(page.buffer, page.byteOffset, WORDS), 0)
}

function isZero(words: Uint32Array, start: number): boolean {
  for (let i = start; i < start + WORDS; i += STEP) {
    const some = words[i]! | words[i + 1]! | words[i + 2]! | words[i + 3]! | words[i + 4]! | words[i + 5]!
      | words[i + 6]! | words[i + 7]!
    if (some !== 0) return false
  }
  return true
}
