/** What happens in a fleet, as its users hear it: from any revision that is kept, each change once. */
import { expect, test } from 'vitest'
import { Fleet, memoryStore, type FleetEvent } from '../../../src/fleet/index.ts'

/** So many events from a revision on. */
async function take(fleet: Fleet, count: number, from: number): Promise<FleetEvent[]> {
  const taken: FleetEvent[] = []
  for await (const event of fleet.events({ from })) if (taken.push(event) === count) break
  return taken
}

test('who was away goes on behind the revision that it heard last, and misses nothing', async () => {
  const store = memoryStore()
  const fleet = new Fleet({ store })
  for (const name of ['a', 'b', 'c']) await fleet.define({ name, memory: 8 })
  await fleet.stop('a')
  await fleet.remove('b')
  await fleet.drain('anna')
  const all = await take(fleet, 6, 1)
  expect(all.map(({ type }) => type)).toEqual(['domain-defined', 'domain-defined', 'domain-defined', 'domain-defined', 'domain-removed', 'drain-begun'])
  expect(all[3]).toMatchObject({ domain: 'a', wanted: 'stopped' })
  for (let heard = 1; heard < all.length; heard += 1) {
    const before = await take(fleet, heard, 1)
    expect([...before, ...await take(fleet, all.length - heard, before.at(-1)!.revision + 1)]).toEqual(all)
  }
  // Who was away for too long is told, and reads the state.
  store.compact(store.revision)
  await expect(take(fleet, 1, 1)).rejects.toMatchObject({ code: 'COMPACTED' })
  expect([...(await fleet.state()).domains.keys()]).toEqual(['a', 'c'])
  store.close()
})
