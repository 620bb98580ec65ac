/** A fleet of hosts of this library: domains are placed, hosts leave and die, and nothing runs twice. */
import { afterEach, describe, expect, test } from 'vitest'
import { Fleet, FleetAgent, FencedMachine, hostMachine, memoryStore, type ClusterStore, type FleetView } from '../../src/fleet/index.ts'
import type { Host } from '../../src/toolstack/index.ts'
import { hostsOfTests } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 48, dom0Memory: 8 })
const agents: FleetAgent[] = []
afterEach(async () => {
  for (const agent of agents.splice(0)) await agent.stop()
})

async function join(store: ClusterStore, name: string): Promise<{ readonly host: Host; readonly agent: FleetAgent }> {
  const host = await boot()
  const agent = new FleetAgent({ store, name, machine: hostMachine(host), lease: '5s' })
  await agent.start()
  agents.push(agent)
  return { host, agent }
}

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
