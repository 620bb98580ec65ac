/** Clocks that are set wrong, in binary guests of each kind: what their kernels read, and when their timers come. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { Domain } from '../../../src/index.ts'
import { testHost, type FaultSpec, type TestHost } from '../../../src/testing/index.ts'
import { buildMini } from '../../support/build-mini.ts'

const KINDS = (['pv64', 'pv32', 'pvh'] as const).map((kind) => ({ kind, ...buildMini(kind) }))
const SECOND = 1e9

/** What the guest's clock shows, in seconds. */
async function shown(domain: Domain): Promise<number> {
  await domain.console.write('time\r')
  const { match } = await domain.console.expect(/time: (\d+) ns/, { timeout: '5s' })
  return Number(match[1]) / SECOND
}

/** How much later host and guest have it while 2 s pass, with a fault at their beginning. */
async function passing(host: TestHost, domain: Domain, fault: FaultSpec): Promise<{ readonly host: number; readonly guest: number }> {
  const [before, began] = [await shown(domain), host.now()]
  host.faults.add({ domain: domain.id, ...fault })
  await host.advance('2s')
  return { guest: await shown(domain) - before, host: (host.now() - began) / SECOND }
}

describe.each(KINDS)('a guest in C, $kind', { timeout: 30_000 }, ({ kind, path, reason }) => {
  test.skipIf(path === undefined).each<[string, FaultSpec, (passed: { readonly host: number; readonly guest: number }) => number]>([
    ['a jump', { fault: 'clock-jump', by: '5s' }, ({ host }) => host + 5],
    ['a drift', { fault: 'clock-drift', partsPerMillion: 250_000 }, ({ host }) => host * 1.25],
    ['a slew', { fault: 'clock-slew', by: -5e8, over: '1s' }, ({ host }) => host - 0.5],
  ])(`has %s${reason ?? ''}`, async (_, fault, expected) => {
    await testHost({ memory: 64, faults: [] }, async (host) => {
      const domain = await host.createDomain({ name: kind, type: kind === 'pvh' ? 'pvh' : 'pv', memory: 8, kernel: readFileSync(path!) })
      await domain.console.expect('mini> ', { timeout: '5s' })
      const passed = await passing(host, domain, fault)
      expect(passed.guest).toBeCloseTo(expected(passed), 1)
      // Its timers come when its clock says so.
      await domain.console.write('ticks 3\r')
      await domain.console.expect(/tick 3 at \d+ ms/, { timeout: '2s' })
      expect(domain.crash).toBeUndefined()
    })
  })
})
