/** A host saved in the midst of traffic: two binary guests exchange frames by a bridge, each with a transaction open in XenStore. */
import { readFileSync } from 'node:fs'
import { afterEach, expect, test } from 'vitest'
import type { HostOptions } from '../../src/toolstack/index.ts'
import { HostPair } from '../support/host-pair.ts'
import { hostsOfTests } from '../support/mini.ts'
import { buildNetfront } from '../support/netfront.ts'

const OPTIONS: HostOptions = { memory: 48, dom0Memory: 16, seed: 7, cpus: 2 }
const boot = hostsOfTests(OPTIONS)
const pairs: HostPair[] = []
afterEach(async () => {
  for (const pair of pairs.splice(0)) await pair.end()
})

const built = buildNetfront()
const NAMES = ['one', 'two']

test.skipIf(built.path === undefined)(`frames and transactions go on in a new host, and none is lost or doubled${built.reason === undefined ? '' : ` (SKIPPED: ${built.reason})`}`, { timeout: 60_000 }, async () => {
  const host = await boot()
  const kernel = readFileSync(built.path!)
  const domains = [await host.createDomain({ name: 'one', memory: 4, kernel, nics: [''] }), await host.createDomain({ name: 'two', memory: 4, kernel, nics: [''] })]
  for (const domain of domains) await domain.console.waitFor('netfront: connected')
  for (const { id } of domains) host.store.write(`/local/domain/${id}/data/go`, '1')
  await domains[1]!.console.waitFor('netfront: 100')

  const pair = await HostPair.of(host, OPTIONS)
  pairs.push(pair)
  await pair.same()
  for (const each of [host, pair.copy]) {
    expect(NAMES.map((name) => /\d sent/.test(each.domain(name).console.text()))).toEqual([false, false])
    expect(domains.map(({ id }) => each.store.exists(`/local/domain/${id}/data/begun`))).toEqual([false, false])
  }
  await pair.run(1_000_000)
  await pair.same()
  await pair.until((each) => NAMES.every((name) => each.domain(name).console.text().includes('doubled')))
  await pair.same()
  for (const name of NAMES) {
    expect(pair.text(name)).toContain('netfront: commit OK')
    expect(pair.text(name)).toContain('netfront: 600 sent, 600 received, 0 lost, 0 doubled')
  }
  for (const { id } of domains) expect(pair.copy.store.read(`/local/domain/${id}/data/ended`)).toBe('1')
  expect(pair.copy.hypervisor.checkInvariants()).toEqual([])
})
