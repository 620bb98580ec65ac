import { describe, expect, test } from 'vitest'
import {
  SCHEDULER_NAMES, createScheduler, schedulerShape, type Scheduler, type SchedulerName, type VcpuRef,
} from '../../../../src/hypervisor/scheduler/index.ts'
import { SeededRandom, below, domId } from '../../../../src/util/index.ts'
import { MS, SECOND, ScheduleRun } from '../../../support/schedule-run.ts'

/** An error of the library's with this code. */
const error = (code: string) => expect.objectContaining({ code })

/** A new scheduler that knows the domains and vCPUs of a run. */
function twinOf(run: ScheduleRun, name: SchedulerName): Scheduler<VcpuRef> {
  const scheduler = createScheduler<VcpuRef>(name, run.scheduler.cpuCount)
  for (const domid of new Set(run.vcpus.map((vcpu) => vcpu.domid))) scheduler.addDomain(domid)
  for (const vcpu of run.vcpus) scheduler.addVcpu(vcpu, 0)
  return scheduler
}

/** Wakes, sleeps, pins, weighs, adds and removes at random. */
function disturb(run: ScheduleRun, random: SeededRandom, step: number): void {
  const vcpu = run.vcpus[below(random, run.vcpus.length)]
  const cpus = run.scheduler.cpuCount
  switch (below(random, 7)) {
    case 0: if (vcpu !== undefined && !vcpu.runnable) run.wake(vcpu); break
    case 1: if (vcpu?.runnable) run.sleep(vcpu, run.now + below(random, 50) * MS); break
    case 2: if (vcpu !== undefined) run.pin(vcpu, { hard: [below(random, cpus), below(random, cpus)] }); break
    case 3: if (vcpu !== undefined) run.pin(vcpu, { soft: [below(random, cpus)] }); break
    case 4: if (run.vcpus.length < 12) run.domain(100 + step, [{ run: MS, sleep: 3 * MS }, undefined]); break
    case 5: if (vcpu !== undefined && run.vcpus.length > 2) run.remove(vcpu); break
    default:
      if (vcpu === undefined) break
      run.scheduler.yield(vcpu, run.now)
      run.askLater(vcpu.cpu)
  }
}

describe.each(SCHEDULER_NAMES)('under %s', (name) => {
  test('whatever happens, no CPU idles while a vCPU waits for it, and none runs twice or where it may not', () => {
    const run = new ScheduleRun(name, 3)
    run.workConserving = name !== 'null'
    const random = new SeededRandom(11)
    run.domain(1, [undefined, undefined, { run: 2 * MS, sleep: MS }])
    run.domain(2, [undefined, undefined])
    for (let step = 0; step < 3000; step += 1) {
      disturb(run, random, step)
      run.run(below(random, 4 * MS) + 1)
    }
    expect(run.switches).toBeGreaterThan(100)
  })

  test('the same run happens again from saved state', () => {
    const build = (): ScheduleRun => {
      const run = new ScheduleRun(name, 2)
      run.workConserving = name !== 'null'
      run.domain(1, [undefined, { run: 3 * MS, sleep: 5 * MS }])
      run.domain(2, [undefined, undefined])
      run.pin(run.vcpus[3]!, { hard: [1] })
      run.run(777 * MS)
      return run
    }
    const one = build()
    const state = one.scheduler.save()
    const other = twinOf(one, name)
    expect(schedulerShape(state)).toBeUndefined()
    other.load(structuredClone(state))
    expect(other.save()).toEqual(state)
    for (let step = 0, now = one.now; step < 200; step += 1, now += 700_000) {
      const cpu = step % 2
      expect(other.schedule(cpu, now)).toEqual(one.scheduler.schedule(cpu, now))
    }
    expect(other.save()).toEqual(one.scheduler.save())
  })

  test.each([
    ['another scheduler', { kind: 'other' }],
    ['other CPUs', { cpus: 3 }],
    ['a vCPU that is nowhere', { vcpus: [{ domid: 9, vcpu: 0, runnable: true, hard: [0], soft: [0], since: 0, numbers: {} }] }],
    ['a CPU that runs what does not exist', { running: [5] }],
    ['a vCPU in two places', { running: [0], queue: [0] }],
    ['a vCPU that can run and is nowhere', { running: [-1], queue: [] }],
    ['numbers of another algorithm', { numbers: { other: 1 } }],
  ])('saved state of %s is refused', (_what, change) => {
    const run = new ScheduleRun(name, 1)
    run.domain(1, [undefined])
    const state = { ...run.scheduler.save(), ...change } as ReturnType<typeof run.scheduler.save>
    const twin = twinOf(run, name)
    const before = twin.save()
    expect(() => twin.load(state)).toThrowError(error('INVALID_STATE'))
    expect(twin.save()).toEqual(before)
  })

  test('affinity is checked', () => {
    const run = new ScheduleRun(name, 2)
    const { vcpus: [vcpu] } = run.domain(1)
    expect(() => run.pin(vcpu!, { hard: [] })).toThrowError(error('INVALID_ARGUMENT'))
    expect(() => run.pin(vcpu!, { hard: [2] })).toThrowError(error('INVALID_ARGUMENT'))
    expect(() => run.pin(vcpu!, { soft: [-1] })).toThrowError(error('INVALID_ARGUMENT'))
    expect(run.scheduler.affinity(vcpu!)).toEqual({ hard: [0, 1], soft: [0, 1] })
    run.pin(vcpu!, { hard: [1], soft: [0] })
    expect(run.scheduler.affinity(vcpu!)).toEqual({ hard: [1], soft: [0] })
    run.run(MS)
    expect(run.on(1)).toBe(vcpu)
  })

  test('unknown parameters, domains and vCPUs are refused', () => {
    const { scheduler } = new ScheduleRun(name, 1)
    scheduler.addDomain(domId(1))
    expect(() => scheduler.setParameters(domId(1), { wieght: 3 })).toThrowError(error('INVALID_ARGUMENT'))
    expect(() => scheduler.setGlobalParameters({ nothing: 3 })).toThrowError(error('INVALID_ARGUMENT'))
    expect(() => scheduler.parameters(domId(2))).toThrowError(error('DOMAIN_NOT_FOUND'))
    const stranger = { domid: domId(1), vcpu: 0, time: 0 } as never
    expect(() => scheduler.wake(stranger, 0)).toThrowError(error('INVALID_ARGUMENT'))
    scheduler.removeDomain(domId(1))
    expect(() => scheduler.parameters(domId(1))).toThrowError(error('DOMAIN_NOT_FOUND'))
  })
})

describe('parameters', () => {
  test.each<[SchedulerName, Record<string, number>]>([
    ['credit2', { weight: 0 }], ['credit2', { weight: 65536 }], ['credit2', { weight: 1.5 }], ['credit2', { cap: 101 }],
    ['credit', { weight: -1 }], ['credit', { cap: 70_000 }], ['rtds', { period: 5 }], ['rtds', { budget: 20_000 }],
    ['rtds', { extratime: 2 }],
  ])('%s refuses %o and keeps what it has', (name, values) => {
    const run = new ScheduleRun(name, 1)
    const { id } = run.domain(1)
    const before = run.scheduler.parameters(id)
    expect(() => run.scheduler.setParameters(id, values)).toThrowError(error('INVALID_ARGUMENT'))
    expect(run.scheduler.parameters(id)).toEqual(before)
  })

  test('global parameters have limits too, and 0 switches the rate limit off', () => {
    const { scheduler } = new ScheduleRun('credit2', 1)
    expect(scheduler.globalParameters()).toEqual({ ratelimit: 1000 })
    scheduler.setGlobalParameters({ ratelimit: 0 })
    expect(() => scheduler.setGlobalParameters({ ratelimit: 99 })).toThrowError(error('INVALID_ARGUMENT'))
    expect(scheduler.globalParameters()).toEqual({ ratelimit: 0 })
  })

  test('rtds has parameters for each vCPU', () => {
    const run = new ScheduleRun('rtds', 1)
    const { id } = run.domain(1, [undefined, undefined])
    run.scheduler.setParameters(id, { period: 20_000, budget: 5000, extratime: 0 }, 1)
    expect(run.scheduler.parameters(id, 0)).toEqual({ period: 10_000, budget: 4000, extratime: 1 })
    expect(run.scheduler.parameters(id, 1)).toEqual({ period: 20_000, budget: 5000, extratime: 0 })
    expect(() => run.scheduler.parameters(id, 2)).toThrowError(error('INVALID_ARGUMENT'))
    run.scheduler.setParameters(id, { budget: 1000 })
    expect([0, 1].map((vcpu) => run.scheduler.parameters(id, vcpu)['budget'])).toEqual([1000, 1000])
  })
})

describe('waking', () => {
  test.each<[SchedulerName, number]>([['credit2', 2 * MS], ['credit', 2 * MS], ['rtds', 10 * MS]])(
    'under %s a vCPU that mostly sleeps waits at most %i ns beside three that always run', (name, limit) => {
      const run = new ScheduleRun(name, 1)
      run.domain(1)
      run.domain(2)
      run.domain(3)
      const { vcpus: [sleeper] } = run.domain(4, [{ run: MS / 5, sleep: 20 * MS }])
      run.measure(10 * SECOND)
      expect(sleeper!.worstWait).toBeLessThanOrEqual(limit)
      expect(sleeper!.time).toBeGreaterThan(60 * MS)
    })

  test('under credit2 one that sleeps gets what it asks for, and the others share the rest by weight', () => {
    const run = new ScheduleRun('credit2', 1)
    const { id } = run.domain(1)
    run.scheduler.setParameters(id, { weight: 512 })
    run.domain(2)
    run.domain(3, [{ run: MS, sleep: 19 * MS }])
    run.measure(50 * SECOND)
    expect(run.share(3, 50 * SECOND)).toBeGreaterThan(0.045)
    const rest = 1 - run.share(3, 50 * SECOND)
    expect(run.share(1, 50 * SECOND) / (rest * 2 / 3)).toBeCloseTo(1, 2)
    expect(run.idle).toBe(0)
  })
})

describe('affinity', () => {
  test('under credit2 pinned vCPUs share their CPU by weight, whatever the others do', () => {
    const run = new ScheduleRun('credit2', 3)
    const pinned = (id: number, weight: number, hard: number[]): void => {
      const { id: domid, vcpus: [vcpu] } = run.domain(id)
      run.scheduler.setParameters(domid, { weight })
      run.pin(vcpu!, { hard })
    }
    pinned(1, 256, [0])
    pinned(2, 512, [1])
    pinned(3, 256, [1])
    pinned(4, 100, [2])
    pinned(5, 300, [2])
    run.measure(60 * SECOND)
    const shares = [1, 2, 3, 4, 5].map((id) => run.share(id, 60 * SECOND))
    ;[1, 2 / 3, 1 / 3, 1 / 4, 3 / 4].forEach((exact, i) => expect(Math.abs(shares[i]! / exact - 1)).toBeLessThan(0.01))
  })

  test('under credit2 a vCPU moves to the CPU it likes as soon as that is idle', () => {
    const run = new ScheduleRun('credit2', 2)
    const { vcpus: [first, second] } = run.domain(1, [undefined, undefined])
    run.run(20 * MS)
    const liked = second!.cpu
    run.pin(first!, { soft: [liked] })
    run.sleep(second!)
    run.run(30 * MS)
    expect(first!.cpu).toBe(liked)
  })

  test('under null each vCPU keeps its CPU, and a waiting one gets the next that is free', () => {
    const run = new ScheduleRun('null', 2)
    run.workConserving = false
    const { vcpus: [a, b, c] } = run.domain(1, [{ run: MS, sleep: MS }, undefined, undefined])
    run.measure(SECOND)
    expect([a!.time, b!.time, c!.time]).toEqual([SECOND / 2, SECOND, 0])
    run.remove(a!)
    run.run(SECOND)
    expect(c!.time).toBe(SECOND)
    run.pin(c!, { hard: [b!.cpu] })
    run.run(MS)
    expect(c!.cpu).toBe(-1)
    run.remove(b!)
    run.run(MS)
    expect(c!.cpu).toBeGreaterThanOrEqual(0)
  })
})

describe('rtds', () => {
  test('gives each vCPU its budget in every period and not more without extra time', () => {
    const run = new ScheduleRun('rtds', 1)
    run.workConserving = false
    for (const [id, period, budget] of [[1, 10_000, 2000], [2, 20_000, 6000], [3, 5000, 1000]] as const) {
      run.scheduler.setParameters(run.domain(id).id, { period, budget, extratime: 0 })
    }
    run.measure(60 * SECOND)
    expect([1, 2, 3].map((id) => run.share(id, 60 * SECOND).toFixed(3))).toEqual(['0.200', '0.300', '0.200'])
  })

  test('what nobody needs goes to those with extra time, after all budgets', () => {
    const run = new ScheduleRun('rtds', 1)
    run.scheduler.setParameters(run.domain(1).id, { period: 10_000, budget: 5000, extratime: 0 })
    run.scheduler.setParameters(run.domain(2).id, { period: 10_000, budget: 1000, extratime: 1 })
    run.measure(60 * SECOND)
    expect([1, 2].map((id) => run.share(id, 60 * SECOND).toFixed(3))).toEqual(['0.500', '0.500'])
  })
})

test('caps hold in every second, not only on average', () => {
  for (const name of ['credit2', 'credit'] as const) {
    const run = new ScheduleRun(name, 4)
    run.workConserving = false
    const { id } = run.domain(1, [undefined, undefined, undefined])
    run.scheduler.setParameters(id, { cap: 130 })
    run.run(SECOND)
    for (let second = 0; second < 20; second += 1) {
      for (const vcpu of run.vcpus) vcpu.time = 0
      run.run(SECOND)
      expect(run.share(1, SECOND)).toBeGreaterThan(1.26)
      expect(run.share(1, SECOND)).toBeLessThan(1.34)
    }
  }
})

test('a cap that is lifted no longer counts, and one that is set counts at once', () => {
  const run = new ScheduleRun('credit2', 1)
  run.workConserving = false
  const { id } = run.domain(1)
  run.scheduler.setParameters(id, { cap: 20 })
  run.measure(SECOND)
  expect(run.share(1, SECOND)).toBeCloseTo(0.2, 2)
  run.scheduler.setParameters(id, { cap: 0 })
  run.measure(SECOND)
  expect(run.share(1, SECOND)).toBeCloseTo(1, 2)
})
