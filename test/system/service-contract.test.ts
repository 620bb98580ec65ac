/**
 * Every member of hosts, domains, consoles, pools, moments and catalogues that travels, over a connection: those that look answer as
 * they do here, the others have their effect here. The tables are typed by what travels, so that a new one cannot be forgotten.
 */
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import {
  Catalogue, connectHost, embeddedKernel, Host, serveHost, transportPair, TRAVELLING, type Domain, type Moment, type RemoteDomain, type RemoteHost, type RemoteMoment,
} from '../../src/index.ts'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import type { Travels } from '../../src/toolstack/service/travelling.ts'

/** How a member is used: with which arguments, and what both ends show afterwards; `changes` has no answer to be compared. */
interface Use {
  readonly args?: () => readonly unknown[]
  readonly changes?: true
  /** The code with which the call itself refuses it here. */
  readonly refused?: string
}
type Uses<S extends keyof typeof TRAVELLING> = { readonly [name in Travels<S>]: Use }

let host: Host
let domain: Domain
let remote: RemoteHost
let far: RemoteDomain
let farMoment: RemoteMoment
let moment: Moment<Host>
const catalogue = new Catalogue()
const look: Use = {}
const change = (...given: readonly unknown[]): Use => ({ changes: true, args: () => given })
const sink = (): unknown => ({ write: () => undefined })

const CONSOLE: Uses<'console'> = {
  text: look, history: look, closed: look, output: { changes: true }, write: change(Buffer.from('\r')), waitFor: change(/./, { from: 0 }),
  expect: change({ prompt: /mini> $/ }),
}
const CPU_POOLS: Uses<'cpupools'> = { list: look, find: { args: () => ['Pool-0'] }, freeCpus: look, create: change({ name: 'fast', cpus: '3' }) }
const CPU_POOL: Uses<'cpupool'> = {
  parameters: look, setParameters: change({ ratelimit: 900 }), removeCpus: change([3]), addCpus: change('3'), rename: change('other'), destroy: change(),
}
const MOMENT: Uses<'moment'> = { exists: look, hashes: look, differences: { args: () => [farMoment] }, save: { changes: true, args: () => [sink()] }, dispose: change() }
const CATALOGUE: Uses<'catalogue'> = {
  list: look, get: { args: () => ['web'] }, define: change({ name: 'other', memory: 4 }), update: change('other', { name: 'other', memory: 5 }),
  setAutostart: change('other', true), undefine: change('other'), watch: { changes: true },
}
const DOMAIN: Uses<'domain'> = {
  config: look, currentConfig: look, exists: look, crash: look, info: look, summary: look, devices: look, disk: { args: () => ['xvda'] }, nic: { args: () => [0] }, channel: { args: () => ['agent'] }, memory: look,
  uptime: look, vcpus: look, scheduling: look, profile: look, pool: look,
  updateConfig: change({ name: 'one', memory: 8, commandLine: 'anew' }), pause: change(), unpause: change(), rename: change('one'), setAffinity: change('all', { hard: [0] }),
  setScheduling: change({ weight: 300 }), moveToPool: change('Pool-0'), claimMemory: change(0), setNicRate: change(0, '1MB/s'), setNicLink: change(0, 'up'),
  setDiskLimits: change('xvda', {}), trigger: change('nmi'), sysrq: change('h'), dumpCore: { changes: true, args: () => [sink()] }, resume: change(), softReset: { changes: true, refused: 'NOT_SUPPORTED' },
  attachDisk: change({ target: 'b', vdev: 'xvdb' }), attachNic: change(''), attachDevice: change('vbd', { target: 'c', vdev: 'xvdc' }),
  detachDisk: change('xvdb'), detachNic: change(1), detachDevice: change('vbd', 'xvdc'),
  insertMedium: change('hdc', 'cd'), ejectMedium: change('hdc'), resizeDisk: change('xvda', 1 << 15), setMemTarget: change(7), setMaxMem: change(9), setVcpus: change(1),
  save: { changes: true, args: () => [sink(), { keep: true }] }, migrate: { changes: true, args: () => [{ readable: new Uint8Array(4), writable: sink() }] },
  waitForShutdown: change({ timeout: '1ms' }), shutdown: change({ timeout: '1ms' }), reboot: change({ timeout: '1ms' }), destroy: change(),
}
const HOST: Uses<'host'> = {
  warnings: look, bootDescription: look, capabilities: look, info: look, dmesg: look, statistics: look, now: look, domains: look, domain: { args: () => ['one'] },
  listDomains: look, vcpus: look, scheduling: { args: () => ['one'] }, memory: { args: () => [0] }, claims: look, profile: look, stateHash: look,
  symbolAt: { args: () => ['one', 0x1000] }, settled: look,
  debugKeys: change('h'), watchStatistics: { changes: true }, setAffinity: change(0, 'all', { hard: 'all' }), setScheduling: change(0, { weight: 300 }),
  createDomain: change({ name: 'two', memory: 4, kernel: embeddedKernel() }), restore: change(new Uint8Array(8)),
  receiveMigration: { changes: true, args: () => [{ readable: new Uint8Array(8), writable: sink() }] },
  setMemTarget: change('two', 4), setMaxMem: change('two', 4), checkpoint: change({ label: 'here' }), reset: { changes: true, args: () => [farMoment] }, shutdown: change(),
}

/** Uses a member of either end. */
const use = async (subject: object, name: string, { args = () => [] }: Use): Promise<unknown> => {
  const member = (subject as Readonly<Record<string, unknown>>)[name]
  return typeof member === 'function' ? (member as (...given: readonly unknown[]) => unknown).call(subject, ...args()) : member
}
/** Handles of either end as what they are of; functions stay where they are, and what is printed of a handle is its own. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value ?? null, (_key, field: unknown) => {
  if (typeof field === 'bigint') return String(field)
  if (typeof field !== 'object' || field === null || Array.isArray(field)) return field
  const facts = 'uuid' in field && 'console' in field ? ['id', 'uuid', 'name'] : 'addCpus' in field ? ['id', 'name', 'scheduler', 'cpus', 'domains'] : 'waitFor' in field ? [] : undefined
  return Object.fromEntries((facts ?? Object.keys(field)).sort().map((name) => [name, (field as Readonly<Record<string, unknown>>)[name]]))
}))

/** Uses all members of a subject there, those that look here, too; what is wrong. */
async function differences(subjects: { readonly here: object; readonly there: object }, uses: Readonly<Record<string, Use>>): Promise<unknown[]> {
  const wrong: unknown[] = []
  for (const [name, one] of Object.entries(uses)) {
    const there = await use(subjects.there, name, one).then(async (value) => {
      if (typeof value === 'object' && value !== null && Symbol.asyncIterator in value) return void await (value as AsyncIterable<unknown>)[Symbol.asyncIterator]().return?.()
      return value
    }, (error: { code?: string; message: string }) => ({ failed: error.code ?? error.message, message: error.message }))
    const failed = (there as { failed?: string } | undefined)?.failed
    // What is refused is refused by the call itself, not on its way.
    if (one.refused !== undefined ? failed !== one.refused : failed === 'NOT_SUPPORTED' || failed === 'INVALID_STREAM' && !['restore', 'receiveMigration', 'migrate'].includes(name)) wrong.push([name, there])
    if (one.changes === true) continue
    const here = await use(subjects.here, name, name === 'differences' ? { args: () => [moment] } : one)
    const [a, b] = [plain(here), plain(there)]
    if (JSON.stringify(a) !== JSON.stringify(b)) wrong.push([name, a, b])
  }
  return wrong
}

beforeAll(async () => {
  host = await Host.boot({ memory: 64, dom0Memory: 8, cpus: 4, idle: 'wait', openDisk: () => new MemoryBlockStore(1 << 16) })
  await catalogue.define({ name: 'web', memory: 4 })
  host.cpupools.find(0).removeCpus([3])
  domain = await host.createDomain({ name: 'one', memory: 8, maxMemory: 10, disks: [{ target: 'a', vdev: 'xvda' }], nics: [''], channels: ['connection=pty,name=agent'] })
  await domain.console.waitFor('mini> ')
  domain.pause()
  const { ends } = transportPair()
  serveHost(host, ends[0], { catalogue })
  remote = await connectHost(ends[1])
  far = await remote.domain('one')
  farMoment = await remote.checkpoint()
  moment = await host.checkpoint()
}, 30_000)
afterAll(() => host.shutdown())

test('consoles', async () => {
  expect(await differences({ here: domain.console, there: far.console }, CONSOLE)).toEqual([])
  const found = await far.console.waitFor(/(mi)(?<rest>ni)(x)?/, { from: 0 })
  expect([found[0], found[1], found[3], found.index, found.groups?.['rest']]).toEqual(['mini', 'mi', undefined, expect.any(Number), 'ni'])
})

test('pools of CPUs', async () => {
  expect(await differences({ here: host.cpupools, there: remote.cpupools }, CPU_POOLS)).toEqual([])
  const pool = await remote.cpupools.find('fast')
  await far.moveToPool(await remote.cpupools.find('Pool-0'))
  expect(await differences({ here: host.cpupools.find('fast'), there: pool }, CPU_POOL)).toEqual([])
  await expect(remote.cpupools.find('other')).rejects.toMatchObject({ code: 'POOL_NOT_FOUND' })
})

test('a catalogue', async () => {
  expect(await differences({ here: catalogue, there: remote.catalogue }, CATALOGUE)).toEqual([])
  const web = await remote.catalogue.start('web')
  expect(host.domain('web').uuid).toBe(web.uuid)
  await web.destroy()
  expect(await remote.catalogue.startAll()).toEqual([])
  const { ends } = transportPair()
  serveHost(host, ends[0])
  const other = await connectHost(ends[1])
  await expect(other.catalogue.list()).rejects.toMatchObject({ code: 'NOT_SUPPORTED' })
  other.close()
})

test('moments, which are let go with their connection', async () => {
  expect((await differences({ here: moment, there: farMoment }, { hashes: look, exists: look, save: MOMENT.save, differences: MOMENT.differences }))).toEqual([])
  const { ends } = transportPair()
  const served = serveHost(host, ends[0])
  const other = await connectHost(ends[1])
  const label = 'of another'
  const theirs = await other.checkpoint({ label })
  await expect(remote.reset(theirs)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  other.close()
  await served.closed
  expect(moment.tree().children.filter((one) => one.moment.exists && one.moment.label === label)).toEqual([])
})

test('domains', async () => {
  const looks = (are: boolean): Readonly<Record<string, Use>> => Object.fromEntries(Object.entries(DOMAIN).filter(([, one]) => (one.changes === undefined) === are))
  expect(await differences({ here: domain, there: far }, looks(true))).toEqual([])
  domain.unpause()
  expect(await differences({ here: domain, there: far }, looks(false))).toEqual([])
  expect(host.domains()).toEqual([])
})

test('events: as they come, those that were, the next one', async () => {
  const told: string[] = []
  const end = remote.events.onAny(({ type }) => told.push(type))
  // One that throws goes on hearing, as on the host itself, and nobody else is harmed.
  const complained = vi.spyOn(console, 'error').mockImplementation(() => undefined)
  let heard = 0
  const endOther = remote.events.on('domain-created', () => {
    heard += 1
    throw new Error('a fault of the listener')
  })
  const next = remote.events.once('domain-created', ({ name }) => name === 'ten')
  await remote.createDomain({ name: 'nine', memory: 4 })
  const made = await remote.createDomain({ name: 'ten', memory: 4 })
  expect((await next).domid).toBe(made.id)
  expect(told).toContain('operation-started')
  expect([heard, complained.mock.calls.map(([error]) => String(error))]).toEqual([2, ['Error: a fault of the listener', 'Error: a fault of the listener']])
  complained.mockRestore()
  endOther()
  end()
  expect((await remote.events.recent({ types: ['domain-created'], domid: made.id })).map(({ type }) => type)).toEqual(['domain-created'])
  await expect(remote.events.once('host-reset', undefined, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' })
  await made.destroy()
  await host.domain('nine').destroy()
})

test('the host', async () => {
  domain = await host.createDomain({ name: 'one', memory: 8 }, { paused: true })
  farMoment = await remote.checkpoint()
  expect(await differences({ here: host, there: remote }, HOST)).toEqual([])
  await expect(remote.createDomain({ name: 'late', memory: 4 })).rejects.toMatchObject({ code: 'CLOSED' })
})
