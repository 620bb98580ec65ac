/**
 * Eight programs with a planted bug each, in Debian's Linux on two and four vCPUs: every one is found within 64 schedules, narrowed and replayed by
 * its body and by its inputs; from other seeds, too; put right, they survive. A thousand schedules each: `npm run explore:planted`.
 */
import { beforeAll, describe, expect, test } from 'vitest'
import { explore, Replay, type Scenario } from '../../src/testing/index.ts'
import type { Host, Moment } from '../../src/toolstack/index.ts'
import { planted, PLANTED, plantedLinux } from '../support/explore/planted.ts'
import { whyMissing } from '../support/guests.ts'
import { LINUX_FILES } from '../support/linux.ts'

const missing = whyMissing(...LINUX_FILES)
const PATIENCE = 400_000
/** Runs of what is right. */
const SHARE = 12
/** Starts of which one has a plain run that is right: a kernel of another release shows a bug in one or the other, and then nothing is narrowed. */
const STARTS = [0, 1, 2, 3]
/** Seeds beside the first from which each is found. */
const SEEDS = [2, 3, 5]

describe.skipIf(missing !== undefined).each([2, 4])(`planted bugs on %i vCPUs${missing ?? ''}`, { timeout: PATIENCE }, (vcpus) => {
  let from: Moment<Host>
  beforeAll(async () => { from = await plantedLinux(vcpus) }, PATIENCE)

  /** The test, begun where a usual run does not show the bug. */
  async function unseen(name: string): Promise<Scenario> {
    for (const spaces of STARTS) {
      const test = planted(name, from, spaces)
      if ((await explore(test, { runs: 0, narrow: false })).passed) return test
    }
    throw new Error(`${name}: the plain run fails wherever it begins`)
  }

  test.each(PLANTED)('%s is found, narrowed and replayed', async (name) => {
    const test = await unseen(name)
    const found = await explore(test, { runs: 64 })
    expect(found.failure?.failure).toMatchObject({ kind: 'property', message: `always: ${name} is right` })
    const { narrowed, replay } = found.failure!
    expect(narrowed!.runs).toBeLessThanOrEqual(2 * Math.ceil(Math.log2(narrowed!.of)) + 10)
    expect(narrowed!.passing!.failure).toBeUndefined()
    expect(found.text()).toMatch(/deciding: intervention \d+ of \d+/)
    expect(found.text().split('\n').length).toBeLessThanOrEqual(20)
    const file = replay!.encode()
    expect(file.length).toBeLessThan(100_000)
    expect(await Replay.read(file).run({ ...test })).toMatchObject({ same: true, failure: { kind: 'property' } })
    expect(await Replay.read(file).run({ from })).toMatchObject({ same: true })
  })

  test.each(PLANTED)('%s is found from any seed', async (name) => {
    const found = []
    for (const seed of SEEDS) found.push((await explore(planted(name, from), { runs: 64, seed, narrow: false })).failure?.failure.kind)
    expect(found).toEqual(SEEDS.map(() => 'property'))
  })

  test.each(PLANTED)('%s put right survives', async (name) => {
    const found = await explore(planted(`${name}-fixed`, from), { runs: SHARE })
    found.assertPassed()
  })

  test('functions of the stock kernel have names, without symbols being given', async () => {
    const host = await from.branch()
    const { user: { rip } } = host.hypervisor.getVcpuContext(host.domain('linux').id, 0)
    // It waits at its prompt.
    expect(host.symbolAt('linux', Number(BigInt.asIntN(64, rip)))).toBe('xen_hypercall_pv')
    expect(host.symbolAt('linux', 0x401000)).toBeUndefined()
    await host.shutdown()
  })

  test.each(['cpp', 'python'])('what the Antithesis SDK for %s writes to the console fails the run, and is told with its place', async (language) => {
    const found = await explore(async ({ host }) => {
      const { console } = host.domain('linux')
      await console.write(`cat /planted/${language}.jsonl > /dev/console; echo all said\r`)
      await console.waitFor(/\nall said\n/)
    }, { from, runs: 0, narrow: false })
    expect(found.failure?.failure).toMatchObject({
      kind: 'property', message: 'always: no acknowledged write is lost', details: expect.stringMatching(/^t\.(cpp:7|py:8), .*\n\{"index":17/s),
    })
  })
})
