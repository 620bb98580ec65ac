import { describe, expect, test } from 'vitest'
import { XenError, compareStates } from '../../../../src/util/index.ts'
import {
  MemoryTransport, RingTransport, XenStore, XenStoreServer, type StoreTransport,
} from '../../../../src/xenstore/index.ts'
import { coreOf } from '../../../../src/xenstore/store/store.ts'
import { STORE_OPS, RawStoreClient, StoreHarness, storePacket } from '../../../../src/testing/index.ts'

/** A server in the middle of everything, and what is needed to go on with it. */
function busy() {
  const harness = new StoreHarness()
  const [toolsSide, toolsServer] = MemoryTransport.pair()
  harness.server.addConnection(toolsServer)
  const tools = new RawStoreClient(toolsSide, () => harness.server.process())
  tools.ask('MKDIR', '/local/domain/1|')
  tools.ask('SET_PERMS', '/local/domain/1|n1|')
  const page = harness.introduce(1)
  const guest = new RawStoreClient(
    new RingTransport({ ...page, notify: () => harness.server.domainEvent(1) }, 'client'),
    () => harness.server.process(),
  )
  return { harness, tools, toolsSide, guest, page }
}

/** Goes on from a dump, with new streams and the old page. */
function resume(saved: unknown, page: { view: DataView; base: number }) {
  const streams: MemoryTransport[] = []
  const server = new XenStoreServer({ store: new XenStore() })
  server.part({
    transportOf: (): StoreTransport => {
      const [mine, servers] = MemoryTransport.pair()
      streams.push(mine)
      return servers
    },
    ringOf: () => ({ ...page, notify: () => undefined }),
  }).load(structuredClone(saved))
  const client = (transport: StoreTransport): RawStoreClient => new RawStoreClient(transport, () => server.process())
  const guest = client(new RingTransport({ ...page, notify: () => server.domainEvent(1) }, 'client'))
  return { server, store: server.store, tools: client(streams[0]!), guest }
}

test('nodes, permissions, generations and the order of children live on', () => {
  const { harness, tools, page } = busy()
  for (let i = 0; i < 30; i += 1) tools.ask('WRITE', `/d/${(i * 7) % 30}|v${i}`)
  tools.ask('SET_PERMS', '/d|r0|b1|')
  tools.ask('SET_PERMS', '@introduceDomain|n0|r1|')
  const before = [
    tools.ask('DIRECTORY', '/d|'), tools.ask('DIRECTORY_PART', '/d|0|'), tools.ask('GET_PERMS', '/d|'),
    tools.ask('READ', '/d/14|'), tools.ask('GET_PERMS', '@introduceDomain|'),
  ]
  const usage = { ...harness.store.domain(1)!.usage }
  const { tools: after, store } = resume(harness.server.part().save(), page)
  expect([
    after.ask('DIRECTORY', '/d|'), after.ask('DIRECTORY_PART', '/d|0|'), after.ask('GET_PERMS', '/d|'),
    after.ask('READ', '/d/14|'), after.ask('GET_PERMS', '@introduceDomain|'),
  ]).toEqual(before)
  expect(store.domain(1)!.usage).toEqual(usage)
})

test('watches live on, in their order, relative ones too', () => {
  const { harness, tools, guest, page } = busy()
  guest.ask('WATCH', 'x|rel|')
  tools.ask('WATCH', '/local|deep|9|')
  guest.ask('WATCH', '/local/domain/1|abs|')
  tools.events()
  guest.events()
  const after = resume(harness.server.part().save(), page)
  after.tools.ask('WRITE', '/local/domain/1/x|1')
  expect(after.guest.events()).toEqual(['x rel', '/local/domain/1/x abs'])
  expect(after.tools.events()).toEqual(['/local/domain/1/x deep'])
  expect(after.guest.ask('UNWATCH', 'x|rel|')).toBe('OK|')
})

test('open transactions live on, and still conflict', () => {
  const { harness, tools, guest, page } = busy()
  tools.ask('WRITE', '/a|1')
  tools.ask('TRANSACTION_START', '|')
  tools.ask('WRITE', '/b/c|2', 1)
  tools.ask('TRANSACTION_START', '|')
  tools.ask('READ', '/a|', 2)
  guest.ask('TRANSACTION_START', '|')
  guest.ask('WRITE', 'y|3', 1)
  const after = resume(harness.server.part().save(), page)
  expect(after.tools.ask('READ', '/b/c|', 1)).toBe('2')
  expect(after.tools.ask('TRANSACTION_END', 'T|', 1)).toBe('OK|')
  after.guest.ask('WRITE', 'z|1')
  expect(after.guest.ask('TRANSACTION_END', 'T|', 1)).toBe('!EAGAIN')
  after.tools.ask('WRITE', '/a|2')
  expect(after.tools.ask('TRANSACTION_END', 'T|', 2)).toBe('!EAGAIN')
  expect(after.tools.ask('TRANSACTION_START', '|')).toBe('3|')
  expect(after.store.transactionCount).toBe(1)
})

test('half a request lives on', () => {
  const { harness, guest, page } = busy()
  const request = storePacket(STORE_OPS.WRITE, 'half\0value', { id: 9 })
  guest.send(request.subarray(0, 20))
  const after = resume(harness.server.part().save(), page)
  after.guest.send(request.subarray(20))
  after.guest.events()
  expect(after.guest.received.map(({ id, text }) => [id, text])).toEqual([[9, 'OK\0']])
})

test('a reply of which the client has taken nothing yet lives on, and so does what it holds up', () => {
  const { harness, tools, guest, page } = busy()
  tools.ask('WRITE', `/local/domain/1/long|${'x'.repeat(1900)}`)
  guest.send(storePacket(STORE_OPS.READ, 'long\0', { id: 8 }))
  const after = resume(harness.server.part().save(), page)
  expect(after.store.domain(1)!.usage.outstanding).toBe(1)
  after.guest.events()
  expect(after.guest.received.map(({ id, text }) => [id, text.length])).toEqual([[8, 1900]])
  expect(after.store.domain(1)!.usage.outstanding).toBe(0)
})

test('a server that was left is what it was, requests whose events nobody has taken included', () => {
  const { harness, tools, guest, page } = busy()
  tools.ask('WATCH', '/local|slow|')
  guest.ask('WATCH', '@releaseDomain|ends|')
  guest.ask('WRITE', 'x|1')
  guest.send(storePacket(STORE_OPS.WRITE, 'y\0' + '2', { id: 5 }))
  const saved = harness.server.part().save()
  const server = new XenStoreServer({ store: new XenStore() })
  const part = server.part({
    transportOf: () => MemoryTransport.pair()[1], ringOf: () => ({ ...page, notify: () => undefined }), asLeft: true,
  })
  part.load(structuredClone(saved))
  expect(compareStates(part.save(), saved)).toEqual([])
  expect(server.store.domain(1)!.usage).toEqual(harness.store.domain(1)!.usage)
  expect(coreOf(server.store).domains.get(1)!.owned).toEqual(coreOf(harness.store).domains.get(1)!.owned)
  expect(server.hasWork).toBe(harness.server.hasWork)
  expect(server.nextDeadline()).toBe(harness.server.nextDeadline())
})

test('connections whose client cannot be found again are gone, with all they had', () => {
  const { harness, tools } = busy()
  tools.ask('WATCH', '/a|t|')
  tools.ask('TRANSACTION_START', '|')
  const server = new XenStoreServer({ store: new XenStore() })
  server.part().load(harness.server.part().save())
  expect(server.clients).toBe(0)
  expect(server.store.watchCount).toBe(0)
  expect(server.store.transactionCount).toBe(0)
})

describe('a dump that contradicts itself is refused:', () => {
  interface Saved { version: any; store: any; connections: any }
  type Spoil = (saved: Saved) => void
  const accessesOf = (saved: { connections: any[] }): any[] => saved.connections[0].session.transactions[0].accesses
  test.each<[string, Spoil]>([
    ['another version', (saved) => { saved.version.version = 2 }],
    ['no root', (saved) => { saved.store.nodes.shift() }],
    ['a node without a parent', (saved) => { saved.store.nodes.splice(1, 1) }],
    ['a node twice', (saved) => { saved.store.nodes.push(saved.store.nodes[1]) }],
    ['a bad name', (saved) => { saved.store.nodes[1].path = '/a b' }],
    ['no permissions', (saved) => { saved.store.nodes[0].permissions = [] }],
    ['a bad permission', (saved) => { saved.store.nodes[0].permissions[0].access = 9 }],
    ['no value', (saved) => { saved.store.nodes[0].value = 'text' }],
    ['a node from the future', (saved) => { saved.store.nodes[0].generation = 1e9 }],
    ['an unknown special node', (saved) => { saved.store.special[0].path = '@other' }],
    ['a bad limit', (saved) => { saved.store.limits.nodes = -1 }],
    ['a bad domain', (saved) => { saved.store.domains[0].id = 70000 }],
    ['a bad connection', (saved) => { saved.connections[0].session.domid = -1 }],
    ['a watch twice', ({ connections }) => { connections[0].session.watches.push(connections[0].session.watches[0]) }],
    ['a bad transaction', (saved) => { saved.connections[0].session.transactions[0].id = 0 }],
    ['a bad name in a transaction', (saved) => { accessesOf(saved)[0].path = 'a//b' }],
    ['a transaction that has removed the root', (saved) => {
      accessesOf(saved).push({ ...accessesOf(saved)[0], path: '/', modified: true, current: undefined })
    }],
    ['no messages', (saved) => { saved.connections[0].input = undefined }],
    ['messages out of order', (saved) => { saved.connections[0].markers = [{ end: 5, bytes: 1, deadline: 0 }] }],
    ['a message of a request that is not there', (saved) => {
      saved.connections[0].output = new Uint8Array(9)
      saved.connections[0].markers = [{ end: 5, bytes: 1, deadline: 0, cause: 3 }]
    }],
    ['a connection twice', (saved) => { saved.connections.push(saved.connections[0]) }],
    ['nodes that a domain does not own', (saved) => { saved.store.domains[1].owned.push('/a') }],
  ])('%s', (_, spoil) => {
    const { harness, tools, page } = busy()
    tools.ask('WATCH', '/a|t|')
    tools.ask('TRANSACTION_START', '|')
    tools.ask('WRITE', '/a|1', 1)
    const saved: any = structuredClone(harness.server.part().save())
    resume(saved, page)
    const { store, connections } = saved.parts
    spoil({ version: saved, store: store.state, connections: connections.state.connections })
    let error: unknown
    try {
      resume(saved, page)
    } catch (thrown) {
      error = thrown
    }
    expect(XenError.is(error, 'INVALID_STATE') && !error.message.includes('unknown'), String(error)).toBe(true)
  })
})
