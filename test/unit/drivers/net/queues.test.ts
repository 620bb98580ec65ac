/** Interfaces of several queues, large frames and groups between guests in TypeScript and the back-end, over a hypervisor that is only pretended. */
import { describe, expect, test } from 'vitest'
import { Bridge, NetBackend, NetFrontend, formatMac, parseMac, type NetFrontendOptions } from '../../../../src/drivers/index.ts'
import { BackendBus, FrontendBus } from '../../../../src/guest/index.ts'
import { FakeHypervisor, TestStore, during } from '../../../../src/testing/index.ts'
import type { DomId } from '../../../../src/util/index.ts'
import { detach, removeDevice, seedNic } from '../../../support/devices.ts'
import { blankTcp, readTcp } from '../../../support/tcp-frames.ts'

const mac = (number: number): string => `00:16:3e:00:00:0${number}`
const bytesOf = (length: number): Uint8Array => Uint8Array.from({ length }, (_, at) => at * 31 + (at >> 8))

async function setUp(fronts: readonly NetFrontendOptions[], nodes: Readonly<Record<string, string>> = {}) {
  const hub = new FakeHypervisor(1024 + 3072 * Math.max(1, fronts.length))
  const store = new TestStore()
  let bridge: Bridge | undefined
  const backend = new NetBackend({ bridge: () => bridge })
  const back = hub.createDomain(0, async (kernel) => {
    bridge = new Bridge({ now: () => kernel.now(), post: (task) => kernel.post(task), turn: () => kernel.turn() })
    await new BackendBus(kernel).register(backend)
  }, { store: store.connect(0, 'back'), pages: 256 })
  const frontends = fronts.map((options) => new NetFrontend(options))
  const guests = frontends.map((frontend, index) => hub.createDomain(index + 1, (kernel) => new FrontendBus(kernel).register(frontend), { store: store.connect(index + 1, `front${index + 1}`), pages: 2600, grantFrames: 8 }))
  await hub.settle()
  guests.forEach((_, index) => {
    store.seed(Object.fromEntries(Object.entries(nodes).map(([name, value]) => [`/local/domain/0/backend/vif/${index + 1}/0/${name}`, value])))
    seedNic(store, index + 1, mac(index + 1))
  })
  await hub.settle()
  const nics = frontends.map((frontend) => frontend.nics[0]!)
  const heard = nics.map((nic) => {
    const frames: { readonly bytes: Uint8Array; readonly segmentSize: number | undefined }[] = []
    nic.onFrame((bytes, segmentSize) => frames.push({ bytes: bytes.slice(), segmentSize }))
    return frames
  })
  return { hub, store, bridge: bridge!, backend, back, guests, nics, heard, served: (domid: number) => backend.nic(domid as DomId, 0)! }
}

/** Tells the bridge where everybody is. */
async function greet({ hub, nics }: Pick<Awaited<ReturnType<typeof setUp>>, 'hub' | 'nics'>): Promise<void> {
  for (const nic of nics) nic.send(Uint8Array.from([...parseMac('ff:ff:ff:ff:ff:ff')!, ...nic.mac, 0x88, 0xb5, ...new Uint8Array(46)]))
  await hub.settle()
}

const FRONT = '/local/domain/1/device/vif/0'

describe('several queues', () => {
  test('are as many as both ends have, each with its rings and ports in a folder of its own', async () => {
    const { store, served, nics, back } = await setUp([{ maxQueues: 3 }])
    expect(store.get('/local/domain/0/backend/vif/1/0/multi-queue-max-queues')).toBe('4')
    expect([store.get(`${FRONT}/multi-queue-num-queues`), store.get(`${FRONT}/tx-ring-ref`), served(1).queues, nics[0]!.features.queues]).toEqual(['3', undefined, 3, 3])
    for (const queue of [0, 1, 2]) for (const name of ['tx-ring-ref', 'rx-ring-ref', 'event-channel-tx', 'event-channel-rx']) expect(Number(store.get(`${FRONT}/queue-${queue}/${name}`))).toBeGreaterThan(0)
    expect(back.kernel.grants.mappings).toBe(6)
    expect((await setUp([{ maxQueues: 8 }])).served(1).queues).toBe(4)
    expect((await setUp([{ maxQueues: 8 }], { queues: '8' })).served(1).queues).toBe(8)
    expect((await setUp([{ maxQueues: 8 }], { queues: '1' })).served(1).queues).toBe(1)
  })

  test('keep each flow in its order, and share the flows', async () => {
    const setting = await setUp([{ maxQueues: 4 }, { maxQueues: 4 }])
    const { hub, nics: [from], heard, served } = setting
    await greet(setting)
    const ports = Array.from({ length: 16 }, (_, at) => 40_000 + at)
    for (let round = 0; round < 20; round += 1) {
      const frames = ports.map((port) => blankTcp({ ports: [port, 80], sequence: round, data: new Uint8Array(100), to: [...parseMac(mac(2))!] }))
      for (const frame of frames) expect(from!.send(frame, { checksumBlank: true })).toBe(true)
      await hub.settle()
    }
    const got = heard[1]!.filter(({ bytes }) => bytes[12] === 8).map(({ bytes }) => ({ port: bytes[34]! << 8 | bytes[35]!, ...readTcp(bytes) }))
    for (const port of ports) expect(got.filter((one) => one.port === port).map(({ sequence }) => sequence)).toEqual(Array.from({ length: 20 }, (_, at) => at))
    expect(got.flatMap(({ wrong }) => wrong)).toEqual([])
    expect(served(2).statistics).toMatchObject({ framesOut: 321, dropped: 0 })
    // The rings themselves say that each has carried some.
    const { hub: { view }, guests, store } = setting
    for (const domid of [1, 2]) for (const queue of [0, 1, 2, 3]) {
      const ref = Number(store.get(`/local/domain/${domid}/device/vif/0/queue-${queue}/${domid === 1 ? 'tx' : 'rx'}-ring-ref`))
      const entry = guests[domid - 1]!.grantEntry(ref)!
      // The second word of the page is how many responses there have been.
      expect(view.getUint32(view.getUint32(entry + 4, true) * 4096 + 8, true)).toBeGreaterThan(0)
    }
  })

  test('leave nothing behind when the interface goes', async () => {
    const setting = await setUp([{ maxQueues: 4, large: true, multicastControl: true }])
    const { hub, store, back, guests, served } = setting
    await greet(setting)
    detach(store, 'vif', 1, '0')
    await hub.settle()
    removeDevice(store, 'vif', 1, '0')
    await hub.settle(1e9)
    expect([back.kernel.grants.mappings, hub.mappings, guests[0]!.kernel.grants.granted, served(1)?.queues ?? 0]).toEqual([0, 0, 0, 0])
    expect(guests[0]!.kernel.frames.free).toBe(2600)
  })

  test.each([
    ['multi-queue-num-queues', '0'], ['multi-queue-num-queues', '5'], ['multi-queue-num-queues', '4294967296'], ['multi-queue-num-queues', '-1'], ['multi-queue-num-queues', '2.5'], ['multi-queue-num-queues', ''],
    ['queue-1/tx-ring-ref', ''], ['queue-1/tx-ring-ref', '77777'], ['queue-1/rx-ring-ref', 'all'], ['queue-0/event-channel-tx', '0'], ['queue-1/event-channel-rx', '4001'],
  ])('of a front-end that publishes %s = %j are none, it is told why, and nothing is kept of them', async (name, value) => {
    const { hub, store, back, bridge } = await setUp([])
    const front = hub.createDomain(1, () => undefined)
    await hub.settle()
    const { kernel } = front
    const share = (): string => String(kernel.grants.grant(0 as DomId, kernel.frames.allocate().frame))
    const open = (): string => String(kernel.events.allocateUnbound(1 as DomId, 0 as DomId))
    const ports = back.channels.size
    seedNic(store, 1, mac(1))
    const queue = (index: number): Record<string, string> => ({
      [`queue-${index}/tx-ring-ref`]: share(), [`queue-${index}/rx-ring-ref`]: share(), [`queue-${index}/event-channel-tx`]: open(), [`queue-${index}/event-channel-rx`]: open(),
    })
    const nodes: Record<string, string> = { ...queue(0), ...queue(1), 'multi-queue-num-queues': '2', 'request-rx-copy': '1', [name]: value, state: '4' }
    store.seed(Object.fromEntries(Object.entries(nodes).map(([key, text]) => [`${FRONT}/${key}`, text])))
    await hub.settle()
    expect(store.get('/local/domain/0/error/backend/vif/1/0/error')).toBeTruthy()
    expect(store.get('/local/domain/0/backend/vif/1/0/state')).toBe('5')
    expect([hub.mappings, back.channels.size, bridge.addresses, back.crash]).toEqual([0, ports, 0, undefined])
  })
})

describe('large frames', () => {
  test('go from guest to guest as they are, and in segments to whoever does not take them', async () => {
    const setting = await setUp([{ large: true }, { large: true }, {}])
    const { hub, nics: [from], heard, bridge, served } = setting
    const outside: Uint8Array[] = []
    bridge.open({ onFrame: (bytes) => { outside.push(bytes) } })
    await greet(setting)
    for (const frames of [...heard, outside]) frames.length = 0
    const data = bytesOf(60_000)
    const everybody = [...parseMac('ff:ff:ff:ff:ff:ff')!]
    for (const version of [4, 6] as const) expect(from!.send(blankTcp({ version, data, to: everybody }), { segmentSize: 1400 })).toBe(true)
    await hub.settle()
    expect(heard.map((frames) => frames.map(({ segmentSize }) => segmentSize))).toEqual([[], [1400, 1400], Array.from({ length: 86 }, () => undefined)])
    for (const frames of [heard[1]!, heard[2]!, outside.map((bytes) => ({ bytes }))]) {
      const read = frames.map(({ bytes }) => readTcp(bytes))
      expect([read.flatMap(({ wrong }) => wrong), Buffer.compare(Buffer.concat(read.map((one) => one.data)), Buffer.concat([data, data]))]).toEqual([[], 0])
    }
    expect([served(1).statistics.largeIn, served(2).statistics.largeOut, served(3).statistics.largeOut]).toEqual([2, 2, 0])
    expect(served(3).statistics).toMatchObject({ framesOut: 88, dropped: 0 })
  })

  test('are sent in more slots than one where the back-end takes that, with and without segments', async () => {
    const setting = await setUp([{ large: true }, { large: true }])
    const { hub, nics: [from], heard } = setting
    await greet(setting)
    heard[1]!.length = 0
    for (const length of [4096, 4097, 9000, 65_535]) {
      const frame = bytesOf(length)
      frame.set([...parseMac(mac(2))!, ...parseMac(mac(1))!, 0x88, 0xb5])
      expect(from!.send(frame)).toBe(true)
      await hub.settle()
      expect(Buffer.compare(heard[1]!.pop()!.bytes, frame)).toBe(0)
    }
    for (let round = 0; round < 40; round += 1) {
      expect(from!.send(blankTcp({ data: bytesOf(65_000), to: [...parseMac(mac(2))!] }), { segmentSize: 1460 })).toBe(true)
      await hub.settle()
    }
    expect(heard[1]!.map(({ segmentSize }) => segmentSize)).toEqual(Array.from({ length: 40 }, () => 1460))
  })

  test('are refused by name where they cannot be', async () => {
    const { nics: [taken] } = await setUp([{}])
    const { nics: [refused], store } = await setUp([{ large: true }], { gso: '0' })
    expect(store.get('/local/domain/0/backend/vif/1/0/feature-gso-tcpv4')).toBeUndefined()
    expect([taken!.features.large, refused!.features.large]).toEqual([true, false])
    const frame = blankTcp({ data: bytesOf(3000) })
    const error = (code: string) => expect.objectContaining({ code })
    expect(() => refused!.send(frame, { segmentSize: 1000 })).toThrow(error('NOT_SUPPORTED'))
    for (const segmentSize of [0, -1, 1.5, 65_536, 1, Number.NaN, 'x' as never]) expect(() => taken!.send(frame, { segmentSize })).toThrow(error('INVALID_ARGUMENT'))
    expect(() => taken!.send(new Uint8Array(3000), { segmentSize: 1000 })).toThrow(error('INVALID_ARGUMENT'))
    expect(() => taken!.send(new Uint8Array(65_536))).toThrow(error('INVALID_ARGUMENT'))
    expect(() => new NetFrontend({ maxQueues: 9 })).toThrow(error('INVALID_ARGUMENT'))
  })
})

describe('groups', () => {
  const [joined, other] = ['01:00:5e:00:00:fb', '01:00:5e:00:00:01']
  const to = (group: string): Uint8Array => Uint8Array.from([...parseMac(group)!, ...parseMac(mac(9))!, 0x88, 0xb5, ...new Uint8Array(46)])
  const destinations = (frames: readonly { readonly bytes: Uint8Array }[]): string[] => frames.map(({ bytes }) => formatMac(bytes.subarray(0, 6)))

  test('are what a guest gets that has asked for them alone, and broadcasts as ever', async () => {
    const { hub, store, nics, heard, bridge, served } = await setUp([{ multicastControl: true, maxQueues: 2 }, {}])
    expect(store.get(`${FRONT}/request-multicast-control`)).toBe('1')
    const port = bridge.open()
    const send = async (): Promise<void> => {
      for (const group of [joined, other, 'ff:ff:ff:ff:ff:ff']) port.send(to(group))
      await hub.settle()
    }
    await send()
    expect(heard.map(destinations)).toEqual([['ff:ff:ff:ff:ff:ff'], [joined, other, 'ff:ff:ff:ff:ff:ff']])
    expect(await during(hub, nics[0]!.join(joined))).toBe(true)
    heard[0]!.length = 0
    await send()
    expect(destinations(heard[0]!).sort()).toEqual([joined, 'ff:ff:ff:ff:ff:ff'])
    expect(served(1).statistics.filtered).toBe(3)
    expect(await during(hub, nics[0]!.leave(joined))).toBe(true)
    heard[0]!.length = 0
    await send()
    expect(destinations(heard[0]!)).toEqual(['ff:ff:ff:ff:ff:ff'])
    // A front-end may change its mind at any time.
    store.seed({ [`${FRONT}/request-multicast-control`]: '0' })
    await hub.settle()
    heard[0]!.length = 0
    await send()
    expect(heard[0]).toHaveLength(3)
  })

  test('are 64, and what is no group is refused', async () => {
    const { hub, nics: [nic] } = await setUp([{ multicastControl: true }])
    for (let last = 0; last < 64; last += 1) expect(await during(hub, nic!.join(`01:00:5e:00:01:${last.toString(16).padStart(2, '0')}`))).toBe(true)
    expect(await during(hub, nic!.join(other))).toBe(false)
    for (const wrong of [mac(1), 'x', 7 as never]) await expect(nic!.join(wrong)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})
