/**
 * Random histories: whatever a host has been through since, a moment that it comes back to is that moment, part by part and page by
 * page, and goes on as it did, whether it could be brought back in place or was stood up anew.
 */
import { afterEach, expect, test } from 'vitest'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { insidesOf } from '../../src/toolstack/host/host.ts'
import type { Host, Moment } from '../../src/toolstack/index.ts'
import { SeededRandom, below } from '../../src/util/index.ts'
import { hostsOfTests } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 48, dom0Memory: 8, seed: 7, cpus: 2, openDisk: () => new MemoryBlockStore(1 << 16) })

const branches: Host[] = []
afterEach(async () => {
  for (const branch of branches.splice(0)) await branch.shutdown()
})

const LINES = ['echo word\r', 'mem\r', 'store\r', '\r', 'help\r']

/** Lets a host run for so many instructions, and stand again. */
async function run(host: Host, instructions: number): Promise<void> {
  const { loop } = insidesOf(host).parts
  const goOn = await loop.halt()
  await loop.step(instructions)
  goOn()
}

let named = 0

/** Something that happens to a host. */
async function happen(host: Host, random: SeededRandom, round: number): Promise<void> {
  const [first] = host.domains()
  switch (below(random, 8)) {
    case 0: case 1: case 2: return run(host, 1 + below(random, 300_000))
    case 3: case 4: {
      void first!.console.write(LINES[below(random, LINES.length)]!).catch(() => undefined)
      return run(host, 1 + below(random, 2_000_000))
    }
    case 5: {
      void first!.console.waitFor('never').catch(() => undefined)
      if (below(random, 4) === 0) host.store.write(`/tool/round-${below(random, 3)}`, String(round))
      return run(host, 1000)
    }
    case 6: {
      first!.pause()
      await run(host, 10_000)
      return first!.unpause()
    }
    default: {
      if (below(random, 3) !== 0) return run(host, 50_000)
      if (host.domains().length > 2) return host.domains().at(-1)!.destroy()
      await host.createDomain({ name: `more-${named++}`, memory: 4, ...(below(random, 2) === 0 ? {} : { nics: [''] }) })
    }
  }
}

test.each([
  ['pv', 3], ['pvh', 5],
] as const)('of %s guests: every moment is come back to as it was', { timeout: 120_000 }, async (type, seed) => {
  const random = new SeededRandom(seed)
  const host = await boot()
  const domain = await host.createDomain({ name: 'one', type, memory: 8, disks: type === 'pv' ? [{ target: 'a', vdev: 'xvda' }] : [] })
  await domain.console.waitFor('mini> ')
  const moments: Moment<Host>[] = [await host.checkpoint()]
  const ways = { inPlace: 0, anew: 0 }
  for (let round = 0; round < 40; round += 1) {
    for (let i = below(random, 3); i >= 0; i -= 1) await happen(host, random, round)
    if (below(random, 4) === 0) moments.push(await host.checkpoint())
    if (below(random, 2) !== 0) continue
    const moment = moments[below(random, moments.length)]!
    const before = host.hypervisor
    await host.reset(moment)
    // Nothing has run yet: whoever has waited for it comes first.
    expect(host.now()).toBe(moment.time)
    ways[host.hypervisor === before ? 'inPlace' : 'anew'] += 1
    expect(await host.stateHash()).toEqual(moment.hashes())
    expect(host.hypervisor.checkInvariants()).toEqual([])
    // And goes on as a host that was stood up from it.
    if (below(random, 4) !== 0) continue
    const hashes = []
    const goOn = [await insidesOf(host).parts.loop.halt()]
    const branch = await moment.branch()
    branches.push(branch)
    goOn.push(await insidesOf(branch).parts.loop.halt())
    for (const each of [host, branch]) {
      await insidesOf(each).parts.loop.step(400_000)
      hashes.push(await each.stateHash())
    }
    for (const each of goOn) each()
    expect(hashes[0]).toEqual(hashes[1])
  }
  expect(Object.values(ways).every((count) => count > 3)).toBe(true)
})
