import { describe, expect, test } from 'vitest'
import { BlockBackend, BlockFrontend, MemoryBlockStore, OverlayBlockStore } from '../../../../src/drivers/index.ts'
import type { BlockBackendOptions, BlockStore, Disk } from '../../../../src/drivers/index.ts'
import { layoutOf } from '../../../../src/drivers/block/protocol.ts'
import { BlockServer, SEGMENT_COST } from '../../../../src/drivers/block/server.ts'
import { BLKIF_OP, GNTST } from '../../../../src/abi/index.ts'
import { BackendBus, FrontendBus } from '../../../../src/guest/index.ts'
import type { DomId } from '../../../../src/util/index.ts'
import { SeededRandom, XenError, below, fillRandom } from '../../../../src/util/index.ts'
import { detach, removeDevice, seedDisk } from '../../../support/devices.ts'
import { FakeHypervisor, TestStore, during } from '../../../../src/testing/index.ts'

const SECTORS = 16384

async function setUp(open: BlockBackendOptions['open'] = () => new MemoryBlockStore(SECTORS * 512), disk = {}) {
  const hub = new FakeHypervisor(8192)
  const store = new TestStore()
  const backend = new BlockBackend({ open })
  const frontend = new BlockFrontend()
  const back = hub.createDomain(0, (kernel) => new BackendBus(kernel).register(backend), { store: store.connect(0, 'back') })
  const front = hub.createDomain(1, (kernel) => new FrontendBus(kernel).register(frontend), {
    store: store.connect(1, 'front'), pages: 1024,
  })
  await hub.settle()
  seedDisk(store, disk)
  await hub.settle()
  return { hub, store, backend, frontend, back, front, disk: frontend.disks[0]! }
}

const pattern = (length: number, seed: number): Uint8Array => {
  const bytes = new Uint8Array(length)
  fillRandom(new SeededRandom(seed), bytes)
  return bytes
}

/** Writes of one party in the transcript, without what this implementation does not offer. */
const writes = (store: TestStore, who: string): string[] =>
  store.transcript.filter((line) => line.startsWith(`${who} WRITE`) || line.startsWith(`${who} TX_`)).map((line) => line.slice(who.length + 1))

describe('the handshake of a disk', () => {
  test('ends with both halves Connected and the nodes that Linux and xl leave on real Xen', async () => {
    const { store, disk } = await setUp()
    const back = '/local/domain/0/backend/vbd/1/51712'
    const front = '/local/domain/1/device/vbd/51712'
    expect([store.get(`${back}/state`), store.get(`${front}/state`)]).toEqual(['4', '4'])
    expect(disk.geometry).toEqual({ sectors: SECTORS, readOnly: false, cdrom: false, removable: false })
    const expected = {
      'feature-flush-cache': '1', 'discard-granularity': '4096', 'discard-alignment': '0', 'discard-secure': '0',
      'feature-discard': '1', 'feature-barrier': '1', 'feature-persistent': '1', sectors: '16384', info: '0',
      'sector-size': '512', 'physical-sector-size': '512', 'multi-queue-max-queues': '4', node: '/dev/loop0',
      'physical-device': '7:0', 'physical-device-path': '/dev/loop0', 'hotplug-status': 'connected',
    }
    for (const [name, value] of Object.entries(expected)) expect([name, store.get(`${back}/${name}`)]).toEqual([name, value])
  })

  test('writes in the order of the captures, with the same transactions', async () => {
    const { store } = await setUp()
    // golden: xenbus-handshake-vbd.txt, parts A and B. That back-end had one CPU, and offers as many queues; this one offers what Linux's front-end takes at most.
    const own = 'backend/vbd/1/51712'
    const back = writes(store, 'back').slice(writes(store, 'back').findIndex((line) => line.includes(own)))
    expect(back).toEqual([
      `WRITE ${own}/feature-max-indirect-segments = "256"`,
      `WRITE ${own}/multi-queue-max-queues = "4"`,
      `WRITE ${own}/max-ring-page-order = "4"`,
      'TX_START', `WRITE ${own}/state = "2"`, 'TX_END commit',
      `WRITE ${own}/node = "/dev/loop0"`,
      `WRITE ${own}/physical-device = "7:0"`,
      `WRITE ${own}/physical-device-path = "/dev/loop0"`,
      `WRITE ${own}/hotplug-status = "connected"`,
      'TX_START',
      `WRITE ${own}/feature-flush-cache = "1"`,
      `WRITE ${own}/discard-granularity = "4096"`,
      `WRITE ${own}/discard-alignment = "0"`,
      `WRITE ${own}/discard-secure = "0"`,
      `WRITE ${own}/feature-discard = "1"`,
      `WRITE ${own}/feature-barrier = "1"`,
      `WRITE ${own}/feature-persistent = "1"`,
      `WRITE ${own}/sectors = "16384"`,
      `WRITE ${own}/info = "0"`,
      `WRITE ${own}/sector-size = "512"`,
      `WRITE ${own}/physical-sector-size = "512"`,
      'TX_END commit',
      'TX_START', `WRITE ${own}/state = "4"`, 'TX_END commit',
    ])
    const front = writes(store, 'front').slice(writes(store, 'front').findIndex((line) => line.includes('ring-ref')) - 1)
    expect(front).toEqual([
      'TX_START',
      'WRITE device/vbd/51712/ring-ref = "8"',
      expect.stringMatching(/^WRITE device\/vbd\/51712\/event-channel = "\d+"$/),
      'WRITE device/vbd/51712/protocol = "x86_64-abi"',
      'WRITE device/vbd/51712/feature-persistent = "1"',
      'TX_END commit',
      'TX_START', 'WRITE device/vbd/51712/state = "3"', 'TX_END commit',
      'TX_START', 'WRITE device/vbd/51712/state = "4"', 'TX_END commit',
    ])
  })

  test('tries its transactions again when the store answers EAGAIN', async () => {
    const hub = new FakeHypervisor()
    const store = new TestStore()
    hub.createDomain(0, (kernel) => new BackendBus(kernel).register(new BlockBackend({ open: () => new MemoryBlockStore(512) })),
      { store: store.connect(0, 'back') })
    await hub.settle()
    store.conflicts = 3
    seedDisk(store)
    await hub.settle()
    expect(store.transcript.filter((line) => line.endsWith('EAGAIN')).length).toBe(3)
    expect(store.get('/local/domain/0/backend/vbd/1/51712/state')).toBe('2')
  })

  test('hot detach: the front-end goes straight to Closed, the back-end follows, and nothing is left', async () => {
    const { hub, store, disk, front, back, backend } = await setUp()
    await during(hub, disk.write(0, pattern(4096, 1)))
    store.transcript.length = 0
    detach(store, 'vbd', 1, '51712')
    await hub.settle()
    expect(writes(store, 'front').filter((line) => line.includes('state'))).toEqual(['WRITE device/vbd/51712/state = "6"'])
    expect(writes(store, 'back').filter((line) => line.includes('state'))).toEqual(['WRITE backend/vbd/1/51712/state = "6"'])
    removeDevice(store, 'vbd', 1, '51712')
    await hub.settle(1e9)
    expect(hub.mappings).toBe(0)
    expect([front.kernel.grants.granted, back.kernel.grants.mappings, backend.disks.length]).toEqual([0, 0, 0])
    expect(front.kernel.frames.free).toBe(1024)
    await expect(disk.read(0, 1)).rejects.toSatisfy((error) => XenError.is(error, 'CLOSED'))
  })

  test('a guest that shuts down closes in steps: 5, 5, 6, 6', async () => {
    const { hub, store, disk } = await setUp()
    store.transcript.length = 0
    await during(hub, disk.close())
    await hub.settle()
    const states = store.transcript.filter((line) => / WRITE .*state/.test(line)).map((line) => line.replace(/ .*= /, ' '))
    expect(states).toEqual(['front "5"', 'back "5"', 'front "6"', 'back "6"'])
  })

  test('a disk that was detached can be attached again, and a second one beside it', async () => {
    const { hub, store, frontend } = await setUp()
    detach(store, 'vbd', 1, '51712')
    await hub.settle()
    removeDevice(store, 'vbd', 1, '51712')
    await hub.settle()
    seedDisk(store)
    seedDisk(store, { device: '51728' })
    await hub.settle()
    const again = await during(hub, frontend.disk(51712))
    const second = await during(hub, frontend.disk(51728))
    await during(hub, again.write(5, pattern(512, 3)))
    await during(hub, second.write(5, pattern(512, 4)))
    expect(await during(hub, again.read(5, 1))).toEqual(pattern(512, 3))
  })

  test('a store that cannot be opened is reported as a hotplug script does, and the disk stays in InitWait', async () => {
    const { store } = await setUp(() => Promise.reject(new Error('no such file')))
    const back = '/local/domain/0/backend/vbd/1/51712'
    expect([store.get(`${back}/hotplug-status`), store.get(`${back}/hotplug-error`), store.get(`${back}/state`)])
      .toEqual(['error', 'no such file', '2'])
  })

  test('the end of the front-end\'s domain frees everything of the back-end\'s', async () => {
    const { hub, store, back, backend, disk } = await setUp()
    await during(hub, disk.write(0, pattern(4096 * 30, 1)))
    hub.destroy(1)
    store.drop('/local/domain/1')
    await hub.settle()
    expect([hub.mappings, back.kernel.grants.mappings, backend.disks.length]).toEqual([0, 0, 0])
  })

  test.each([
    ['ring-ref', '999'], ['ring-ref', 'x'], ['event-channel', '4000'], ['event-channel', '0'], ['protocol', 'arm-abi'],
    ['multi-queue-num-queues', '2'], ['ring-page-order', '4'],
  ])('a front-end that publishes %s = %s is told why, and gets nothing', async (name, value) => {
    const hub = new FakeHypervisor()
    const store = new TestStore()
    const back = hub.createDomain(0, (kernel) => new BackendBus(kernel).register(new BlockBackend({ open: () => new MemoryBlockStore(512) })),
      { store: store.connect(0) })
    const front = hub.createDomain(1, () => undefined)
    await hub.settle()
    const page = front.kernel.frames.allocate()
    const nodes: Record<string, string> = {
      'ring-ref': String(front.kernel.grants.grant(0 as DomId, page.frame)),
      'event-channel': String(front.kernel.events.allocateUnbound(1 as DomId, 0 as DomId)), [name]: value,
    }
    seedDisk(store)
    for (const [key, text] of Object.entries(nodes)) store.seed({ [`/local/domain/1/device/vbd/51712/${key}`]: text })
    store.seed({ '/local/domain/1/device/vbd/51712/state': '3' })
    const ports = back.channels.size
    await hub.settle()
    expect(store.get('/local/domain/0/backend/vbd/1/51712/state')).toBe('5')
    expect(store.get('/local/domain/0/error/backend/vbd/1/51712/error')).toBeTruthy()
    expect([hub.mappings, back.kernel.grants.mappings, back.channels.size]).toEqual([0, 0, ports])
  })
})

/** A store that answers later, in an order of its own. */
class LateStore implements BlockStore {
  readonly readOnly = false
  readonly size: number
  private readonly inner: BlockStore
  private readonly random = new SeededRandom(5)

  constructor(inner: BlockStore) {
    this.inner = inner
    this.size = inner.size
  }

  private later(work: () => void | Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => setTimeout(() => {
      Promise.resolve().then(work).then(resolve, reject)
    }, below(this.random, 5)))
  }

  read(offset: number, target: Uint8Array): Promise<void> {
    return this.later(() => this.inner.read(offset, target))
  }

  write(offset: number, source: Uint8Array): Promise<void> {
    return this.later(() => this.inner.write(offset, source))
  }

  flush(): Promise<void> {
    return this.later(() => this.inner.flush())
  }

  close(): void {
    // Nothing is held.
  }
}

describe.each([
  ['memory', (): BlockStore => new MemoryBlockStore(SECTORS * 512)],
  ['an overlay', (): BlockStore => new OverlayBlockStore(new MemoryBlockStore(SECTORS * 512, { readOnly: true }))],
  ['a store that answers late and out of order', (): BlockStore => new LateStore(new MemoryBlockStore(SECTORS * 512))],
])('a disk over %s', (_name, make) => {
  test('reads back what was written, at random places and lengths, many at a time', async () => {
    const { hub, disk, backend } = await setUp(make)
    const model = new Uint8Array(SECTORS * 512)
    const random = new SeededRandom(11)
    for (let round = 0; round < 8; round += 1) {
      // Writes of one round do not overlap, so that their order does not matter.
      const jobs = Array.from({ length: 12 }, (_, slot) => {
        const sector = slot * 1000 + below(random, 500)
        const bytes = pattern((1 + below(random, 300)) * 512, round * 100 + slot)
        model.set(bytes, sector * 512)
        return disk.write(sector, bytes)
      })
      await during(hub, Promise.all(jobs))
    }
    for (let i = 0; i < 20; i += 1) {
      const count = 1 + below(random, 400)
      const sector = below(random, SECTORS - count)
      const bytes = await during(hub, disk.read(sector, count))
      expect(Buffer.compare(bytes, model.subarray(sector * 512, (sector + count) * 512))).toBe(0)
    }
    await during(hub, disk.flush())
    const { statistics } = backend.disk(1 as DomId, 51712)!
    expect(statistics!.errors).toBe(0)
    expect(statistics!.flushes).toBe(1)
    expect(statistics!.sectorsWritten).toBeGreaterThan(1000)
  })

  test('a read and a write beyond the end are refused before they reach the ring', async () => {
    const { hub, disk } = await setUp(make)
    const calls: (() => Promise<unknown>)[] = [
      () => disk.read(SECTORS, 1), () => disk.read(SECTORS - 1, 2), () => disk.write(-1, new Uint8Array(512)), () => disk.read(0.5, 1),
    ]
    for (const call of calls) {
      await expect(during(hub, call())).rejects.toSatisfy((error) => XenError.is(error, 'INVALID_ARGUMENT'))
    }
  })
})

describe('the block back-end', () => {
  test('makes a disk read-only that the configuration or the store says is so', async () => {
    for (const [disk, store] of [
      [{ mode: 'r' }, new MemoryBlockStore(SECTORS * 512)], [{}, new MemoryBlockStore(SECTORS * 512, { readOnly: true })],
    ] as const) {
      const setup = await setUp(() => store, disk)
      expect(setup.store.get('/local/domain/0/backend/vbd/1/51712/info')).toBe('4')
      expect(setup.store.get('/local/domain/0/backend/vbd/1/51712/feature-discard')).toBeUndefined()
      expect(setup.disk.geometry!.readOnly).toBe(true)
      await expect(setup.disk.write(0, new Uint8Array(512))).rejects.toSatisfy((error) => XenError.is(error, 'PERMISSION_DENIED'))
      expect((await during(setup.hub, setup.disk.read(0, 1))).length).toBe(512)
    }
  })

  test('discards, and answers a store\'s failure as an error of that request alone', async () => {
    const inner = new MemoryBlockStore(SECTORS * 512)
    const bad: BlockStore = {
      size: inner.size, readOnly: false, flush: () => undefined, close: () => undefined,
      write: (offset, bytes) => inner.write(offset, bytes),
      discard: (offset, length) => inner.discard(offset, length),
      read: (offset, target) => {
        if (offset === 8 * 512) throw new Error('bad block')
        inner.read(offset, target)
      },
    }
    const { hub, disk } = await setUp(() => bad)
    await during(hub, disk.write(16, pattern(4096, 9)))
    await during(hub, disk.discard(16, 8))
    expect(inner.bytes.subarray(16 * 512, 24 * 512).every((byte) => byte === 0)).toBe(true)
    const failing = disk.read(8, 1)
    failing.catch(() => undefined)
    expect((await during(hub, disk.read(0, 1))).length).toBe(512)
    await expect(during(hub, failing)).rejects.toSatisfy((error) => XenError.is(error, 'IO'))
  })

  test('carries a long discard out in pieces, with a turn behind each, and no two at once', async () => {
    const pieces: [number, number][] = []
    let busy = 0
    let most = 0
    const size = 64 << 20
    const store: BlockStore = {
      size, readOnly: false, read: () => undefined, write: () => undefined, flush: () => undefined, close: () => undefined,
      discard: async (offset, length) => {
        most = Math.max(most, busy += 1)
        await Promise.resolve()
        busy -= 1
        pieces.push([offset >> 20, length >> 20])
      },
    }
    const { hub, disk } = await setUp(() => store)
    const half = size / 2 / 512
    const order: string[] = []
    const first = disk.discard(0, half).then(() => order.push('first'))
    const second = disk.discard(half, half).then(() => order.push('second'))
    const short = disk.discard(8, 8).then(() => order.push('short'))
    await during(hub, Promise.all([first, second, short]))
    expect(order).toEqual(['short', 'first', 'second'])
    expect(pieces.filter(([, length]) => length > 0)).toEqual(Array.from({ length: 16 }, (_, i) => [4 * i, 4]))
    expect(most).toBeLessThanOrEqual(2)
  })

  test('serves a full ring of the largest requests in turns of 4 MiB, with everybody else in between', async () => {
    const bytes = new Uint8Array(2 << 20)
    const view = new DataView(bytes.buffer)
    const layout = layoutOf('x86_64-abi')!
    const [list, data] = [1, 2]
    const moved = [0]
    const move = (_offset: number, run: Uint8Array): void => void (moved[moved.length - 1]! += run.length)
    let turns: (() => void)[] = []
    let spent = 0
    const server = new BlockServer({
      grants: {
        memory: { bytes, view, markWritten: () => undefined } as never,
        mapGrant: ({ ref }) => ({ status: GNTST.okay, frame: ref, handle: ref }) as never, unmapGrant: () => GNTST.okay,
      },
      domid: 1 as DomId, layout, ring: [0], persistent: false, notify: () => undefined, hold: () => () => undefined,
      pause: () => new Promise((resolve) => void turns.push(resolve)),
      spend: (instructions) => { spent += instructions },
      store: { size: 64 << 20, readOnly: false, read: move, write: move, flush: () => undefined, close: () => undefined },
    })
    for (let i = 0; i < 256; i += 1) view.setUint32(list * 4096 + i * 8, data + i, true), bytes[list * 4096 + i * 8 + 5] = 7
    for (let slot = 0; slot < 32; slot += 1) {
      const at = 64 + slot * layout.entrySize
      layout.request.operation.set(view, at, BLKIF_OP.INDIRECT)
      layout.indirect.indirectOp.set(view, at, slot % 2 === 0 ? BLKIF_OP.READ : BLKIF_OP.WRITE)
      layout.indirect.nrSegments.set(view, at, 256)
      view.setUint32(layout.indirect.indirectGrefs.at(at, 0), list, true)
    }
    view.setUint32(0, 32, true)
    server.serve()
    // An event in between does not shorten the others' turn.
    server.serve()
    while (turns.length > 0) {
      const [resolve, ...others] = turns
      expect(others).toEqual([])
      turns = []
      moved.push(0)
      resolve!()
      await Promise.resolve()
      await Promise.resolve()
    }
    expect(moved.filter((count) => count > 0)).toEqual(Array.from({ length: 8 }, () => 4 << 20))
    expect(view.getUint32(8, true)).toBe(32)
    // Virtual time passes for it as for a guest's own work.
    expect(spent).toBe(32 * 256 * SEGMENT_COST)
  })

  test('keeps the pages of a front-end mapped that uses them again, and of no other', async () => {
    const { hub, disk, back } = await setUp()
    await during(hub, disk.write(0, pattern(4096 * 4, 1)))
    back.calls.clear()
    for (let i = 0; i < 10; i += 1) await during(hub, disk.read(i * 8, 32))
    expect(back.calls.get('mapGrant') ?? 0).toBe(0)
    expect(hub.mappings).toBeLessThanOrEqual(1 + 12)
  })

  test.each([['with', '256'], ['without', '']])('carries 1 MiB %s indirect requests', async (_with, offered) => {
    const hub = new FakeHypervisor(8192)
    const store = new TestStore()
    const backend = new BlockBackend({ open: () => new MemoryBlockStore(SECTORS * 512) })
    const frontend = new BlockFrontend()
    const back = hub.createDomain(0, (kernel) => new BackendBus(kernel).register(backend), { store: store.connect(0) })
    const connection = store.connect(1)
    await hub.settle()
    seedDisk(store)
    await hub.settle()
    store.seed({ '/local/domain/0/backend/vbd/1/51712/feature-max-indirect-segments': offered })
    hub.createDomain(1, (kernel) => new FrontendBus(kernel).register(frontend), { store: connection, pages: 1024 })
    await hub.settle()
    const disk = await during(hub, frontend.disk(51712))
    const bytes = pattern(1 << 20, 5)
    await during(hub, disk.write(1, bytes))
    const { statistics } = backend.disk(1 as DomId, 51712)!
    expect(statistics!.writes).toBe(offered === '256' ? 1 : 24)
    expect(Buffer.compare(await during(hub, disk.read(1, 2048)), bytes)).toBe(0)
    expect(back.crash).toBeUndefined()
  })

  test('a guest that has no page left for a large request is told so, and can still make small ones', async () => {
    const { hub, disk, front } = await setUp()
    const { frames } = front.kernel
    const client = disk.client()
    const segments = Array.from({ length: 20 }, () => ({ data: client.takePage(), first: 0, last: 7 }))
    while (frames.free > 0) frames.allocate()
    const statuses: (number | undefined)[] = []
    const done = (status: number | undefined): number => statuses.push(status)
    client.submit({ operation: 0, sector: 0, segments, done })
    client.submit({ operation: 0, sector: 0, segments: segments.slice(0, 11), done })
    await hub.settle()
    expect(statuses).toEqual([-1, 0])
    expect(front.crash).toBeUndefined()
  })

  test('is closed by the program like any disk of the guest', async () => {
    const { hub, disk } = await setUp()
    const reading = disk.read(0, 1)
    reading.catch(() => undefined)
    await during(hub, (disk as Disk).close())
    await hub.settle()
    await expect(disk.flush()).rejects.toSatisfy((error) => XenError.is(error, 'CLOSED'))
  })
})
