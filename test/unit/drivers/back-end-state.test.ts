import { expect, test } from 'vitest'
import {
  BlockBackend, BlockFrontend, Bridge, ConsoleBackend, MemoryBlockStore, NetBackend, NetFrontend, OverlayBlockStore, loadStores, parseMac, type DisksState,
  type BlockFrontendOptions, type BlockStore, type NetFrontendOptions,
} from '../../../src/drivers/index.ts'
import { BackendBus, FrontendBus, TypeScriptRunner, connectStore, type GuestKernel } from '../../../src/guest/index.ts'
import { compareStates, partTree, SeededRandom, type DomId, type Part, type SavedPart, type SavedTree } from '../../../src/util/index.ts'
import { seedDisk, seedNic } from '../../support/devices.ts'
import { FakeHypervisor, TestStore, during } from '../../../src/testing/index.ts'
import { blankTcp, readTcp } from '../../support/tcp-frames.ts'

const mac = (number: number): string => `00:16:3e:00:00:0${number}`

function frame(to: string, from: string, text: string): Uint8Array {
  return new Uint8Array([...parseMac(to)!, ...parseMac(from)!, 0x88, 0xb5, ...new TextEncoder().encode(text)])
}

const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes.subarray(14))

/** The services of one kernel of domain 0. */
class Services {
  readonly bus: BackendBus
  readonly bridge: Bridge
  readonly blocks: BlockBackend
  readonly nics: NetBackend
  readonly consoles: ConsoleBackend
  readonly kernel: GuestKernel

  constructor(kernel: GuestKernel, open: () => BlockStore) {
    this.kernel = kernel
    this.bus = new BackendBus(kernel)
    this.bridge = new Bridge({ now: () => kernel.now(), post: (task) => kernel.post(task), turn: () => kernel.turn() })
    this.blocks = new BlockBackend({ open })
    this.nics = new NetBackend({ bridge: () => this.bridge })
    this.consoles = new ConsoleBackend(kernel)
  }

  part(stores: readonly BlockStore[] = []): Part {
    return partTree({ name: 'services', version: 1 }, [
      this.consoles.part(), this.bridge.part(), this.blocks.part(stores), this.nics.part(this.kernel), this.bus.part(),
    ])
  }

  underWay(): string | undefined {
    return this.kernel.underWay() ?? this.bus.underWay() ?? this.bridge.underWay()
  }
}

async function setUp(rings: BlockFrontendOptions = {}, queues: NetFrontendOptions = {}) {
  const hub = new FakeHypervisor(16384)
  const store = new TestStore()
  const transport = store.server.connectLocal(0)
  const connect = (kernel: GuestKernel) => connectStore(transport, () => kernel.turn())
  const disk = new OverlayBlockStore(new MemoryBlockStore(1 << 20))
  let services: Services | undefined
  const back = hub.createDomain(0, async (kernel) => {
    services = new Services(kernel, () => disk)
    await services.bus.register(services.blocks)
    await services.bus.register(services.nics)
  }, { store: connect, pages: 256 })
  await hub.settle()
  const [block, net] = [new BlockFrontend(rings), [new NetFrontend(queues), new NetFrontend(queues)]] as const
  const guests = net.map((frontend, index) => hub.createDomain(index + 1, async (kernel) => {
    const bus = new FrontendBus(kernel)
    if (index === 0) await bus.register(block)
    await bus.register(frontend)
  }, { store: store.connect(index + 1, `front${index + 1}`), pages: 1024, grantFrames: 8, console: { back: 0 } }))
  const { frame: ring, port } = guests[0]!.boot.console!
  store.seed({
    '/local/domain/1/console/ring-ref': String(ring), '/local/domain/1/console/port': String(port),
    '/local/domain/1/console/type': 'xenconsoled',
  })
  services!.consoles.open(1 as DomId, { ring: { ringFrame: ring, port } })
  await hub.settle()
  seedDisk(store)
  for (const number of [1, 2]) seedNic(store, number, mac(number))
  await hub.settle()
  const heard: string[][] = [[], []]
  net.forEach((frontend, index) => frontend.nics[0]!.onFrame((bytes) => heard[index]!.push(textOf(bytes))))

  /** Another kernel in the place of domain 0's, with what the first one was. */
  const succeed = async (old: Services): Promise<Services> => {
    const saved = structuredClone(old.part().save()) as SavedTree
    const kernelSaved = structuredClone(old.kernel.save())
    const runner = new TypeScriptRunner(back.hypercalls, {
      program: () => undefined, random: new SeededRandom(1), boot: () => back.boot, store: connect, onCrash: (error) => { back.crash = error },
    })
    back.runner = runner
    const kernel = runner.load(kernelSaved)
    const next = new Services(kernel, () => { throw new Error('nothing is opened anew') })
    const disks = (saved.parts['disks'] as SavedPart).state as DisksState
    next.bus.attach([next.blocks, next.nics])
    next.part(await loadStores(disks.stores, () => Promise.reject(new Error('nothing is opened anew')))).load(saved)
    next.bridge.checkAttached()
    kernel.checkAttached()
    return next
  }
  return { hub, store, services: services!, back, guests, disk: block.disks[0]!, nics: net.map((frontend) => frontend.nics[0]!), heard, succeed }
}

test('back-ends go on in a kernel that was loaded, and their front-ends see nothing of it', async () => {
  const { hub, store, services, back, guests, disk, nics, heard, succeed } = await setUp()
  const port = services.bridge.open({ limit: 5 })
  guests[0]!.kernel.console!.log('before')
  await during(hub, disk.write(8, new Uint8Array(4096).fill(7)))
  nics[0]!.send(frame(mac(2), mac(1), 'one'))
  nics[1]!.send(frame(mac(1), mac(2), 'two'))
  nics[0]!.send(frame('ff:ff:ff:ff:ff:ff', mac(1), 'all'))
  await hub.settle()
  expect(services.underWay()).toBeUndefined()

  const transcript = store.transcript.length
  const calls = new Map(back.calls)
  const next = await succeed(services)
  expect(back.calls).toEqual(calls)
  expect(compareStates(next.part().save(), services.part().save())).toEqual([])
  expect(next.consoles.get(1 as DomId)!.text()).toBe('before\r\n')
  expect(next.bridge.userPorts).toHaveLength(1)

  guests[0]!.kernel.console!.log('after')
  void next.consoles.get(1 as DomId)!.write('typed')
  nics[0]!.send(frame(mac(2), mac(1), 'three'))
  next.bridge.userPorts[0]!.send(frame(mac(1), '00:16:3e:00:00:09', 'from outside'))
  const read = await during(hub, disk.read(8, 8))
  await hub.settle()
  expect(read.every((byte) => byte === 7)).toBe(true)
  expect(heard).toEqual([['two', 'from outside'], ['one', 'all', 'three']])
  expect(next.consoles.get(1 as DomId)!.text()).toBe('before\r\nafter\r\n')
  expect(next.blocks.disks[0]!.statistics).toMatchObject({ writes: 1, reads: 1 })
  expect(next.nics.nic(1 as DomId, '0')!.statistics).toMatchObject({ framesIn: 3, framesOut: 2 })
  expect(store.transcript.length).toBe(transcript)
  expect(back.crash).toBeUndefined()

  // Two frames that nobody has read have come along.
  const frames = next.bridge.userPorts[0]!
  const iterator = frames[Symbol.asyncIterator]()
  expect(textOf((await iterator.next()).value as Uint8Array)).toBe('one')
  port.close()
})

test('several rings of several pages go on in a kernel that was loaded, each with what stands in it', { timeout: 60_000 }, async () => {
  const { hub, services, back, guests, disk, succeed } = await setUp({ maxQueues: 3, maxRingPageOrder: 2 })
  const contents = Uint8Array.from({ length: 64 * 512 }, (_, at) => at * 7)
  await during(hub, Promise.all([disk.write(0, contents), disk.read(0, 8), disk.read(8, 8), disk.read(16, 8)]))
  expect(services.underWay()).toBeUndefined()
  const calls = new Map(back.calls)
  // Asked, and not served yet: they stand in the rings while the back-end is saved.
  const reads = Array.from({ length: 9 }, (_, at) => disk.read(at * 4, 8))
  await new Promise((resolve) => setImmediate(resolve))
  expect(disk.client().underWay).toBe(9)
  const next = await succeed(services)
  expect(back.calls).toEqual(calls)
  expect(compareStates(next.part().save(), services.part().save())).toEqual([])
  back.runnable = true
  const bytes = await during(hub, Promise.all(reads))
  bytes.forEach((one, at) => expect(one).toEqual(contents.subarray(at * 2048, at * 2048 + 4096)))
  expect(next.blocks.disks[0]!.statistics).toMatchObject({ writes: 1, reads: 12, errors: 0, indirect: 0 })
  expect(next.kernel.grants.mappings).toBe(services.kernel.grants.mappings)
  expect([back.crash, guests[0]!.crash]).toEqual([undefined, undefined])
})

test('queues of an interface go on in a kernel that was loaded, with the groups of its guest and the frames that wait for it', { timeout: 60_000 }, async () => {
  const { hub, services, back, guests, nics, succeed } = await setUp({}, { maxQueues: 3, large: true, multicastControl: true })
  const got: { readonly bytes: Uint8Array; readonly segmentSize: number | undefined }[] = []
  nics[1]!.onFrame((bytes, segmentSize) => got.push({ bytes: bytes.slice(), segmentSize }))
  nics[1]!.send(frame('ff:ff:ff:ff:ff:ff', mac(2), 'here'))
  expect(await during(hub, nics[1]!.join('01:00:5e:00:00:01'))).toBe(true)
  const to = [...parseMac(mac(2))!]
  const sent = Array.from({ length: 12 }, (_, at) => blankTcp({ to, ports: [4000 + at, 80], sequence: at, data: new Uint8Array(50_000).fill(at) }))
  const waiting = (): number => (services.nics.nic(2 as DomId, '0')!.statistics.framesOut)
  // A guest that takes nothing: its rings fill, and frames wait in the back-end.
  const asleep = hub.domains.get(2)!
  const awake = asleep.shutdownReason
  Object.assign(asleep, { runnable: false, shutdownReason: 3 })
  for (let round = 0; round < 8; round += 1) {
    for (const one of sent) nics[0]!.send(one, { segmentSize: 1400 })
    await hub.settle()
  }
  expect(waiting()).toBeLessThan(96)
  const calls = new Map(back.calls)
  const next = await succeed(services)
  expect(back.calls).toEqual(calls)
  expect(compareStates(next.part().save(), services.part().save())).toEqual([])
  Object.assign(asleep, { runnable: true, shutdownReason: awake })
  for (const group of ['01:00:5e:00:00:01', '01:00:5e:00:00:02']) nics[0]!.send(frame(group, mac(1), group))
  await hub.settle()
  const { queues, statistics } = next.nics.nic(2 as DomId, '0')!
  expect([queues, statistics.filtered, statistics.dropped, statistics.largeOut]).toEqual([3, 1, 0, 96])
  expect(got.filter(({ bytes }) => bytes[0] === 1).map(({ bytes }) => textOf(bytes))).toEqual(['01:00:5e:00:00:01'])
  const large = got.filter(({ segmentSize }) => segmentSize === 1400).map(({ bytes }) => readTcp(bytes))
  expect([large.length, large.flatMap(({ wrong }) => wrong)]).toEqual([96, []])
  for (const one of large) expect(one.data.every((byte) => byte === one.sequence)).toBe(true)
  expect([back.crash, guests[1]!.crash]).toEqual([undefined, undefined])
})

test('a device is taken away from a loaded back-end as from any', async () => {
  const { hub, store, services, succeed } = await setUp()
  const next = await succeed(services)
  for (const path of ['/local/domain/1/device/vbd/51712', '/local/domain/0/backend/vbd/1/51712']) store.drop(path)
  for (const number of [1, 2]) for (const path of [`/local/domain/${number}/device/vif/0`, `/local/domain/0/backend/vif/${number}/0`]) store.drop(path)
  await hub.settle()
  expect([next.blocks.disks.length, next.nics.nics.length, next.kernel.grants.mappings]).toEqual([0, 0, 1])
  await during(hub, next.consoles.close(1 as DomId))
  expect(next.kernel.grants.mappings).toBe(0)
  expect(next.underWay()).toBeUndefined()
})

test('what is under way keeps back-ends from being saved, by name', async () => {
  const { hub, store, services, disk } = await setUp()
  const inner = services.blocks.disks[0]!
  expect(inner.opensAnew).toBe(false)
  let answer = (): void => undefined
  const slow = OverlayBlockStore.prototype.flush
  OverlayBlockStore.prototype.flush = () => new Promise<void>((resolve) => { answer = resolve })
  const flushed = during(hub, disk.flush())
  try {
    for (let i = 0; i < 20; i += 1) await new Promise((resolve) => setImmediate(resolve))
    expect(services.bus.underWay()).toBe('backend/vbd/1/51712: a request to its store')
  } finally {
    OverlayBlockStore.prototype.flush = slow
    answer()
  }
  await flushed
  await hub.settle()
  services.bridge.open({ onFrame: () => undefined })
  expect(services.underWay()).toBe('bridge xenbr0: a port of code that cannot be saved')
  store.seed({ '/local/domain/1/device/vbd/51712/state': '5' })
  await Promise.resolve()
  expect(services.kernel.underWay() ?? services.bus.underWay()).toBeDefined()
})
