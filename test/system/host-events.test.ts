/** What a host tells: every event of its union happens, and says which domain it is about in one way. */
import { expect, test } from 'vitest'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { transportPair, type Host, type HostEvent, type HostOptions } from '../../src/toolstack/index.ts'
import { HOST_EVENTS } from '../../src/toolstack/host/host-events.ts'
import type { EventStamp } from '../../src/util/index.ts'
import { hostsOfTests, startMini } from '../support/mini.ts'

const OPTIONS: HostOptions = { memory: 48, dom0Memory: 8, cpus: 2, openDisk: () => new MemoryBlockStore(1 << 20) }
const boot = hostsOfTests(OPTIONS)
/** Events that another test provokes, by the reason. */
const ELSEWHERE: readonly HostEvent['type'][] = [
  // test/system/callbacks.test.ts, core-dump.test.ts
  'callback-failed', 'action-failed',
  // test/sweeps/contract/rows/soft-reset.ts
  'domain-reset',
  // test/system/own-dom0.test.ts
  'dom0-shutdown',
  // test/system/access.test.ts
  'access-denied',
]

/** Drives a host through all that it can tell of. */
async function live(host: Host): Promise<void> {
  const one = await startMini(host, { vcpus: 2, maxMemory: 16 } as object)
  one.pause()
  one.unpause()
  await one.setMemTarget(6)
  await one.setMaxMem(12)
  await one.setVcpus(1)
  await one.attachDisk({ target: 'a', vdev: 'xvda' })
  await one.detachDisk('xvda')
  await one.attachDisk(',hdc:cdrom,r')
  await one.insertMedium('hdc', 'cd')
  await one.detachDisk('hdc')
  one.rename('renamed')
  one.setAffinity('all', { hard: [0] })
  one.setScheduling({ weight: 300 })
  const pool = host.cpupools.create({ name: 'second' })
  host.cpupools.find('Pool-0').removeCpus([1])
  pool.addCpus([1])
  one.moveToPool(pool)
  const stop = new AbortController()
  const given = one.save({ write: () => undefined }, { signal: stop.signal })
  given.progress.on('pages', () => stop.abort())
  await expect(given).rejects.toMatchObject({ code: 'ABORTED' })
  await host.until('the domain to go on', () => !one.info().shutdown)
  one.trigger('nmi')
  one.sysrq('h')
  await host.createDomain({ name: 'renamed', memory: 4 }).catch(() => undefined)
  await host.createDomain('name = "odd"\nmemory = 4\nvnc = 1')
  host.store.write(`/local/domain/${one.id}/data`, 'x')
  const greedy = await host.createDomain({
    name: 'greedy', memory: 4, actions: { crash: 'destroy' },
    kernel: async (kernel) => {
      for (let i = 0; i < 2000; i += 1) await kernel.store!.write(`data/${i}`, 'x').catch(() => { throw new Error('quota') })
    },
  })
  await greedy.waitForShutdown()
  let starts = 0
  const restarted = host.events.once('domain-restarted')
  await host.createDomain({ name: 'again', memory: 4, actions: { reboot: 'restart' }, kernel: (kernel) => {
    if ((starts += 1) === 1) kernel.shutdown('reboot')
  } })
  // The successor comes after a pause, which passes while something is waited for.
  await Promise.all([restarted, host.until('the successor', () => starts === 2)])
  for (const domain of host.domains()) await domain.destroy()
  const moment = await host.checkpoint({ label: 'here' })
  await host.reset(moment)
}

test('every event happens, with the domain as domid', { timeout: 60_000 }, async () => {
  const host = await boot()
  const seen: (HostEvent & EventStamp)[] = []
  host.events.onAny((event) => seen.push(event))
  await live(host)
  await host.shutdown()
  const types = new Set(seen.map(({ type }) => type))
  expect((Object.keys(HOST_EVENTS) as HostEvent['type'][]).filter((type) => !types.has(type) && !ELSEWHERE.includes(type))).toEqual([])
  for (const event of seen) {
    expect(event).not.toHaveProperty('id')
    if (/^(domain|memory|vcpu|device|console|guest|quota)-/.test(event.type)) expect(event).toHaveProperty('domid', expect.any(Number))
  }
  expect(seen.map(({ seq }) => seq)).toEqual([...seen.map(({ seq }) => seq)].sort((a, b) => a - b))
  expect(seen.at(-1)!.type).toBe('host-shutdown')
})

test('a life is told in its order', async () => {
  const [here, there] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
  const domain = await startMini(here)
  const { ends } = transportPair()
  const [, moved] = await Promise.all([domain.migrate(ends[0]), there.receiveMigration(ends[1])])
  const told = (host: Host, domid: number): string[] => host.events.recent({ domid }).map(({ type }) => type)
  expect(told(here, domain.id)).toEqual([
    'domain-created', 'console-available', 'domain-started', 'operation-started', 'domain-shutdown', 'domain-destroyed', 'operation-completed',
  ])
  expect(told(there, moved.id)).toEqual(['domain-created', 'console-available', 'domain-started'])
})

test('a stream of one domain is read from where a reader stopped', async () => {
  const host = await boot()
  const domain = await startMini(host)
  const { last } = host.events
  domain.pause()
  await startMini(host, { name: 'other' })
  domain.unpause()
  const read: string[] = []
  for await (const event of host.events.stream({ since: last, domid: domain.id })) if (read.push(event.type) === 2) break
  expect(read).toEqual(['domain-paused', 'domain-unpaused'])
})
