/**
 * Counts and places the page tables that map a range of virtual addresses, sharing tables with ranges planned before.
 * Addresses are 48-bit unsigned numbers; a level is counted from 0 (L1) to 3 (L4).
 *
 *   planned range      |---- area ----|
 *   level 0 tables   [..2 MiB..][..2 MiB..]     one table per aligned 2 MiB
 *   level 1 tables [......... 1 GiB ..........]
 */

/** Bits of an address that count. */
const ADDRESS_SPACE = 2 ** 48

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
  earlier: readonly Mapping[],
): Mapping {
  const levels: TableRun[] = []
  let tables = 0
  for (let level = 3; level >= 0; level -= 1) {
    const pfn = tablesAt + tables
    const span = tableSpan(level)
    // The one top-level table belongs to the first mapping.
    const [from, to] = level === 3
      ? earlier.length === 0 ? [0, ADDRESS_SPACE - 1] : [0, -1]
      : uncovered(area.from - (area.from % span), area.to - (area.to % span) + span - 1, level, earlier)
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
