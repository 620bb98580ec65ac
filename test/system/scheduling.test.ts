/** Where and how domains are scheduled, from a tool's side: what descriptions and calls say is counted from outside, in virtual time. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { Host, formatDescription, type Domain, type DomainOptions } from '../../src/index.ts'

// On a machine that does other things besides.
vi.setConfig({ testTimeout: 30_000 })

const error = (code: string, message?: RegExp) => expect.objectContaining({ code, ...(message === undefined ? {} : { message: expect.stringMatching(message) }) })
let host: Host
beforeAll(async () => { host = await Host.boot({ memory: 96, dom0Memory: 8, cpus: 4, instructionsPerSecond: 1e8, scheduler: 'credit2', schedulerParameters: { ratelimit: 500 } }) })
afterAll(() => host.shutdown())

/** A domain that only computes. */
async function spinning(options: DomainOptions): Promise<Domain> {
  const domain = await host.createDomain({ memory: 4, commandLine: 'run=spin 1000000', ...options })
  await domain.console.waitFor('mini')
  return domain
}

/** Percent of one CPU that each has while so many milliseconds pass. */
async function shares(domains: readonly Domain[], milliseconds: number): Promise<number[]> {
  const before = domains.map((domain) => domain.info().cpuTime)
  const start = host.now()
  await host.until('time to pass', () => host.now() >= start + milliseconds * 1e6)
  const passed = host.now() - start
  return domains.map((domain, i) => Math.round((domain.info().cpuTime - before[i]!) / passed * 100))
}

const near = (shares: readonly number[], expected: readonly number[]): void => shares.forEach((share, i) =>
  expect(Math.abs(share - expected[i]!), `${shares.join()} against ${expected.join()}`).toBeLessThanOrEqual(3))

test('weights, caps and CPUs of descriptions are what domains get', async () => {
  const one = await spinning({ name: 'one', cpus: '3', cpuWeight: 512 })
  const two = await spinning({ name: 'two', cpus: '3' })
  const capped = await spinning({ name: 'capped', cpus: ['0-2,^1'], cap: 20 })
  near(await shares([one, two, capped], 300), [67, 33, 20])
  expect(host.vcpus().map(({ name, vcpu, cpu, hard }) => [name, vcpu, cpu, hard])).toEqual([
    ['Domain-0', 0, expect.any(Number), [0, 1, 2, 3]], ['one', 0, 3, [3]], ['two', 0, 3, [3]], ['capped', 0, expect.any(Number), [0, 2]],
  ])
  expect(one.scheduling()).toEqual({ pool: 0, scheduler: 'credit2', parameters: { weight: 512, cap: 0 } })
  two.setScheduling({ weight: 1024 })
  capped.setScheduling({ cap: 50 })
  near(await shares([one, two, capped], 300), [33, 67, 50])
  two.setAffinity('all', { hard: 'all', soft: [1] })
  near(await shares([one, two], 200), [100, 100])
  expect(two.vcpus()[0]).toMatchObject({ cpu: 1, soft: [1], state: expect.stringMatching(/^r--$/) })
  for (const domain of [one, two, capped]) await domain.destroy()
})

test('a pool of CPUs has a name, CPUs and a scheduler of its own; domains move there and start anew there', async () => {
  const events: string[] = []
  host.events.on('cpu-pool', ({ type, change }) => events.push(`${type} ${change}`))
  host.events.on('domain-pool', ({ type, pool: id }) => events.push(`${type} ${id}`))
  const first = host.cpupools.find('Pool-0')
  first.removeCpus('2-3')
  const pool = host.cpupools.create({ name: 'fast', cpus: [3], scheduler: 'credit', parameters: { tslice: 5 } })
  expect(pool).toMatchObject({ name: 'fast', scheduler: 'credit', cpus: [3] })
  expect(pool.parameters()).toEqual({ tslice: 5, ratelimit: 1000 })
  expect(first.parameters()).toEqual({ ratelimit: 500 })
  expect(host.store.read(`/local/pool/${pool.id}/name`)).toBe('fast')
  expect(host.cpupools.freeCpus).toEqual([2])
  const here = await spinning({ name: 'here', pool: 'fast' })
  const there = await spinning({ name: 'there' })
  there.moveToPool(pool)
  near(await shares([here, there], 300), [50, 50])
  pool.addCpus('2')
  near(await shares([here, there], 200), [100, 100])
  expect(pool.domains).toEqual([here.id, there.id])
  expect(() => pool.destroy()).toThrow(error('BUSY'))
  pool.rename('faster')
  await here.destroy()
  there.moveToPool('Pool-0')
  expect(there.pool.name).toBe('Pool-0')
  pool.destroy()
  expect(() => pool.cpus).toThrow(error('POOL_NOT_FOUND'))
  first.addCpus('2-3')
  expect(first.cpus).toEqual([0, 1, 2, 3])
  await there.destroy()
  expect(events).toEqual([
    'cpu-pool cpus', 'cpu-pool created', `domain-pool ${pool.id}`, 'cpu-pool cpus', 'cpu-pool renamed', 'domain-pool 0', 'cpu-pool destroyed', 'cpu-pool cpus',
  ])
})

test('what a domain has been given stays with it when it starts anew', async () => {
  const domain = await host.createDomain({ name: 'again', memory: 4, actions: { reboot: 'restart' } })
  await domain.console.waitFor('mini> ')
  domain.setScheduling({ weight: 300 })
  domain.setAffinity(0, { hard: [1, 2] })
  domain.rename('anew')
  await domain.reboot()
  const next = host.domain('anew')
  expect(next.id).not.toBe(domain.id)
  expect([next.scheduling().parameters['weight'], next.vcpus()[0]!.hard]).toEqual([300, [1, 2]])
  expect(formatDescription(next.config)).toMatch(/cpus = "1-2"/)
  await next.destroy()
})

test('a domain is renamed for everybody, and nobody gets a name that is taken', async () => {
  const domain = await host.createDomain({ name: 'old', memory: 4 })
  await domain.console.waitFor('mini> ')
  const other = await host.createDomain({ name: 'other', memory: 4 }, { paused: true })
  domain.rename('new')
  expect([domain.name, host.domain('new').id, host.store.read(`/local/domain/${domain.id}/name`), host.store.read(`/vm/${domain.uuid}/name`)])
    .toEqual(['new', domain.id, 'new', 'new'])
  expect(() => domain.rename('other')).toThrow(error('DOMAIN_EXISTS'))
  expect(() => domain.rename('a/b')).toThrow(error('INVALID_ARGUMENT'))
  expect(domain.name).toBe('new')
  // The running guest reads it.
  await domain.console.write('read name\n')
  await domain.console.waitFor(/^new$/)
  expect(domain.uptime()).toBeGreaterThan(0)
  await domain.destroy()
  await other.destroy()
  expect(() => domain.rename('late')).toThrow(error('DOMAIN_NOT_FOUND'))
})

test('SysRq keys stand where guests look for them, and triggers that a kind does not have are refused by name', async () => {
  const domain = await host.createDomain({ name: 'keyed', memory: 4 })
  await domain.console.waitFor('mini> ')
  domain.sysrq('s')
  expect(host.store.read(`/local/domain/${domain.id}/control/sysrq`)).toBe('s')
  expect(() => domain.sysrq('ss')).toThrow(error('INVALID_ARGUMENT'))
  expect(() => domain.trigger('reset')).toThrow(error('NOT_SUPPORTED', /trigger reset/))
  expect(() => domain.trigger('nmi', { vcpu: 7 })).toThrow(error('INVALID_ARGUMENT'))
  domain.trigger('nmi')
  const typed = await host.createDomain({ name: 'typed', memory: 4, kernel: (kernel) => kernel.console!.log('up') })
  expect(() => typed.trigger('nmi')).toThrow(error('NOT_SUPPORTED', /knows no non-maskable interrupts/))
  for (const one of [domain, typed]) await one.destroy()
})

test('each vCPU has the CPUs that the lists of a description give it, and those that the lists leave out have all', async () => {
  const text = 'name = "lists"\nmemory = 4\nvcpus = 1\nmaxvcpus = 4\ncpus = ["0", "1-3,^2"]\ncpus_soft = ["all", "3", "node:0,^0"]\n'
  const domain = await host.createDomain(text, { paused: true })
  expect(domain.vcpus().map(({ hard, soft }) => [hard, soft])).toEqual([
    [[0], [0, 1, 2, 3]], [[1, 3], [3]], [[0, 1, 2, 3], [1, 2, 3]], [[0, 1, 2, 3], [0, 1, 2, 3]],
  ])
  expect(domain.currentConfig()).toMatchObject({ cpus: ['0', '1,3', 'all', 'all'], cpusSoft: ['all', '3', '1-3', 'all'] })
  await domain.destroy()
})

test.each([
  [{ pool: 'nowhere' }, 'POOL_NOT_FOUND'], [{ sched: 'credit' }, 'INVALID_CONFIG'], [{ period: 20000 }, 'INVALID_CONFIG'], [{ cap: 101 }, 'INVALID_ARGUMENT'],
  [{ cpus: '9' }, 'INVALID_ARGUMENT'], [{ cpus: '3-1' }, 'INVALID_CONFIG'], [{ cpuWeight: 0 }, 'INVALID_CONFIG'],
] as const)('a description with %j is refused, and leaves nothing', async (options, code) => {
  const before = host.listDomains().length
  await expect(host.createDomain({ name: 'wrong', memory: 4, ...options })).rejects.toMatchObject({ code })
  expect(host.listDomains()).toHaveLength(before)
})
