/** A fleet of hosts of this library: domains are placed, hosts leave and die, and nothing runs twice. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { afterEach, describe, expect, test } from 'vitest'
import { Fleet, FleetAgent, FencedMachine, hostMachine, memoryMoves, memoryStore, type ClusterStore, type FleetView } from '../../src/fleet/index.ts'
import { MemoryFiles } from '../../src/index.ts'
import type { Domain, Host } from '../../src/toolstack/index.ts'
import { buildDiskedMini } from '../support/build-mini.ts'
import { builtModule } from '../support/bundle.ts'
import { answers, hostsOfTests } from '../support/mini.ts'
import { SharedStorage } from '../support/shared-storage.ts'

const boot = hostsOfTests({ memory: 48, dom0Memory: 8 })
const agents: FleetAgent[] = []
afterEach(async () => {
  for (const agent of agents.splice(0)) await agent.stop()
})

interface Joining {
  readonly network?: ReturnType<typeof memoryMoves> | undefined
  readonly storages?: readonly string[] | undefined
  readonly options?: Parameters<typeof boot>[0]
}

async function join(store: ClusterStore, name: string, { network, storages, options }: Joining = {}): Promise<{ readonly host: Host; readonly agent: FleetAgent }> {
  const host = await boot(options)
  const agent = new FleetAgent({ store, name, machine: hostMachine(host, { moves: network?.join(name), storages }), lease: '5s' })
  await agent.start()
  agents.push(agent)
  return { host, agent }
}

const disked = buildDiskedMini()

/** Resolves when the fleet's state is as wanted. */
async function until(fleet: Fleet, met: (view: FleetView) => boolean): Promise<void> {
  for await (const _ of fleet.events({ from: 2 })) if (met(await fleet.state())) return
}
const runsAt = (view: FleetView, name: string): string | undefined => {
  const owner = view.owners.get(name)
  return owner?.member === undefined ? undefined : owner.host
}
const names = (host: Host): string[] => host.domains().map(({ name }) => name).sort()
const has = async (host: Host, wanted: readonly string[]): Promise<void> => expect.poll(() => names(host), { timeout: 10_000 }).toEqual(wanted)

test('the example runs from its beginning to its end', { timeout: 60_000 }, async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [await builtModule('examples/fleet.ts')], { timeout: 50_000 })
  for (const line of ['can bear the loss of', 'anna is emptied', 'leaves']) expect(stdout).toContain(line)
})

describe('a fleet', { timeout: 60_000 }, () => {
  test('runs what is wanted where there is room, empties a host, and starts again what a host has left', async () => {
    const store = memoryStore()
    const fleet = new Fleet({ store })
    const [anna, bert] = [await join(store, 'anna'), await join(store, 'bert')]
    await fleet.define({ name: 'one', memory: 8, apart: 'pair' })
    await fleet.define({ name: 'two', memory: 8, apart: 'pair' })
    await until(fleet, (view) => runsAt(view, 'one') !== undefined && runsAt(view, 'two') !== undefined)
    const before = await fleet.state()
    expect(new Set([runsAt(before, 'one'), runsAt(before, 'two')])).toEqual(new Set(['anna', 'bert']))
    await expect.poll(() => [...names(anna.host), ...names(bert.host)].sort(), { timeout: 10_000 }).toEqual(['one', 'two'])
    expect((await fleet.planDrain('anna')).unplaced.map(({ obstacles }) => obstacles.map(({ why }) => why.replace(/one|two/, 'it')))).toEqual([['it of group pair is there']])

    await fleet.define({ name: 'two', memory: 8 })
    await fleet.drain('anna')
    await has(anna.host, [])
    await has(bert.host, ['one', 'two'])
    await fleet.undrain('anna')

    await bert.agent.stop()
    expect(names(bert.host)).toEqual([])
    await has(anna.host, ['one', 'two'])
    await fleet.stop('one')
    await has(anna.host, ['two'])
    // What the host is at is told with a renewal.
    await expect.poll(async () => (await fleet.state()).hosts.get('anna')?.load?.memory, { timeout: 20_000 }).toBe(8)
  })

  test.skipIf(disked.reason !== undefined)(`gives each domain a UUID and addresses that no other has, though its hosts were booted with one seed, and the same ones wherever it is started${disked.reason ?? ''}`, async () => {
    const store = memoryStore()
    const fleet = new Fleet({ store })
    const options = { files: new MemoryFiles({ '/kernel': readFileSync(disked.path!) }) }
    const [anna, bert] = [await join(store, 'anna', { options }), await join(store, 'bert', { options })]
    const description = 'kernel = "/kernel"\nvif = ["bridge=xenbr0", "mac=00:16:3e:00:00:01"]'
    for (const name of ['one', 'two']) await fleet.define({ name, memory: 8, apart: 'pair', description })
    await expect.poll(() => [anna, bert].map(({ host }) => names(host).length), { timeout: 10_000 }).toEqual([1, 1])
    const all = () => [anna, bert].flatMap(({ host }) => host.domains())
    const who = (name: string) => {
      const { uuid, config } = all().find((domain) => domain.name === name)!
      return { uuid, macs: config.nics.map(({ mac }) => mac) }
    }
    const [one, two] = [who('one'), who('two')]
    expect(new Set([one.uuid, two.uuid, one.macs[0], two.macs[0]]).size).toBe(4)
    expect([one.macs[1], two.macs[1]]).toEqual(['00:16:3e:00:00:01', '00:16:3e:00:00:01'])
    const [other, gone] = anna.host.domains().some(({ name }) => name === 'one') ? [bert, anna] : [anna, bert]
    await fleet.stop('two')
    await has(other.host, [])
    await gone.agent.stop()
    await has(other.host, ['one'])
    expect(who('one')).toEqual(one)
  })

  test('moves a domain with its memory where both hosts can, and starts it anew where it is to be so', async () => {
    const store = memoryStore()
    const fleet = new Fleet({ store })
    const network = memoryMoves()
    const [anna, bert] = [await join(store, 'anna', { network }), await join(store, 'bert', { network })]
    await fleet.drain('bert')
    await fleet.define({ name: 'one', memory: 8 })
    await has(anna.host, ['one'])
    const { uuid, console: before } = anna.host.domain('one')
    await before.waitFor('tick 3')
    await fleet.undrain('bert')
    await fleet.move('one', 'bert')
    await has(bert.host, ['one'])
    const there = bert.host.domain('one')
    expect(there.uuid).toBe(uuid)
    await there.console.waitFor('mini: restored')
    await answers(there)
    await has(anna.host, [])
    const { owners } = await fleet.state()
    expect(owners.get('one')).toEqual({ host: 'bert', epoch: expect.any(Number), member: expect.any(Number), grace: 5000 })
    const told: unknown[] = []
    for await (const event of fleet.events({ from: 1 })) {
      if ('epoch' in event) told.push([event.type, event.host])
      if (event.type === 'domain-claimed' && event.host === 'bert') break
    }
    expect(told).toEqual([['domain-assigned', 'anna'], ['domain-claimed', 'anna'], ['domain-moving', 'anna'], ['domain-handed', 'anna'], ['domain-claimed', 'bert']])
    // Whoever knows nothing of moves is another host of the fleet all the same.
    const cleo = await join(store, 'cleo')
    await fleet.move('one', 'cleo')
    await has(cleo.host, ['one'])
    await cleo.host.domain('one').console.waitFor('tick 3')
    expect(cleo.host.domain('one').console.text()).not.toContain('mini: restored')
  })

  test.skipIf(disked.reason !== undefined)(`opens a disk of a shared storage at the other host instead of copying it, and finds there what the guest wrote last${disked.reason ?? ''}`, async () => {
    const store = memoryStore()
    const fleet = new Fleet({ store })
    const network = memoryMoves()
    const nfs = new SharedStorage()
    const options = (name: string): Parameters<typeof boot>[0] => ({
      files: new MemoryFiles({ '/kernel': readFileSync(disked.path!) }), openDisk: () => nfs.open(name),
    })
    const reaching = { network, storages: ['nfs1'] }
    const [anna, bert] = [await join(store, 'anna', { ...reaching, options: options('anna') }), await join(store, 'bert', { ...reaching, options: options('bert') })]
    await join(store, 'cleo', { network })
    await fleet.drain('bert')
    await fleet.define({ name: 'one', memory: 8, requires: ['storage:nfs1'], description: 'kernel = "/kernel"\nmemory = 8\ndisk = ["/one.img,raw,xvda,rw"]' })
    await has(anna.host, ['one'])
    // Where only cleo is left there is no place for it.
    expect((await fleet.planDrain('anna')).unplaced).toMatchObject([{ domain: 'one', obstacles: expect.arrayContaining([{ host: 'cleo', why: expect.stringContaining('storage:nfs1') }]) }])
    const { console: here } = anna.host.domain('one')
    await here.write('disk write 7 before the move\r')
    await here.waitFor('disk: wrote, status 0')
    expect(nfs.durable(7)).not.toBe('before the move')
    const [written, read] = [nfs.counts.get('anna')!.written, nfs.counts.get('anna')!.read]
    await fleet.undrain('bert')
    await fleet.move('one', 'bert')
    await has(bert.host, ['one'])
    expect(nfs.counts.get('anna')).toMatchObject({ written, read })
    expect(nfs.counts.get('bert')).toMatchObject({ written: 0 })
    expect(nfs.durable(7)).toBe('before the move')
    expect(nfs.mistakes).toEqual([])
    const { console: there } = bert.host.domain('one')
    await there.waitFor('mini: restored')
    await there.write('disk read 7\r')
    await there.waitFor('disk: status 0: before the move')
    await there.write('disk write 8 behind it\r')
    await there.waitFor('disk: wrote, status 0')
    await has(anna.host, [])
    // Nobody holds it at the host that it has left.
    await expect.poll(() => nfs.counts.get('anna')!.open, { timeout: 10_000 }).toBe(0)
  })

  test('does with each domain of a host that is emptied what that wants: moves it, starts it anew, stops it, or leaves it and says so', async () => {
    const store = memoryStore()
    const fleet = new Fleet({ store })
    const network = memoryMoves()
    const anna = await join(store, 'anna', { network, options: { memory: 64 } })
    for (const eviction of ['move', 'restart', 'stop', 'stay'] as const) await fleet.define({ name: eviction, memory: 8, eviction })
    await has(anna.host, ['move', 'restart', 'stay', 'stop'])
    for (const domain of anna.host.domains()) await domain.console.waitFor('tick 3')
    const bert = await join(store, 'bert', { network })
    const { unplaced } = await fleet.drain('anna')
    expect(unplaced).toEqual([{ domain: 'stay', why: 'it is to stay where it is', obstacles: [] }])
    await has(anna.host, ['stay'])
    await has(bert.host, ['move', 'restart'])
    await bert.host.domain('move').console.waitFor('mini: restored')
    await bert.host.domain('restart').console.waitFor('tick 3')
    expect(bert.host.domain('restart').console.text()).not.toContain('mini: restored')
    expect((await fleet.state()).domains.get('stop')).toMatchObject({ wanted: 'stopped' })
    await fleet.start('stop')
    await has(bert.host, ['move', 'restart', 'stop'])
  })

  test('says which losses it can bear, evens out when a host has come, and lets those rest that were just moved', async () => {
    const store = memoryStore()
    const fleet = new Fleet({ store })
    const network = memoryMoves()
    const anna = await join(store, 'anna', { network })
    for (const name of ['d0', 'd1', 'd2', 'd3']) await fleet.define({ name, memory: 8 })
    await has(anna.host, ['d0', 'd1', 'd2', 'd3'])
    for (const domain of anna.host.domains()) await domain.console.waitFor('tick 3')
    const bears = async (): Promise<unknown[]> => (await fleet.bearableFailures()).map(({ host, isBearable, unplaced }) => [host, isBearable, unplaced.length])
    expect(await bears()).toEqual([['anna', false, 4]])
    const bert = await join(store, 'bert', { network })
    expect(await bears()).toEqual([['anna', true, 0], ['bert', true, 0]])
    const plan = await fleet.planRebalance()
    const moved = plan.steps.flatMap((step) => (step.type === 'move' ? [step.domain] : []))
    expect(moved).toHaveLength(2)
    expect(await fleet.carryOut(plan)).toBe(2)
    await has(bert.host, moved)
    await has(anna.host, ['d0', 'd1', 'd2', 'd3'].filter((name) => !moved.includes(name)))
    for (const name of moved) await bert.host.domain(name).console.waitFor('mini: restored')
    // What was planned is done: a second time nothing is.
    expect([await fleet.carryOut(plan), (await fleet.planRebalance()).steps]).toEqual([0, []])
    await fleet.stop(moved[0]!)
    await fleet.stop(moved[1]!)
    await expect.poll(async () => [...(await fleet.state()).owners.values()].map(({ host }) => host), { timeout: 10_000 }).toEqual(['anna', 'anna'])
    const [one, other] = ['d0', 'd1', 'd2', 'd3'].filter((name) => !moved.includes(name))
    const { steps } = await fleet.planRebalance({ now: 1000, lastMoves: new Map([[one!, 1000]]) })
    expect(steps).toMatchObject([{ type: 'move', domain: other, to: 'bert' }])
  })

  test('restarts its hosts one after the other, and no domain stops running', async () => {
    const store = memoryStore()
    const fleet = new Fleet({ store })
    const network = memoryMoves()
    let seed = 0
    const boots = (name: string): ReturnType<typeof join> => join(store, name, { network, options: { seed: seed += 1 } })
    const hosts = new Map([['anna', await boots('anna')], ['bert', await boots('bert')]])
    for (const name of ['one', 'two']) await fleet.define({ name, memory: 8, eviction: 'move' })
    await until(fleet, (view) => runsAt(view, 'one') !== undefined && runsAt(view, 'two') !== undefined)
    const all = (): Domain[] => [...hosts.values()].flatMap(({ host }) => host.domains())
    await expect.poll(() => all().length, { timeout: 10_000 }).toBe(2)
    const before = all()
    for (const domain of before) await domain.console.waitFor('tick 3')
    const restarted = await fleet.rollingRestart(async (name) => {
      const { host, agent } = hosts.get(name)!
      await has(host, [])
      await agent.stop()
      await host.shutdown()
      hosts.set(name, await boots(name))
    })
    expect(restarted).toEqual(['anna', 'bert'])
    await expect.poll(() => all().map(({ uuid }) => uuid).sort(), { timeout: 10_000 }).toEqual(before.map(({ uuid }) => uuid).sort())
    for (const domain of all()) {
      await domain.console.waitFor('mini: restored')
      await answers(domain)
    }
    await fleet.define({ name: 'one', memory: 8, eviction: 'stay' })
    await expect(fleet.rollingRestart(() => undefined)).rejects.toMatchObject({ code: 'INVALID_STATE', details: { host: runsAt(await fleet.state(), 'one'), domains: ['one'] } })
  })

  test('lets clones know that they are clones', async () => {
    const store = memoryStore()
    const fleet = new Fleet({ store })
    const { host } = await join(store, 'anna')
    await fleet.define({ name: 'web', memory: 8, wanted: 'stopped' })
    expect(await fleet.clone('web', { count: 2 })).toEqual(['web-1', 'web-2'])
    await expect(fleet.clone('web', { count: 1 })).rejects.toMatchObject({ code: 'BUSY' })
    await expect(fleet.clone('none', { count: 1 })).rejects.toMatchObject({ code: 'DOMAIN_NOT_FOUND' })
    for (const name of ['web', 'web-1', 'web-2']) await fleet.start(name)
    await has(host, ['web', 'web-1', 'web-2'])
    const told = (name: string): unknown[] => {
      const folder = `/local/domain/${host.domain(name).id}/vm-data/fleet`
      const keys = host.store.list(folder)
      return ['name', 'clone-of', 'clone-number'].map((key) => (keys.includes(key) ? host.store.read(`${folder}/${key}`) : undefined))
    }
    expect(told('web-2')).toEqual(['web-2', 'web', '2'])
    expect(told('web')).toEqual(['web', undefined, undefined])
  })

  test('takes descriptions as they are in files, and says what is wrong with one', async () => {
    const store = memoryStore()
    const fleet = new Fleet({ store })
    const { host, agent } = await join(store, 'anna')
    const failures: unknown[] = []
    agent.events.on('domain-failed', ({ domain, error }) => failures.push([domain, (error as { code: string }).code]))
    await fleet.define({ name: 'described', memory: 8, description: 'name = "other"\nmemory = 4\nextra = "quiet"' })
    await has(host, ['described'])
    expect(host.domain('described').config).toMatchObject({ commandLine: 'quiet', memory: 8 })
    await fleet.define({ name: 'wrong', memory: 8, description: 'kernel = "/nowhere"' })
    await expect.poll(() => failures.length, { timeout: 10_000 }).toBeGreaterThan(0)
    expect(failures[0]).toEqual(['wrong', 'IO'])
    expect(names(host)).toEqual(['described'])
  })

  test('refuses a second agent of one name, and definitions that are none', async () => {
    const store = memoryStore()
    const { host } = await join(store, 'anna')
    await expect(new FleetAgent({ store, name: 'anna', machine: hostMachine(host) }).start()).rejects.toMatchObject({ code: 'BUSY' })
    const fleet = new Fleet({ store })
    await expect(fleet.define({ name: 'no/slash', memory: 8 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(fleet.start('none')).rejects.toMatchObject({ code: 'DOMAIN_NOT_FOUND' })
    await store.txn([], [{ type: 'put', key: 'domains/new', value: '{"version":2}' }, { type: 'put', key: 'owners/new', value: '{"version":2}' }])
    const { unreadable } = await fleet.state()
    expect(unreadable).toEqual(['domains/new', 'owners/new'])
  })

  test('has a fence that lets no older epoch pass, and none while it is closed', async () => {
    let now = 0
    const host = await boot()
    const machine = new FencedMachine(hostMachine(host), () => now)
    const domain = { name: 'one', memory: 8, vcpus: 1, wanted: 'running', priority: 0, order: 0, with: [], requires: [], eviction: 'move', description: '' } as const
    await expect(machine.run(domain, 5)).rejects.toMatchObject({ code: 'STALE_EPOCH' })
    machine.open(100)
    await machine.run(domain, 5)
    await expect(machine.run(domain, 4)).rejects.toMatchObject({ code: 'STALE_EPOCH' })
    machine.close()
    expect(host.domain('one').info().paused).toBe(true)
    await expect(machine.run(domain, 6)).rejects.toMatchObject({ code: 'STALE_EPOCH' })
    machine.open(200)
    now = 150
    await machine.run(domain, 6)
    expect(host.domain('one').info().paused).toBe(false)
    await machine.stop('one')
    expect(names(host)).toEqual([])
  })
})
