/** Folders between a front-end and the back-end: the handshake, whole files, and what a hostile or dying peer can do in each state. */
import { describe, expect, test } from 'vitest'
import { Xen9pfsDataIntf } from '../../../../src/abi/index.ts'
import { FolderBackend, FolderFrontend, MemoryFileStore, type FileStore, type FolderBackendOptions, type MountedFolder } from '../../../../src/drivers/index.ts'
import { MAX_FOLDER_RING_ORDER, MESSAGE } from '../../../../src/drivers/ninepfs/protocol.ts'
import { BackendBus, FrontendBus } from '../../../../src/guest/index.ts'
import { FakeHypervisor, TestStore, during } from '../../../../src/testing/index.ts'
import { XenError, type DomId } from '../../../../src/util/index.ts'
import { detach, removeDevice, seedFolder } from '../../../support/devices.ts'

const BACK = '/local/domain/0/backend/9pfs/1/0'
const FRONT = '/local/domain/1/device/9pfs/0'
const PAGES = 512

async function setUp(open: FolderBackendOptions['open'] = () => new MemoryFileStore({ motd: 'hello\n' })) {
  const hub = new FakeHypervisor(2048)
  const store = new TestStore()
  const backend = new FolderBackend({ open })
  const frontend = new FolderFrontend()
  const back = hub.createDomain(0, (kernel) => new BackendBus(kernel).register(backend), { store: store.connect(0, 'back') })
  const front = hub.createDomain(1, (kernel) => new FrontendBus(kernel).register(frontend), { store: store.connect(1, 'front'), pages: PAGES })
  await hub.settle()
  seedFolder(store)
  await hub.settle()
  const folder = await during(hub, frontend.folder('shared'))
  return { hub, store, backend, frontend, back, front, folder, run: <T>(work: Promise<T>): Promise<T> => during(hub, work) }
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)
const bytesOf = (value: string): Uint8Array => new TextEncoder().encode(value)
const errno = (name: string) => (error: unknown): boolean => XenError.is(error, 'IO') && error.details['errno'] === name

describe('the handshake of a folder', () => {
  test('ends with both halves Connected and the nodes of the protocol', async () => {
    const { store, folder } = await setUp()
    expect(folder.tag).toBe('shared')
    expect([store.get(`${BACK}/state`), store.get(`${FRONT}/state`)]).toEqual(['4', '4'])
    expect(Object.fromEntries(['versions', 'max-rings', 'max-ring-page-order', 'hotplug-status'].map((name) => [name, store.get(`${BACK}/${name}`)])))
      .toEqual({ versions: '1', 'max-rings': '8', 'max-ring-page-order': String(MAX_FOLDER_RING_ORDER), 'hotplug-status': 'connected' })
    expect([store.get(`${FRONT}/version`), store.get(`${FRONT}/num-rings`)]).toEqual(['1', '2'])
  })

  test('leaves nothing mapped, granted or open when it is taken away', async () => {
    const { hub, store, front, back, backend, folder, run } = await setUp()
    await run(folder.writeFile('a', bytesOf('text')))
    detach(store, '9pfs', 1, '0')
    await hub.settle()
    removeDevice(store, '9pfs', 1, '0')
    await hub.settle(1e9)
    expect([hub.mappings, front.kernel.grants.granted, back.kernel.grants.mappings, backend.folders.length, front.kernel.frames.free]).toEqual([0, 0, 0, 0, PAGES])
    await expect(run(folder.readFile('a'))).rejects.toSatisfy((error) => XenError.is(error, 'CLOSED'))
  })

  test('tells the toolstack why a folder cannot be opened', async () => {
    const hub = new FakeHypervisor(4096)
    const store = new TestStore()
    hub.createDomain(0, (kernel) => new BackendBus(kernel).register(new FolderBackend({ open: () => { throw new Error('there is no such folder') } })), { store: store.connect(0, 'back') })
    await hub.settle()
    seedFolder(store)
    await hub.settle()
    expect([store.get(`${BACK}/hotplug-status`), store.get(`${BACK}/hotplug-error`), store.get(`${BACK}/state`)]).toEqual(['error', 'there is no such folder', '2'])
  })
})

describe('a guest in TypeScript', () => {
  test('reads, writes, lists, renames and removes', async () => {
    const { folder, run } = await setUp()
    expect(text(await run(folder.readFile('/motd')))).toBe('hello\n')
    const large = new Uint8Array(300_000).map((_, at) => at * 7)
    await run(folder.makeFolder('sub'))
    await run(folder.writeFile('sub/large', large))
    expect(Buffer.compare(await run(folder.readFile('sub/large')), large)).toBe(0)
    await run(folder.rename('sub/large', 'moved'))
    await run(folder.symlink('link', 'moved'))
    expect(await run(folder.readLink('link'))).toBe('moved')
    expect(await run(folder.list('/'))).toEqual(['motd', 'sub', 'moved', 'link'])
    expect(await run(folder.stat('moved'))).toMatchObject({ kind: 'file', size: 300_000, mode: 0o644 })
    await run(folder.remove('sub'))
    await expect(run(folder.stat('sub'))).rejects.toSatisfy(errno('ENOENT'))
    await expect(run(folder.readFile('link'))).rejects.toSatisfy(errno('ELOOP'))
  })

  test('finds names again in paths deeper than one walk can go', async () => {
    const { folder, run } = await setUp()
    const names = Array.from({ length: 40 }, (_, at) => `level${at}`)
    for (let depth = 1; depth <= names.length; depth += 1) await run(folder.makeFolder(names.slice(0, depth).join('/')))
    await run(folder.writeFile(`${names.join('/')}/leaf`, bytesOf('deep')))
    expect(text(await run(folder.readFile(`${names.join('/')}/leaf`)))).toBe('deep')
    await expect(run(folder.stat(`${names.join('/')}/none/leaf`))).rejects.toSatisfy(errno('ENOENT'))
  })

  test('is told of a store that throws whatever it likes by EIO, and its owner by the error itself', async () => {
    const told: unknown[] = []
    const good = new MemoryFileStore({ a: 'x' })
    const bad = Object.assign(Object.create(good) as FileStore, { stat: () => { throw 'just a text' } })
    const hub = new FakeHypervisor(4096)
    const store = new TestStore()
    const frontend = new FolderFrontend()
    let folder: MountedFolder | undefined
    hub.createDomain(0, (kernel) => new BackendBus(kernel).register(new FolderBackend({ open: () => bad, onStoreFailed: (_, error) => told.push(error) })), { store: store.connect(0, 'back') })
    hub.createDomain(1, async (kernel) => {
      await new FrontendBus(kernel).register(frontend)
      folder = await frontend.folder('shared')
    }, { store: store.connect(1, 'front') })
    await hub.settle()
    seedFolder(store)
    await hub.settle()
    // Attaching looks at the root.
    expect([folder, told]).toEqual([undefined, ['just a text']])
    expect(store.get(`${FRONT}/state`)).toBe('6')
  })
})

/** What a front-end can do to its rings, by what it has reached. */
describe('a hostile front-end', () => {
  const STATES = ['before a version', 'with a version', 'attached', 'with a file open', 'with an answer waiting'] as const
  type World = Awaited<ReturnType<typeof setUp>>

  /** The page with the indices of the first ring. */
  const indexesOf = ({ front, store }: World): number => {
    const ref = Number(store.get(`${FRONT}/ring-ref0`))
    return (front.kernel.grants.save().granted.find((grant) => grant.ref === ref)?.frame ?? 0) * 4096
  }

  async function reach(world: World, state: (typeof STATES)[number]): Promise<void> {
    const { folder, run, hub } = world
    const { client } = folder
    if (state === 'before a version') await run(client.request(MESSAGE.VERSION, (message) => message.u32(8192).text('9P1999')))
    if (state === 'with a version') await run(client.request(MESSAGE.VERSION, (message) => message.u32(8192).text('9P2000.L')))
    if (state === 'with a file open' || state === 'with an answer waiting') {
      await run(client.request(MESSAGE.WALK, (message) => message.u32(0).u32(900).u16(1).text('motd')))
      await run(client.request(MESSAGE.LOPEN, (message) => message.u32(900).u32(2)))
    }
    if (state === 'with an answer waiting') {
      // Its reader does not move: answers pile up until none fits.
      Xen9pfsDataIntf.inCons.set(hub.view, indexesOf(world), (Xen9pfsDataIntf.inProd.get(hub.view, indexesOf(world)) - 32768 + 20) >>> 0)
    }
  }

  const EVENTS: readonly (readonly [string, (world: World) => void | Promise<void>])[] = [
    ['claims to have written more than the ring holds', (world) => Xen9pfsDataIntf.outProd.set(world.hub.view, indexesOf(world), (Xen9pfsDataIntf.outProd.get(world.hub.view, indexesOf(world)) + 70_000) >>> 0)],
    ['moves its index backwards', (world) => Xen9pfsDataIntf.outProd.set(world.hub.view, indexesOf(world), (Xen9pfsDataIntf.outProd.get(world.hub.view, indexesOf(world)) - 9) >>> 0)],
    ['claims to have read what was not written', (world) => Xen9pfsDataIntf.inCons.set(world.hub.view, indexesOf(world), (Xen9pfsDataIntf.inProd.get(world.hub.view, indexesOf(world)) + 1) >>> 0)],
    ['writes another order and other references into its page', (world) => {
      Xen9pfsDataIntf.ringOrder.set(world.hub.view, indexesOf(world), 31)
      world.hub.bytes.fill(0xff, indexesOf(world) + Xen9pfsDataIntf.size, indexesOf(world) + 4096)
    }],
    ['sends a message that is shorter than its header', (world) => void world.folder.client.request(MESSAGE.CLUNK, (message) => { new DataView(message.finish().buffer).setUint32(0, 3, true) }).catch(() => undefined)],
    ['ends its grants', (world) => { for (const ref of world.front.kernel.grants.save().granted) world.front.kernel.grants.endWhenUnused(ref.ref as never) }],
    ['dies', (world) => world.hub.destroy(1)],
    ['closes its device', (world) => world.store.seed({ [`${FRONT}/state`]: '6' })],
    ['writes a state that there is none of', (world) => world.store.seed({ [`${FRONT}/state`]: '99' })],
    ['removes its device', (world) => removeDevice(world.store, '9pfs', 1, '0')],
  ]
  const CELLS = STATES.flatMap((state) => EVENTS.map(([event, act]) => [state, event, act] as const))

  test.each(CELLS)('%s: that %s harms nobody, and nothing is left when it is gone', async (state, _, act) => {
    const world = await setUp()
    const { hub, store, backend, back, folder } = world
    await reach(world, state)
    await act(world)
    void folder.stat('motd').catch(() => undefined)
    await hub.settle(1e8)
    // Whatever it has done, the back-end serves others.
    expect(back.crash).toBeUndefined()
    detach(store, '9pfs', 1, '0')
    await hub.settle(1e8)
    removeDevice(store, '9pfs', 1, '0')
    await hub.settle(1e9)
    expect([backend.folders.length, back.kernel.grants.mappings, [...back.mappings].length]).toEqual([0, 0, 0])
  })

  /** A front-end that is nothing but nodes, a page and ports; what the back-end makes of it. */
  async function offer(nodes: Readonly<Record<string, string>>, order = 1): Promise<readonly [state: string | undefined, mappings: number]> {
    const hub = new FakeHypervisor(4096)
    const store = new TestStore()
    const back = hub.createDomain(0, (kernel) => new BackendBus(kernel).register(new FolderBackend({ open: () => new MemoryFileStore() })), { store: store.connect(0, 'back') })
    const front = hub.createDomain(1, () => undefined, { store: store.connect(1, 'front') })
    await hub.settle()
    const { kernel } = front
    seedFolder(store)
    await hub.settle()
    const pages = Array.from({ length: 3 }, () => kernel.frames.allocate())
    const refs = pages.map(({ frame }) => kernel.grants.grant(0 as DomId, frame))
    Xen9pfsDataIntf.ringOrder.set(hub.view, pages[0]!.base, order)
    for (const [at, ref] of refs.slice(1).entries()) hub.view.setUint32(pages[0]!.base + Xen9pfsDataIntf.size + 4 * at, ref, true)
    const ports = [0, 1].map(() => kernel.events.allocateUnbound(kernel.domid, 0 as DomId, () => undefined))
    const given = { version: '1', 'num-rings': '2', 'ring-ref0': String(refs[0]), 'ring-ref1': String(refs[0]), 'event-channel-0': String(ports[0]), 'event-channel-1': String(ports[1]), ...nodes }
    store.seed({ ...Object.fromEntries(Object.entries(given).map(([name, value]) => [`${FRONT}/${name}`, value])), [`${FRONT}/state`]: '3' })
    await hub.settle()
    expect(back.crash).toBeUndefined()
    return [store.get(`${BACK}/state`), back.kernel.grants.mappings]
  }

  test('is taken where all that it names is right', async () => {
    expect(await offer({})).toEqual(['4', 6])
  })

  test.each([
    ['num-rings', '0'], ['num-rings', '9'], ['num-rings', '4294967295'], ['num-rings', '3'], ['version', '2'], ['ring-ref0', '4000000000'], ['ring-ref1', '7'],
    ['ring-ref1', 'x'], ['event-channel-1', '0'], ['event-channel-1', '77777'], ['event-channel-0', '-1'],
  ])('that names %s %s is refused, and nothing stays mapped', async (name, value) => {
    expect(await offer({ [name]: value })).toEqual(['5', 0])
  })

  test.each([0, 2, MAX_FOLDER_RING_ORDER + 1, 31, 0xffff_ffff])('whose rings say that they are of order %d, which they are not, is refused', async (order) => {
    expect(await offer({}, order)).toEqual(['5', 0])
  })
})
