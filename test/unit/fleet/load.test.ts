/** What hosts of a fleet are at, as their agents publish it: what is news, as long as they are members. */
import { expect, test } from 'vitest'
import { LoadReport } from '../../../src/fleet/agent/load-report.ts'
import { Fleet, hostMachine, memoryStore, readRecord, writeRecord, type HostLoad } from '../../../src/fleet/index.ts'
import { hostsOfTests, startMini } from '../../support/mini.ts'

const boot = hostsOfTests({ memory: 48, dom0Memory: 8 })
const anna = writeRecord('host', { name: 'anna', memory: 64, cpus: 1, capabilities: [] })

test('a load is written when it is news, and goes with the membership', async () => {
  const store = memoryStore()
  const lease = await store.lease('5s')
  const { revision: member } = await store.txn([], [{ type: 'put', key: 'hosts/anna', value: anna, lease: lease.id }])
  let load: HostLoad = { cpu: 0.5, memory: 8 }
  const report = new LoadReport({ store, host: 'anna', load: () => load })
  const published = async (next: HostLoad): Promise<HostLoad | undefined> => {
    load = next
    await report.publish({ member, lease })
    return (await new Fleet({ store }).state()).hosts.get('anna')?.load
  }
  expect(await published(load)).toEqual({ cpu: 0.5, memory: 8 })
  const { revision } = store
  // Too little to be told, also in many steps: it is compared with what was written.
  expect(await published({ cpu: 0.53, memory: 8.5 })).toEqual({ cpu: 0.5, memory: 8 })
  expect(store.revision).toBe(revision)
  expect(await published({ cpu: 0.56, memory: 8 })).toEqual({ cpu: 0.56, memory: 8 })
  expect(await published({ cpu: 0.56, memory: 16 })).toEqual({ cpu: 0.56, memory: 16 })
  // A membership that is over writes nothing beside its successor.
  await store.txn([], [{ type: 'delete', key: 'hosts/anna' }, { type: 'delete', key: 'loads/anna' }])
  await store.txn([], [{ type: 'put', key: 'hosts/anna', value: anna }])
  expect(await published({ cpu: 1, memory: 32 })).toBeUndefined()
  expect(await store.get('loads/anna')).toBeUndefined()
  store.close()
})

test('it is gone with the lease, and what is none of this version is as good as none', async () => {
  const store = memoryStore()
  const lease = await store.lease('5s')
  const { revision: member } = await store.txn([], [{ type: 'put', key: 'hosts/anna', value: anna }])
  const loadOf = async (): Promise<unknown> => (await new Fleet({ store }).state()).hosts.get('anna')?.load
  await new LoadReport({ store, host: 'anna', load: () => ({ cpu: 1, memory: 8 }) }).publish({ member, lease })
  expect(await loadOf()).toEqual({ cpu: 1, memory: 8 })
  await lease.revoke()
  expect(await loadOf()).toBeUndefined()
  for (const value of ['', '7', '{"version":2,"cpu":0,"memory":0}', '{"version":1,"cpu":1.5,"memory":0}', '{"version":1,"cpu":0,"memory":-1}']) {
    expect(readRecord('load', value)).toBeUndefined()
    await store.txn([], [{ type: 'put', key: 'loads/anna', value }])
    expect(await loadOf()).toBeUndefined()
  }
  store.close()
})

test('a host is at what its guests use of its CPUs, and have of its memory', { timeout: 60_000 }, async () => {
  const host = await boot({ cpus: 2 })
  const { load } = hostMachine(host)
  expect(load!()).toEqual({ cpu: 0, memory: 0 })
  const mini = await startMini(host, { memory: 16 })
  load!()
  const [before, since] = [mini.info().cpuTime, host.now()]
  await mini.console.write('spin 40\n')
  await mini.console.waitFor('rounds')
  const share = (mini.info().cpuTime - before) / (2 * (host.now() - since))
  expect(share).toBeGreaterThan(0.01)
  expect(load!()).toEqual({ cpu: Math.round(100 * share) / 100, memory: 16 })
  // Nobody has used anything since, and no time has passed.
  expect(load!()).toEqual({ cpu: 0, memory: 16 })
})
