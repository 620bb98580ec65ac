/** `paravirt fleet`: hosts of this process as a fleet, by a store in it or by etcd; and what is wanted of a fleet in etcd. */
import { readFile } from 'node:fs/promises'
import { optionalDecompressor } from '../../decompress/index.ts'
import { etcdStore, Fleet, FleetAgent, hostMachine, memoryStore, type ClusterStore, type DomainDefinition, type FleetEvent, type FleetView, type Plan } from '../../fleet/index.ts'
import { Host, parseDescription } from '../../toolstack/index.ts'
import { thrownMessage, XenError } from '../../util/index.ts'
import { nodeDisks } from '../disks.ts'
import { nodeFiles } from '../files.ts'
import { tcpMoves } from '../tcp-moves.ts'
import { textOf, type Command, type OptionValues, type Terminal } from './command.ts'

/** Hosts in one process at most. */
const MOST_HOSTS = 64

/** The store that the options name. */
function storeOf(values: OptionValues): ClusterStore {
  const endpoints = textOf(values, 'etcd')
  return endpoints === undefined ? memoryStore() : etcdStore({ endpoints: endpoints.split(',').map((each) => (each.includes('://') ? each : `http://${each}`)) })
}

/** The domain of a description file. */
async function readDefinition(file: string): Promise<DomainDefinition> {
  const description = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new XenError('IO', `${file} cannot be read: ${thrownMessage(error)}`, { cause: error })
  })
  const { name, memory, vcpus } = parseDescription(description, { source: file }).config
  return { name, memory, vcpus, description }
}

/** An event as a line; undefined for one that says nothing new to whoever reads them all. */
function lineOf(event: FleetEvent): string | undefined {
  switch (event.type) {
    case 'host-joined': return `host ${event.host} has joined`
    case 'host-left': return `host ${event.host} has left`
    case 'drain-begun': return `host ${event.host} is to be emptied`
    case 'drain-ended': return `host ${event.host} takes domains again`
    case 'domain-defined': return `domain ${event.domain} is wanted ${event.wanted}`
    case 'domain-removed': return `domain ${event.domain} is not wanted any more`
    case 'domain-released': return `domain ${event.domain} is stopped`
    case 'domain-assigned': return `domain ${event.domain} is for host ${event.host}`
    case 'domain-claimed': return `domain ${event.domain} runs at host ${event.host}, epoch ${event.epoch}`
    case 'domain-moving': return `domain ${event.domain} is to move from host ${event.host} to ${event.to}`
    case 'domain-handed': return `domain ${event.domain} stands still at host ${event.host}, for ${event.to} to go on with`
  }
}

/** Whether these hosts and domains are there, and each domain that is to run does. */
const isSettled = ({ domains, owners, hosts }: FleetView, own: { readonly hosts: readonly string[]; readonly domains: readonly string[] }): boolean =>
  own.hosts.every((name) => hosts.has(name)) && own.domains.every((name) => domains.has(name)) && [...domains.values()].every(({ name, wanted }) => {
  const owner = owners.get(name)
  return wanted === 'stopped' ? owner === undefined : owner?.member !== undefined && owner.to === undefined && hosts.has(owner.host)
})

/** A host of this process, in the fleet. */
async function join(store: ClusterStore, name: string, { memory, lease }: { readonly memory: string; readonly lease: string }): Promise<() => Promise<void>> {
  const host = await Host.boot({ memory, clock: 'realtime', files: nodeFiles('.'), openDisk: nodeDisks('.'), decompress: optionalDecompressor })
  const moves = await tcpMoves()
  const agent = new FleetAgent({ store, name, lease, machine: hostMachine(host, { moves }) })
  const leave = async (): Promise<void> => {
    await agent.stop()
    moves.close()
    await host.shutdown()
  }
  try {
    await agent.start()
  } catch (error) {
    moves.close()
    await host.shutdown()
    throw error
  }
  return leave
}

/** Resolves when the process is asked to end. */
const interrupted = (): Promise<void> => new Promise((resolve) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve())
})

async function up(files: readonly string[], values: OptionValues, terminal: Terminal): Promise<number> {
  const count = Number(textOf(values, 'hosts') ?? 3)
  if (!Number.isInteger(count) || count < 1 || count > MOST_HOSTS) throw new XenError('INVALID_ARGUMENT', `--hosts must be a number from 1 to ${MOST_HOSTS}`)
  const definitions = await Promise.all(files.map(readDefinition))
  const [store, prefix] = [storeOf(values), textOf(values, 'name') ?? 'host']
  const own = { hosts: Array.from({ length: count }, (_, i) => `${prefix}${i + 1}`), domains: definitions.map(({ name }) => name) }
  const fleet = new Fleet({ store })
  const [over, members]: [AbortController, (() => Promise<void>)[]] = [new AbortController(), []]
  const { revision } = await fleet.state()
  const settled = (async () => {
    for await (const event of fleet.events({ from: revision + 1, signal: over.signal })) {
      const line = lineOf(event)
      if (line !== undefined) terminal.out(line)
      if (values['once'] !== true) continue
      const view = await fleet.state()
      // All that has happened has been told.
      if (isSettled(view, own) && [...view.entries.values()].every(({ modified }) => modified <= event.revision)) return
    }
  })()
  try {
    for (const name of own.hosts) members.push(await join(store, name, { memory: textOf(values, 'memory') ?? '256M', lease: textOf(values, 'lease') ?? '3s' }))
    for (const definition of definitions) await fleet.define(definition)
    await Promise.race([interrupted(), ...(values['once'] === true ? [settled] : [])])
    return 0
  } finally {
    over.abort()
    await settled.catch(() => undefined)
    for (const leave of members) await leave()
    store.close()
  }
}

/** A plan as lines. */
function planLines({ steps, unplaced }: Plan): string[] {
  return [
    ...steps.map((step) => (step.type === 'restart-host' ? `host ${step.host}: ${step.why}` : step.type === 'stop' ? `domain ${step.domain} stops: ${step.why}` : `domain ${step.domain} goes to ${step.to}: ${step.why}`)),
    ...unplaced.flatMap(({ domain, why, obstacles }) => [`domain ${domain} cannot go: ${why}`, ...obstacles.map((each) => `  ${each.host}: ${each.why}`)]),
  ]
}

function stateLines({ hosts, domains, owners, unreadable }: FleetView): string[] {
  const on = (host: string): number => [...owners.values()].filter((owner) => owner.host === host).length
  return [
    ...[...hosts.values()].map(({ name, memory, cpus, isDraining }) => `host ${name}: ${memory} MiB, ${cpus} CPUs, ${on(name)} domains${isDraining ? ', to be emptied' : ''}`),
    ...[...domains.values()].map(({ name, memory, wanted }) => `domain ${name}: ${memory} MiB, wanted ${wanted}, ${owners.has(name) ? `at ${owners.get(name)!.host}, epoch ${owners.get(name)!.epoch}` : 'at no host'}`),
    ...unreadable.map((key) => `${key} is of another version`),
  ]
}

/** What can be done with a fleet: how many words each takes behind its own, and what it does. */
const ACTS: Readonly<Record<string, { readonly words: readonly [number, number]; run(fleet: Fleet, words: readonly string[]): Promise<readonly string[]> }>> = {
  status: { words: [0, 0], run: async (fleet) => stateLines(await fleet.state()) },
  define: { words: [1, Infinity], run: async (fleet, files) => Promise.all(files.map(async (file) => {
    const definition = await readDefinition(file)
    await fleet.define(definition)
    return `domain ${definition.name} is defined`
  })) },
  start: { words: [1, 1], run: async (fleet, [name]) => { await fleet.start(name!); return [] } },
  stop: { words: [1, 1], run: async (fleet, [name]) => { await fleet.stop(name!); return [] } },
  remove: { words: [1, 1], run: async (fleet, [name]) => { await fleet.remove(name!); return [] } },
  move: { words: [2, 2], run: async (fleet, [name, to]) => { await fleet.move(name!, to!); return [] } },
  drain: { words: [1, 1], run: async (fleet, [host]) => planLines(await fleet.drain(host!)) },
  undrain: { words: [1, 1], run: async (fleet, [host]) => { await fleet.undrain(host!); return [] } },
  failures: { words: [0, 0], run: async (fleet) => (await fleet.bearableFailures()).map(({ host, isBearable, unplaced }) => `host ${host}: ${isBearable ? 'can be lost' : `cannot be lost, for ${unplaced.map(({ domain }) => domain).join(', ')}`}`) },
}

/** The command. */
export const fleetCommand: Command = {
  name: 'fleet', usage: 'up [FILE ...] | ACT [WORD ...] --etcd ENDPOINTS', summary: 'hosts that keep domains running together', takes: [1, Infinity],
  run: async ({ args: [word, ...words], values }, terminal) => {
    if (word === 'up') return up(words, values, terminal)
    const act = Object.hasOwn(ACTS, word!) ? ACTS[word!] : undefined
    if (act === undefined || words.length < act.words[0] || words.length > act.words[1]) throw new XenError('INVALID_ARGUMENT', `it takes up or one of ${Object.keys(ACTS).join(', ')}, with what that needs`)
    if (textOf(values, 'etcd') === undefined) throw new XenError('INVALID_ARGUMENT', `${word} is for a fleet in etcd: --etcd ENDPOINTS`)
    const store = storeOf(values)
    try {
      for (const line of await act.run(new Fleet({ store }), words)) terminal.out(line)
      return 0
    } finally {
      store.close()
    }
  },
  help: [
    'up boots hosts in this process and has them keep the domains of the description files FILE running, until it is interrupted. Without --etcd',
    'the fleet is in this process alone; with it, other processes and machines join the same one (each with another --name).', '',
    'On a fleet in etcd: status, define FILE ..., start DOMAIN, stop DOMAIN, remove DOMAIN, move DOMAIN HOST, drain HOST, undrain HOST, failures.',
  ],
  options: {
    hosts: { type: 'string', value: 'N', help: 'hosts to boot (3)' },
    etcd: { type: 'string', value: 'ENDPOINTS', help: 'client ports of etcd, with commas: 10.0.0.1:2379,10.0.0.2:2379' },
    name: { type: 'string', value: 'NAME', help: 'what the names of its hosts begin with (host)' },
    memory: { type: 'string', value: 'SIZE', help: "each host's (256M)" },
    lease: { type: 'string', value: 'TIME', help: 'after which a silent host is taken for dead (3s)' },
    once: { type: 'boolean', help: 'ends as soon as every domain runs' },
  },
}
