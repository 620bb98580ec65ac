import { describe, expect, test } from 'vitest'
import { XenError } from '../../../../src/util/index.ts'
import {
  MemoryTransport, XenStore, XenStoreClient, XenStoreServer, storeErrorName, type StoreTransport,
} from '../../../../src/xenstore/index.ts'
import { STORE_OPS, storePacket } from '../../../../src/testing/index.ts'

/** A server that works as soon as the current call is over, and a way to clients of it. */
function setup() {
  const store = new XenStore()
  const server: XenStoreServer = new XenStoreServer({ store, onWork: () => queueMicrotask(() => server.process()) })
  const client = (domid = 0): XenStoreClient => new XenStoreClient(server.connectLocal(domid))
  return { store, server, client }
}

const errorOf = async (promise: Promise<unknown>): Promise<unknown> => {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('nothing was refused')
}

test('every operation on nodes works as a promise', async () => {
  const client = setup().client()
  await client.write('/a/b', 'gr\u00fc\u00dfe')
  expect(await client.read('/a/b')).toBe('gr\u00fc\u00dfe')
  await client.write('/a/raw', Uint8Array.of(0, 1, 255))
  expect(await client.readBytes('/a/raw')).toEqual(Uint8Array.of(0, 1, 255))
  await client.mkdir('/a/c')
  expect(await client.list('/a')).toEqual(['b', 'raw', 'c'])
  expect(await client.exists('/a/c')).toBe(true)
  await client.rm('/a/c')
  expect(await client.exists('/a/c')).toBe(false)
  expect(await client.tryRead('/a/c')).toBeUndefined()
  await client.setPermissions('/a', ['r0', 'b5'])
  expect(await client.getPermissions('/a')).toEqual(['r0', 'b5'])
  expect(await client.control('check')).toBe('OK')
})

test('a refusal is a XenError that says what was asked and which error it was', async () => {
  const client = setup().client()
  const error = await errorOf(client.read('/none'))
  expect(XenError.is(error, 'XENSTORE')).toBe(true)
  expect((error as XenError).details).toEqual({ error: 'ENOENT', operation: 'read', path: '/none' })
  expect(storeErrorName(error)).toBe('ENOENT')
  expect(storeErrorName(await errorOf(client.setPermissions('/', ['z0'])))).toBe('EINVAL')
})

test('what no server could be sent is refused, and the connection goes on', async () => {
  const client = setup().client()
  expect(storeErrorName(await errorOf(client.write('/a', 'x'.repeat(4094))))).toBe('E2BIG')
  expect(storeErrorName(await errorOf(client.write('/a\0b', 'value')))).toBe('EINVAL')
  expect(storeErrorName(await errorOf(client.read('/\u0141')))).toBe('EINVAL')
  expect(await client.exists('/a')).toBe(false)
  await client.write('/a', 'x'.repeat(4093))
  expect(await client.read('/a')).toHaveLength(4093)
})

describe('what a toolstack tells the server', () => {
  /** A server that can connect domains 5 and 6, the latter with a page that nobody uses. */
  function host() {
    const made = new Map([5, 6].map((domid) => [domid, {
      view: new DataView(new ArrayBuffer(4096)), base: 0, notify: () => undefined,
    }]))
    const store = new XenStore()
    const server: XenStoreServer = new XenStoreServer({
      store, onWork: () => queueMicrotask(() => server.process()), connectDomain: (domid) => made.get(domid),
    })
    return { store, client: new XenStoreClient(server.connectLocal()) }
  }

  test('domains are introduced and released', async () => {
    const { client } = host()
    const seen: string[] = []
    const stop = await client.onChange('@releaseDomain', ({ path }) => void seen.push(path))
    expect(await client.domains.isIntroduced(5)).toBe(false)
    await client.domains.introduce(5, 0x1234, 1)
    expect(await client.domains.isIntroduced(5)).toBe(true)
    await client.domains.resume(5)
    await client.domains.introduce(6, 0x1235, 1)
    await client.domains.setTarget(5, 6)
    await client.domains.release(5)
    expect(await client.domains.isIntroduced(5)).toBe(false)
    expect(seen).toEqual(['@releaseDomain', '@releaseDomain'])
    expect(storeErrorName(await errorOf(client.domains.introduce(7, 0, 1)))).toBe('EINVAL')
    expect(storeErrorName(await errorOf(client.domains.release(5)))).toBe('ENOENT')
    await stop()
  })

  test('features and limits are shown and changed', async () => {
    const { client } = host()
    expect(await client.domains.path(5)).toBe('/local/domain/5')
    expect(await client.domains.features()).toBe(15)
    await client.domains.setFeatures(5, 1)
    expect(await client.domains.features(5)).toBe(1)
    expect(await client.domains.quotaNames()).toContain('watches')
    await client.domains.setQuota('watches', 3, 5)
    expect([await client.domains.quota('watches', 5), await client.domains.quota('watches')]).toEqual([3, 128])
    await client.domains.setQuota('watches', 64)
    expect(await client.domains.quota('watches')).toBe(64)
    expect(storeErrorName(await errorOf(client.domains.quota('nonsense')))).toBe('EINVAL')
  })
})

test('a directory beyond one message is fetched in parts', async () => {
  const { client, store } = setup()
  const names = Array.from({ length: 1000 }, (_, i) => `some-long-name-${i}`)
  for (const name of names) store.local().write(`/big/${name}`, '')
  expect(await client().list('/big')).toEqual(names)
})

test('many requests at once are each answered with their own reply', async () => {
  const client = setup().client()
  await Promise.all(Array.from({ length: 500 }, (_, i) => client.write(`/n/${i}`, String(i))))
  const values = await Promise.all(Array.from({ length: 500 }, (_, i) => client.read(`/n/${i}`)))
  expect(values).toEqual(Array.from({ length: 500 }, (_, i) => String(i)))
  expect(client.outstanding).toBe(0)
})

describe('transactions', () => {
  test('that interfere are tried again until each has had its effect', async () => {
    const { client } = setup()
    const clients = Array.from({ length: 5 }, () => client())
    await clients[0]!.write('/count', '0')
    let attempts = 0
    await Promise.all(clients.flatMap((each) => Array.from({ length: 4 }, () => each.transaction(async (t) => {
      attempts += 1
      await t.write('/count', String(Number(await t.read('/count')) + 1))
    }))))
    expect(await clients[0]!.read('/count')).toBe('20')
    expect(attempts).toBeGreaterThan(20)
  })

  test('leave nothing when their body throws, and pass the error on', async () => {
    const { client, store } = setup()
    const error = await errorOf(client().transaction(async (t) => {
      await t.write('/x', '1')
      throw new Error('changed my mind')
    }))
    expect((error as Error).message).toBe('changed my mind')
    expect(store.local().exists('/x')).toBe(false)
    expect(store.transactionCount).toBe(0)
  })

  test('have a result', async () => {
    expect(await setup().client().transaction(async (t) => (await t.list('/')).length)).toBe(1)
  })
})

describe('watches', () => {
  test('are streams that begin with the watched node and end with the signal', async () => {
    const { client, store } = setup()
    const seen: string[] = []
    const control = new AbortController()
    const tools = store.local()
    for await (const { path } of client().watch('/a', { signal: control.signal })) {
      seen.push(path)
      if (seen.length === 1) tools.write('/a/b', '1')
      if (seen.length === 2) tools.rm('/a')
      if (seen.length === 3) control.abort()
    }
    expect(seen).toEqual(['/a', '/a/b', '/a'])
    await new Promise((resolve) => setTimeout(resolve, 0))
    expect(store.watchCount).toBe(0)
  })

  test('end with the loop', async () => {
    const { client, store } = setup()
    for await (const event of client().watch('/a', { depth: 1 })) {
      expect(event.path).toBe('/a')
      break
    }
    await new Promise((resolve) => setTimeout(resolve, 0))
    expect(store.watchCount).toBe(0)
  })

  test('of somebody who is slow report each changed node once', async () => {
    const { client, store } = setup()
    const watching = client()
    const stream = watching.watch('/a')[Symbol.asyncIterator]()
    await stream.next()
    const tools = store.local()
    for (let i = 0; i < 100; i += 1) tools.write(`/a/${i % 3}`, String(i))
    await watching.read('/tool')
    const paths: string[] = []
    for (let i = 0; i < 3; i += 1) paths.push((await stream.next()).value?.path ?? '')
    expect(paths).toEqual(['/a/0', '/a/1', '/a/2'])
    await stream.return?.()
  })

  test('with an abort before the start never begin', async () => {
    const { client, store } = setup()
    const events = client().watch('/a', { signal: AbortSignal.abort() })
    for await (const event of events) throw new Error(`unexpected ${event.path}`)
    expect(store.watchCount).toBe(0)
  })

  test('that the store refuses throw its error', async () => {
    const { client } = setup()
    const stream = client().watch('//bad')[Symbol.asyncIterator]()
    expect(storeErrorName(await errorOf(stream.next()))).toBe('EINVAL')
    expect(storeErrorName(await errorOf(client().onChange('//bad', () => undefined)))).toBe('EINVAL')
  })

  test('call a listener while events arrive, until they are ended', async () => {
    const { client, store } = setup()
    const seen: string[] = []
    const watching = client()
    const end = await watching.onChange('/a', ({ path }) => seen.push(path))
    store.local().write('/a', '1')
    await watching.read('/a')
    await end()
    store.local().write('/a', '2')
    await watching.read('/a')
    expect(seen).toEqual(['/a', '/a'])
  })
})

describe('an end of the connection', () => {
  test('rejects what waits, and everything after', async () => {
    const { client, server, store } = setup()
    const gone = client(3)
    await gone.read('/tool').catch(() => undefined)
    const stream = gone.watch('/local')[Symbol.asyncIterator]()
    const first = stream.next()
    await first
    const next = stream.next()
    server.releaseDomain(3)
    expect(XenError.is(await errorOf(next), 'CLOSED')).toBe(true)
    expect(XenError.is(await errorOf(gone.read('/tool')), 'CLOSED')).toBe(true)
    expect(store.connectionCount).toBe(0)
  })

  test('by its owner lets the server forget it', async () => {
    const { client, server } = setup()
    const mine = client()
    await mine.read('/tool')
    expect(server.clients).toBe(1)
    mine.close()
    await new Promise((resolve) => setTimeout(resolve, 0))
    expect(server.clients).toBe(0)
  })

  test('is not final: over a new transport watches come back', async () => {
    const { client, server, store } = setup()
    const seen: string[] = []
    const mine = client()
    await mine.onChange('/a', ({ path }) => seen.push(path))
    const lost = errorOf(mine.request({ op: 'read', path: '/tool' }))
    await mine.reconnect(server.connectLocal())
    expect(XenError.is(await lost, 'CLOSED')).toBe(true)
    store.local().write('/a/x', '1')
    await mine.read('/a/x')
    expect(seen).toEqual(['/a', '/a', '/a/x'])
  })
})

test('a server that talks nonsense harms nobody', async () => {
  const [mine, servers] = MemoryTransport.pair()
  const client = new XenStoreClient(mine)
  const answer = client.read('/a')
  servers.send(storePacket(STORE_OPS.WATCH_EVENT, 'no terminator'))
  servers.send(storePacket(STORE_OPS.READ, 'for nobody', { id: 999 }))
  servers.send(storePacket(STORE_OPS.WRITE, 'of the wrong kind', { id: 1 }))
  expect(storeErrorName(await errorOf(answer))).toBe('EIO')
  const other = client.read('/a')
  servers.send(storePacket(STORE_OPS.ERROR, 'EWHATEVER\0', { id: 2 }))
  expect(storeErrorName(await errorOf(other))).toBe('EINVAL')
  const last = client.read('/a')
  const bad = storePacket(STORE_OPS.READ, '')
  new DataView(bad.buffer).setUint32(12, 0x7fffffff, true)
  servers.send(bad)
  expect(XenError.is(await errorOf(last), 'CLOSED')).toBe(true)
})

test('a transport that takes bytes in small portions loses none', async () => {
  const { server } = setup()
  const [inner, outer] = MemoryTransport.pair()
  server.addConnection(outer)
  let writable = (): void => undefined
  const narrow: StoreTransport = {
    get state() {
      return inner.state
    },
    receive: () => inner.receive(),
    send: (bytes) => {
      setTimeout(() => writable(), 0)
      return inner.send(bytes.subarray(0, 7))
    },
    close: () => inner.close(),
    listen: (listener) => {
      writable = () => listener.writable()
      inner.listen(listener)
    },
  }
  const client = new XenStoreClient(narrow)
  await client.write('/a', 'x'.repeat(200))
  expect(await client.read('/a')).toBe('x'.repeat(200))
})
