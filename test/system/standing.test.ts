/** Runs that stand in their midst: guests come to the same state, wherever and however often they stood. */
import { describe, expect, test } from 'vitest'
import type { Host } from '../../src/index.ts'
import { DrivenHost } from '../../src/toolstack/index.ts'
import { hostsOfTests } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 48, dom0Memory: 16, seed: 5, bootTime: new Date(0) })

/** Boots a guest and has it count, on a host that stands behind every so many instructions of the second half; a hash of all of it. */
async function counted(type: 'pv' | 'pvh', every: number | undefined): Promise<{ readonly hash: string; readonly stood: number }> {
  const host: Host = await boot()
  const domain = await host.createDomain({ name: 'mini', memory: 8, vcpus: 2, type })
  await domain.console.waitFor('mini> ')
  const driven = await DrivenHost.hold(host)
  void domain.console.write('hot 40\r')
  const end = driven.executed + 300_000
  let stood = 0
  while (driven.executed < end) {
    const stand = every === undefined ? end - driven.executed : Math.min(every, end - driven.executed)
    if ((await driven.drive({ stand, isOver: () => driven.executed >= end })) !== undefined) stood += 1
  }
  const hash = JSON.stringify({ executed: driven.executed, now: host.now(), ...host.hypervisor.stateHashes() })
  driven.release()
  return { hash, stood }
}

describe.each(['pv', 'pvh'] as const)('%s', (type) => {
  test.each([997, 40_000])('that stands behind every %i instructions', { timeout: 30_000 }, async (every) => {
    const [plain, cut] = [await counted(type, undefined), await counted(type, every)]
    expect(cut.stood).toBeGreaterThan(100_000 / every)
    expect(cut.hash).toBe(plain.hash)
  })
})

test('a host that stands in the midst of a run is neither saved nor checkpointed, and goes on', async () => {
  const host = await boot()
  const domain = await host.createDomain({ name: 'mini', memory: 8 })
  await domain.console.waitFor('mini> ')
  const driven = await DrivenHost.hold(host)
  void domain.console.write('echo on it goes\r')
  expect(await driven.drive({ stand: 5000, isOver: () => false })).toMatchObject({ kind: 'standing', isStopped: false })
  await expect(host.checkpoint()).rejects.toMatchObject({ code: 'BUSY' })
  expect(() => host.hypervisor.save()).toThrow(expect.objectContaining({ code: 'BUSY' }))
  driven.release()
  await domain.console.waitFor(/^on it goes$/)
  await host.checkpoint()
})
