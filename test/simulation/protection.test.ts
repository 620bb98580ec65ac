/** A share of the histories of protected domains: one of each fault. More: `npm run simulate:remus -- --seeds 10000`. */
import { expect, test } from 'vitest'
import { FAULTS, protectionHistory } from './protection.ts'

const SEEDS = Number(process.env['REMUS_SEEDS'] ?? FAULTS.length)

test('whatever happens to one host or to the wire, an observer outside sees no effect lost and none doubled, and the survivor\'s disk is that of an epoch', { timeout: 600_000 }, async () => {
  const survivors = new Set<string>()
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const { violations, survivor, fault, answeredAfter } = await protectionHistory(seed)
    expect(violations, `seed ${seed}, ${fault}`).toEqual([])
    expect(answeredAfter).toBeGreaterThan(0)
    survivors.add(survivor)
  }
  expect([...survivors].sort()).toEqual(['primary', 'standby'])
})
