/** Pools of CPUs on a host of guests that only compute: who runs where, what is refused, what is saved. */
import { describe, expect, test } from 'vitest'
import { Hypervisor, VirtualClock, type RunLimits } from '../../../../src/hypervisor/index.ts'
import { Machine } from '../../../../src/machine/index.ts'
import { SeededRandom, domId, type DomId } from '../../../../src/util/index.ts'

const SECOND = 1_000_000_000
const error = (code: string) => expect.objectContaining({ code })

/** A vCPU that computes for as long as it is let. */
const busy = () => {
  let executed = 0
  return {
    get executed() { return executed },
    enter: () => true,
    run: (budget: number) => {
      executed = budget
      return { kind: 'budget' as const }
    },
  }
}

function hostOf(options: { readonly cpus: number; readonly scheduler?: 'credit' | 'credit2' | 'rtds' | 'null' | 'round-robin' }) {
  const machine = new Machine({ memoryBytes: 16 << 20 })
  const { cpus: physicalCpus, scheduler = 'credit2' } = options
  const hypervisor = new Hypervisor({ memory: machine.memory, clock: new VirtualClock(), random: new SeededRandom(1), physicalCpus, scheduler })
  hypervisor.createDomain({ kind: 'typescript', createRunner: busy, vcpus: 1 })
  const domain = (vcpus = 1): DomId => {
    const id = hypervisor.createDomain({ kind: 'typescript', createRunner: busy, vcpus })
    for (let vcpu = 0; vcpu < vcpus; vcpu += 1) hypervisor.startVcpu(id, vcpu)
    hypervisor.unpauseDomain(id)
    return id
  }
  const run = (seconds: number): void => {
    const limits: RunLimits = { until: hypervisor.hostInfo().time + seconds * SECOND, instructions: 1e11 }
    hypervisor.run(limits)
  }
  /** Percent of one CPU that each domain has had while so many seconds passed. */
  const shares = (ids: readonly DomId[], seconds: number): number[] => {
    const used = (id: DomId): number => hypervisor.domainInfo(id).cpuTime
    const before = ids.map(used)
    run(seconds)
    return ids.map((id, i) => Math.round((used(id) - before[i]!) / seconds / SECOND * 100))
  }
  return { hypervisor, domain, run, shares }
}

test('a domain runs on the CPUs of its pool alone, and shares them with nobody else', () => {
  const { hypervisor, domain, run, shares } = hostOf({ cpus: 4 })
  const [one, two, three] = [domain(2), domain(2), domain(2)]
  const pool = hypervisor.createCpuPool({ scheduler: 'credit' })
  for (const cpu of [2, 3]) hypervisor.removePoolCpu(0, cpu)
  expect(hypervisor.hostInfo()).toMatchObject({ physicalCpus: 4, freeCpus: 2 })
  hypervisor.addPoolCpu(pool, 3)
  hypervisor.moveToCpuPool(three!, pool)
  expect(hypervisor.cpuPools()).toEqual([
    { id: 0, scheduler: 'credit2', cpus: [0, 1], domains: [0, one, two] }, { id: pool, scheduler: 'credit', cpus: [3], domains: [three] },
  ])
  run(0.1)
  expect(shares([one!, two!, three!], 0.3)).toEqual([100, 100, 100])
  expect([0, 1].map((vcpu) => hypervisor.vcpuInfo(three!, vcpu).cpu)).toEqual([3, 3])
  expect([0, 1].map((vcpu) => hypervisor.vcpuInfo(one!, vcpu).cpu).every((cpu) => cpu < 2)).toBe(true)
  hypervisor.addPoolCpu(pool, 2)
  expect(shares([one!, two!, three!], 0.3)).toEqual([100, 100, 200])
  hypervisor.moveToCpuPool(three!, 0)
  expect(hypervisor.cpuPools()[1]).toMatchObject({ domains: [] })
  for (const share of shares([one!, two!, three!], 1)) expect(Math.abs(share - 67)).toBeLessThan(3)
})

describe.each(['credit', 'credit2', 'rtds', 'null', 'round-robin'] as const)('under %s', (scheduler) => {
  test('what runs on a CPU that is taken away goes on elsewhere, and comes back', () => {
    const { hypervisor, domain, run, shares } = hostOf({ cpus: 3, scheduler })
    const ids = [domain(), domain()]
    run(0.05)
    for (const cpu of [0, 1, 2]) {
      // Dom0 has a place of its own under null.
      if (scheduler === 'null') continue
      hypervisor.removePoolCpu(0, cpu)
      expect(shares(ids as DomId[], 0.2)).toEqual([100, 100])
      hypervisor.addPoolCpu(0, cpu)
    }
    expect(shares(ids as DomId[], 0.2)).toEqual([100, 100])
    expect(hypervisor.checkInvariants()).toEqual([])
  })

  test('a domain can be moved into such a pool and out of it, and is saved in it', () => {
    const { hypervisor, domain, run, shares } = hostOf({ cpus: 4 })
    const id = domain(2)!
    const pool = hypervisor.createCpuPool({ scheduler })
    for (const cpu of [2, 3]) {
      hypervisor.removePoolCpu(0, cpu)
      hypervisor.addPoolCpu(pool, cpu)
    }
    hypervisor.moveToCpuPool(id, pool)
    expect(shares([id], 0.3)).toEqual([200])
    const copy = new Hypervisor({ memory: new Machine({ memoryBytes: 16 << 20 }).memory, clock: new VirtualClock(), random: new SeededRandom(1), physicalCpus: 4 })
    copy.load(structuredClone(hypervisor.save()), { createRunner: () => busy })
    expect(copy.cpuPools()).toEqual(hypervisor.cpuPools())
    expect(copy.stateHashes()['hypervisor/scheduler']).toBe(hypervisor.stateHashes()['hypervisor/scheduler'])
    copy.run({ until: copy.hostInfo().time + SECOND / 10, instructions: 1e11 })
    run(0.1)
    expect(copy.domainInfo(id).cpuTime).toBe(hypervisor.domainInfo(id).cpuTime)
    hypervisor.moveToCpuPool(id, 0)
    expect(shares([id], 0.3)).toEqual([200])
  })
})

test('a vCPU that is pinned to a CPU which leaves its pool may use all that are left, and its affinity says so', () => {
  const { hypervisor, domain } = hostOf({ cpus: 3 })
  const id = domain()!
  hypervisor.setAffinity(id, 0, { hard: [2], soft: [2] })
  expect(hypervisor.affinity(id, 0)).toEqual({ hard: [2], soft: [2] })
  hypervisor.removePoolCpu(0, 2)
  expect(hypervisor.affinity(id, 0).hard).toEqual([0, 1, 2])
  expect(() => hypervisor.setAffinity(id, 0, { hard: [2] })).toThrow(error('INVALID_ARGUMENT'))
})

test('shares follow weights and caps as they are counted from outside', () => {
  const { hypervisor, domain, run, shares } = hostOf({ cpus: 1 })
  const ids = [domain()!, domain()!, domain()!]
  hypervisor.setSchedulerParameters(ids[0]!, { weight: 512 })
  hypervisor.setSchedulerParameters(ids[2]!, { cap: 10 })
  run(0.5)
  const [two, one, capped] = shares(ids, 3) as [number, number, number]
  expect([two, one, capped]).toEqual([60, 30, 10])
})

test('what makes no sense is refused, by a code', () => {
  const { hypervisor, domain } = hostOf({ cpus: 2 })
  const id = domain()!
  const pool = hypervisor.createCpuPool()
  const refused: [() => void, string][] = [
    [() => hypervisor.createCpuPool({ id: pool }), 'POOL_EXISTS'],
    [() => hypervisor.createCpuPool({ id: -1 }), 'INVALID_ARGUMENT'],
    [() => hypervisor.createCpuPool({ scheduler: 'arinc653' }), 'INVALID_ARGUMENT'],
    [() => hypervisor.destroyCpuPool(77), 'POOL_NOT_FOUND'],
    [() => hypervisor.destroyCpuPool(0), 'INVALID_ARGUMENT'],
    [() => hypervisor.addPoolCpu(pool, 0), 'BUSY'],
    [() => hypervisor.addPoolCpu(pool, 2), 'INVALID_ARGUMENT'],
    [() => hypervisor.removePoolCpu(pool, 0), 'INVALID_ARGUMENT'],
    [() => hypervisor.moveToCpuPool(id, pool), 'INVALID_STATE'],
    [() => hypervisor.moveToCpuPool(domId(0), pool), 'INVALID_ARGUMENT'],
    [() => hypervisor.moveToCpuPool(domId(99), pool), 'DOMAIN_NOT_FOUND'],
    [() => hypervisor.setPoolParameters(pool, { tslice: 5 }), 'INVALID_ARGUMENT'],
  ]
  for (const [act, code] of refused) expect(act).toThrow(error(code))
  hypervisor.removePoolCpu(0, 1)
  expect(() => hypervisor.removePoolCpu(0, 0)).toThrow(error('BUSY'))
  hypervisor.addPoolCpu(pool, 1)
  expect(() => hypervisor.destroyCpuPool(pool)).toThrow(error('BUSY'))
  hypervisor.moveToCpuPool(id, pool)
  expect(() => hypervisor.removePoolCpu(pool, 1)).toThrow(error('BUSY'))
  hypervisor.setPoolParameters(pool, { ratelimit: 500 })
  expect(hypervisor.poolParameters(pool)).toEqual({ ratelimit: 500 })
  expect(hypervisor.poolParameters(0)).toEqual({ ratelimit: 1000 })
  hypervisor.moveToCpuPool(id, 0)
  hypervisor.removePoolCpu(pool, 1)
  hypervisor.destroyCpuPool(pool)
  expect(hypervisor.cpuPools()).toHaveLength(1)
})

test('a domain that is taken apart leaves its pool free', () => {
  const { hypervisor, domain, run } = hostOf({ cpus: 2 })
  const id = domain()!
  const pool = hypervisor.createCpuPool()
  hypervisor.removePoolCpu(0, 1)
  hypervisor.addPoolCpu(pool, 1)
  hypervisor.moveToCpuPool(id, pool)
  run(0.05)
  hypervisor.destroyDomain(id)
  run(0.05)
  hypervisor.removePoolCpu(pool, 1)
  hypervisor.destroyCpuPool(pool)
  expect(hypervisor.hostInfo().freeCpus).toBe(1)
})
