import { beforeAll, describe, expect, test } from 'vitest'
import { Host, type Moment } from '../../../../src/toolstack/index.ts'
import { explore, Replay, Runner, type ExploreOptions, type ExploreWorkers, type RunBody, type Scenario } from '../../../../src/testing/index.ts'
import { careful, careless, emptyHost } from '../../../support/explore/counter.ts'

let from: Moment<Host>
beforeAll(async () => { from = await emptyHost() })

/** Several workers in one thread, each with its own runner, of which any may be behind. */
const several = (count: number): ExploreWorkers => ({
  start: async ({ scenario, moment }) => Array.from({ length: count }, (_, number) => {
    const runner = new Runner(scenario, moment)
    return {
      run: async (plan) => {
        for (let turn = 0; turn < number * 20; turn += 1) await new Promise((resolve) => setImmediate(resolve))
        return runner.run(plan)
      },
      end: () => runner.end(),
    }
  }),
})

describe('exploring', { timeout: 60_000 }, () => {
  test('finds a race that a plain run does not show, narrows it, and makes it again to the last bit', async () => {
    const found = await explore(careless, { from, runs: 40 })
    const { narrowed, plan, replay } = found.failure!
    expect(plan.index).toBeGreaterThan(0)
    expect(found.failure!.failure).toMatchObject({ kind: 'property', message: 'always: every count is kept' })
    expect(narrowed!.runs).toBeLessThanOrEqual(2 * Math.ceil(Math.log2(narrowed!.of)) + 10)
    expect(narrowed!.deciding).toBe(narrowed!.plan.window.to - 1)
    expect(narrowed!.passing!.failure).toBeUndefined()
    expect(narrowed!.failing.marked!.text).toMatch(/^(d\dv0 (is preempted, d\dv0 runs|goes on) for \d+ ns|a timer comes \d+ ns late)$/)
    expect(found.text().split('\n').length).toBeLessThanOrEqual(20)
    expect(found.text()).toContain('again: npx paravirt replay careless.pvr')
    expect(() => found.assertPassed()).toThrow('every count is kept')

    const file = replay!.encode()
    expect(file.length).toBeLessThan(100_000)
    const again = await Replay.read(file).run({ ...careless, from })
    expect(again).toMatchObject({ same: true, divergence: undefined, failure: { message: 'always: every count is kept' } })
    const other = await Replay.read(file).run({ ...careful, from })
    expect(other.same).toBe(false)
    expect(other.divergence).toMatch(/^(intervention|input|in the end)/)
    await expect(Replay.read(file).run({ body: careless.body })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    const [first] = Object.keys(replay!.data.moment!)
    const elsewhere = new Replay({ ...replay!.data, moment: { ...replay!.data.moment, [first!]: 'other' } })
    expect((await elsewhere.run({ ...careless, from })).divergence).toBe(`the moment is another: ${first}`)
  })

  test('finds the same whoever runs, and another with another seed', async () => {
    const results = []
    for (const workers of [several(1), several(3)]) results.push(JSON.stringify(await explore(careless, { from, runs: 40, workers })))
    expect(results[1]).toBe(results[0])
    expect(JSON.stringify(await explore(careless, { from, runs: 40, seed: 2 }))).not.toBe(results[0])
  })

  test('lets what is right be, and tells what was never seen', async () => {
    const indices: number[] = []
    const found = await explore(careful, { from, runs: 12, onRun: ({ index }) => indices.push(index) })
    expect([found.passed, found.runs, found.unseen]).toEqual([true, 12, ['more is there than was counted']])
    expect(found.properties.find(({ message }) => message === 'a guest is done')).toMatchObject({ kind: 'sometimes', held: 26 })
    expect(indices).toEqual(Array.from({ length: 13 }, (_, index) => index))
    expect(found.text()).toBe('passed: careful, 12 runs from seed 1\n  never seen: more is there than was counted')
    found.assertPassed()
  })

  test('finds what does not stand a fault, by the fault that decides', async () => {
    const found = await explore(careful, { from, runs: 20, faults: [{ fault: 'store-quota', probability: 0.1 }] })
    const { failure, narrowed, replay } = found.failure!
    expect(failure).toMatchObject({ kind: 'crashed', message: expect.stringMatching(/^domain (one|two) has crashed$/) })
    expect(narrowed!.failing.marked).toMatchObject({ what: 'fault', text: expect.stringMatching(/^store-quota/) })
    const file = Replay.read(replay!.encode())
    expect(file.data.run.faults).toEqual([{ fault: 'store-quota', probability: 0.1 }])
    expect(await file.run({ ...careful, from })).toMatchObject({ same: true, failure: { kind: 'crashed' } })
  })

  test('repeats on a host that is brought back in place, as on one that was branched', async () => {
    const host = await Host.boot({ memory: 48, dom0Memory: 16 })
    await (await host.createDomain({ name: 'mini', memory: 8 })).console.waitFor('tick 3')
    const shell = await host.checkpoint()
    await host.shutdown()
    const body: RunBody = async (run) => {
      const { console } = run.host.domain('mini')
      await console.write('mem\r')
      const [text] = await console.waitFor(/memory: .*\n/)
      run.always(text.includes(' 0 frames disagree') && run.seed % 2 === 0, 'its memory is as it left it, and the seed is even')
    }
    const found = await explore(body, { from: shell, runs: 8, seed: 4, narrow: false })
    expect(found.failure?.failure.kind).toBe('property')
    const again = await Replay.read(found.failure!.replay!.encode()).run({ from: shell })
    expect(again).toMatchObject({ same: true, divergence: undefined, failure: undefined })
  })

  test('tells of a failure of the plain run that no intervention is needed, in text, as data and in a replay', async () => {
    const always: RunBody = ({ always: holds }) => holds(false, 'it holds')
    const found = await explore(always, { from, name: 'plain' })
    expect(found.failure!.plan).toMatchObject({ index: 0, strategy: 'plain' })
    expect(found.text()).toMatch(/^FAILED: plain, run 0 \(plain\) from seed 1\n {2}always: it holds\n[^]*it fails without any intervention; narrowed in \d+ runs?\n {2}again: npx paravirt replay plain\.pvr$/)
    const { failure } = JSON.parse(JSON.stringify(found)) as { failure: object }
    expect(failure).toMatchObject({ kind: 'property', run: 0, strategy: 'plain', window: { from: 0, to: 0 }, differs: [] })
    expect('deciding' in failure).toBe(false)
    expect(await Replay.read(found.failure!.replay!.encode()).run({ body: always, from })).toMatchObject({ same: true, failure: { kind: 'property' } })
  })

  test('ends with its budget', async () => {
    const found = await explore(careful, { from, budget: '1ms' })
    expect(found.passed).toBe(true)
    expect(found.runs).toBeLessThan(3)
  })
})

let earlier = 0
let calls = 0

describe('a body', { timeout: 60_000 }, () => {
  /** A guest that says a word each millisecond. */
  const ticking = async ({ host }: { readonly host: Host }): Promise<void> => {
    await host.createDomain({ name: 'ticks', memory: 4, kernel: async (kernel) => {
      for (;;) {
        await kernel.sleep('1ms')
        kernel.console!.log('tick')
      }
    } })
  }
  const limits = { time: '50ms' } as const

  test.each<[string, RunBody, Partial<Scenario>, object]>([
    ['throws', () => { throw new Error('no') }, {}, { kind: 'threw', message: 'no', details: expect.stringContaining('explore.test.ts') }],
    ['rejects with what is no error', () => Promise.reject(7), {}, { kind: 'threw', message: '7' }],
    ['waits for what never comes', async (run) => { await ticking(run); await run.host.domain('ticks').console.waitFor('tock') }, { limits }, { kind: 'endless' }],
    ['waits for nothing', async (run) => { await ticking(run); await new Promise(() => undefined) }, { limits }, { kind: 'endless', message: expect.stringContaining('within 0.05 s of host time') }],
    ['waits on a host on which nothing can happen', ({ host }) => host.until('the moon', () => false), { host: { idle: '20ms' } }, { kind: 'threw', message: expect.stringContaining('the moon') }],
    ['spends instructions without end', async (run) => { await ticking(run); await new Promise(() => undefined) }, { limits: { instructions: 100_000 } }, { kind: 'endless' }],
    ['leaves something behind that rejects', () => { void Promise.resolve().then(() => Promise.reject(new Error('late'))) }, {}, { kind: 'rejected late', message: 'late' }],
    ['has a timer that throws', async ({ host }) => { setTimeout(() => { throw new Error('in a timer') }, 0); await host.until('the moon', () => false) }, {}, { kind: 'threw late', message: 'in a timer', details: expect.stringContaining('explore.test.ts') }],
    ['crashes a domain', async ({ host }) => {
      await host.createDomain({ name: 'bad', memory: 4, kernel: () => { throw new Error('oops') } })
      await host.until('a while', () => false, { timeout: '1ms' }).catch(() => undefined)
    }, {}, { kind: 'crashed', message: 'domain bad has crashed' }],
    ['finds that nothing comes about', async ({ eventually, quiet, host }) => { await ticking({ host }); quiet(); await eventually(() => false, 'peace', { within: '5ms' }) }, {}, { kind: 'property', message: 'eventually: peace' }],
  ])('that %s has failed', async (_, body, more, expected) => {
    const found = await explore(body, { ...(more.host === undefined ? { from } : {}), runs: 2, narrow: false, ...more } as ExploreOptions)
    expect(found.failure?.failure).toMatchObject(expected)
    expect(found.runs).toBe(0)
  })

  test('is told which faults had nothing to fire at in any run', async () => {
    const faults = [{ fault: 'hypercall-error', hypercall: 'event_channel_op', domain: 'nobody' }]
    const found = await explore(async (run) => {
      await ticking(run)
      await run.host.domain('ticks').console.waitFor('tick')
    }, { from, runs: 1, faults })
    expect(found.unmet).toEqual(faults)
    expect(found.text()).toContain('no opportunity for hypercall-error of domain nobody')
  })

  test.each<[string, RunBody]>([
    ['the wall clock', ({ host }) => { host.store.write('/tool/now', String(performance.now())) }],
    ['what an earlier run has left behind', ({ host }) => { host.store.write('/tool/runs', String(earlier += 1)) }],
  ])('that depends on %s is told by the part in which two runs differ', async (_, body) => {
    const found = await explore(body, { from, runs: 1 })
    expect(found.failure?.failure).toMatchObject({ kind: 'not repeatable', message: expect.stringMatching(/gave another result: .*xenstore.* differs/) })
    expect(found.failure?.replay).toBeUndefined()
  })

  test('that fails by what earlier runs have left behind is no finding of a schedule', async () => {
    const found = await explore(({ always }) => always((calls += 1) < 2, 'it is the first'), { from, runs: 2 })
    expect(found.failure).toMatchObject({
      failure: { kind: 'not repeatable', details: 'it had failed before: always: it is the first' }, narrowed: undefined, replay: undefined,
    })
  })

  test('may boot further hosts, which are shut down behind it', async () => {
    const hosts: Host[] = []
    const found = await explore(async ({ host, boot, reachable }) => {
      const other = await boot({ memory: 32, dom0Memory: 8 })
      hosts.push(host, other)
      await other.createDomain({ name: 'here', memory: 4, kernel: (kernel) => kernel.shutdown('poweroff') })
      reachable('both are there')
    }, { from, runs: 1 })
    expect([found.passed, found.unseen]).toEqual([true, []])
    for (const host of hosts) await expect((async () => host.createDomain({ name: 'late' }))()).rejects.toMatchObject({ code: 'CLOSED' })
  })
})

test.each<[string, unknown, object]>([
  ['a body that is none', 7, {}],
  ['an unknown option', () => undefined, { stratgy: 'pct' }],
  ['an unknown strategy', () => undefined, { strategy: 'brute' }],
  ['runs below none', () => undefined, { runs: -1 }],
  ['a budget that is no time', () => undefined, { budget: 'long' }],
  ['a seed that is none', () => undefined, { seed: 1.5 }],
  ['a fault that names nothing', () => undefined, { faults: [{ fault: 'disk-eror' }] }],
  ['a fault with code in it', () => undefined, { faults: [{ fault: 'disk-error', when: () => true }] }],
  ['limits that are none', () => undefined, { limits: { time: 'long' } }],
])('%s is refused', async (_, body, options) => {
  await expect(explore(body as RunBody, options)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
})
