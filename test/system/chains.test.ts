/**
 * Chains of hashes, a link behind every so many instructions: what is done twice is the same twice - a migration between two hosts, XenStore
 * under load, guests of each kind -, from the start or from a moment in the middle, in a branch, compiled or not; and where a run is led
 * astray, the chain says when and where. With CHAINS=FOLDER the first run keeps its chains there, and later ones, of other versions of
 * Node or on other machines, are held against them.
 */
import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { chainDifference, type ChainLink, type ChainOptions, type Host, type Moment } from '../../src/toolstack/index.ts'
import { insidesOf } from '../../src/toolstack/host/host.ts'
import { buildMini } from '../support/build-mini.ts'
import { chainAgain, chainOf, differenceAcross, elsewhere, type Act } from '../support/chains.ts'
import { bootSmall, KIND_LINKS, kindHost, kindLoad, migrationChains, STORE_LINKS, storeHost, storeLoad, type Boot } from '../support/small-chains.ts'

const hosts: Host[] = []
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

const boot: Boot = async (options) => {
  const host = await bootSmall(options)
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

describe('a chain', () => {
  test('of XenStore under load is the same twice, from a moment in the middle, in a branch and in one that compiles', { timeout: 60_000 }, async () => {
    const host = await storeHost(boot, ['one', 'two'])
    const begin = await host.checkpoint()
    const [whole, load] = [STORE_LINKS, storeLoad]
    const first = await chainAgain(host, begin, whole, load)
    expect(differenceAcross('store', first)).toBeUndefined()
    expect(new Set(first.map(({ parts }) => parts['xenstore.store'])).size).toBeGreaterThan(8)
    expect(chainDifference(first, await chainAgain(host, begin, whole, load))).toBeUndefined()
    for (const moment of [begin, await elsewhere(begin, { compiler: { samples: 1, slice: 500 } }), await elsewhere(begin, { compiler: 'off' })]) {
      expect(chainDifference(first, await chainFrom(moment, whole, load))).toBeUndefined()
    }
  })

  test('is the same from a moment that was taken on the way, and says when and where a run was led astray', { timeout: 60_000 }, async () => {
    const host = await storeHost(boot, ['one'])
    const begin = await host.checkpoint()
    const [half, load] = [{ ...STORE_LINKS, links: 6 }, storeLoad]
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
    const runs = [await migrationChains(boot), await migrationChains(boot)]
    expect(differenceAcross('migration', runs[0]![0]!)).toBeUndefined()
    for (const which of [0, 1]) expect(chainDifference(runs[0]![which]!, runs[1]![which]!)).toBeUndefined()
  })

  const pv32 = buildMini('pv32')

  test.each([
    ['PVH', undefined], ...(pv32.reason === undefined ? [['32-bit PV', pv32.path] as const] : []),
  ] as const)(`of a %s guest is the same brought back, in a branch and from a file${pv32.reason === undefined ? '' : ` (32 bits SKIPPED: ${pv32.reason})`}`, { timeout: 60_000 }, async (kind, path) => {
    const host = await kindHost(boot, kind, path === undefined ? undefined : readFileSync(path))
    const moment = await host.checkpoint()
    const [links, act] = [KIND_LINKS, kindLoad]
    const first = await chainAgain(host, moment, links, act)
    expect(differenceAcross(kind, first)).toBeUndefined()
    expect(chainDifference(first, await chainAgain(host, moment, links, act))).toBeUndefined()
    for (const from of [moment, await elsewhere(moment, { compiler: { samples: 1, slice: 500 } })]) {
      expect(chainDifference(first, await chainFrom(from, links, act))).toBeUndefined()
    }
  })
})
