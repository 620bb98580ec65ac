import { describe, expect, test } from 'vitest'
import { exploreOperations } from './operations.ts'

/** Explorations, each of which begins with two fresh hosts; FUZZ_OPERATIONS asks for more or fewer. */
const COUNT = Number(process.env['FUZZ_OPERATIONS'] ?? (process.env['FUZZ'] === 'long' ? 200 : 3))
/** Operations of one exploration. */
const STEPS = 60

describe('operations that overlap, are given up at any moment, and meet guests that lie', () => {
  test('end with a code, leave hosts and XenStore as they were, and never run a domain twice', { timeout: 1_800_000 }, async () => {
    const outcomes = new Map<string, number>()
    for (let seed = 1; seed <= COUNT; seed += 1) {
      const exploration = await exploreOperations(seed, STEPS)
      expect(exploration.findings, `seed ${seed}`).toEqual([])
      for (const [name, times] of exploration.outcomes) outcomes.set(name, (outcomes.get(name) ?? 0) + times)
    }
    // It would miss its aim if most of what it begins were refused.
    const done = [...outcomes].filter(([name]) => name.endsWith(': done')).reduce((sum, [, times]) => sum + times, 0)
    expect(done).toBeGreaterThan((COUNT * STEPS) / 5)
    if (COUNT > 20) for (const name of ['save', 'migrate', 'receive', 'attach disk', 'detach disk']) expect(outcomes.has(`${name}: done`)).toBe(true)
  })
})
