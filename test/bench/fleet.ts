/**
 * What a fleet takes: from a host's death to its domain running again, emptying a host of eight domains of 64 MB with their memory, a plan for 100 hosts and
 * 1,000 domains, and an agent at rest. The store is three of Debian's etcd on loopback where they are there (`npm run guests -- etcd`); hosts that die are
 * processes of their own, and what is counted is what their guests do, not what their agents say.
 *
 * Targets: 3 s from a host's death at leases of 1 s; 5 s for emptying; 100 ms for the plan.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  bearableFailures, etcdStore, Fleet, FleetAgent, hostMachine, memoryMoves, memoryStore, planDrain, planPlacement, type ClusterStore, type FleetDomain, type FleetState, type Machine,
} from '../../src/fleet/index.ts'
import { Host } from '../../src/toolstack/index.ts'
import { EtcdCluster } from '../support/fleet/etcd-cluster.ts'
import type { FleetHostOptions } from '../support/fleet/fleet-host.ts'
import { hearWitness, whereabouts, witnessTime } from '../support/fleet/witness.ts'
import { guestFile } from '../support/guests.ts'
import type { Report } from './report.ts'

const DEATHS = 7
const TARGET = { death: 3000, evacuation: 5000, plan: 100 } as const
const DOMAINS = 8
const MEGABYTES = 64
/** Milliseconds for which an agent at rest is watched. */
const REST = 10_000

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!
const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds))
const plain = { baseline: '', ratio: null, target: null, met: null } as const

/** Waits until something holds. */
async function until(met: () => boolean | Promise<boolean>, each = 5): Promise<void> {
  while (!await met()) await pause(each)
}

/** Milliseconds from the death of the host that has a domain to the domain's first line at another one, several times. */
async function deaths(cluster: EtcdCluster): Promise<number[]> {
  const folder = mkdtempSync(join(tmpdir(), 'fleet-bench-'))
  const journal = join(folder, 'journal')
  writeFileSync(journal, '')
  const processes = new Map<string, ChildProcess>()
  const start = (name: string): void => {
    const options: FleetHostOptions = { name, endpoints: cluster.endpoints, journal, lease: '1s', domains: ['one'] }
    const program = join(import.meta.dirname, '../support/fleet/fleet-host.ts')
    processes.set(name, spawn(process.execPath, ['--import', 'tsx', program, JSON.stringify(options)], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] }))
  }
  const store = etcdStore({ endpoints: cluster.endpoints })
  const fleet = new Fleet({ store })
  const all = ['anna', 'bert', 'cleo']
  for (const name of all) start(name)
  const took: number[] = []
  try {
    await fleet.define({ name: 'one', memory: 8, description: 'one' })
    for (let i = 0; i < DEATHS; i += 1) {
      await until(async () => (await fleet.state()).hosts.size === all.length, 100)
      // All of them at rest, and not always at the same point of a lease.
      await pause(1500 + i * 137)
      const since = witnessTime()
      await until(() => whereabouts(hearWitness(journal), since).has('one'))
      const dying = whereabouts(hearWitness(journal), since).get('one')!
      const killed = witnessTime()
      processes.get(dying)!.kill('SIGKILL')
      const again = (): number | undefined => hearWitness(journal).runs.find(({ host, first }) => host !== dying && first > killed)?.first
      await until(() => again() !== undefined)
      took.push(again()! - killed)
      start(dying)
    }
  } finally {
    for (const child of processes.values()) {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    }
    store.close()
    rmSync(folder, { recursive: true, force: true })
  }
  return took
}

/** Milliseconds for moving eight domains with their memory off a host, from the call to the last one running at the other; and of processor meanwhile. */
async function evacuation(store: ClusterStore): Promise<{ readonly took: number; readonly processor: number }> {
  const network = memoryMoves()
  const fleet = new Fleet({ store })
  const hosts: Host[] = []
  const agents: FleetAgent[] = []
  for (const name of ['anna', 'bert']) {
    const host = await Host.boot({ memory: DOMAINS * MEGABYTES + 64, dom0Memory: 16 })
    hosts.push(host)
    agents.push(new FleetAgent({ store, name, lease: '5s', machine: hostMachine(host, { moves: network.join(name) }) }))
  }
  await agents[0]!.start()
  for (let i = 0; i < DOMAINS; i += 1) await fleet.define({ name: `d${i}`, memory: MEGABYTES })
  await until(() => hosts[0]!.domains().length === DOMAINS)
  for (const domain of hosts[0]!.domains()) await domain.console.waitFor('tick 3')
  await agents[1]!.start()
  const [begun, before] = [performance.now(), process.cpuUsage()]
  await fleet.drain('anna')
  await until(() => hosts[0]!.domains().length === 0 && hosts[1]!.domains().length === DOMAINS && hosts[1]!.domains().every((domain) => !domain.info().paused))
  const took = performance.now() - begun
  const { user, system } = process.cpuUsage(before)
  // One that was started anew instead never says so.
  for (const domain of hosts[1]!.domains()) await domain.console.waitFor('mini: restored')
  for (const agent of agents) await agent.stop()
  for (const host of hosts) await host.shutdown()
  return { took, processor: (user + system) / 1000 }
}

/** A fleet as data. */
function largeFleet(hosts: number, domains: number, placed: boolean): FleetState {
  const names = Array.from({ length: hosts }, (_, i) => `h${i}`)
  const all = Array.from({ length: domains }, (_, i): FleetDomain => ({
    name: `d${i}`, memory: 64 + (i % 7) * 32, vcpus: 1 + (i % 4), wanted: 'running', priority: i % 5, order: i % 3, with: [], requires: i % 3 === 0 ? ['pvh'] : [], eviction: 'move', description: '',
    ...(i % 4 === 0 ? { apart: `group${i % 40}` } : {}),
  }))
  return {
    hosts: new Map(names.map((name, i) => [name, { name, memory: 4096, cpus: 16, capabilities: i % 2 === 0 ? ['pv', 'pvh'] : ['pv'], isDraining: false }])),
    domains: new Map(all.map((domain) => [domain.name, domain])),
    owners: new Map(placed ? all.map(({ name }, i) => [name, { host: names[(i * 2) % hosts]!, epoch: i + 1, member: 1 }]) : []),
  }
}

/** The middle of several times, in milliseconds. */
function timed(work: () => void): number {
  const times: number[] = []
  for (let i = 0; i < 15; i += 1) {
    const begun = performance.now()
    work()
    if (i >= 4) times.push(performance.now() - begun)
  }
  return median(times)
}

const NOTHING: Machine = {
  facts: () => ({ memory: 4096, cpus: 16, capabilities: ['pv'] }), start: async () => undefined, stop: async () => undefined, pause: () => undefined, resume: () => undefined, domains: () => [],
}

/** Processor milliseconds a second that an agent takes beside others at rest, with 100 domains that are wanted stopped. */
async function restingAgent(store: ClusterStore): Promise<number> {
  const fleet = new Fleet({ store })
  for (let i = 0; i < 100; i += 1) await fleet.define({ name: `d${i}`, memory: 64, wanted: 'stopped' })
  const agents = Array.from({ length: 10 }, (_, i) => new FleetAgent({ store, name: `h${i}`, lease: '1s', machine: NOTHING }))
  for (const agent of agents) await agent.start()
  await pause(1000)
  const before = process.cpuUsage()
  await pause(REST)
  const { user, system } = process.cpuUsage(before)
  for (const agent of agents) await agent.stop()
  return (user + system) / 1000 / (REST / 1000) / agents.length
}

/** Measures everything, or those parts that are named: `plans`, `evacuation`, `rest`, `death`. */
export async function run(report: Report, parts: readonly string[] = []): Promise<void> {
  const isWanted = (part: string): boolean => parts.length === 0 || parts.includes(part)
  const limited = (name: string, value: number, target: number): void => report({ case: name, value, unit: 'ms', ...plain, target, met: value <= target })
  const emptied = async (what: string, store: ClusterStore): Promise<void> => {
    const { took, processor } = await evacuation(store)
    limited(`emptying a host, ${what}: ${DOMAINS} domains of ${MEGABYTES} MB`, took, TARGET.evacuation)
    report({ case: '  processor, of both hosts', value: processor, unit: 'ms', ...plain })
  }
  const rested = async (what: string, store: ClusterStore): Promise<void> => report({ case: `an agent at rest, ${what}`, value: await restingAgent(store), unit: 'ms CPU / s', ...plain })
  if (isWanted('plans')) reportPlans(report, limited)
  if (isWanted('evacuation')) await emptied('memory', memoryStore())
  if (isWanted('rest')) await rested('store in memory', memoryStore())
  if (!['evacuation', 'rest', 'death'].some(isWanted)) return
  if (guestFile('etcd') === undefined) return report({ case: 'a fleet on etcd', value: NaN, unit: 'ms', ...plain, baseline: 'absent: npm run guests -- etcd' })
  const cluster = await EtcdCluster.start()
  try {
    if (isWanted('rest')) await rested('etcd', etcdStore({ endpoints: cluster.endpoints, prefix: 'rest/' }))
    if (isWanted('evacuation')) await emptied('etcd', etcdStore({ endpoints: cluster.endpoints, prefix: 'evacuation/' }))
    if (!isWanted('death')) return
    const took = await deaths(cluster)
    limited('death of a host to its domain running, 1 s', median(took), TARGET.death)
    report({ case: `  the worst of ${DEATHS}`, value: Math.max(...took), unit: 'ms', ...plain })
  } finally {
    await cluster.stop()
  }
}

/** What plans of large fleets take. */
function reportPlans(report: Report, limited: (name: string, value: number, target: number) => void): void {
  const state = largeFleet(100, 1000, false)
  limited('plan of 1,000 domains on 100 hosts', timed(() => void planPlacement(state)), TARGET.plan)
  const placed = largeFleet(100, 1000, true)
  report({ case: 'plan of emptying one of 100 hosts', value: timed(() => void planDrain(placed, 'h0')), unit: 'ms', ...plain })
  report({ case: 'which of 100 failures can be borne', value: timed(() => void bearableFailures(placed)), unit: 'ms', ...plain })
}
