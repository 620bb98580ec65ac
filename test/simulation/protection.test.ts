/** A share of the histories of protected domains: one of each fault, over wires that tear between pieces and such that do not. More: `npm run simulate:remus -- --seeds 10000`. */
import { expect, test } from 'vitest'
import { FAULTS, GAPS, protectionHistory } from './protection.ts'

/** Faults follow each other from seed to seed, gaps of the wire from round to round of them. */
const seeds = FAULTS.map((_, i) => i + 1 + FAULTS.length * (i % GAPS.length))

test('whatever happens to one host or to the wire, an observer outside sees no effect lost and none doubled, and the survivor\'s disk is that of an epoch', { timeout: 600_000 }, async () => {
  const survivors = new Set<string>()
  for (const seed of seeds) {
    const { violations, survivor, fault, answeredAfter } = await protectionHistory(seed)
    expect(violations, `seed ${seed}, ${fault}`).toEqual([])
    expect(answeredAfter).toBeGreaterThan(0)
    survivors.add(survivor)
  }
  expect([...survivors].sort()).toEqual(['primary', 'standby'])
})
