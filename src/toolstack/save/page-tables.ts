/**
 * Page tables on their way into and out of a stream: machine frame numbers belong to one host, so a saved table holds
 * pseudo-physical ones.
 * Reference: tools/libs/guest/xg_sr_save_x86_pv.c, xg_sr_restore_x86_pv.c (the rules, not the code).
 */
import { XenError } from '../../util/index.ts'
import { ENTRIES_PER_TABLE, PAGE_SHIFT, PTE, PTE_HIGH_FRAME } from '../../x86/index.ts'

/** Slots of a top-level table that are Xen's: 0xffff800000000000 to 0xffff87ffffffffff. */
const XEN_FIRST_SLOT = 256
const XEN_LAST_SLOT = 271

/** Maps a frame number to another; undefined when it has none. */
export type FrameMap = (frame: number) => number | undefined

/** Where a table's page lies, for errors. */
export interface TablePlace {
  readonly level: number
  readonly pfn: number
}

const isXenSlot = (level: number, slot: number): boolean =>
  level === 4 && slot >= XEN_FIRST_SLOT && slot <= XEN_LAST_SLOT

function convert(
  page: Uint8Array,
  place: TablePlace,
  entry: (low: number, high: number, slot: number) => number,
): Uint8Array {
  const out = page.slice()
  const words = new Uint32Array(out.buffer)
  for (let slot = 0; slot < ENTRIES_PER_TABLE; slot += 1) {
    if (isXenSlot(place.level, slot)) {
      words.fill(0, slot * 2, slot * 2 + 2)
      continue
    }
    const low = words[slot * 2]!
    if ((low & PTE.PRESENT) === 0) continue
    const high = words[slot * 2 + 1]!
    const frame = entry(low, high, slot)
    words[slot * 2] = (frame << PAGE_SHIFT) | (low & 0xfff)
    words[slot * 2 + 1] = (high & ~PTE_HIGH_FRAME) | Math.floor(frame / 2 ** 20)
  }
  return out
}

/** A converter that maps each present entry's frame with `map`; `code` and `what` say what a missing one means. */
function converter(code: 'INVALID_STATE' | 'INVALID_STREAM', what: string) {
  const fail = (place: TablePlace, slot: number, why: string, frame?: number): XenError =>
    new XenError(code, `page table pfn ${place.pfn}, slot ${slot}: ${why}`, {
      details: { ...place, slot, ...(frame === undefined ? {} : { frame }) },
    })
  return (page: Uint8Array, place: TablePlace, map: FrameMap): Uint8Array =>
    convert(page, place, (low, high, slot) => {
      if (place.level > 1 && (low & PTE.LARGE) !== 0) throw fail(place, slot, 'large pages are not for PV guests')
      const frame = (high & PTE_HIGH_FRAME) * 2 ** 20 + (low >>> PAGE_SHIFT)
      const mapped = map(frame)
      if (mapped === undefined) throw fail(place, slot, `${what} ${frame}`, frame)
      return mapped
    })
}

/**
 * A copy of a table with pfns in place of mfns and Xen's slots empty. Throws INVALID_STATE for a frame that is not the
 * domain's.
 */
export const toPseudoPhysical = /* @__PURE__ */ converter(
  'INVALID_STATE',
  "it maps a frame that is not the domain's own,",
)

/** A copy of a table with mfns in place of pfns. Throws INVALID_STREAM for a pfn that the stream has not named. */
export const toMachine = /* @__PURE__ */ converter('INVALID_STREAM', 'it maps a page that the stream does not hold,')
