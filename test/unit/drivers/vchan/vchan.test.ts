/** Vchans between two guests in TypeScript: the contract that both roles keep, what a hostile peer can do, and a peer that dies in each state. */
import { describe, expect, test } from 'vitest'
import { attachVchan, openVchanClient, openVchanServer, VCHAN_RING_LIMIT, type Vchan, type VchanState } from '../../../../src/drivers/index.ts'
import { chooseOrders, checkOrders } from '../../../../src/drivers/vchan/protocol.ts'
import { XenError, type GrantRef } from '../../../../src/util/index.ts'
import { ABSOLUTE, CLIENT, HEAD, PATH, SERVER, vchanWorld, type VchanWorld } from '../../../support/vchans.ts'

const bytes = (length: number, seed = 0): Uint8Array => Uint8Array.from({ length }, (_, at) => (at * 31 + seed * 7 + (at >> 8)) & 0xff)
const text = (value: string): Uint8Array => new TextEncoder().encode(value)
const closed = expect.objectContaining({ code: 'CLOSED' }) as Error

/** Both ends, the writer first. */
interface Pair {
  readonly world: VchanWorld
  readonly writer: Vchan
  readonly reader: Vchan
}

const SIZES: readonly (readonly [name: string, receive: number, send: number])[] = [
  ['both rings within the shared page', 1024, 2048], ['both within it, the other way', 2048, 1024], ['one within it, one of its own', 2048, 5000], ['one of its own, one within it', 9000, 2048],
  ['both of their own', 4096, 65536], ['the largest that there are', VCHAN_RING_LIMIT, VCHAN_RING_LIMIT],
]

describe.each(SIZES)('a vchan with %s', (_name, receive, send) => {
  describe.each(['server', 'client'] as const)('whose %s writes', (role) => {
    const setUp = async (): Promise<Pair> => {
      const world = await vchanWorld()
      const [server, client] = [await world.serve({ receive, send }), await world.connect()]
      return { world, ...(role === 'server' ? { writer: server, reader: client } : { writer: client, reader: server }) }
    }

    test('has rings that hold what was asked for at least, and as much for both', async () => {
      const { writer, reader } = await setUp()
      expect([writer.sizes.send, writer.sizes.receive]).toEqual([reader.sizes.receive, reader.sizes.send])
      expect(writer.sizes.send).toBeGreaterThanOrEqual(role === 'server' ? send : receive)
      expect([writer.state, reader.state]).toEqual(['open', 'open'])
    })

    test('carries bytes as a stream, in any pieces, over the end of the ring and more than it holds', async () => {
      const { world: { run }, writer, reader } = await setUp()
      const all = bytes(writer.sizes.send * 2 + 12345)
      const done = writer.write(all)
      const got: Uint8Array[] = []
      for (let count = 0, piece = 1; count < all.length; piece = (piece * 3) % 7001 + 1) {
        const part = await run(reader.read(piece))
        expect(part.length).toBeGreaterThan(0)
        expect(part.length).toBeLessThanOrEqual(piece)
        got.push(part)
        count += part.length
      }
      await run(done)
      expect(Buffer.compare(Buffer.concat(got), all)).toBe(0)
      expect([writer.statistics.sent, reader.statistics.received]).toEqual([all.length, all.length])
    })

    test('carries packets whole, or not at all', async () => {
      const { world: { run }, writer, reader } = await setUp()
      const size = writer.sizes.send
      expect(writer.trySend(bytes(size - 10))).toBe(true)
      expect([writer.trySend(bytes(11)), reader.ready, writer.space]).toEqual([false, size - 10, 10])
      const waiting = writer.send(bytes(11, 1))
      expect(reader.tryReceive(size)).toBeUndefined()
      expect(Buffer.compare(await run(reader.receive(size - 10)), bytes(size - 10))).toBe(0)
      await run(waiting)
      expect(reader.tryReceive(12)).toBeUndefined()
      expect(reader.tryReceive(11)).toEqual(bytes(11, 1))
      expect(() => writer.trySend(bytes(size + 1))).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', details: { length: size + 1, size } }) as Error)
    })

    test('keeps the order of those who wait, and lets nobody who tries in between', async () => {
      const { world: { run }, writer, reader } = await setUp()
      const reads = [reader.receive(3), reader.read(2), reader.receive(4)]
      expect([reader.tryRead(), reader.tryReceive(1)]).toEqual([new Uint8Array(), undefined])
      await run(writer.write(text('abcdefghijk')))
      expect((await run(Promise.all(reads))).map((part) => new TextDecoder().decode(part))).toEqual(['abc', 'de', 'fghi'])
      expect(new TextDecoder().decode(reader.tryRead())).toBe('jk')
      expect(reader.tryRead()).toEqual(new Uint8Array())
      writer.tryWrite(bytes(writer.sizes.send))
      const writes = [writer.write(text('1')), writer.send(text('2')), writer.write(text('3'))]
      expect([writer.tryWrite(text('no')), writer.trySend(text('no'))]).toEqual([0, false])
      await run(reader.receive(writer.sizes.send))
      await run(Promise.all(writes))
      expect(new TextDecoder().decode(reader.tryRead())).toBe('123')
    })

    test('wakes the other end only where that has asked for it', async () => {
      const { world: { hub }, writer, reader } = await setUp()
      await hub.settle()
      const before = writer.statistics.notified
      for (let at = 0; at < 50; at += 1) expect(writer.tryWrite(text('x'))).toBe(1)
      expect(writer.statistics.notified - before).toBeLessThanOrEqual(1)
      await hub.settle()
      expect(reader.tryRead(7).length).toBe(7)
      expect(reader.ready).toBe(43)
      expect(writer.tryWrite(text('y'))).toBe(1)
      await hub.settle()
      expect(writer.statistics.notified - before).toBe(2)
      expect(writer.space).toBe(writer.sizes.send - 44)
      expect(reader.tryRead().length).toBe(44)
      expect(reader.statistics.notified).toBeGreaterThan(0)
    })

    test('is read to its end behind a close, then says so to everybody, and leaves nothing', async () => {
      const { world, writer, reader } = await setUp()
      writer.tryWrite(text('last words'))
      await world.run(writer.close())
      await world.hub.settle()
      expect([writer.state, reader.state, writer.broken, reader.broken]).toEqual(['closed', 'closed', undefined, undefined])
      expect(new TextDecoder().decode(await world.run(reader.read()))).toBe('last words')
      await expect(world.run(reader.read())).rejects.toEqual(closed)
      await expect(world.run(reader.write(text('x')))).rejects.toEqual(closed)
      for (const act of [() => reader.tryRead(), () => reader.tryReceive(1), () => reader.tryWrite(text('x')), () => reader.trySend(text('x')), () => writer.tryRead(), () => writer.tryWrite(text('x'))]) expect(act).toThrow(closed)
      expect([writer.ready, writer.space]).toEqual([0, 0])
      await world.run(reader.close())
      await world.run(writer.close())
      await world.hub.settle(1e9)
      expect(world.left()).toEqual((await vchanWorld()).left())
      expect(world.store.get(`${ABSOLUTE}/ring-ref`)).toBeUndefined()
    })
  })
})

describe('a server', () => {
  test('chooses orders as libxenvchan does', () => {
    const orders = (receive: number, send: number): readonly number[] => Object.values(chooseOrders(receive, send))
    expect([[1, 1], [1024, 1024], [1024, 2048], [1025, 1024], [2048, 1024], [2048, 2048], [1025, 1025], [2049, 1], [1, 2049], [4096, 4097], [5000, 1 << 20]].map(([receive, send]) => orders(receive!, send!)))
      .toEqual([[10, 11], [10, 11], [10, 11], [11, 10], [11, 10], [11, 12], [11, 12], [12, 11], [11, 12], [12, 13], [13, 20]])
  })

  test('publishes where its page and its port are, for its client\'s eyes', async () => {
    const world = await vchanWorld()
    await world.serve()
    expect(Number(world.store.get(`${ABSOLUTE}/ring-ref`))).toBeGreaterThan(7)
    expect(Number(world.store.get(`${ABSOLUTE}/event-channel`))).toBeGreaterThan(0)
    for (const node of ['ring-ref', 'event-channel']) expect(world.store.toolstack.getPermissions(`${ABSOLUTE}/${node}`).map(String)).toEqual(await world.run(world.back.kernel.store!.getPermissions(`${PATH}/${node}`)))
    expect(await world.run(world.back.kernel.store!.getPermissions(`${PATH}/ring-ref`))).toEqual([`n${SERVER}`, `r${CLIENT}`])
    expect(HEAD.decode(world.hub.view, world.head())).toMatchObject({ leftOrder: 10, rightOrder: 11, cliLive: 2, srvLive: 1, cliNotify: 1, srvNotify: 0 })
  })

  test('waits for its client, and may write before it comes', async () => {
    const world = await vchanWorld()
    const server = await world.serve()
    expect(server.state).toBe('waiting')
    const read = server.read()
    await world.run(server.write(text('early')))
    const client = await world.connect()
    expect([client.state, server.state, new TextDecoder().decode(client.tryRead())]).toEqual(['open', 'open', 'early'])
    client.tryWrite(text('late'))
    expect(new TextDecoder().decode(await world.run(read))).toBe('late')
  })

  test('that is persistent takes one client after another, each of which goes on where the last was', async () => {
    const world = await vchanWorld()
    const server = await world.serve({ persistent: true })
    for (const name of ['one', 'two', 'three']) {
      const client = await world.connect()
      const read = server.read()
      client.tryWrite(text(name))
      expect(new TextDecoder().decode(await world.run(read))).toBe(name)
      await world.run(client.close())
      await world.hub.settle()
      expect(server.state).toBe('waiting')
      server.tryWrite(text(`after ${name}`))
    }
    expect(new TextDecoder().decode((await world.connect()).tryRead())).toBe('after oneafter twoafter three')
  })

  test.each([
    [{ client: 70000 }, 'INVALID_ARGUMENT'], [{ path: 5 }, 'INVALID_ARGUMENT'], [{ receive: 0 }, 'INVALID_ARGUMENT'], [{ send: VCHAN_RING_LIMIT + 1 }, 'INVALID_ARGUMENT'], [{ onEvent: 1 }, 'INVALID_ARGUMENT'],
    [{ recieve: 1 }, 'INVALID_ARGUMENT'], [{ path: '/local/domain/0/vchan' }, 'XENSTORE'], [{ path: 'bad//path' }, 'XENSTORE'],
  ])('with options that it cannot have (%j) is refused with %s, and leaves nothing', async (options, code) => {
    const world = await vchanWorld()
    const before = world.left()
    await expect(world.serve(options as object)).rejects.toMatchObject({ code })
    await world.hub.settle(1e9)
    expect(world.left()).toEqual(before)
  })

  test('for which there are no pages leaves none of them behind', async () => {
    const world = await vchanWorld()
    const taken = Array.from({ length: world.back.kernel.frames.free - 100 }, () => world.back.kernel.frames.allocate())
    const before = world.left()
    await expect(world.serve({ receive: VCHAN_RING_LIMIT })).rejects.toMatchObject({ code: 'OUT_OF_MEMORY' })
    expect(world.left()).toEqual(before)
    for (const page of taken) world.back.kernel.frames.release(page)
  })

  test('needs a XenStore', async () => {
    const world = await vchanWorld()
    const lone = world.hub.createDomain(9, () => undefined)
    await world.hub.settle()
    await expect(openVchanServer(lone.kernel, { client: 2, path: 'data/x' })).rejects.toMatchObject({ code: 'INVALID_STATE' })
  })

  test('asks for no more events than it has to when code tries instead of waiting', async () => {
    const world = await vchanWorld()
    let called = 0
    const server = await world.serve({ onEvent: () => { called += 1 } })
    const client = await world.connect()
    await world.hub.settle()
    const before = called
    client.tryWrite(text('a'))
    await world.hub.settle()
    client.tryWrite(text('b'))
    await world.hub.settle()
    expect([called - before, new TextDecoder().decode(server.tryRead())]).toEqual([1, 'ab'])
  })
})

describe('arguments', () => {
  test('that cannot be are refused, and nothing moves', async () => {
    const world = await vchanWorld()
    const [server, client] = [await world.serve(), await world.connect()]
    for (const act of [
      () => client.read(0), () => client.tryRead(1.5), () => client.receive(0), () => client.receive(client.sizes.receive + 1), () => client.tryReceive(-1), () => client.write('x' as never), () => client.tryWrite([1] as never),
      () => client.send(bytes(5000)), () => client.trySend(null as never),
    ]) expect(act).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }) as Error)
    await world.run(client.write(new Uint8Array()))
    expect([client.tryWrite(new Uint8Array()), client.trySend(new Uint8Array()), server.ready]).toEqual([0, true, 0])
  })

  test('of callers are theirs again at once', async () => {
    const world = await vchanWorld()
    const [server, client] = [await world.serve(), await world.connect()]
    client.tryWrite(bytes(1024))
    const own = text('mine')
    const writes = [client.write(own), client.send(own)]
    own.fill(0)
    await world.run(server.receive(1024))
    await world.run(Promise.all(writes))
    expect(new TextDecoder().decode(server.tryRead())).toBe('minemine')
  })
})

// What a hostile peer can do.

describe('a client whose server lies', () => {
  type Lie = (world: VchanWorld) => void
  const node = (name: string, value: string): Lie => ({ store }) => store.seed({ [`${ABSOLUTE}/${name}`]: value })
  const word = (field: keyof typeof HEAD.fields, value: number): Lie => ({ hub, head }) => HEAD[field].set(hub.view, head(), value)
  const reference = (at: number, value: number): Lie => ({ hub, head }) => hub.view.setUint32(head() + HEAD.size + 4 * at, value, true)

  test.each<[what: string, lie: Lie, code: string]>([
    ['no ring-ref', ({ store }) => store.drop(`${ABSOLUTE}/ring-ref`), 'XENSTORE'], ['no event-channel', ({ store }) => store.drop(`${ABSOLUTE}/event-channel`), 'XENSTORE'],
    ['a ring-ref that is no number', node('ring-ref', '12x'), 'INVALID_ARGUMENT'], ['an empty one', node('ring-ref', ''), 'INVALID_ARGUMENT'], ['a negative one', node('ring-ref', '-1'), 'INVALID_ARGUMENT'],
    ['one beyond all tables', node('ring-ref', '4294967295'), 'HYPERCALL_FAILED'], ['one that is not granted', node('ring-ref', '511'), 'HYPERCALL_FAILED'], ['one of 0', node('ring-ref', '0'), 'INVALID_ARGUMENT'],
    ['an event-channel of 0', node('event-channel', '0'), 'INVALID_ARGUMENT'], ['one that nobody has opened', node('event-channel', '900'), 'HYPERCALL_FAILED'], ['one beyond all ports', node('event-channel', '99999999999'), 'INVALID_ARGUMENT'],
    ['a left order of 0', word('leftOrder', 0), 'INVALID_ARGUMENT'], ['of 9', word('leftOrder', 9), 'INVALID_ARGUMENT'], ['of 21', word('leftOrder', 21), 'INVALID_ARGUMENT'], ['of 65535', word('leftOrder', 65535), 'INVALID_ARGUMENT'],
    ['a right order of 32', word('rightOrder', 32), 'INVALID_ARGUMENT'], ['the same place twice', word('rightOrder', 10), 'INVALID_ARGUMENT'],
    ['references that lie in the small ring', word('rightOrder', 20), 'INVALID_ARGUMENT'],
    ['a reference that is none', (world) => { word('rightOrder', 12)(world); reference(0, 0xffff_ffff)(world) }, 'HYPERCALL_FAILED'],
    ['a reference of 0', (world) => word('rightOrder', 12)(world), 'HYPERCALL_FAILED'],
    ['a second reference that is none', (world) => { word('rightOrder', 13)(world); reference(0, Number(world.store.get(`${ABSOLUTE}/ring-ref`)))(world); reference(1, 300)(world) }, 'HYPERCALL_FAILED'],
    ['that it has closed already', word('srvLive', 0), 'CLOSED'],
  ])('about %s is told by a code, and keeps nothing of it', async (_what, lie, code) => {
    const world = await vchanWorld()
    await world.serve()
    const before = world.left()
    lie(world)
    await expect(world.connect()).rejects.toMatchObject({ code })
    await world.hub.settle(1e9)
    expect(world.left()).toEqual(before)
  })

  test('and grants the shared page also as a ring is read as it says, and harms only itself', async () => {
    const world = await vchanWorld()
    await world.serve()
    HEAD.rightOrder.set(world.hub.view, world.head(), 12)
    world.hub.view.setUint32(world.head() + HEAD.size, Number(world.store.get(`${ABSOLUTE}/ring-ref`)), true)
    const client = await world.connect()
    expect(client.tryRead()).toEqual(new Uint8Array())
    await world.run(client.close())
    await world.hub.settle(1e9)
    expect(world.hub.mappings).toBe(0)
  })

  test('about orders once it is connected is not believed a second time', async () => {
    const world = await vchanWorld()
    const [server, client] = [await world.serve(), await world.connect()]
    HEAD.encode(world.hub.view, world.head(), { leftOrder: 20, rightOrder: 5 })
    client.tryWrite(bytes(1024))
    expect(await world.run(server.receive(1024))).toEqual(bytes(1024))
    expect(client.sizes).toEqual({ receive: 2048, send: 1024 })
  })
})

describe.each(['server', 'client'] as const)('a %s whose peer lies in the shared page', (role) => {
  const setUp = async () => {
    const world = await vchanWorld()
    const [server, client] = [await world.serve(), await world.connect()]
    await world.hub.settle()
    const isServer = role === 'server'
    return { world, victim: isServer ? server : client, peer: isServer ? client : server, fields: isServer
      ? { theirs: HEAD.leftProd, taken: HEAD.rightCons, mine: HEAD.rightProd, myTaken: HEAD.leftCons, live: HEAD.cliLive, notify: HEAD.srvNotify }
      : { theirs: HEAD.rightProd, taken: HEAD.leftCons, mine: HEAD.leftProd, myTaken: HEAD.rightCons, live: HEAD.srvLive, notify: HEAD.cliNotify } }
  }

  test.each([[2049], [0x8000_0000], [0xffff_ffff]])('by a producer that jumps to %i gives all up, and whoever waits is told why', async (index) => {
    const { world, victim, fields } = await setUp()
    const waiting = victim.receive(8)
    fields.theirs.set(world.hub.view, world.head(), index)
    victim.tryWrite(text('x'))
    expect(() => (victim.ready, victim.ready)).not.toThrow()
    await expect(world.run(waiting)).rejects.toMatchObject({ code: 'CLOSED', details: { why: expect.stringContaining('beyond it') as string } })
    expect([victim.state, victim.ready, victim.broken]).toEqual(['closed', 0, expect.stringContaining('moved an index')])
    expect(() => victim.tryRead()).toThrow(closed)
  })

  test.each([[1], [0x7fff_ffff], [0xffff_f000]])('by a consumer that jumps to %i gives all up when it writes', async (index) => {
    const { world, victim, fields } = await setUp()
    fields.taken.set(world.hub.view, world.head(), index)
    expect(() => victim.tryWrite(text('x'))).toThrow(closed)
    await expect(world.run(victim.send(text('x')))).rejects.toEqual(closed)
    expect(victim.broken).toContain('moved an index')
  })

  test('by writing the victim\'s own indices changes nothing', async () => {
    const { world, victim, peer, fields } = await setUp()
    victim.tryWrite(text('abc'))
    peer.tryWrite(text('def'))
    expect(victim.tryRead(2).length).toBe(2)
    for (const field of [fields.mine, fields.myTaken]) field.set(world.hub.view, world.head(), 77777)
    expect(victim.tryWrite(text('g'))).toBe(1)
    expect(new TextDecoder().decode(victim.tryRead())).toBe('f')
    expect([fields.mine.get(world.hub.view, world.head()), fields.myTaken.get(world.hub.view, world.head())]).toEqual([4, 3])
  })

  test('by any notification bits and any life costs events at most', async () => {
    const { world, victim, peer, fields } = await setUp()
    fields.notify.set(world.hub.view, world.head(), 0xff)
    fields.live.set(world.hub.view, world.head(), 0x77)
    expect([victim.state, victim.tryWrite(text('abc'))]).toEqual(['open', 3])
    await world.hub.settle()
    expect(new TextDecoder().decode(peer.tryRead())).toBe('abc')
    expect(fields.notify.get(world.hub.view, world.head()) & 1).toBe(0)
  })

  test('by ten thousand events costs a turn for each batch and nothing else', async () => {
    const { world, victim } = await setUp()
    const { kernel } = role === 'server' ? world.front : world.back
    const port = kernel.events.save().at(-1)!.port
    const before = victim.statistics.events
    for (let at = 0; at < 10_000; at += 1) kernel.events.notify(port as never)
    await world.hub.settle()
    expect([victim.state, victim.statistics.events - before]).toEqual(['open', 1])
  })
})

test('a grant that the server takes back while its client is there stays mapped until that lets go', async () => {
  const world = await vchanWorld()
  const [server, client] = [await world.serve({ receive: 8192 }), await world.connect()]
  const { grants } = world.back.kernel
  // What a hostile kernel does: the entries of the table are wiped, while the pages are mapped.
  const ref = Number(world.store.get(`${ABSOLUTE}/ring-ref`)) as GrantRef
  const entry = world.back.kernel.grants.save().tables[0]! * 4096 + 8 * ref
  world.hub.view.setUint16(entry, 0, true)
  expect(client.tryWrite(bytes(8192))).toBe(8192)
  expect([client.state, grants.inUse(ref)]).toEqual(['open', false])
  await world.run(client.close())
  await world.run(server.close())
  await world.hub.settle(1e9)
  expect(world.hub.mappings).toBe(0)
})

// A peer that dies, in each state.

describe('a peer that dies', () => {
  type Death = (world: VchanWorld, peer: { readonly id: number; readonly vchan: Vchan | undefined }) => Promise<void>
  const DEATHS: Readonly<Record<string, Death>> = {
    'closes': async ({ run }, { vchan }) => { if (vchan !== undefined) await run(vchan.close()) },
    // What Linux does for a process that is killed: the page's byte is cleared and an event sent.
    'is killed as a process': async ({ hub, head }, { id, vchan }) => {
      if (vchan === undefined) return
      const { kernel } = hub.domains.get(id)!
      ;(id === SERVER ? HEAD.srvLive : HEAD.cliLive).set(hub.view, head(), 0)
      kernel.events.notify(kernel.events.save().at(-1)!.port as never)
    },
    'is destroyed with its domain': async ({ hub, store }, { id }) => {
      hub.destroy(id)
      store.drop(`/local/domain/${id}`)
    },
    'breaks its ring': async ({ hub, head }, { id, vchan }) => {
      if (vchan === undefined) return
      const { kernel } = hub.domains.get(id)!
      const [produced, consumed] = id === SERVER ? [HEAD.rightProd, HEAD.leftCons] : [HEAD.leftProd, HEAD.rightCons]
      for (const field of [produced, consumed]) field.set(hub.view, head(), 0x4000_0000)
      kernel.events.notify(kernel.events.save().at(-1)!.port as never)
    },
  }
  type State = 'idle' | 'full' | 'reader waits' | 'writer waits' | 'both wait' | 'unread'
  const STATES: Readonly<Record<State, (survivor: Vchan, peer: Vchan) => readonly Promise<unknown>[]>> = {
    'idle': () => [],
    'full': (survivor) => (survivor.tryWrite(bytes(survivor.sizes.send)), []),
    'reader waits': (survivor) => [survivor.receive(9), survivor.read()],
    'writer waits': (survivor) => (survivor.tryWrite(bytes(survivor.sizes.send)), [survivor.write(text('x')), survivor.send(text('y'))]),
    'both wait': (survivor) => (survivor.tryWrite(bytes(survivor.sizes.send)), [survivor.read(), survivor.write(bytes(5000)), survivor.receive(3)]),
    'unread': (_survivor, peer) => (peer.tryWrite(text('left')), []),
  }
  const cells = (['server', 'client'] as const).flatMap((role) => Object.keys(DEATHS).flatMap((death) => (Object.keys(STATES) as State[]).map((state) => [role, death, state] as const)))

  test.each(cells)('as the %s (%s) leaves the survivor (%s) closed, with an answer for whoever waits and nothing left', async (role, death, state) => {
    const world = await vchanWorld()
    const fresh = world.left()
    const [server, client] = [await world.serve(), await world.connect()]
    await world.hub.settle()
    const [peer, survivor, id] = role === 'server' ? [server, client, SERVER] : [client, server, CLIENT]
    const waiting = STATES[state](survivor, peer).map((promise) => promise.then(() => 'done', (error: unknown) => (XenError.is(error, 'CLOSED') ? 'closed' : error)))
    await world.hub.settle()
    await DEATHS[death]!(world, { id, vchan: peer })
    // A second and more: a client that dies with its domain says nothing.
    await world.hub.settle(3e9)
    expect(await world.run(Promise.all(waiting))).toEqual(waiting.map(() => 'closed'))
    if (death === 'breaks its ring') survivor.ready
    if (state === 'unread' && death !== 'breaks its ring') expect(new TextDecoder().decode(survivor.tryRead())).toBe('left')
    expect(() => survivor.tryRead()).toThrow(closed)
    expect(survivor.state).toBe('closed')
    await world.run(survivor.close())
    if (world.hub.domains.has(id)) await world.run(peer.close())
    await world.hub.settle(3e9)
    const left = world.left()
    expect(left.mappings).toBe(0)
    const at = role === 'server' ? 1 : 0
    for (const of of ['grants', 'free', 'ports', 'timers'] as const) expect([of, left[of][at]]).toEqual([of, fresh[of][at]])
  })

  test('before it has come leaves a server that waits for another', async () => {
    const world = await vchanWorld()
    const server = await world.serve()
    world.hub.destroy(CLIENT)
    await world.hub.settle(3e9)
    expect(server.state).toBe('waiting')
    await world.run(server.close())
    expect(world.back.kernel.grants.granted).toBe(0)
  })

  test('while it is being connected to gives the client a code', async () => {
    const world = await vchanWorld()
    await world.serve()
    const connecting = openVchanClient(world.front.kernel, { server: SERVER, path: ABSOLUTE })
    world.hub.destroy(SERVER)
    await expect(world.run(connecting)).rejects.toMatchObject({ code: 'HYPERCALL_FAILED' })
    expect([world.hub.mappings, world.front.kernel.events.open]).toEqual([0, (await vchanWorld()).front.kernel.events.open])
  })

  test('as a client with its domain lets a persistent server take the next', async () => {
    const world = await vchanWorld()
    const server = await world.serve({ persistent: true })
    await world.connect()
    world.hub.destroy(CLIENT)
    expect(server.state).toBe('waiting')
    const next = world.hub.createDomain(CLIENT, () => undefined, { store: world.store.connect(CLIENT, 'next') })
    await world.hub.settle()
    const client = await world.run(openVchanClient(next.kernel, { server: SERVER, path: ABSOLUTE }))
    client.tryWrite(text('again'))
    expect(new TextDecoder().decode(await world.run(server.read()))).toBe('again')
  })
})

test('orders that no vchan has are refused, and those that there may be are not', () => {
  for (let left = 0; left < 34; left += 1) for (let right = 0; right < 34; right += 1) {
    const isPlace = (order: number): boolean => order >= 10 && order <= 20
    const pages = (order: number): number => (order < 12 ? 0 : 2 ** (order - 12))
    const room = (Math.min(4096, ...[left, right].filter((order) => order < 12).map((order) => 2 ** order)) - 24) / 4
    const isRight = isPlace(left) && isPlace(right) && !(left === right && left < 12) && pages(left) + pages(right) <= room
    let isTaken = true
    try { checkOrders({ left, right }) } catch { isTaken = false }
    expect([left, right, isTaken]).toEqual([left, right, isRight])
  }
})

describe('the state of a vchan', () => {
  test('is not told while somebody waits, nor of one that is over', async () => {
    const world = await vchanWorld()
    const server = await world.serve()
    void server.read().catch(() => undefined)
    expect(() => server.save()).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }) as Error)
    await world.run(server.close())
    expect(() => server.save()).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }) as Error)
  })

  test('is taken up only by a kernel that was loaded, and only where it is one', async () => {
    const world = await vchanWorld()
    const state = (await world.serve({ kept: true })).save()
    expect(JSON.parse(JSON.stringify(state))).toEqual(state)
    for (const wrong of [state, { ...state, role: 'both' }, { ...state, pages: [] }, { ...state, extra: 1 }, null]) {
      expect(() => attachVchan(world.back.kernel, wrong as VchanState)).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }) as Error)
    }
  })
})
