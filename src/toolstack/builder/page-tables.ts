/**
 * Writes the entries of planned page tables. Tables map themselves read-only: the hypervisor refuses a writable
 * mapping of a page table when it validates them.
 */
import { PAGE_SIZE, PTE } from '../../x86/index.ts'
import { tableSpan, type Mapping } from './page-table-plan.ts'

const LEAF = PTE.PRESENT | PTE.WRITABLE | PTE.ACCESSED
const TABLE = PTE.PRESENT | PTE.WRITABLE | PTE.ACCESSED | PTE.DIRTY | PTE.USER
/** Entries of the top-level table of PAE have no rights. */
const PAE_TOP = PTE.PRESENT

/** Where the entries go, and what stands behind a page. */
export interface TableWriter {
  /** Frame of a page. */
  frameOf(pfn: number): number
  /** Writes entry `index` of the table in page `pfn`; frames of a host fit into the low half. */
  writeEntry(pfn: number, index: number, low: number): void
}

/** The addresses that two inclusive ranges have in common. */
function overlap(a: { from: number; to: number }, b: { from: number; to: number }): readonly [number, number] {
  return [Math.max(a.from, b.from), Math.min(a.to, b.to)]
}

/** Writes all entries of all tables of `mappings`. */
export function writePageTables(mappings: readonly Mapping[], writer: TableWriter): void {
  const tablePages = mappings.flatMap(({ levels }) => levels)
  const isTable = (pfn: number): boolean => tablePages.some((run) => pfn >= run.pfn && pfn < run.pfn + run.tables)
  for (const owner of mappings) {
    const { length } = owner.levels
    for (let level = 0; level < length; level += 1) {
      const tables = owner.levels[level]!
      const step = tableSpan(level) / 512
      for (const target of mappings) {
        const below = level === 0 ? target : target.levels[level - 1]!
        if (tables.tables === 0 || (level > 0 && target.levels[level - 1]!.tables === 0)) continue
        const [from, to] = overlap(tables, below)
        for (let address = from; address <= to; address += step) {
          const pfn = below.pfn + Math.floor((address - below.from) / step)
          const table = tables.pfn + Math.floor((address - tables.from) / tableSpan(level))
          const flags = level > 0 ? (level === 2 && length === 3 ? PAE_TOP : TABLE) : isTable(pfn) ? LEAF & ~PTE.WRITABLE : LEAF
          writer.writeEntry(table, Math.floor(address / step) % 512, (writer.frameOf(pfn) * PAGE_SIZE + flags) >>> 0)
        }
      }
    }
  }
}
