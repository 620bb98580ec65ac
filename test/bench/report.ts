/** The common shape of every benchmark: rows with a value, what it was measured against, and whether a target was met. */

/** One line of a benchmark's table. */
export interface Row {
  /** What was measured. */
  readonly case: string
  readonly value: number
  readonly unit: string
  /** What it was measured against in the same run, or `absent: WHAT`; empty when the value stands alone. */
  readonly baseline: string
  /** Value against baseline; null without one. */
  readonly ratio: number | null
  /** The ratio or value that was aimed at, as the benchmark's head comment says; null without one. */
  readonly target: number | null
  /** Whether the target was met; null without one. */
  readonly met: boolean | null
}

/** Takes the rows of a benchmark as they are measured: what its `run` is given. */
export type Report = (row: Row) => void

const significant = (value: number): string =>
  Math.abs(value) >= 1000 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(4)

/** A row as a line of the table. */
export function formatRow(row: Row): string {
  const columns = [
    row.case.padEnd(44),
    significant(row.value).padStart(14),
    row.unit.padEnd(12),
    row.ratio === null ? ''.padStart(8) : `${row.ratio.toFixed(2)}x`.padStart(8),
    row.baseline.padEnd(34),
    row.target === null ? '' : `target ${row.target}: ${row.met === true ? 'met' : 'MISSED'}`,
  ]
  return columns.join(' ').trimEnd()
}
