/** A share of the histories of fleets. More: `npm run simulate:fleet -- --seeds 10000`. */
import { expect, test } from 'vitest'
import { fleetHistory } from './fleet-history.ts'

const SEEDS = Number(process.env['FLEET_SEEDS'] ?? 12)

test('whatever happens to hosts and store, no domain ever runs twice, and in the end each runs or has a reason', { timeout: 600_000 }, async () => {
  let [starts, arrivals] = [0, 0]
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const history = await fleetHistory(seed)
    expect(history.violations, `seed ${seed}`).toEqual([])
    starts += history.starts
    arrivals += history.arrivals
  }
  expect(starts).toBeGreaterThan(SEEDS * 8)
  expect(arrivals).toBeGreaterThan(0)
})
