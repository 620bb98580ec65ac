/**
 * Counts and places the page tables that map a range of virtual addresses, sharing tables with ranges planned before.
 * Addresses are 48-bit unsigned numbers, or of 32 bits; a level is counted from 0 (L1) to 3 (L4), or to 2 (L3) with PAE.
 *
 *   planned range      |---- area ----|
 *   level 0 tables   [..2 MiB..][..2 MiB..]     one table per aligned 2 MiB
 *   level 1 tables [......... 1 GiB ..........]
 */

/** Bits of an address that count. */
const ADDRESS_SPACE = 2 ** 48

/** How deep a guest's tables are, and what they map. */
export interface TableShape {
  readonly levels: 3 | 4
  readonly addressSpace: number
  /**
   * First address whose table of level 1 is always there, where one is: with PAE the last entry of the top-level table must
   * lead somewhere, as Xen's own mappings are behind it.
   */
  readonly alwaysFrom?: number
}

/** That of 64-bit guests. */
export const LONG_TABLES: TableShape = { levels: 4, addressSpace: ADDRESS_SPACE }
/** That of 32-bit guests. Reference: tools/libs/guest/xg_dom_x86.c, count_pgtables. */
export const PAE_TABLES: TableShape = { levels: 3, addressSpace: 2 ** 32, alwaysFrom: 0xc000_0000 }

/** Tables of one level that one mapping brings along; they cover `from` to `to`, both inclusive. */
export interface TableRun {
  readonly from: number
  readonly to: number
  /** First table's page. */
  readonly pfn: number
  readonly tables: number
}

/** A range of addresses mapped onto consecutive pages. */
export interface Mapping {
  readonly from: number
  /** Last address. */
  readonly to: number
  /** Page that `from` is mapped to. */
  readonly pfn: number
  /** By level, L1 first. */
  readonly levels: readonly TableRun[]
  /** All its tables. */
  readonly tables: number
}

/** Bytes that one table of a level maps. */
export const tableSpan = (level: number): number => 2 ** (12 + 9 * (level + 1))

/** The signed address as the 48 bits that page tables look at. */
export const unsigned48 = (address: number): number => (address < 0 ? address + ADDRESS_SPACE : address)

/** Cuts off what tables of earlier mappings cover already; an empty result has `to < from`. */
function uncovered(from: number, to: number, level: number, earlier: readonly Mapping[]): readonly [number, number] {
  let [first, last] = [from, to]
  for (const mapping of earlier) {
    const run = mapping.levels[level]!
    if (run.tables === 0) continue
    if (first >= run.from && last <= run.to) return [0, -1]
    if (first >= run.from && first <= run.to) first = run.to + 1
    if (last >= run.from && last <= run.to) last = run.from - 1
  }
  return [first, last]
}

/** Plans the mapping of `from` to `to` (inclusive) onto pages from `pfn`, with its tables placed from `tablesAt`. */
export function planMapping(
  area: { from: number; to: number; pfn: number },
  tablesAt: number,
  { earlier = [], shape = LONG_TABLES }: { readonly earlier?: readonly Mapping[]; readonly shape?: TableShape } = {},
): Mapping {
  const levels: TableRun[] = []
  const { addressSpace, alwaysFrom } = shape
  const top = shape.levels - 1
  let tables = 0
  for (let level = top; level >= 0; level -= 1) {
    const pfn = tablesAt + tables
    const span = Math.min(tableSpan(level), addressSpace)
    const isCutShort = level === 1 && alwaysFrom !== undefined && earlier.length === 0 && area.to < alwaysFrom
    const last = isCutShort ? addressSpace - 1 : area.to - (area.to % span) + span - 1
    // The one top-level table belongs to the first mapping.
    const [from, to] = level === top
      ? earlier.length === 0 ? [0, addressSpace - 1] : [0, -1]
      : uncovered(area.from - (area.from % span), last, level, earlier)
    const count = to < from ? 0 : Math.round((to + 1 - from) / span)
    levels.unshift({ from, to, pfn, tables: count })
    tables += count
  }
  return { ...area, levels, tables }
}

/** Moves a mapping's tables by a number of pages. */
export const moveTables = (mapping: Mapping, pages: number): Mapping => ({
  ...mapping, levels: mapping.levels.map((run) => ({ ...run, pfn: run.pfn + pages })),
})
