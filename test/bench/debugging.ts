/** Debugging: what going back costs and how fast it is, and what looking into guests costs. Targets stand with each family of rows. */
import { measureBackwards } from './debugging/backwards.ts'
import { measureSeeing } from './debugging/seeing.ts'
import type { Report } from './report.ts'

/** Runs the benchmark. */
export async function run(report: Report): Promise<void> {
  await measureBackwards(report)
  await measureSeeing(report)
}
