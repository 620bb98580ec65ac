/**
 * Debugging: what going back costs and how fast it is, and what looking into guests costs. Targets stand with each family of rows. `npm run bench -- debugging fuzzing symbols` measures only
 * these parts of it; see PARTS.
 */
import { measureBackwards } from './debugging/backwards.ts'
import { measureCoverage, measureFuzzing, measureSymbols, measureTrace } from './debugging/seeing.ts'
import type { Report } from './report.ts'

const PARTS: Readonly<Record<string, (report: Report) => Promise<void>>> = {
  symbols: measureSymbols, backwards: measureBackwards, fuzzing: measureFuzzing, trace: measureTrace, coverage: measureCoverage,
}

/** Runs the benchmark, or those of its parts that are named. */
export async function run(report: Report, only: readonly string[] = []): Promise<void> {
  const unknown = only.find((name) => PARTS[name] === undefined)
  if (unknown !== undefined) throw new Error(`no part ${unknown}; there are ${Object.keys(PARTS).join(', ')}`)
  for (const [name, measure] of Object.entries(PARTS)) if (only.length === 0 || only.includes(name)) await measure(report)
}
