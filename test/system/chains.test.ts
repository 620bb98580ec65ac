/**
 * Chains of hashes, a link behind every so many instructions: what is done twice is the same twice - a migration between two hosts, XenStore
 * under load, guests of each kind -, from the start or from a moment in the middle, in a branch, compiled or not; and where a run is led
 * astray, the chain says when and where. With CHAINS=FOLDER the first run keeps its chains there, and later ones, of other versions of
 * Node or on other machines, are held against them.
 */
import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { chainDifference, Host, transportPair, type ChainLink, type ChainOptions, type HostOptions, type Moment } from '../../src/toolstack/index.ts'
import { insidesOf } from '../../src/toolstack/host/host.ts'
import { buildMini } from '../support/build-mini.ts'
import { chainAgain, chainOf, differenceAcross, elsewhere, type Act } from '../support/chains.ts'

const OPTIONS: HostOptions = { memory: 48, dom0Memory: 8, seed: 7, cpus: 2 }

const hosts: Host[] = []
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

async function boot(options: HostOptions = {}): Promise<Host> {
  const host = await Host.boot({ ...OPTIONS, ...options })
  hosts.push(host)
  return host
}

/** The chain of a branch from its very beginning. */
async function chainFrom(moment: Moment<Host>, options: ChainOptions, act: Act): Promise<readonly ChainLink[]> {
  const host = await moment.branch()
  const found = await chainOf(host, options, act)
  hosts.push(host)
  return found
}

/** Both guests of a host read, list and write XenStore all the time, and so does the host. */
const load: Act = (host) => (link) => {
  for (const { id, console } of host.domains()) {
    void console.write(`write data/key${link % 5} value${link}\rls data\rread data/key${(link + id) % 5}\rls /local/domain\r`).catch(() => undefined)
  }
  host.store.write(`/tool/link-${link % 3}`, String(link))
}

describe('a chain', () => {
  test('of XenStore under load is the same twice, from a moment in the middle, in a branch and in one that compiles', { timeout: 60_000 }, async () => {
    const host = await boot()
    for (const name of ['one', 'two']) await (await host.createDomain({ name, memory: 4 })).console.waitFor('mini> ')
    const begin = await host.checkpoint()
    const whole = { every: 60_000, links: 16 }
    const first = await chainAgain(host, begin, whole, load)
    expect(differenceAcross('store', first)).toBeUndefined()
    expect(new Set(first.map(({ parts }) => parts['xenstore.store'])).size).toBeGreaterThan(8)
    expect(chainDifference(first, await chainAgain(host, begin, whole, load))).toBeUndefined()
    for (const moment of [begin, await elsewhere(begin, { compiler: { samples: 1, slice: 500 } }), await elsewhere(begin, { compiler: 'off' })]) {
      expect(chainDifference(first, await chainFrom(moment, whole, load))).toBeUndefined()
    }
  })

  test('is the same from a moment that was taken on the way, and says when and where a run was led astray', { timeout: 60_000 }, async () => {
    const host = await boot()
    await (await host.createDomain({ name: 'one', memory: 4 })).console.waitFor('mini> ')
    const begin = await host.checkpoint()
    const half = { every: 60_000, links: 6 }
    await chainOf(host, half, load)
    const middle = await host.checkpoint()
    const first = await chainAgain(host, middle, half, load)
    for (const moment of [middle, await elsewhere(middle, { compiler: { samples: 1 } })]) {
      expect(chainDifference(first, await chainFrom(moment, half, load))).toBeUndefined()
    }
    await host.reset(begin)
    expect(await host.stateHash()).toEqual(begin.hashes())
    const astray = await chainAgain(host, middle, half, () => (link) => {
      load(host)(link)
      if (link !== 3) return
      const { control, machine: { memory } } = insidesOf(host).parts
      const frame = control.domainFrames(host.domain('one').id)[900]!
      memory.bytes[frame * 4096]! ^= 1
      memory.markWritten(frame)
    })
    expect(chainDifference(first, astray)).toEqual({ link: 3, since: first[2]!.time, parts: ['memory'] })
    expect(chainDifference(first, first.slice(0, 2))).toMatchObject({ link: 2, since: first[1]!.time })
  })

  test('goes on alike at the other host behind a migration', { timeout: 60_000 }, async () => {
    const runs: (readonly ChainLink[])[][] = []
    for (let run = 0; run < 2; run += 1) {
      const [source, target] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
      const domain = await source.createDomain({ name: 'one', memory: 4 })
      await domain.console.waitFor('tick 3')
      const { ends } = transportPair()
      const [there] = await Promise.all([target.receiveMigration(ends[1]), domain.migrate(ends[0], { live: true })])
      await there.console.waitFor('mini: restored')
      const links = { every: 60_000, links: 6 }
      runs.push([
        await chainOf(target, links, () => () => void there.console.write('mem\r').catch(() => undefined)), await chainOf(source, links, () => () => undefined),
      ])
    }
    expect(differenceAcross('migration', runs[0]![0]!)).toBeUndefined()
    for (const which of [0, 1]) expect(chainDifference(runs[0]![which]!, runs[1]![which]!)).toBeUndefined()
  })

  const pv32 = buildMini('pv32')

  test.each([
    ['PVH', 'pvh', undefined], ...(pv32.reason === undefined ? [['32-bit PV', 'pv', pv32.path] as const] : []),
  ] as const)(`of a %s guest is the same brought back, in a branch and from a file${pv32.reason === undefined ? '' : ` (32 bits SKIPPED: ${pv32.reason})`}`, { timeout: 60_000 }, async (kind, type, path) => {
    const host = await boot()
    const kernel = path === undefined ? undefined : readFileSync(path)
    const domain = await host.createDomain({ name: 'one', type, memory: 8, vcpus: 1, ...(kernel === undefined ? {} : { kernel }) })
    await domain.console.waitFor('mini> ')
    const moment = await host.checkpoint()
    const links = { every: 100_000, links: 6 }
    const act: Act = (of) => (link) => void of.domain('one').console.write(link === 0 ? 'spin 1\rmem\r' : `echo ${link}\r`).catch(() => undefined)
    const first = await chainAgain(host, moment, links, act)
    expect(differenceAcross(kind, first)).toBeUndefined()
    expect(chainDifference(first, await chainAgain(host, moment, links, act))).toBeUndefined()
    for (const from of [moment, await elsewhere(moment, { compiler: { samples: 1, slice: 500 } })]) {
      expect(chainDifference(first, await chainFrom(from, links, act))).toBeUndefined()
    }
  })
})
