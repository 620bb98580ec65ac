import { describe, expect, test } from 'vitest'
import { XENSTORE, XenstoreDomainInterface as Page } from '../../../src/abi/index.ts'
import { RingTransport } from '../../../src/xenstore/index.ts'
import { STORE_OPS, RawStoreClient, StoreHarness, storePacket } from '../../../src/testing/index.ts'

/** A domain connected over its page, with the store's directory for it. */
function connected(options: { start?: number } = {}) {
  const harness = new StoreHarness({ limits: { nodes: 0, nodeSize: 0 } })
  const tools = harness.client()
  tools.ask('MKDIR', '/local/domain/1|')
  tools.ask('SET_PERMS', '/local/domain/1|n1|')
  let notified = 0
  const page = harness.introduce(1, () => { notified += 1 })
  const start = options.start ?? 0
  for (const index of [Page.reqCons, Page.reqProd, Page.rspCons, Page.rspProd]) index.set(page.view, page.base, start)
  const transport = new RingTransport({ ...page, notify: () => harness.server.domainEvent(1) }, 'client')
  const guest = new RawStoreClient(transport, () => harness.server.process())
  return { harness, tools, page, guest, transport, notified: () => notified }
}

test('introducing a domain prepares its page', () => {
  const { page } = connected()
  expect(Page.decode(page.view, page.base)).toMatchObject({ serverFeatures: 15, connection: 0, error: 0 })
})

describe.each([0, 1000, 0xfffffff0])('with indexes that begin at %i', (start) => {
  test('requests and replies larger than the ring go through in pieces', () => {
    const { guest } = connected({ start })
    const value = 'v'.repeat(1500)
    expect(guest.ask('WRITE', `data|${value}`)).toBe('OK|')
    let text = ''
    guest.send(storePacket(STORE_OPS.READ, 'data\0', { id: 77 }))
    for (let i = 0; i < 10 && guest.received.length === 0; i += 1) {
      guest.collect()
      guest.transport.send(new Uint8Array(0))
      guest.events()
    }
    text = guest.received[0]?.text ?? ''
    expect(text).toBe(value)
  })

  test('many requests keep their order across the wrap', () => {
    const { guest } = connected({ start })
    for (let i = 0; i < 300; i += 1) {
      expect(guest.ask('WRITE', `n|${i}`)).toBe('OK|')
      expect(guest.ask('READ', 'n|')).toBe(String(i))
    }
  })
})

test('the domain is woken when its request was taken and when there is a reply', () => {
  const { guest, notified } = connected()
  const before = notified()
  guest.ask('READ', 'x|')
  expect(notified()).toBeGreaterThan(before)
})

test.each([
  { what: 'a producer index beyond the ring', field: Page.reqProd, value: 1025 },
  { what: 'a consumer index ahead of the producer', field: Page.rspCons, value: 5 },
])('$what is answered with the error field, and the domain is ignored', ({ field, value }) => {
  const { harness, tools, page, guest } = connected()
  guest.ask('WATCH', '/local|t|')
  guest.events()
  guest.ask('TRANSACTION_START', '|')
  field.set(page.view, page.base, (field.get(page.view, page.base) + value) >>> 0)
  tools.ask('WRITE', '/local/domain/1/x|1')
  harness.server.domainEvent(1)
  harness.server.process()
  expect(Page.error.get(page.view, page.base)).toBe(XENSTORE.ERROR_RINGIDX)
  expect(harness.store.watchCount).toBe(0)
  expect(harness.store.transactionCount).toBe(0)
  Page.reqProd.set(page.view, page.base, Page.reqCons.get(page.view, page.base))
  expect(guest.ask('READ', '/|')).toBeUndefined()
  expect(harness.store.domain(1)!.introduced).toBe(true)
})

test('a message that is too long is answered with the error field', () => {
  const { page, guest } = connected()
  const bytes = storePacket(STORE_OPS.READ, '')
  new DataView(bytes.buffer).setUint32(12, 0xffffffff, true)
  guest.send(bytes)
  expect(Page.error.get(page.view, page.base)).toBe(XENSTORE.ERROR_PROTO)
})

test('a domain may ask for a new connection, also after an error', () => {
  const { harness, tools, page, guest } = connected()
  guest.ask('WATCH', 'x|t|')
  guest.ask('TRANSACTION_START', '|')
  Page.reqProd.set(page.view, page.base, 99999)
  harness.server.domainEvent(1)
  harness.server.process()
  Page.connection.set(page.view, page.base, XENSTORE.RECONNECT)
  harness.server.domainEvent(1)
  harness.server.process()
  const { connection, error, reqProd, rspProd } = Page.decode(page.view, page.base)
  expect({ connection, error, reqProd, rspProd }).toEqual({ connection: 0, error: 0, reqProd: 0, rspProd: 0 })
  const again = new RawStoreClient(
    new RingTransport({ ...page, notify: () => harness.server.domainEvent(1) }, 'client'),
    () => harness.server.process(),
  )
  expect(again.ask('READ', 'x|', 1)).toBe('!ENOENT')
  tools.ask('WRITE', '/local/domain/1/x|1')
  expect(again.events()).toEqual([])
  expect(again.ask('WATCH', 'x|t|')).toBe('OK|')
})

test('introducing a domain again drops what the connection had', () => {
  const { harness, tools, guest, page } = connected()
  guest.ask('WATCH', 'x|t|')
  expect(harness.store.watchCount).toBe(1)
  Page.connection.set(page.view, page.base, XENSTORE.RECONNECT)
  harness.server.introduceDomain(1, { ...page, notify: () => undefined })
  expect(harness.store.watchCount).toBe(0)
  expect(Page.connection.get(page.view, page.base)).toBe(XENSTORE.CONNECTED)
  expect(tools.ask('IS_DOMAIN_INTRODUCED', '1|')).toBe('T|')
  expect(tools.ask('READ', '/local/domain/1|')).toBe('')
})

test('the toolstack connects domains by request when the server knows how to reach their pages', async () => {
  const { XenStore, XenStoreServer } = await import('../../../src/xenstore/index.ts')
  const view = new DataView(new ArrayBuffer(4096))
  const asked: number[][] = []
  const server = new XenStoreServer({
    store: new XenStore(),
    connectDomain: (domid, frame, port) => {
      asked.push([domid, frame, port])
      return domid === 5 ? { view, base: 0, notify: () => undefined } : undefined
    },
  })
  const tools = new RawStoreClient(server.connectLocal(), () => server.process())
  expect(tools.ask('INTRODUCE', '5|1234|7|')).toBe('OK|')
  expect(tools.ask('INTRODUCE', '6|1234|7|')).toBe('!EINVAL')
  expect(asked).toEqual([[5, 1234, 7], [6, 1234, 7]])
  expect(tools.ask('IS_DOMAIN_INTRODUCED', '5|')).toBe('T|')
  expect(tools.ask('RESUME', '5|')).toBe('OK|')
  expect(tools.ask('RELEASE', '5|')).toBe('OK|')
  expect(tools.ask('IS_DOMAIN_INTRODUCED', '5|')).toBe('F|')
})

describe('back-pressure', () => {
  test('a domain that takes no replies is not read from any more, and loses nothing', () => {
    const { harness, page, transport } = connected()
    const send = (): number => transport.send(storePacket(STORE_OPS.READ, '/local/domain/1\0', { id: 1 }))
    let sent = 0
    for (let i = 0; i < 2000; i += 1) {
      sent += send() > 0 ? 1 : 0
      harness.server.process()
    }
    const { usage } = harness.store.domain(1)!
    expect(usage.outstanding).toBe(20)
    expect(sent).toBeLessThan(250)
    // The guest reads at last: everything that it sent in full is answered.
    const guest = new RawStoreClient(transport, () => harness.server.process())
    guest.events()
    expect(usage.outstanding).toBe(0)
    expect(Page.reqProd.get(page.view, page.base)).toBe(Page.reqCons.get(page.view, page.base))
  })

  test('events that another domain does not take hold up the domain that causes them, for 20 seconds', () => {
    const { harness, tools, guest } = connected()
    harness.introduce(2)
    tools.ask('SET_PERMS', '/local/domain/1|r1|')
    const sleeper = harness.server.connectLocal(2)
    sleeper.send(storePacket(STORE_OPS.WATCH, '/local/domain/1\0t\0'))
    harness.server.process()
    // Its side of the pipe is filled up, so that what follows stays with the server.
    tools.ask('WRITE', '/local/domain/1/fill|')
    for (let i = 0; i < 4000; i += 1) tools.ask('WRITE', `/local/domain/1/fill/${i}|`)
    let answered = 0
    for (let i = 0; i < 25; i += 1) if (guest.ask('WRITE', `n${i}|`) === 'OK|') answered += 1
    expect(answered).toBe(20)
    expect(harness.server.nextDeadline()).toBe(20_000)
    harness.clock.advance(20_000e6)
    harness.server.process()
    expect(guest.ask('READ', 'n0|')).toBe('')
  })
})
