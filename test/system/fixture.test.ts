/** Fixtures: built once, loaded from a cache from then on, built anew where the cache holds something else. */
import { mkdtempSync, readdirSync, rmSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { folderCache } from '../../src/node/index.ts'
import { fixture, type Fixture } from '../../src/testing/index.ts'
import { Host } from '../../src/toolstack/index.ts'

const folder = mkdtempSync(join(tmpdir(), 'paravirt-fixture-'))
const hosts: Host[] = []
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

test('a fixture is built once, and each host of it begins there', { timeout: 30_000 }, async () => {
  let built = 0
  const make = (input: string): Fixture => fixture('mini', async () => {
    built += 1
    const host = await Host.boot({ memory: 32, dom0Memory: 8 })
    await (await host.createDomain({ name: 'one', memory: 8 })).console.waitFor('mini> ')
    return host
  }, { cache: folderCache(folder), inputs: [input] })
  const answer = async (from: Fixture): Promise<void> => {
    const host = await from.host()
    hosts.push(host)
    await host.domain('one').console.write('echo here\r')
    await host.domain('one').console.waitFor(/^here$/)
  }
  const first = make('a')
  await answer(first)
  await answer(first)
  await answer(make('a'))
  expect([built, readdirSync(folder).length]).toEqual([1, 1])
  await answer(make('b'))
  expect([built, readdirSync(folder).length]).toEqual([2, 2])
  // What is not whole is built anew.
  for (const name of readdirSync(folder)) truncateSync(join(folder, name), 10_000)
  await answer(make('a'))
  expect([built, readdirSync(folder).length]).toEqual([3, 2])
  rmSync(folder, { recursive: true })
})
