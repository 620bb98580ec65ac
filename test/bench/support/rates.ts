/**
 * Rates that can be compared on a machine that does other things too: each measurement does a fixed amount of work and
 * is charged with the CPU time of this process (garbage collection and compilation included), the measurements take
 * turns, and the best round of each counts, because whatever disturbs a round only makes it slower.
 */

/** Does `count` pieces of work. */
export type Work = (count: number) => void | Promise<void>

/** What is measured, and how much of it is one round. */
export interface Measurement {
  readonly work: Work
  readonly count: number
}

const ROUNDS = 8

/** Seconds of this process's CPU. */
const seconds = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

/** Pieces of work in a second, for each of the measurements. A first round of each warms up and does not count. */
export async function bestRates(measurements: readonly Measurement[], rounds = ROUNDS): Promise<number[]> {
  const best = measurements.map(() => Infinity)
  for (let round = 0; round <= rounds; round += 1) {
    for (const [index, { work, count }] of measurements.entries()) {
      const begin = seconds()
      await work(count)
      if (round > 0) best[index] = Math.min(best[index]!, seconds() - begin)
    }
  }
  return measurements.map(({ count }, index) => count / best[index]!)
}
