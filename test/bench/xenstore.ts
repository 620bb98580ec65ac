/**
 * XenStore: requests per second through the Unix socket, one at a time and pipelined, with 1 and 50 clients, from the
 * same client program against this library's server and the C xenstored; and in process.
 *
 * Targets: as fast as xenstored one at a time, 1.5 times as fast pipelined, 10 times on transactions; 1,000,000 reads
 * a second in process; costs that do not grow with the number of domains and watches; memory that stays bounded.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { MemoryTransport, XenStore, XenStoreServer } from '../../src/xenstore/index.ts'
import { STORE_OPS, storePacket } from '../../src/testing/index.ts'
import type { Report } from './report.ts'
import { bundle } from '../support/bundle.ts'
import { startIdleServer } from './support/idle-server.ts'
import { LoadClient, PreparedBatch, batch, message } from './support/xenstore-load.ts'
import { listening, startPeer, type ServerProcess } from './support/xenstored-peer.ts'

/** Milliseconds of one measurement. */
const DURATION = Number(process.env['BENCH_MS'] ?? 300)
/** Measurements of each server, in turns, of which the best one counts. */
const TURNS = 5
/** Messages in one pipelined piece. */
const DEPTH = 100
const NODES = 64

const node = (i: number): string => `/bench/domain/${i % NODES}/device/vbd/51712/state`

/** One way of loading a server: does some work with a client, and says how many operations that were. */
type Work = (client: LoadClient, index: number) => Promise<number>

const repeat = (type: number, body: (i: number) => string): Work => {
  const pieces = Array.from({ length: NODES }, (_, i) => message(type, body(i)))
  let next = 0
  return async (client) => {
    next += 1
    await client.send(pieces[next % NODES]!, 1)
    return 1
  }
}

const pipelined = (type: number, body: (i: number) => string): Work => {
  const piece = batch(Array.from({ length: DEPTH }, (_, i) => message(type, body(i))))
  return async (client) => {
    await client.send(piece, DEPTH)
    return DEPTH
  }
}

/** Reads, changes and writes one node, each client its own. */
const transaction: Work = async (client, index) => {
  const path = node(index)
  await client.send(message(STORE_OPS.TRANSACTION_START, '\0'), 1)
  const tx = parseInt(client.last, 10)
  await client.send(message(STORE_OPS.READ, `${path}\0`, tx), 1)
  await client.send(message(STORE_OPS.WRITE, `${path}\0${client.last}`, tx), 1)
  await client.send(message(STORE_OPS.TRANSACTION_END, 'T\0', tx), 1)
  return 1
}

/** Twenty transactions side by side, each step of all of them in one piece; every one changes its own node. */
const transactionsPipelined = (): Work => {
  const count = 20
  const ids = Array.from({ length: count }, (_, i) => i)
  const starts = batch(ids.map(() => message(STORE_OPS.TRANSACTION_START, '\0')))
  const steps = new PreparedBatch(ids.flatMap((i) => [
    message(STORE_OPS.READ, `${node(i)}\0`), message(STORE_OPS.WRITE, `${node(i)}\0value`), message(STORE_OPS.TRANSACTION_END, 'T\0'),
  ]))
  return async (client) => {
    await client.send(starts, count)
    const last = parseInt(client.last, 10)
    for (const i of ids) steps.within(last - count + 1 + i, i * 3, i * 3 + 3)
    await client.send(steps.bytes, count * 3)
    return count
  }
}

/** What a toolstack does when it creates a domain: many nodes at once, in three pieces. */
const largeTransaction = (): Work => {
  const start = message(STORE_OPS.TRANSACTION_START, '\0')
  const indexes = Array.from({ length: 100 }, (_, i) => i)
  const writes = new PreparedBatch(indexes.map((i) => message(STORE_OPS.WRITE, `/bench/large/${i}\0value`)))
  return async (client) => {
    await client.send(start, 1)
    const tx = parseInt(client.last, 10)
    await client.send(writes.within(tx), writes.count)
    await client.send(message(STORE_OPS.TRANSACTION_END, 'T\0', tx), 1)
    return 1
  }
}

async function rate(socket: string, clients: number, work: Work): Promise<number> {
  const connected: LoadClient[] = []
  for (let i = 0; i < clients; i += 1) connected.push(await LoadClient.connect(socket))
  const run = async (milliseconds: number): Promise<number> => {
    const start = performance.now()
    const counts = await Promise.all(connected.map(async (client, i) => {
      let done = 0
      while (performance.now() - start < milliseconds) done += await work(client, i)
      return done
    }))
    return counts.reduce((sum, each) => sum + each, 0) / ((performance.now() - start) / 1000)
  }
  await run(DURATION / 3)
  const result = await run(DURATION)
  const errors = connected.flatMap((client) => client.errors)
  for (const client of connected) client.close()
  if (errors.length > 0) throw new Error(`unexpected errors: ${[...new Set(errors)].join(', ')}`)
  return result
}

/** One client watches, another changes nodes below; how many events arrive per second. */
async function deliveries(socket: string): Promise<number> {
  const [watcher, writer] = await Promise.all([LoadClient.connect(socket), LoadClient.connect(socket)])
  await watcher.send(message(STORE_OPS.WATCH, '/bench\0token\0'), 1, 1)
  const piece = batch(Array.from({ length: NODES }, (_, i) => message(STORE_OPS.WRITE, `${node(i)}\0value`)))
  const start = performance.now()
  let done = 0
  while (performance.now() - start < DURATION) {
    const arrived = watcher.receive(NODES)
    await Promise.all([writer.send(piece, NODES), arrived])
    done += NODES
  }
  const result = done / ((performance.now() - start) / 1000)
  watcher.close()
  writer.close()
  return result
}

async function fill(socket: string): Promise<void> {
  const client = await LoadClient.connect(socket)
  for (let i = 0; i < NODES; i += 1) await client.send(message(STORE_OPS.WRITE, `${node(i)}\0value`), 1)
  client.close()
}

async function startOurs(): Promise<ServerProcess> {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-xenstore-'))
  const socket = join(folder, 'socket')
  const { path, remove } = await bundle(`
    import { serve } from './support/xenstore-process.ts'
    await serve(process.argv[2])
  `, 'test/bench')
  const child = spawn(process.execPath, [path, socket], { stdio: ['ignore', 'ignore', 'inherit'] })
  await listening(socket, child)
  return {
    socket,
    process: child,
    stop: () => {
      child.kill()
      remove()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Name, target against the peer, and how a server is measured. */
const CASES: readonly (readonly [string, number, (socket: string) => Promise<number>])[] = [
  ['read, one at a time', 1, (socket) => rate(socket, 1, repeat(STORE_OPS.READ, (i) => `${node(i)}\0`))],
  ['read, one at a time, 50 clients', 1, (socket) => rate(socket, 50, repeat(STORE_OPS.READ, (i) => `${node(i)}\0`))],
  ['write, one at a time', 1, (socket) => rate(socket, 1, repeat(STORE_OPS.WRITE, (i) => `${node(i)}\0value`))],
  ['write, one at a time, 50 clients', 1, (socket) => rate(socket, 50, repeat(STORE_OPS.WRITE, (i) => `${node(i)}\0value`))],
  ['directory, one at a time', 1, (socket) => rate(socket, 1, repeat(STORE_OPS.DIRECTORY, () => '/bench/domain\0'))],
  ['read, pipelined', 1.5, (socket) => rate(socket, 1, pipelined(STORE_OPS.READ, (i) => `${node(i)}\0`))],
  ['read, pipelined, 50 clients', 1.5, (socket) => rate(socket, 50, pipelined(STORE_OPS.READ, (i) => `${node(i)}\0`))],
  ['write, pipelined', 1.5, (socket) => rate(socket, 1, pipelined(STORE_OPS.WRITE, (i) => `${node(i)}\0value`))],
  ['write, pipelined, 50 clients', 1.5, (socket) => rate(socket, 50, pipelined(STORE_OPS.WRITE, (i) => `${node(i)}\0value`))],
  ['directory, pipelined', 1.5, (socket) => rate(socket, 1, pipelined(STORE_OPS.DIRECTORY, () => '/bench/domain\0'))],
  ['watch events delivered', 1.5, deliveries],
  ['transaction, one at a time', 1, (socket) => rate(socket, 1, transaction)],
  ['transaction, pipelined', 10, (socket) => rate(socket, 1, transactionsPipelined())],
  ['transaction of 100 writes', 10, (socket) => rate(socket, 1, largeTransaction())],
  ['transaction, 50 clients', 10, (socket) => rate(socket, 50, transaction)],
]

/** Cases in which the client and the kernel leave little to any server; how little is measured too. */
const BOUNDED = /50 clients$|^transaction/

/** The best of several turns for each of the servers, so that a busy machine is unfair to none. */
async function best(sockets: readonly string[], measure: (socket: string) => Promise<number>): Promise<number[]> {
  const values = sockets.map(() => 0)
  for (let turn = 0; turn < TURNS; turn += 1) {
    for (const [i, socket] of sockets.entries()) values[i] = Math.max(values[i]!, await measure(socket))
  }
  return values
}

async function throughSockets(report: Report): Promise<void> {
  const ours = await startOurs()
  const peer = await startPeer()
  const idle = await startIdleServer()
  const servers = [ours, peer, idle].filter((each) => typeof each !== 'string')
  try {
    for (const { socket } of servers) await fill(socket)
    for (const [name, target, measure] of CASES) {
      const bounded = BOUNDED.test(name) && !name.includes('pipelined, 50')
      const measured = servers.filter((server) => bounded || server !== idle)
      const values = await best(measured.map(({ socket }) => socket), measure)
      const value = values[0]!
      const other = typeof peer === 'string' ? undefined : values[measured.indexOf(peer)]!
      const unit = 'op/s'
      const nothing = { ratio: null, target: null, met: null }
      if (other === undefined) report({ case: name, value, unit, baseline: peer as string, ...nothing })
      else {
        const ratio = value / other
        const baseline = `C xenstored: ${Math.round(other)}`
        report({ case: name, value, unit, baseline, ratio, target, met: ratio >= target })
      }
      if (!bounded) continue
      const label = '  - by a server that does nothing'
      if (typeof idle === 'string') report({ case: label, value: 0, unit, baseline: idle, ...nothing })
      else {
        const bound = values[measured.indexOf(idle)]!
        const ratio = other === undefined ? null : bound / other
        report({ case: label, value: bound, unit, baseline: '', ...nothing, ratio })
      }
    }
  } finally {
    for (const server of servers) server.stop()
  }
}

/** Calls per second of CPU time, so that a busy machine does not count; the best of several tries. */
function perSecond(call: (i: number) => void, count: number): number {
  let best = 0
  for (let turn = 0; turn < 5; turn += 1) {
    const start = process.cpuUsage()
    for (let i = 0; i < count; i += 1) call(i)
    const { user, system } = process.cpuUsage(start)
    best = Math.max(best, count / ((user + system) / 1e6))
  }
  return best
}

/** A store with so many domains of ten nodes each, and a watch for each of them. */
function populated(domains: number): { store: XenStore; watches: number } {
  const store = new XenStore()
  const tools = store.local()
  for (let id = 1; id <= domains; id += 1) {
    for (let i = 0; i < 8; i += 1) tools.write(`/local/domain/${id}/device/n${i}`, 'value')
    tools.watch(`/local/domain/${id}/device/n0`, () => undefined)
  }
  return { store, watches: store.watchCount }
}

function inProcess(report: Report): void {
  const small = populated(1000).store.local()
  const paths = Array.from({ length: 1000 }, (_, i) => `/local/domain/${i + 1}/device/n3`)
  const plain = { baseline: '', ratio: null }
  const reads = perSecond((i) => small.readBytes(paths[i % 1000]!), 200_000)
  report({ case: 'in process, read', value: reads, unit: 'op/s', ...plain, target: 1e6, met: reads >= 1e6 })
  const writes = perSecond((i) => small.write(paths[i % 1000]!, 'v'), 50_000)
  report({ case: 'in process, write', value: writes, unit: 'op/s', ...plain, target: null, met: null })
  const change = (i: number): void => small.transaction((t) => t.write(paths[i % 1000]!, t.readBytes(paths[i % 1000]!)))
  const transactions = perSecond(change, 20_000)
  report({ case: 'in process, transaction', value: transactions, unit: 'op/s', ...plain, target: null, met: null })
}

/**
 * What an operation costs with 10,000 domains (100,000 nodes, 10,000 watches) against 1,000, when one domain after
 * the other goes through its own nodes. A store that does not fit into the processor's caches is slower by that alone.
 */
function slopes(report: Report): void {
  const few = populated(1000).store
  const many = populated(10_000).store
  const row = (name: string, call: (store: XenStore, i: number) => void, count: number): void => {
    const [less, more] = [few, many].map((store) => 1e9 / perSecond((i) => call(store, i), count)) as [number, number]
    const ratio = more / less
    report({
      case: `${name}, 10,000 domains`, value: more, unit: 'ns', baseline: `1,000 domains: ${Math.round(less)} ns`,
      ratio, target: 3, met: ratio <= 3,
    })
  }
  const path = (store: XenStore, i: number): string =>
    `/local/domain/${1 + ((i >> 3) * 7919) % (store === few ? 1000 : 10_000)}/device/n${i & 7}`
  const handles = new Map([few, many].map((store) => [store, store.local()]))
  row('read', (store, i) => handles.get(store)!.readBytes(path(store, i)), 50_000)
  row('write with a watch that fires', (store, i) => handles.get(store)!.write(path(store, i), 'v'), 20_000)
  row('new node, then its removal', (store, i) => {
    const tools = handles.get(store)!
    tools.write(`${path(store, i)}/new`, '')
    tools.rm(`${path(store, i)}/new`)
  }, 10_000)
  row('domain created and released', (store, i) => {
    const id = 20_000 + (i % 1000)
    const tools = handles.get(store)!
    for (let n = 0; n < 10; n += 1) tools.write(`/local/domain/${id}/n${n}`, '')
    tools.setPermissions(`/local/domain/${id}`, [`n${id}`])
    store.introduceDomain(id)
    store.releaseDomain(id)
  }, 1000)
}

/** Clients that never read, that open transactions for ever, and that send noise; what they make the server hold. */
function attacks(report: Report): void {
  const store = new XenStore()
  const server = new XenStoreServer({ store })
  const tools = store.local()
  tools.write('/big', 'x'.repeat(4000))
  tools.write('/local/domain/1', '')
  tools.setPermissions('/local/domain/1', ['n1'])
  tools.setPermissions('/big', ['r0'])
  const read = storePacket(STORE_OPS.READ, '/big\0')
  const start = storePacket(STORE_OPS.TRANSACTION_START, '\0')
  const noise = storePacket(STORE_OPS.READ, 'noise')
  new DataView(noise.buffer).setUint32(12, 0xffffffff, true)
  // Without a collection in between, what earlier cases left would be counted.
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const used = (): number => {
    collect()
    const { arrayBuffers, heapUsed } = process.memoryUsage()
    return (arrayBuffers + heapUsed) / 2 ** 20
  }
  const before = used()
  for (let client = 0; client < 50; client += 1) {
    const [mine, servers] = MemoryTransport.pair()
    server.addConnection(servers, { domid: client % 2 })
    for (let i = 0; i < 2000; i += 1) {
      mine.send(client % 5 === 4 ? noise : client % 5 === 3 ? start : read)
      server.process()
    }
  }
  const value = used() - before
  report({
    case: '50 hostile clients, 100,000 messages', value, unit: 'MiB held', baseline: '', ratio: null,
    target: 64, met: value <= 64,
  })
}

/** Runs all of it. */
export async function run(report: Report): Promise<void> {
  inProcess(report)
  slopes(report)
  attacks(report)
  await throughSockets(report)
}
