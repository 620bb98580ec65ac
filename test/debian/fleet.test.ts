/**
 * A fleet on a real store: three of Debian's etcd and three hosts, a process each, on loopback. Servers and hosts are killed and stopped, the network
 * between a host and the store is cut; a witness counts that no domain ever runs at two hosts, and each runs again within a bound.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { etcdStore, Fleet } from '../../src/fleet/index.ts'
import { main } from '../../src/node/command/main.ts'
import { storeContract } from '../unit/fleet/store-contract.ts'
import { CutProxy } from '../support/fleet/cut-proxy.ts'
import { EtcdCluster } from '../support/fleet/etcd-cluster.ts'
import type { FleetHostOptions } from '../support/fleet/fleet-host.ts'
import { hearWitness, whereabouts, witnessTime, type WitnessedRun } from '../support/fleet/witness.ts'
import { whyMissing } from '../support/guests.ts'

const missing = whyMissing('etcd')
const HOSTS = ['anna', 'bert', 'cleo'] as const
type Name = (typeof HOSTS)[number]
const DOMAINS = ['d0', 'd1', 'd2', 'd3', 'd4', 'd5']
/** Milliseconds within which everything runs again: a lease, as long again for the old host's fence, an election, and starting. */
const BOUND = 12_000
const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds))

let cluster: EtcdCluster
beforeAll(async () => { if (missing === undefined) cluster = await EtcdCluster.start() }, 40_000)
afterAll(() => cluster?.stop())

describe.skipIf(missing !== undefined)(`the store in etcd${missing ?? ''}`, () => {
  let opened = 0
  storeContract(async () => {
    opened += 1
    return etcdStore({ endpoints: cluster.endpoints, prefix: `contract-${opened}/` })
  }, pause)

  test('says what is not kept any more', async () => {
    const store = etcdStore({ endpoints: cluster.endpoints, prefix: 'compacted/' })
    const { revision } = await store.txn([], [{ type: 'put', key: 'k', value: '1' }])
    const { revision: last } = await store.txn([], [{ type: 'put', key: 'k', value: '2' }])
    await fetch(`${cluster.endpoints[0]}/v3/kv/compaction`, { method: 'POST', body: JSON.stringify({ revision: String(last), physical: true }) })
    await expect(store.watch('', { from: revision })[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'COMPACTED' })
    store.close()
  })

  test('goes to another member when one does not answer, and says IO when none does', async () => {
    const network = await CutProxy.open(cluster.ports)
    const store = etcdStore({ endpoints: ['http://127.0.0.1:1', ...network.endpoints], prefix: 'members/', timeout: '300ms' })
    expect(await store.get('k')).toBe(undefined)
    network.cut('silent')
    await expect(store.get('k')).rejects.toMatchObject({ code: 'IO' })
    network.cut('refused')
    await expect(store.txn([], [{ type: 'put', key: 'k', value: '1' }])).rejects.toMatchObject({ code: 'IO' })
    network.heal()
    await store.txn([], [{ type: 'put', key: 'k', value: '1' }])
    expect(await store.get('k')).toMatchObject({ value: '1' })
    store.close()
    network.close()
  })
})

describe.skipIf(missing !== undefined)(`paravirt fleet${missing ?? ''}`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'fleet-command-'))
  const children: ChildProcess[] = []
  afterAll(async () => {
    for (const child of children) {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    }
    rmSync(folder, { recursive: true, force: true })
  })

  /** Calls the command in this process; what it wrote. */
  async function call(...words: string[]): Promise<string> {
    const lines: string[] = []
    const status = await main(['fleet', ...words, '--etcd', cluster.endpoints.join(',')], { out: (line) => lines.push(line), error: (line) => lines.push(line) })
    expect([status, lines]).toEqual([0, lines])
    return lines.join('\n')
  }

  /** Has the command say what a fleet's state is until it says so. */
  async function says(what: RegExp | string): Promise<void> {
    await expect.poll(() => call('status'), { timeout: 30_000, interval: 200 }).toMatch(what)
  }

  test('up --etcd: two processes are one fleet, whose domains go to the other when one is emptied, and when one has left', { timeout: 90_000 }, async () => {
    const file = join(folder, 'web.cfg')
    writeFileSync(file, 'name = "web"\nmemory = 8\n')
    const up = (...words: string[]): ChildProcess => {
      const child = spawn(process.execPath, ['--import', 'tsx', 'src/node/cli.ts', 'fleet', 'up', ...words, '--hosts', '1', '--memory', '64M', '--lease', '2s', '--etcd', cluster.endpoints.join(',')], { stdio: ['ignore', 'ignore', 'inherit'] })
      children.push(child)
      return child
    }
    const left = up(file, '--name', 'left')
    await says(/host left1: .*\n(.*\n)*domain web: 8 MiB, wanted running, at left1/)
    const right = up('--name', 'right')
    await says('host right1: ')
    expect(await call('drain', 'left1')).toBe('domain web goes to right1: host left1 is to be emptied')
    await says(/host left1: .* 0 domains, to be emptied\n.*\ndomain web: .* at right1/)
    await call('undrain', 'left1')
    await call('move', 'web', 'left1')
    await says('at left1')
    left.kill('SIGTERM')
    await once(left, 'exit')
    await says(/^host right1: .* 1 domains\ndomain web: .* at right1/)
    await call('remove', 'web')
    await says(/^host right1: .* 0 domains$/)
    // Its key goes with it: the next fleet has hosts of its own.
    right.kill('SIGTERM')
    await once(right, 'exit')
    expect(await call('status')).toBe('')
  })
})

describe.skipIf(missing !== undefined)(`a fleet on etcd${missing ?? ''}`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'fleet-'))
  const journal = join(folder, 'journal')
  const processes = new Map<Name, ChildProcess>()
  const networks = new Map<Name, CutProxy>()
  /** What was done, for the log. */
  const log: string[] = []
  let fleet: Fleet
  let began = 0
  const say = (what: string): void => void log.push(`${((witnessTime() - began) / 1000).toFixed(2).padStart(6)} s  ${what}`)

  function startHost(name: Name): void {
    const options: FleetHostOptions = { name, endpoints: networks.get(name)!.endpoints, journal, lease: '2s', domains: DOMAINS }
    processes.set(name, spawn(process.execPath, ['--import', 'tsx', 'test/support/fleet/fleet-host.ts', JSON.stringify(options)], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] }))
  }

  /** Resolves with where domains are when each has run since now, at a host that `may` have it. */
  async function allRun(may: (host: string, domain: string) => boolean = () => true): Promise<Map<string, string>> {
    const since = witnessTime()
    for (;;) {
      const at = whereabouts(hearWitness(journal), since)
      if (DOMAINS.every((domain) => at.has(domain) && may(at.get(domain)!, domain))) {
        say(`  all run: ${HOSTS.map((host) => `${host} ${[...at].filter(([, each]) => each === host).map(([domain]) => domain).join(' ') || '-'}`).join(', ')}`)
        return at
      }
      if (witnessTime() - since > BOUND) throw new Error(`after ${BOUND} ms only ${[...at.keys()].join(', ')} run; ${log.join('\n')}`)
      await pause(50)
    }
  }

  /** A host that has domains. */
  const busyHost = (at: ReadonlyMap<string, string>): Name => at.get('d0') as Name

  beforeAll(async () => {
    writeFileSync(journal, '')
    for (const name of HOSTS) networks.set(name, await CutProxy.open(cluster.ports))
    fleet = new Fleet({ store: etcdStore({ endpoints: cluster.endpoints }) })
    for (const name of HOSTS) startHost(name)
    while ((await fleet.state()).hosts.size < HOSTS.length) await pause(100)
    began = witnessTime()
    for (const name of DOMAINS) await fleet.define({ name, memory: 8, description: name })
    await allRun()
  }, 60_000)

  afterAll(async () => {
    for (const child of processes.values()) {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    }
    for (const network of networks.values()) network.close()
    rmSync(folder, { recursive: true, force: true })
  })

  test('runs on when servers of its store are killed or stopped', async () => {
    for (const [which, signal] of [['leader', 'SIGKILL'], ['follower', 'SIGKILL'], ['leader', 'SIGSTOP'], ['follower', 'SIGSTOP']] as const) {
      const leader = await cluster.leader()
      const member = which === 'leader' ? leader : (leader + 1) % 3
      say(`the store's ${which} gets ${signal}`)
      cluster.signal(member, signal)
      // As long as a lease: whoever could not renew would be gone.
      await pause(2500)
      await allRun()
      if (signal === 'SIGKILL') cluster.restart(member)
      else cluster.signal(member, 'SIGCONT')
      await cluster.leader()
    }
  }, 60_000)

  test('has domains of a dead host run elsewhere', async () => {
    const dying = busyHost(await allRun())
    say(`host ${dying} gets SIGKILL`)
    processes.get(dying)!.kill('SIGKILL')
    await allRun((host) => host !== dying)
    startHost(dying)
  }, 30_000)

  test('has domains of a host that was stopped past its lease run elsewhere, and only there when it wakes', async () => {
    const sleeper = busyHost(await allRun())
    say(`host ${sleeper} gets SIGSTOP`)
    processes.get(sleeper)!.kill('SIGSTOP')
    await allRun((host) => host !== sleeper)
    say(`host ${sleeper} gets SIGCONT`)
    processes.get(sleeper)!.kill('SIGCONT')
    await pause(3000)
    await allRun()
  }, 30_000)

  test.each(['silent', 'refused'] as const)('has domains of a host that is cut off from the store run elsewhere: %s', async (how) => {
    const lonely = busyHost(await allRun())
    say(`the network between host ${lonely} and the store is cut: ${how}`)
    networks.get(lonely)!.cut(how)
    await allRun((host) => host !== lonely)
    say('the network is healed')
    networks.get(lonely)!.heal()
    await pause(3000)
    await allRun()
  }, 30_000)

  /** A domain's run before the last one, and the last one. */
  const lastRuns = (domain: string): [WitnessedRun, WitnessedRun] => {
    const [before, last] = hearWitness(journal).runs.filter((run) => run.domain === domain).slice(-2)
    return [before!, last!]
  }

  test('moves a domain from process to process with its memory, and empties a host so', async () => {
    const begun = await allRun()
    let [from, to] = [busyHost(begun), HOSTS.find((host) => host !== busyHost(begun))!]
    // A machine with other work may lose the pipe for longer than its patience: then a domain is started anew, as it has to be, and goes back with its memory, perhaps.
    for (let tries = 0; ; tries += 1) {
      say(`d0 is moved from ${from} to ${to}`)
      await fleet.move('d0', to)
      await allRun((host, domain) => domain !== 'd0' || host === to)
      const [before, after] = lastRuns('d0')
      expect([before.host, after.host]).toEqual([from, to])
      // It goes on from where it stood still: it has written nothing twice, and counts on.
      if (after.firstBeat === before.lastBeat + 1) break
      expect([after.firstBeat, tries < 5]).toEqual([1, true]);
      [from, to] = [to, from]
    }
    say(`${to} is emptied`)
    const { steps, unplaced } = await fleet.drain(to)
    expect([steps.length > 0, unplaced]).toEqual([true, []])
    await allRun((host) => host !== to)
    const kept = steps.filter((step) => step.type === 'move' && lastRuns(step.domain)[1].firstBeat === lastRuns(step.domain)[0].lastBeat + 1)
    say(`  ${kept.length} of ${steps.length} came with their memory`)
    await fleet.undrain(to)
  }, 120_000)

  test('no domain has ever run at two hosts, as the witness has it', () => {
    const { runs, lines, doubles } = hearWitness(journal)
    expect(doubles).toEqual([])
    // Each fault has moved some.
    expect(runs.length).toBeGreaterThan(DOMAINS.length + 4)
    if (process.env['FLEET_LOG'] === undefined) return
    for (const { domain, host, first, last, lines: own } of runs) log.push(`${domain} at ${host} from ${((first - began) / 1000).toFixed(2)} s to ${((last - began) / 1000).toFixed(2)} s, ${own} lines`)
    console.log([...log, `${lines} lines of the witness, ${runs.length} runs, ${doubles.length} doubles`].join('\n'))
  })
})
