/** Disks with several rings, and rings of several pages: what is agreed on, what goes through them, and front-ends that lie about them. */
import { describe, expect, test } from 'vitest'
import { BLKIF_OP, BLKIF_RSP, GNTST, GrantEntryV1 } from '../../../../src/abi/index.ts'
import { BlockBackend, BlockFrontend, BlockServer, LAYOUT_64, MemoryBlockStore, PERSISTENT_GRANT_LIMIT, type BlockFrontendOptions, type BlockStore } from '../../../../src/drivers/index.ts'
import { BackendBus, FrontendBus } from '../../../../src/guest/index.ts'
import { FakeHypervisor, TestStore, during } from '../../../../src/testing/index.ts'
import { SeededRandom, XenError, below, fillRandom, type DomId } from '../../../../src/util/index.ts'
import { detach, removeDevice, seedDisk } from '../../../support/devices.ts'

const SECTORS = 16384
const BACK = '/local/domain/0/backend/vbd/1/51712'
const FRONT = '/local/domain/1/device/vbd/51712'

async function setUp(options: BlockFrontendOptions = {}, open: () => BlockStore = () => new MemoryBlockStore(SECTORS * 512)) {
  const hub = new FakeHypervisor(16384)
  const store = new TestStore()
  const [backend, frontend] = [new BlockBackend({ open }), new BlockFrontend(options)]
  const back = hub.createDomain(0, (kernel) => new BackendBus(kernel).register(backend), { store: store.connect(0, 'back') })
  const front = hub.createDomain(1, (kernel) => new FrontendBus(kernel).register(frontend), { store: store.connect(1, 'front'), pages: 2048 })
  await hub.settle()
  seedDisk(store)
  await hub.settle()
  return { hub, store, backend, back, front, disk: frontend.disks[0]!, served: backend.disk(1 as DomId, 51712)! }
}

/** Turns of JavaScript, in which domains that somebody runs go on: some, or until something holds. */
async function turns(until: () => boolean = () => false, most = 30): Promise<void> {
  for (let turn = 0; turn < most && !until(); turn += 1) await new Promise((resolve) => setImmediate(resolve))
}

const pattern = (length: number, seed: number): Uint8Array => {
  const bytes = new Uint8Array(length)
  fillRandom(new SeededRandom(seed), bytes)
  return bytes
}

describe('the two halves agree on', () => {
  test('as many rings and pages as both can, in the nodes and the order that Linux has', async () => {
    const { store, served } = await setUp({ maxQueues: 2, maxRingPageOrder: 1 })
    expect([store.get(`${BACK}/state`), store.get(`${FRONT}/state`)]).toEqual(['4', '4'])
    const names = store.transcript.filter((line) => line.startsWith('front WRITE device') && !line.includes('/state')).map((line) => line.replace(/^front WRITE device\/vbd\/51712\/(\S+) = .*/, '$1'))
    expect(names).toEqual([
      'ring-page-order', 'multi-queue-num-queues', 'queue-0/ring-ref0', 'queue-0/ring-ref1', 'queue-0/event-channel', 'queue-1/ring-ref0', 'queue-1/ring-ref1',
      'queue-1/event-channel', 'protocol', 'feature-persistent',
    ])
    expect([store.get(`${FRONT}/ring-page-order`), store.get(`${FRONT}/multi-queue-num-queues`)]).toEqual(['1', '2'])
    expect(served.broken).toBe(false)
  })

  test.each([
    ['one ring of one page where the back-end offers no more', { 'multi-queue-max-queues': '1', 'max-ring-page-order': '0' }, ['ring-ref', 'event-channel']],
    ['one ring of one page where it offers nothing', { 'multi-queue-max-queues': '', 'max-ring-page-order': '' }, ['ring-ref', 'event-channel']],
    ['one ring of one page where what it offers is nonsense', { 'multi-queue-max-queues': '0', 'max-ring-page-order': '-1' }, ['ring-ref', 'event-channel']],
    ['what is asked for where it offers absurdly much', { 'multi-queue-max-queues': '1000000000', 'max-ring-page-order': '31' },
      ['ring-page-order', 'multi-queue-num-queues', 'queue-0/ring-ref0', 'queue-0/ring-ref1', 'queue-0/event-channel', 'queue-1/ring-ref0', 'queue-1/ring-ref1', 'queue-1/event-channel']],
  ])('%s', async (_what, offered, expected) => {
    const hub = new FakeHypervisor(8192)
    const store = new TestStore()
    hub.createDomain(0, (kernel) => new BackendBus(kernel).register(new BlockBackend({ open: () => new MemoryBlockStore(512) })), { store: store.connect(0, 'back') })
    const connection = store.connect(1, 'front')
    await hub.settle()
    seedDisk(store)
    await hub.settle()
    for (const [name, value] of Object.entries(offered)) store.seed({ [`${BACK}/${name}`]: value })
    const frontend = new BlockFrontend({ maxQueues: 2, maxRingPageOrder: 1 })
    hub.createDomain(1, (kernel) => new FrontendBus(kernel).register(frontend), { store: connection })
    await hub.settle()
    const names = store.transcript.filter((line) => line.startsWith('front WRITE') && /ring|queue|channel/.test(line)).map((line) => line.replace(/^front WRITE device\/vbd\/51712\/(\S+) = .*/, '$1'))
    expect(names).toEqual(expected)
    expect(store.get(`${FRONT}/state`)).toBe('4')
  })

  test.each([
    [{ maxQueues: 0 }], [{ maxQueues: 5 }], [{ maxQueues: 1.5 }], [{ maxRingPageOrder: 5 }], [{ maxRingPageOrder: -1 }], [{ maxRingPageOrder: '1' as never }], [{ queues: 1 } as never],
  ])('nothing that cannot be: %j is refused where it is asked for', (options) => {
    expect(() => new BlockFrontend(options)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})

describe.each([[1, 4], [4, 0], [3, 2], [4, 4]])('a disk with %i rings of 2 to the power of %i pages', { timeout: 60_000 }, (maxQueues, maxRingPageOrder) => {
  test('reads back what was written, at random places and lengths, more at a time than the rings hold', async () => {
    const { hub, disk, served, back, front } = await setUp({ maxQueues, maxRingPageOrder })
    const model = new Uint8Array(SECTORS * 512)
    const random = new SeededRandom(maxQueues * 16 + maxRingPageOrder)
    for (let round = 0; round < 2; round += 1) {
      const jobs = Array.from({ length: 160 }, (_, slot) => {
        const sector = slot * 100 + below(random, 50)
        const bytes = pattern((1 + below(random, 50)) * 512, round * 1000 + slot)
        model.set(bytes, sector * 512)
        return disk.write(sector, bytes)
      })
      await during(hub, Promise.all(jobs))
    }
    for (let sector = 0; sector < SECTORS; sector += 2048) expect(Buffer.compare(await during(hub, disk.read(sector, 2048)), model.subarray(sector * 512, (sector + 2048) * 512))).toBe(0)
    await during(hub, disk.flush())
    await during(hub, disk.discard(8, 16))
    expect((await during(hub, disk.read(8, 16))).every((byte) => byte === 0)).toBe(true)
    expect(served.statistics).toMatchObject({ errors: 0, flushes: 1, discards: 1, writes: 320 })
    expect(served.statistics!.indirect).toBeGreaterThan(0)
    expect([back.crash, front.crash]).toEqual([undefined, undefined])
  })

  test('leaves nothing of them when it goes', async () => {
    const { hub, store, disk, back, front, backend } = await setUp({ maxQueues, maxRingPageOrder })
    const ports = back.channels.size
    await during(hub, Promise.all(Array.from({ length: 2 * maxQueues }, (_, at) => disk.write(at * 8, pattern(4096, at)))))
    detach(store, 'vbd', 1, '51712')
    await hub.settle()
    removeDevice(store, 'vbd', 1, '51712')
    await hub.settle(1e9)
    expect([hub.mappings, back.kernel.grants.mappings, front.kernel.grants.granted, backend.disks.length]).toEqual([0, 0, 0, 0])
    expect(ports - back.channels.size).toBe(maxQueues)
  })
})

test('each ring takes requests in its turn, and a store that answers late is answered for by the ring that asked', { timeout: 60_000 }, async () => {
  const inner = new MemoryBlockStore(SECTORS * 512)
  const late: (() => void)[] = []
  const store: BlockStore = {
    size: inner.size, readOnly: false, flush: () => undefined, close: () => undefined, read: (offset, target) => inner.read(offset, target),
    write: (offset, source) => new Promise((resolve) => late.push(() => {
      inner.write(offset, source)
      resolve()
    })),
  }
  const { hub, disk, served } = await setUp({ maxQueues: 3 }, () => store)
  const done: number[] = []
  const writes = during(hub, Promise.all(Array.from({ length: 7 }, (_, at) => disk.write(at * 8, pattern(4096, at)).then(() => done.push(at)))))
  await turns(() => late.length === 7, 1000)
  expect(late).toHaveLength(7)
  // The first ring's three requests, then the second's and the third's two each.
  expect([1, 2, 3, 4, 5, 6, 7, 8, 9].filter((number) => served.waitsFor(number))).toEqual([1, 2, 3, 4, 5, 6, 7])
  for (const answer of late.reverse()) {
    answer()
    await turns()
  }
  await writes
  expect(done.sort()).toEqual([0, 1, 2, 3, 4, 5, 6])
  expect(served.waitsFor(1)).toBe(false)
  for (let at = 0; at < 7; at += 1) expect(inner.bytes.subarray(at * 4096, (at + 1) * 4096)).toEqual(pattern(4096, at))
})

test('requests that wait for the store when other contents come, or an observer, or nothing is to be served for a while, are answered by the store that was asked', { timeout: 60_000 }, async () => {
  const inner = new MemoryBlockStore(SECTORS * 512)
  inner.bytes.fill(7)
  const answer: (() => void)[] = []
  const slow: BlockStore = {
    size: inner.size, readOnly: false, flush: () => undefined, close: () => undefined, write: () => undefined,
    read: (offset, target) => new Promise((resolve) => answer.push(() => {
      inner.read(offset, target)
      resolve()
    })),
  }
  const { hub, disk, served } = await setUp({ maxQueues: 2 }, () => slow)
  /** Reads three times, and has something else begin while all of it waits. */
  const meanwhile = async <T>(begin: () => Promise<T>): Promise<T> => {
    const reads = during(hub, Promise.all([disk.read(0, 8), disk.read(8, 8), disk.read(16, 8)]))
    await turns(() => answer.length === 3, 1000)
    const begun = begin()
    await turns()
    for (const one of answer.splice(0)) one()
    for (const bytes of await reads) expect(bytes.every((byte) => byte === 7)).toBe(true)
    return during(hub, begun)
  }
  const end = await meanwhile(() => served.observe({ wrote: () => undefined, discarded: () => undefined }))
  const goOn = await meanwhile(() => served.hold())
  const held = during(hub, disk.flush())
  await turns()
  expect(served.statistics!.flushes).toBe(0)
  await during(hub, goOn())
  await held
  expect(served.statistics!.flushes).toBe(1)
  const others = new MemoryBlockStore(SECTORS * 512)
  others.bytes.fill(9)
  await meanwhile(() => served.changeContents(others, '/other'))
  expect((await during(hub, disk.read(0, 8))).every((byte) => byte === 9)).toBe(true)
  await during(hub, end())
})

describe('a front-end that lies about its rings', () => {
  const page = (order: number, folder = ''): string[] => Array.from({ length: 2 ** order }, (_, index) => `${folder}ring-ref${index}`)
  test.each<[what: string, nodes: Readonly<Record<string, string>>]>([
    ['no queue', { 'multi-queue-num-queues': '0' }],
    ['more queues than there can be', { 'multi-queue-num-queues': '5' }],
    ['a thousand million queues', { 'multi-queue-num-queues': '1000000000' }],
    ['a negative number of queues', { 'multi-queue-num-queues': '-1' }],
    ['a number of queues that is none', { 'multi-queue-num-queues': 'two' }],
    ['two queues, and the nodes of one', { 'multi-queue-num-queues': '2' }],
    ['two queues, of which the second has no ring', { 'multi-queue-num-queues': '2', 'queue-0/ring-ref': 'GRANT', 'queue-0/event-channel': 'PORT', 'queue-1/event-channel': 'PORT' }],
    ['two queues, of which the second has no event channel', { 'multi-queue-num-queues': '2', 'queue-0/ring-ref': 'GRANT', 'queue-0/event-channel': 'PORT', 'queue-1/ring-ref': 'GRANT' }],
    ['two queues, of which the second grants nothing', { 'multi-queue-num-queues': '2', 'queue-0/ring-ref': 'GRANT', 'queue-0/event-channel': 'PORT', 'queue-1/ring-ref': '999', 'queue-1/event-channel': 'PORT' }],
    ['two queues, of which the second\'s event channel is none', { 'multi-queue-num-queues': '2', 'queue-0/ring-ref': 'GRANT', 'queue-0/event-channel': 'PORT', 'queue-1/ring-ref': 'GRANT', 'queue-1/event-channel': '4000' }],
    ['two queues with one event channel', { 'multi-queue-num-queues': '2', 'queue-0/ring-ref': 'GRANT', 'queue-0/event-channel': 'PORT', 'queue-1/ring-ref': 'GRANT', 'queue-1/event-channel': 'SAME' }],
    ['a ring of 2 to the power of 5 pages', { 'ring-page-order': '5', ...Object.fromEntries(page(5).map((name) => [name, 'GRANT'])) }],
    ['a ring of 2 to the power of 31 pages', { 'ring-page-order': '31' }],
    ['a ring of 2 to the power of 2 to the power of 32 pages', { 'ring-page-order': '4294967296' }],
    ['an order that is no number', { 'ring-page-order': '0x1' }],
    ['a ring of two pages, of which one is missing', { 'ring-page-order': '1', 'ring-ref0': 'GRANT' }],
    ['a ring of two pages, of which one is granted by nobody', { 'ring-page-order': '1', 'ring-ref0': 'GRANT', 'ring-ref1': '999' }],
    ['a ring of two pages, of which one is beyond all grants', { 'ring-page-order': '1', 'ring-ref0': 'GRANT', 'ring-ref1': '4294967295' }],
    ['a ring of two pages, of which one is a number too large', { 'ring-page-order': '1', 'ring-ref0': 'GRANT', 'ring-ref1': '4294967296' }],
    ['a ring of sixteen pages, of which the last may only be read', { 'ring-page-order': '4', ...Object.fromEntries(page(4).map((name) => [name, 'GRANT'])), 'ring-ref15': 'READ' }],
  ])('by %s is told why, and nothing is kept', async (_what, lies) => {
    const hub = new FakeHypervisor()
    const store = new TestStore()
    const back = hub.createDomain(0, (kernel) => new BackendBus(kernel).register(new BlockBackend({ open: () => new MemoryBlockStore(512) })), { store: store.connect(0) })
    const front = hub.createDomain(1, () => undefined)
    await hub.settle()
    const port = (): string => String(front.kernel.events.allocateUnbound(1 as DomId, 0 as DomId))
    const only = port()
    const written: Record<string, () => string> = {
      GRANT: () => String(front.kernel.grants.grant(0 as DomId, front.kernel.frames.allocate().frame)),
      READ: () => String(front.kernel.grants.grant(0 as DomId, front.kernel.frames.allocate().frame, { readOnly: true })),
      PORT: port, SAME: () => store.get(`${FRONT}/queue-0/event-channel`) ?? '',
    }
    seedDisk(store)
    for (const [name, value] of Object.entries({ 'event-channel': only, 'ring-ref': written['GRANT']!(), ...lies })) store.seed({ [`${FRONT}/${name}`]: written[value]?.() ?? value })
    const ports = back.channels.size
    store.seed({ [`${FRONT}/state`]: '3' })
    await hub.settle()
    expect(store.get(`${BACK}/state`)).toBe('5')
    expect(store.get('/local/domain/0/error/backend/vbd/1/51712/error')).toBeTruthy()
    expect([hub.mappings, back.kernel.grants.mappings, back.channels.size, back.crash]).toEqual([0, 0, ports, undefined])
  })

  test('an order of 0 is one page, whether it is named as Xen\'s header has it or as Linux looks for it', async () => {
    for (const name of ['ring-ref', 'ring-ref0']) {
      const hub = new FakeHypervisor()
      const store = new TestStore()
      hub.createDomain(0, (kernel) => new BackendBus(kernel).register(new BlockBackend({ open: () => new MemoryBlockStore(512) })), { store: store.connect(0) })
      const front = hub.createDomain(1, () => undefined)
      await hub.settle()
      seedDisk(store)
      store.seed({
        [`${FRONT}/ring-page-order`]: '0', [`${FRONT}/${name}`]: String(front.kernel.grants.grant(0 as DomId, front.kernel.frames.allocate().frame)),
        [`${FRONT}/event-channel`]: String(front.kernel.events.allocateUnbound(1 as DomId, 0 as DomId)), [`${FRONT}/state`]: '3',
      })
      await hub.settle()
      expect([name, store.get(`${BACK}/state`)]).toEqual([name, '4'])
    }
  })

  test('one that breaks one of its rings breaks that one, and says of the disk that it is broken', async () => {
    const { hub, disk, store, front, served } = await setUp({ maxQueues: 2 })
    await during(hub, disk.write(0, pattern(4096, 1)))
    const entry = front.grantEntry(Number(store.get(`${FRONT}/queue-1/ring-ref`)))!
    const ring = GrantEntryV1.frame.get(hub.view, entry) * 4096
    hub.view.setUint32(ring, 0x8000_0000, true)
    front.kernel.events.notify(Number(store.get(`${FRONT}/queue-1/event-channel`)) as never)
    await hub.settle()
    expect(served.broken).toBe(true)
    expect((await during(hub, Promise.race([disk.read(0, 8), disk.read(8, 8)]))).length).toBe(4096)
  })
})

/** A server over a ring of one page in the first page of bytes of its own, whose guest grants any page by its number. */
function bareServer(granted: (ref: number) => boolean, more: { readonly persistent?: boolean; readonly discard?: boolean } = {}) {
  const bytes = new Uint8Array(8 << 20)
  const view = new DataView(bytes.buffer)
  const mapped = new Set<number>()
  let handles = 0
  const store = new MemoryBlockStore(1 << 20)
  store.bytes.fill(5)
  const server = new BlockServer({
    grants: {
      memory: { bytes, view, markWritten: () => undefined } as never,
      mapGrant: ({ ref }) => {
        if (!granted(ref)) return { status: GNTST.bad_gntref, frame: 0, handle: 0 } as never
        mapped.add(handles += 1)
        return { status: GNTST.okay, frame: ref, handle: handles } as never
      },
      unmapGrant: (handle) => (mapped.delete(handle) ? GNTST.okay : GNTST.bad_handle),
    },
    domid: 1 as DomId, layout: LAYOUT_64, ring: [0], persistent: more.persistent === true, notify: () => undefined, hold: () => () => undefined,
    store: more.discard === false ? { size: store.size, readOnly: false, read: () => undefined, write: () => undefined, flush: () => undefined, close: () => undefined } : store,
  })
  let produced = 0
  /** Puts a request in and has it served; its status. */
  const ask = (fill: (at: number) => void): number => {
    const at = 64 + (produced % 32) * LAYOUT_64.entrySize
    bytes.fill(0, at, at + LAYOUT_64.entrySize)
    fill(at)
    view.setUint32(0, produced += 1, true)
    server.serve()
    expect(view.getUint32(8, true)).toBe(produced)
    return LAYOUT_64.response.status.get(view, at)
  }
  return { bytes, view, server, mapped, store, ask }
}

describe('indirect requests whose pages lie', () => {
  const LIST = 2
  const indirect = (view: DataView, at: number, { operation = BLKIF_OP.READ as number, count = 1, list = LIST, sector = 0 } = {}): void => {
    const { request, indirect: layout } = LAYOUT_64
    request.operation.set(view, at, BLKIF_OP.INDIRECT)
    layout.indirectOp.set(view, at, operation)
    layout.nrSegments.set(view, at, count)
    layout.sectorNumber.setNumber(view, at, sector)
    view.setUint32(layout.indirectGrefs.at(at, 0), list, true)
  }
  const segment = (view: DataView, index: number, [gref, first, last]: readonly [number, number, number]): void => {
    const at = LIST * 4096 + index * 8
    view.setUint32(at, gref, true)
    view.setUint8(at + 4, first)
    view.setUint8(at + 5, last)
  }
  test.each<[what: string, change: Parameters<typeof indirect>[2], list: readonly (readonly [number, number, number])[]]>([
    ['no segment', { count: 0 }, []],
    ['more segments than were offered', { count: 257 }, [[3, 0, 7]]],
    ['as many segments as a number holds', { count: 0xffff }, [[3, 0, 7]]],
    ['a list that is not granted', { list: 99_999 }, []],
    ['a list that is frame 0', { list: 0 }, []],
    ['a discard inside', { operation: BLKIF_OP.DISCARD }, [[3, 0, 7]]],
    ['an indirect request inside', { operation: BLKIF_OP.INDIRECT }, [[3, 0, 7]]],
    ['a flush inside', { operation: BLKIF_OP.FLUSH_DISKCACHE }, [[3, 0, 7]]],
    ['a segment that ends before it begins', {}, [[3, 5, 4]]],
    ['a segment beyond its page', {}, [[3, 0, 8]]],
    ['a segment far beyond its page', {}, [[3, 0, 255]]],
    ['a good segment, and one that is not granted', { count: 2 }, [[3, 0, 7], [99_999, 0, 7]]],
    ['a segment beyond the disk', { sector: 2047, count: 2 }, [[3, 0, 0], [4, 0, 0]]],
    ['a place beyond the disk', { sector: 2 ** 52 }, [[3, 0, 7]]],
  ])('%s: an error of that request, with no page kept', (_what, change, list) => {
    const { view, server, mapped, ask, bytes } = bareServer((ref) => ref > 0 && ref < 256)
    list.forEach((one, index) => segment(view, index, one))
    bytes.fill(0xaa, 3 * 4096, 5 * 4096)
    expect(ask((at) => indirect(view, at, change))).toBe(BLKIF_RSP.ERROR)
    expect([mapped.size, server.broken, server.statistics.errors, server.statistics.indirect]).toEqual([0, false, 1, 0])
    expect(bytes.subarray(3 * 4096, 5 * 4096).every((byte) => byte === 0xaa)).toBe(true)
    segment(view, 0, [3, 0, 7])
    expect(ask((at) => indirect(view, at))).toBe(BLKIF_RSP.OKAY)
    expect([mapped.size, server.statistics.indirect, bytes[3 * 4096]]).toEqual([0, 1, 5])
  })

  test('a list that is the page it is read into is what it was when it was looked at', () => {
    const { view, mapped, ask, bytes } = bareServer((ref) => ref > 0 && ref < 256)
    segment(view, 0, [LIST, 0, 7])
    segment(view, 1, [3, 0, 7])
    expect(ask((at) => indirect(view, at, { count: 2 }))).toBe(BLKIF_RSP.OKAY)
    expect(bytes.subarray(LIST * 4096, 4 * 4096).every((byte) => byte === 5)).toBe(true)
    expect(mapped.size).toBe(0)
  })

  test('grants that are revoked in the middle fail the requests that need them; those that stay mapped go on, and none stays longer than the ring', async () => {
    let revoked = false
    for (const persistent of [false, true]) {
      revoked = false
      const { view, server, mapped, ask } = bareServer((ref) => !revoked && ref > 0 && ref < 256, { persistent })
      segment(view, 0, [3, 0, 7])
      expect(ask((at) => indirect(view, at))).toBe(BLKIF_RSP.OKAY)
      expect(mapped.size).toBe(persistent ? 2 : 0)
      revoked = true
      expect(ask((at) => indirect(view, at))).toBe(persistent ? BLKIF_RSP.OKAY : BLKIF_RSP.ERROR)
      segment(view, 0, [4, 0, 7])
      expect(ask((at) => indirect(view, at))).toBe(BLKIF_RSP.ERROR)
      await server.stop()
      expect(mapped.size).toBe(0)
    }
  })

  test('of a guest that never uses a grant again no more than so many stay mapped', async () => {
    const most = PERSISTENT_GRANT_LIMIT + 64
    const { view, server, mapped, ask } = bareServer((ref) => ref > 0, { persistent: true })
    for (let ref = 3; ref < most; ref += 1) {
      segment(view, 0, [ref, 0, 0])
      expect(ask((at) => indirect(view, at, { operation: BLKIF_OP.WRITE }))).toBe(BLKIF_RSP.OKAY)
    }
    expect(mapped.size).toBe(PERSISTENT_GRANT_LIMIT)
    await server.stop()
    expect(mapped.size).toBe(0)
  })
})

describe('discards', () => {
  const discard = (view: DataView, at: number, { first = 0, count = 8, flag = 0, high = 0 }): void => {
    const layout = LAYOUT_64.discard
    layout.operation.set(view, at, BLKIF_OP.DISCARD)
    layout.flag.set(view, at, flag)
    layout.sectorNumber.setParts(view, at, first, 0)
    layout.nrSectors.setParts(view, at, count, high)
  }
  test.each<[what: string, change: Parameters<typeof discard>[2], status: number, zeros: number]>([
    ['of sectors', { first: 8 }, BLKIF_RSP.OKAY, 4096],
    ['of none', { count: 0 }, BLKIF_RSP.OKAY, 0],
    ['of the whole disk', { count: 2048 }, BLKIF_RSP.OKAY, 1 << 20],
    // Secure discard is not offered: the flag has no meaning then.
    ['with the flag of secure ones', { flag: 1 }, BLKIF_RSP.OKAY, 4096],
    ['that end beyond the disk', { first: 2044 }, BLKIF_RSP.ERROR, 0],
    ['that begin beyond the disk', { first: 0xffff_ffff }, BLKIF_RSP.ERROR, 0],
    ['of as many sectors as a number holds', { count: 0xffff_ffff, high: 0xffff_ffff }, BLKIF_RSP.ERROR, 0],
    ['whose end wraps around', { first: 16, count: 0xffff_fff8, high: 0xffff_ffff }, BLKIF_RSP.ERROR, 0],
  ])('%s', (_what, change, status, zeros) => {
    const { view, server, store, ask } = bareServer(() => false)
    expect(ask((at) => discard(view, at, change))).toBe(status)
    expect(store.bytes.reduce((sum, byte) => sum + (byte === 0 ? 1 : 0), 0)).toBe(zeros)
    expect(server.statistics).toMatchObject(status === BLKIF_RSP.OKAY ? { discards: 1, errors: 0 } : { discards: 0, errors: 1 })
  })

  test('of a store that cannot are refused as Linux expects', () => {
    const { view, ask } = bareServer(() => false, { discard: false })
    expect(ask((at) => discard(view, at, {}))).toBe(BLKIF_RSP.EOPNOTSUPP)
  })
})

test('a disk whose rings its guest has no pages for is closed, and leaves none behind', async () => {
  const hub = new FakeHypervisor(8192)
  const store = new TestStore()
  hub.createDomain(0, (kernel) => new BackendBus(kernel).register(new BlockBackend({ open: () => new MemoryBlockStore(512) })), { store: store.connect(0) })
  const frontend = new BlockFrontend({ maxQueues: 4, maxRingPageOrder: 4 })
  const front = hub.createDomain(1, (kernel) => new FrontendBus(kernel).register(frontend), { store: store.connect(1), pages: 40 })
  await hub.settle()
  const free = front.kernel.frames.free
  seedDisk(store)
  await hub.settle(1e9)
  expect(store.get(`${FRONT}/state`)).toBe('6')
  expect([front.kernel.frames.free, front.kernel.grants.granted, front.crash]).toEqual([free, 0, undefined])
  expect(() => frontend.disks[0]!.client()).toThrow(XenError)
})
