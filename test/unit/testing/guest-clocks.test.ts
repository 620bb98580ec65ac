/** Clocks that are set wrong, in binary guests of each kind: what their kernels read, and when their timers come. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { Domain } from '../../../src/index.ts'
import { testHost, type FaultSpec, type TestHost } from '../../../src/testing/index.ts'
import { buildMini } from '../../support/build-mini.ts'

const KINDS = (['pv64', 'pv32', 'pvh'] as const).map((kind) => ({ kind, ...buildMini(kind) }))
const SECOND = 1e9
/** Instructions a second of a host on which seconds of computing cost little. */
const SLOWLY = 2e7

/** What the guest's clock shows, in seconds. */
async function shown(domain: Domain): Promise<number> {
  await domain.console.write('time\r')
  const { match } = await domain.console.expect(/time: (\d+) ns/, { timeout: '5s' })
  return Number(match[1]) / SECOND
}

/** The kernel, at its prompt. */
async function start(host: TestHost, { kind, path }: { readonly kind: string; readonly path: string }): Promise<Domain> {
  const domain = await host.createDomain({ name: kind, type: kind === 'pvh' ? 'pvh' : 'pv', memory: 8, kernel: readFileSync(path) })
  await domain.console.expect('mini> ', { timeout: '5s' })
  return domain
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
  ])(`has %s${reason === undefined ? '' : ` (SKIPPED: ${reason})`}`, async (_, fault, expected) => {
    await testHost({ memory: 64, faults: [] }, async (host) => {
      const domain = await start(host, { kind, path: path! })
      const passed = await passing(host, domain, fault)
      expect(passed.guest).toBeCloseTo(expected(passed), 1)
      // Its timers come when its clock says so.
      await domain.console.write('ticks 3\r')
      await domain.console.expect(/tick 3 at \d+ ms/, { timeout: '2s' })
      expect(domain.crash).toBeUndefined()
    })
  })

  test.skipIf(path === undefined).each<[string, FaultSpec, number]>([
    ['a drift forwards', { fault: 'clock-drift', partsPerMillion: 250_000 }, 0.8],
    ['a drift backwards', { fault: 'clock-drift', partsPerMillion: -250_000 }, 4 / 3],
    ['a slew forwards and behind its end', { fault: 'clock-slew', by: 25e7, over: '500ms' }, 0.75],
    ['a slew backwards and behind its end', { fault: 'clock-slew', by: -5e8, over: '1s' }, 1.5],
  ])(`that computes for a second of its own under %s needs what that is, and its timers come when they are due${reason === undefined ? '' : ` (SKIPPED: ${reason})`}`, async (_, fault, seconds) => {
    await testHost({ memory: 64, faults: [], instructionsPerSecond: SLOWLY }, async (host) => {
      const domain = await start(host, { kind, path: path! })
      const began = host.now()
      host.faults.add({ domain: domain.id, ...fault })
      await domain.console.write('spin 1000\r')
      const { match } = await domain.console.expect(/spin: \d+ rounds, (\d+) upcalls/, { timeout: '5s' })
      expect((host.now() - began) / SECOND).toBeCloseTo(seconds, 1)
      // One every 10 ms of its own, and the tick of a vCPU that runs, every 10 ms of the host's.
      expect(Number(match[1])).toBeGreaterThan(95)
      expect(Number(match[1])).toBeLessThan(105 + 100 * seconds)
    })
  })
})
