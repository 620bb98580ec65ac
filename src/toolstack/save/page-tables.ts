/**
 * Page tables on their way into and out of a stream: machine frame numbers belong to one host, so a saved table holds
 * pseudo-physical ones.
 * Reference: tools/libs/guest/xg_sr_save_x86_pv.c, xg_sr_restore_x86_pv.c (the rules, not the code).
 */
import { XenError } from '../../util/index.ts'
import { ENTRIES_PER_TABLE, PAGE_SHIFT, PTE, PTE_HIGH_FRAME } from '../../x86/index.ts'
import { NO_FRAME } from './p2m.ts'

/** Slots of a table, from the first to the last. */
interface Slots {
  readonly first: number
  readonly last: number
}

const NO_SLOTS: Slots = { first: 0, last: -1 }
/** Slots of a top-level table that are Xen's: 0xffff800000000000 to 0xffff87ffffffffff. */
const XEN_SLOTS: Slots = { first: 256, last: 271 }
/** In a 32-bit guest, whose top-level table has four entries: what is behind them, and 0xf5800000 to the end. */
const XEN_SLOTS_PAE: Readonly<Partial<Record<number, Slots>>> = { 3: { first: 4, last: 511 }, 2: { first: 428, last: 511 } }

/** Gives each of these frame numbers another, in order; NO_FRAME where it has none, as NO_FRAME itself. */
export type FrameMap = (frames: Uint32Array) => Uint32Array

/** Where a table's page lies, for errors. */
export interface TablePlace {
  readonly level: number
  readonly pfn: number
  /** Levels of the guest's tables: 3 of a 32-bit guest, else 4. */
  readonly levels: 3 | 4
}

/**
 * Slots of a table that are Xen's. Of a 32-bit guest's level-2 tables only that at the end of its address space has any, and
 * nothing tells it from others but that the first of them leads to a frame of Xen's.
 */
function xenSlots({ level, levels }: TablePlace, isForeign: (slot: number) => boolean): Slots {
  if (levels !== 3) return level === 4 ? XEN_SLOTS : NO_SLOTS
  const slots = XEN_SLOTS_PAE[level] ?? NO_SLOTS
  return level !== 2 || isForeign(slots.first) ? slots : NO_SLOTS
}

/** The frame of the entry whose low word is at `at`: up to 2^40. */
const frameAt = (words: Uint32Array, at: number): number => (words[at + 1]! & PTE_HIGH_FRAME) * 2 ** 20 + (words[at]! >>> PAGE_SHIFT)

/** What a table's frames become. */
export interface TableMapping {
  readonly map: FrameMap
  /** Where the copy goes, which may be the table itself. Default: memory of its own. */
  readonly into?: Uint8Array | undefined
}

/** What a converter does: maps frames, and says what is wrong with an entry. */
interface Conversion extends TableMapping {
  /** Whether Xen has entries of its own in the table. */
  readonly isLive: boolean
  fail(slot: number, why: string, frame?: number): XenError
  /** What a frame is that has no other number. */
  readonly missing: string
}

/** Memory for what a table names, and where: a table is converted at once. */
const [namedFrames, namedPlaces] = [/* @__PURE__ */ new Uint32Array(ENTRIES_PER_TABLE), /* @__PURE__ */ new Uint16Array(ENTRIES_PER_TABLE)]

/**
 * hot path: a table has 512 entries, and a domain a table for every 512 of its pages. So its frames are mapped together, and no number is larger than a word. Nothing is written
 * where something is wrong.
 */
function convert(page: Uint8Array, place: TablePlace, { map, isLive, fail, missing, into }: Conversion): Uint8Array {
  const words = wordsOf(page)
  const slots = xenSlots(place, (slot) =>
    isLive && (words[slot * 2]! & PTE.PRESENT) !== 0 && map(Uint32Array.of(Math.min(frameAt(words, slot * 2), NO_FRAME)))[0] === NO_FRAME)
  const count = takeNamed(words, slots, place.level > 1 ? PTE.LARGE : 0)
  if (count < 0) throw fail(~count / 2, 'large pages are not for PV guests')
  const mapped = map(namedFrames.subarray(0, count))
  const missed = mapped.indexOf(NO_FRAME)
  if (missed >= 0) {
    const frame = frameAt(words, namedPlaces[missed]!)
    throw fail(namedPlaces[missed]! / 2, `${missing} ${frame}`, frame)
  }
  const out = into ?? new Uint8Array(page.length)
  out.set(page)
  putMapped(wordsOf(out), slots, mapped)
  return out
}

const wordsOf = ({ buffer, byteOffset, length }: Uint8Array): Uint32Array => new Uint32Array(buffer, byteOffset, length / 4)

/** Finds what the entries of a table name, but for Xen's: how many do, or ~ the place of one with a bit that is refused. hot path: no object of a host's, as in p2m.ts. */
function takeNamed(words: Uint32Array, { first, last }: Slots, refused: number): number {
  let count = 0
  for (let at = 0; at < 2 * ENTRIES_PER_TABLE; at += 2) {
    const low = words[at]!
    if ((low & PTE.PRESENT) === 0 || (at >= 2 * first && at <= 2 * last)) continue
    if ((low & refused) !== 0) return ~at
    namedFrames[count] = (words[at + 1]! & PTE_HIGH_FRAME) === 0 ? low >>> PAGE_SHIFT : Math.min(frameAt(words, at), NO_FRAME)
    namedPlaces[count++] = at
  }
  return count
}

/** Puts other frames in their places, and nothing into Xen's. hot path, as above. */
function putMapped(words: Uint32Array, { first, last }: Slots, mapped: Uint32Array): void {
  words.fill(0, first * 2, (last + 1) * 2)
  for (let i = 0; i < mapped.length; i += 1) {
    const at = namedPlaces[i]!
    const number = mapped[i]!
    words[at] = (number << PAGE_SHIFT) | (words[at]! & 0xfff)
    words[at + 1] = (words[at + 1]! & ~PTE_HIGH_FRAME) | (number >>> (32 - PAGE_SHIFT))
  }
}

/**
 * A converter that maps each present entry's frame with `map`; `code` and `what` say what a missing one means. `isLive`: the
 * tables are those of a domain, in which Xen has entries of its own.
 */
const converter = ({ code, what, isLive }: { readonly code: 'INVALID_STATE' | 'INVALID_STREAM'; readonly what: string; readonly isLive: boolean }) =>
  (page: Uint8Array, place: TablePlace, mapping: TableMapping): Uint8Array => convert(page, place, {
    ...mapping, isLive, missing: what,
    fail: (slot, why, frame) => new XenError(code, `page table pfn ${place.pfn}, slot ${slot}: ${why}`, { details: { ...place, slot, ...(frame === undefined ? {} : { frame }) } }),
  })

/**
 * A copy of a table with pfns in place of mfns and Xen's slots empty. Throws INVALID_STATE for a frame that is not the
 * domain's.
 */
export const toPseudoPhysical = /* @__PURE__ */ converter({
  code: 'INVALID_STATE', what: "it maps a frame that is not the domain's own,", isLive: true,
})

/** A copy of a table with mfns in place of pfns. Throws INVALID_STREAM for a pfn that the stream has not named. */
export const toMachine = /* @__PURE__ */ converter({
  code: 'INVALID_STREAM', what: 'it maps a page that the stream does not hold,', isLive: false,
})
