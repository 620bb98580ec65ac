import { describe, expect, test } from 'vitest'
import { MOST_LATE, SCHEDULER_NAMES, type Director } from '../../../../src/hypervisor/scheduler/index.ts'
import { TimerQueue } from '../../../../src/hypervisor/time/index.ts'
import { SeededRandom, below } from '../../../../src/util/index.ts'
import { hostsOfTests, startMini } from '../../../support/mini.ts'
import { MS, ScheduleRun } from '../../../support/schedule-run.ts'

const boot = hostsOfTests({ memory: 48, dom0Memory: 16 })

/** Picks any of those that may run, for any time up to a millisecond. */
function byChance(seed: number): Director & { readonly said: string[] } {
  const random = new SeededRandom(seed)
  const said: string[] = []
  return {
    said,
    decide: ({ candidates, now, cpu }) => {
      const vcpu = candidates[below(random, candidates.length)]!
      const until = now + 1 + below(random, MS)
      said.push(`${now} ${cpu} ${vcpu.domid}.${vcpu.vcpu} ${until}`)
      return { vcpu, until }
    },
  }
}

describe.each(SCHEDULER_NAMES)('a director over %s', (name) => {
  test('decides who runs and how long; none runs twice or where it may not, and no CPU idles', () => {
    const run = new ScheduleRun(name, 2)
    run.workConserving = name !== 'null'
    run.scheduler.direct(byChance(3))
    run.domain(1, [undefined, undefined, { run: 2 * MS, sleep: MS }])
    run.domain(2, [undefined])
    run.pin(run.vcpus[1]!, { hard: [1] })
    for (let step = 0; step < 500; step += 1) run.run(below(new SeededRandom(step), MS) + 1)
    const before = run.switches
    expect(before).toBeGreaterThan(name === 'null' ? 1 : 100)
    run.scheduler.direct(undefined)
    for (let cpu = 0; cpu < 2; cpu += 1) run.askLater(cpu)
    run.run(500 * MS)
    // The algorithm goes on from whatever was decided.
    expect(run.scheduler.save().kind).toBe(name)
  })
})

test('the same director has the same guests do the same, at every instruction that it names', { timeout: 60_000 }, async () => {
  const runs: string[] = []
  for (const seed of [1, 1, 2]) {
    const host = await boot({ seed: 7 })
    const director = byChance(seed)
    host.hypervisor.direct(director)
    const domain = await startMini(host)
    await host.createDomain({ name: 'other', memory: 8 })
    await domain.console.write('mem\r')
    await domain.console.waitFor(/0 frames disagree/)
    runs.push(`${host.hypervisor.stateHash()} ${director.said.join()}`)
    expect(host.hypervisor.checkInvariants()).toEqual([])
  }
  expect(runs[1]).toBe(runs[0])
  expect(runs[2]).not.toBe(runs[0])
})

test('timers of guests come late by what a director says, and by no more than a busy host would make them', async () => {
  const queue = new TimerQueue()
  const timer = queue.create(() => undefined)
  queue.setForGuest(timer, 100, 0)
  expect(timer.deadline).toBe(100)
  queue.lateness = () => 50
  queue.setForGuest(timer, 100, 0)
  expect(timer.deadline).toBe(150)
  queue.set(timer, 100)
  expect(timer.deadline).toBe(100)

  const host = await boot()
  let asked = 0
  host.hypervisor.direct({ decide: () => undefined, lateness: () => { asked += 1; return 1e9 } })
  await startMini(host)
  expect(asked).toBeGreaterThan(0)
  expect(host.now()).toBeLessThan(5e9 + asked * MOST_LATE)
  expect(() => host.hypervisor.direct({} as never)).toThrowError(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
})
