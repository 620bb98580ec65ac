/** Framebuffers and keyboards between a front-end and the back-end: the handshake, pictures, events, and what a hostile or dying peer can do in each state. */
import { describe, expect, test } from 'vitest'
import { IO_PROTO_ABI, XENFB, XENFB_TYPE, XenfbPage, XenfbResize, XenfbUpdate, XenkbdPage } from '../../../../src/abi/index.ts'
import { FramebufferBackend, FramebufferFrontend, KeyboardBackend, KeyboardFrontend, type FramebufferEvent, type ScreenInput } from '../../../../src/drivers/index.ts'
import { MAX_VIDEO_MEMORY } from '../../../../src/drivers/framebuffer/protocol.ts'
import { WAITING_LIMIT } from '../../../../src/drivers/keyboard/protocol.ts'
import { BackendBus, FrontendBus } from '../../../../src/guest/index.ts'
import { FakeHypervisor, TestStore, during } from '../../../../src/testing/index.ts'
import { XenError, type DomId } from '../../../../src/util/index.ts'
import { detach, removeDevice, seedScreen } from '../../../support/devices.ts'

const BACK = { vfb: '/local/domain/0/backend/vfb/1/0', vkbd: '/local/domain/0/backend/vkbd/1/0' }
const FRONT = { vfb: '/local/domain/1/device/vfb/0', vkbd: '/local/domain/1/device/vkbd/0' }
const PAGES = 256
const [WIDTH, HEIGHT] = [160, 100]
const ONE = 1 as DomId

async function setUp() {
  const hub = new FakeHypervisor(2048)
  const store = new TestStore()
  const [screens, keyboards] = [new FramebufferBackend(), new KeyboardBackend()]
  const drawing = new FramebufferFrontend({ width: WIDTH, height: HEIGHT })
  const heard: ScreenInput[] = []
  const back = hub.createDomain(0, async (kernel) => {
    const bus = new BackendBus(kernel)
    await bus.register(screens)
    await bus.register(keyboards)
  }, { store: store.connect(0, 'back') })
  const front = hub.createDomain(1, async (kernel) => {
    const bus = new FrontendBus(kernel)
    await bus.register(drawing)
    await bus.register(new KeyboardFrontend((input) => void heard.push(input)))
  }, { store: store.connect(1, 'front'), pages: PAGES })
  await hub.settle()
  seedScreen(store)
  await hub.settle()
  const told: FramebufferEvent[] = []
  screens.framebuffer(ONE, 0)!.events.onAny((event) => told.push(event))
  const screen = await during(hub, drawing.screen(0))
  return { hub, store, screens, keyboards, back, front, screen, heard, told, served: screens.framebuffer(ONE, 0)!, keys: keyboards.keyboard(ONE, 0)! }
}
type World = Awaited<ReturnType<typeof setUp>>

/** The framebuffer's shared page, and the keyboard's. */
const pageOf = ({ store }: World, kind: 'vfb' | 'vkbd'): number => Number(store.get(`${FRONT[kind]}/page-ref`)) * 4096
const pixel = ({ served }: World, x: number, y: number): readonly number[] => [...served.read({ x, y, width: 1, height: 1 })!.pixels]

describe('the handshake of a screen', () => {
  test('ends with all halves Connected and the nodes of the protocols', async () => {
    const { store, served, keys } = await setUp()
    expect(['vfb', 'vkbd'].flatMap((kind) => [store.get(`${BACK[kind as 'vfb']}/state`), store.get(`${FRONT[kind as 'vfb']}/state`)])).toEqual(['4', '4', '4', '4'])
    expect([store.get(`${BACK.vfb}/feature-resize`), store.get(`${BACK.vfb}/request-update`), store.get(`${FRONT.vfb}/feature-update`), store.get(`${FRONT.vfb}/protocol`)])
      .toEqual(['1', '1', '1', IO_PROTO_ABI.X86_64])
    expect(store.get(`${FRONT.vkbd}/request-abs-pointer`)).toBe('1')
    expect([served.size, keys.connected]).toEqual([{ width: WIDTH, height: HEIGHT }, true])
  })

  test('leaves nothing mapped or granted when both are taken away', async () => {
    const { hub, store, front, back, screens, keyboards, screen, told } = await setUp()
    for (const kind of ['vfb', 'vkbd'] as const) {
      detach(store, kind, 1, '0')
      await hub.settle()
      removeDevice(store, kind, 1, '0')
      await hub.settle(1e9)
    }
    screen.fill({ x: 0, y: 0, width: 1, height: 1 }, [1, 2, 3])
    expect([hub.mappings, back.foreignFrames, front.kernel.grants.granted, front.kernel.frames.free]).toEqual([0, 0, 0, PAGES])
    expect([screens.framebuffer(ONE, 0), keyboards.keyboard(ONE, 0)]).toEqual([undefined, undefined])
    expect(told.map(({ type }) => type)).toEqual(['disconnected', 'closed'])
  })
})

describe('a guest in TypeScript', () => {
  test('is seen as it draws, rectangle by rectangle', async () => {
    const world = await setUp()
    const { hub, screen, served, told } = world
    screen.fill({ x: 0, y: 0, width: WIDTH, height: HEIGHT }, [10, 20, 30])
    screen.fill({ x: 150, y: 90, width: 100, height: 100 }, [255, 128, 1])
    await hub.settle()
    expect([pixel(world, 0, 0), pixel(world, 149, 99), pixel(world, 150, 90), pixel(world, 159, 99)]).toEqual([[10, 20, 30, 255], [10, 20, 30, 255], [255, 128, 1, 255], [255, 128, 1, 255]])
    expect(told).toMatchObject([{ type: 'drawn', area: { x: 0, y: 0, width: WIDTH, height: HEIGHT } }, { type: 'drawn', area: { x: 150, y: 90, width: 10, height: 10 } }])
    expect(served.statistics).toEqual({ updates: 2, pixels: WIDTH * HEIGHT + 100, resizes: 0, refused: 0 })
    // A rectangle is what lies within the picture, and none where nothing does.
    expect(served.read({ x: 158, y: 98, width: 50, height: 50 })).toMatchObject({ width: 2, height: 2 })
    expect(served.read({ x: WIDTH, y: 0, width: 5, height: 5 })).toBeUndefined()
  })

  test('draws more often than its ring has room for, and goes to another size', async () => {
    const { hub, screen, served, told } = await setUp()
    for (let at = 0; at < 3 * XENFB.OUT_RING_LEN; at += 1) screen.fill({ x: at % WIDTH, y: 0, width: 1, height: 1 }, [at, 0, 0])
    await hub.settle()
    expect(served.statistics!.updates).toBe(3 * XENFB.OUT_RING_LEN)
    screen.resize(80, 50)
    await hub.settle()
    expect([served.size, told.at(-1)]).toMatchObject([{ width: 80, height: 50 }, { type: 'resized', width: 80, height: 50 }])
    expect(() => screen.resize(WIDTH + 1, HEIGHT)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }) as Error)
  })

  test('hears keys and the pointer in their order, also those that came before it and those that its ring had no room for', async () => {
    const { hub, keys, heard } = await setUp()
    const inputs = Array.from({ length: 300 }, (_, at): ScreenInput => (at % 3 === 0 ? { type: 'pointer', x: at, y: at * 2, wheel: at % 2 === 0 ? 0 : -1 } : { type: 'key', code: at, pressed: at % 2 === 0 }))
    keys.send(inputs)
    await hub.settle()
    expect(heard).toEqual(inputs)
    expect(keys.statistics).toEqual({ keys: 200, moves: 100, waitingEvents: 0 })
  })

  test('that takes nothing makes the host wait for it up to a bound', async () => {
    const { keys } = await setUp()
    const many = Array.from({ length: WAITING_LIMIT + 1 }, (): ScreenInput => ({ type: 'key', code: 1, pressed: true }))
    expect(() => keys.send(many)).toThrow(expect.objectContaining({ code: 'OUT_OF_RESOURCES' }) as Error)
    expect(keys.statistics.waitingEvents).toBe(0)
  })
})

test.each([
  [8, [0b111_000_11], [255, 0, 255]], [16, [0xe0, 0x07], [0, 255, 0]], [24, [3, 2, 1], [1, 2, 3]], [32, [3, 2, 1, 99], [1, 2, 3]],
])('a picture of %d bits a pixel has its colours', async (depth, bytes, colour) => {
  const world = await setUp()
  const { hub, served, screen, front } = world
  const stride = 40 * (depth / 8) + 3
  const event = new Uint8Array(XenfbResize.size)
  XenfbResize.encode(new DataView(event.buffer), 0, { type: XENFB_TYPE.RESIZE, width: 40, height: 20, stride, depth, offset: 7 })
  sendEvent(world, event)
  await hub.settle()
  expect(served.size).toEqual({ width: 40, height: 20 })
  // The pixel of the last row and column, wherever its bytes lie.
  const at = 7 + 19 * stride + 39 * (depth / 8)
  const frames = framesOf(world)
  for (const [offset, byte] of bytes.entries()) hub.bytes[frames[Math.floor((at + offset) / 4096)]! * 4096 + (at + offset) % 4096] = byte
  expect(pixel(world, 39, 19)).toEqual([...colour, 255])
  expect([screen.width, front.crash]).toEqual([WIDTH, undefined])
})

/** Frames of the pixels, by the directory of the shared page. */
function framesOf(world: World): readonly number[] {
  const { hub } = world
  const directory = XenfbPage.pd.element.number(hub.view, XenfbPage.pd.at(pageOf(world, 'vfb'), 0)) * 4096
  return Array.from({ length: Math.ceil(WIDTH * HEIGHT * 4 / 4096) }, (_, at) => hub.view.getUint32(directory + at * 8, true))
}

/** Puts an event into the ring behind the front-end's back. */
function sendEvent(world: World, event: Uint8Array): void {
  const { hub, front, store } = world
  const base = pageOf(world, 'vfb')
  const produced = XenfbPage.outProd.get(hub.view, base)
  hub.bytes.set(event, base + XENFB.OUT_RING_OFFS + (produced % XENFB.OUT_RING_LEN) * XENFB.OUT_EVENT_SIZE)
  XenfbPage.outProd.set(hub.view, base, produced + 1)
  front.kernel.events.notify(Number(store.get(`${FRONT.vfb}/event-channel`)) as never)
}

function update(area: { x: number; y: number; width: number; height: number }): Uint8Array {
  const event = new Uint8Array(XenfbUpdate.size)
  XenfbUpdate.encode(new DataView(event.buffer), 0, { type: XENFB_TYPE.UPDATE, ...area })
  return event
}

describe('a hostile front-end', () => {
  test.each([
    [{ x: -1, y: 0, width: 2, height: 2 }, { updates: 1, refused: 0 }], [{ x: 0, y: 0, width: 0, height: 5 }, { updates: 0, refused: 1 }],
    [{ x: 0, y: 0, width: -5, height: 5 }, { updates: 0, refused: 1 }], [{ x: 0x7fff_ffff, y: 0, width: 0x7fff_ffff, height: 1 }, { updates: 0, refused: 1 }],
    [{ x: 0, y: 0, width: 0x7fff_ffff, height: 0x7fff_ffff }, { updates: 1, refused: 0 }], [{ x: -0x8000_0000, y: -1, width: 1, height: 1 }, { updates: 0, refused: 1 }],
  ])('that says it has drawn %o is told of by what lies within', async (area, counted) => {
    const world = await setUp()
    sendEvent(world, update(area))
    await world.hub.settle()
    expect(world.served.statistics).toMatchObject(counted)
    expect(world.back.crash).toBeUndefined()
  })

  test.each([
    { width: 0, height: 1, stride: 4, depth: 32, offset: 0 }, { width: 9000, height: 1, stride: 36000, depth: 32, offset: 0 }, { width: 10, height: 10, stride: 39, depth: 32, offset: 0 },
    { width: 10, height: 10, stride: 40, depth: 15, offset: 0 }, { width: 10, height: 10, stride: 0x7fff_ffff, depth: 32, offset: 0 }, { width: 10, height: 10, stride: 40, depth: 32, offset: -4 },
    { width: WIDTH, height: HEIGHT + 3, stride: WIDTH * 4, depth: 32, offset: 0 }, { width: 10, height: 2, stride: 40, depth: 32, offset: 65536 - 79 }, { width: -3, height: -3, stride: -12, depth: -32, offset: 0 },
  ])('that goes to a size that cannot be (%o) stays at the one that it has', async (geometry) => {
    const world = await setUp()
    const event = new Uint8Array(XenfbResize.size)
    XenfbResize.encode(new DataView(event.buffer), 0, { type: XENFB_TYPE.RESIZE, ...geometry })
    sendEvent(world, event)
    sendEvent(world, Uint8Array.of(77, 1, 2, 3))
    await world.hub.settle()
    expect([world.served.size, world.served.statistics]).toMatchObject([{ width: WIDTH, height: HEIGHT }, { resizes: 0, refused: 1 }])
  })

  const STATES = ['with nothing drawn', 'with a picture', 'with its ring full', 'with keys waiting'] as const
  const EVENTS: readonly (readonly [string, (world: World) => void | Promise<void>])[] = [
    ['claims to have written more than its ring holds', (world) => XenfbPage.outProd.set(world.hub.view, pageOf(world, 'vfb'), (XenfbPage.outProd.get(world.hub.view, pageOf(world, 'vfb')) + 1000) >>> 0)],
    ['moves its index backwards', (world) => XenfbPage.outProd.set(world.hub.view, pageOf(world, 'vfb'), (XenfbPage.outProd.get(world.hub.view, pageOf(world, 'vfb')) - 1) >>> 0)],
    ['claims to have taken keys that there were none of', (world) => XenkbdPage.inCons.set(world.hub.view, pageOf(world, 'vkbd'), (XenkbdPage.inProd.get(world.hub.view, pageOf(world, 'vkbd')) + 1) >>> 0)],
    ['fills both pages with noise', (world) => {
      for (const kind of ['vfb', 'vkbd'] as const) world.hub.bytes.fill(0xa5, pageOf(world, kind), pageOf(world, kind) + 4096)
    }],
    ['ends its grants', (world) => { for (const { ref } of world.front.kernel.grants.save().granted) world.front.kernel.grants.endWhenUnused(ref as never) }],
    ['dies', (world) => world.hub.destroy(1)],
    ['closes its devices', (world) => world.store.seed({ [`${FRONT.vfb}/state`]: '6', [`${FRONT.vkbd}/state`]: '6' })],
    ['writes a state that there is none of', (world) => world.store.seed({ [`${FRONT.vfb}/state`]: '99', [`${FRONT.vkbd}/state`]: 'x' })],
    ['removes its devices', (world) => { for (const kind of ['vfb', 'vkbd'] as const) removeDevice(world.store, kind, 1, '0') }],
  ]
  const CELLS = STATES.flatMap((state) => EVENTS.map(([event, act]) => [state, event, act] as const))

  async function reach(world: World, state: (typeof STATES)[number]): Promise<void> {
    const { hub, screen, keys } = world
    if (state === 'with a picture') screen.fill({ x: 0, y: 0, width: 9, height: 9 }, [1, 2, 3])
    if (state === 'with its ring full') for (let at = 0; at < XENFB.OUT_RING_LEN; at += 1) screen.fill({ x: 0, y: 0, width: 1, height: 1 }, [1, 2, 3])
    if (state === 'with keys waiting') keys.send(Array.from({ length: 200 }, (): ScreenInput => ({ type: 'key', code: 1, pressed: true })))
    if (state === 'with a picture') await hub.settle()
  }

  test.each(CELLS)('%s: that %s harms nobody, and nothing is left when it is gone', async (state, _, act) => {
    const world = await setUp()
    const { hub, store, screens, keyboards, back, served, keys, front } = world
    await reach(world, state)
    await act(world)
    keys.send([{ type: 'key', code: 30, pressed: true }])
    try {
      front.kernel.events.notify(Number(store.get(`${FRONT.vfb}/event-channel`)) as never)
    } catch (error) {
      // It is dead, or has no such port any more.
      expect(XenError.is(error)).toBe(true)
    }
    await hub.settle(1e8)
    served.read({ x: 0, y: 0, width: WIDTH, height: HEIGHT })
    expect(back.crash).toBeUndefined()
    for (const kind of ['vfb', 'vkbd'] as const) {
      detach(store, kind, 1, '0')
      await hub.settle(1e8)
      removeDevice(store, kind, 1, '0')
      await hub.settle(1e9)
    }
    expect([screens.framebuffer(ONE, 0), keyboards.keyboard(ONE, 0), back.foreignFrames, back.kernel.grants.mappings, [...back.mappings].length]).toEqual([undefined, undefined, 0, 0, 0])
  })

  /** A front-end that is nothing but nodes and pages; what the back-end makes of it. */
  async function offer(nodes: Readonly<Record<string, string>>, spoil: (view: DataView, page: number, frames: readonly number[]) => void = () => undefined): Promise<readonly [state: string | undefined, foreign: number]> {
    const hub = new FakeHypervisor(2048)
    const store = new TestStore()
    const back = hub.createDomain(0, (kernel) => new BackendBus(kernel).register(new FramebufferBackend()), { store: store.connect(0, 'back') })
    const front = hub.createDomain(1, () => undefined, { store: store.connect(1, 'front') })
    await hub.settle()
    const { kernel } = front
    seedScreen(store)
    await hub.settle()
    const pages = Array.from({ length: 4 }, () => kernel.frames.allocate())
    const [page, directory, ...pixels] = pages
    XenfbPage.encode(hub.view, page!.base, { width: 32, height: 64, lineLength: 128, memLength: 8192, depth: 32 })
    XenfbPage.pd.element.setNumber(hub.view, XenfbPage.pd.at(page!.base, 0), directory!.frame)
    for (const [at, { frame }] of pixels.entries()) hub.view.setUint32(directory!.base + at * 8, frame, true)
    spoil(hub.view, page!.base, pages.map(({ frame }) => frame))
    const port = kernel.events.allocateUnbound(kernel.domid, 0 as DomId, () => undefined)
    const given = { 'page-ref': String(page!.frame), 'event-channel': String(port), protocol: IO_PROTO_ABI.X86_64, ...nodes }
    store.seed({ ...Object.fromEntries(Object.entries(given).map(([name, value]) => [`${FRONT.vfb}/${name}`, value])), [`${FRONT.vfb}/state`]: '3' })
    await hub.settle()
    expect(back.crash).toBeUndefined()
    return [store.get(`${BACK.vfb}/state`), back.foreignFrames]
  }

  test('is taken where all that it names is right, also by the narrower words of a 32-bit guest', async () => {
    expect(await offer({})).toEqual(['4', 3])
    expect(await offer({ protocol: IO_PROTO_ABI.X86_32 }, (view, page, frames) => {
      const { pd } = XenfbPage.compat
      pd.element.setNumber(view, pd.at(page, 0), frames[1]!)
      view.setUint32(frames[1]! * 4096 + 4, frames[3]!, true)
    })).toEqual(['4', 3])
  })

  test.each([
    ['page-ref', '4000000000'], ['page-ref', 'x'], ['page-ref', '99999999999999'], ['page-ref', '-1'], ['event-channel', '0'], ['event-channel', '77777'], ['event-channel', ''],
  ])('that names %s %j is refused, and nothing stays mapped', async (name, value) => {
    expect(await offer({ [name]: value })).toEqual(['5', 0])
  })

  test.each<readonly [string, (view: DataView, page: number, frames: readonly number[]) => void]>([
    ['no bytes', (view, page) => XenfbPage.memLength.set(view, page, 0)],
    ['more bytes than are mapped for anybody', (view, page) => XenfbPage.memLength.set(view, page, MAX_VIDEO_MEMORY + 1)],
    ['4 GiB', (view, page) => XenfbPage.memLength.set(view, page, 0xffff_ffff)],
    ['rows beyond its memory', (view, page) => XenfbPage.height.set(view, page, 65)],
    ['a negative width', (view, page) => XenfbPage.width.set(view, page, -32)],
    ['a depth of 7', (view, page) => XenfbPage.depth.set(view, page, 7)],
    ['rows that are too short', (view, page) => XenfbPage.lineLength.set(view, page, 127)],
    ['a directory of somebody else', (view, page) => XenfbPage.pd.element.setNumber(view, XenfbPage.pd.at(page, 0), 1)],
    ['a directory beyond all memory', (view, page) => XenfbPage.pd.element.setParts(view, XenfbPage.pd.at(page, 0), 0xffff_ffff, 0xffff_ffff)],
    ['pixels of somebody else', (view, _page, frames) => view.setUint32(frames[1]! * 4096 + 8, 1, true)],
    ['pixels beyond all memory', (view, _page, frames) => view.setUint32(frames[1]! * 4096 + 12, 1, true)],
    ['more memory than its directory names', (view, page) => XenfbPage.memLength.set(view, page, 4 << 20)],
  ])('whose page says that there are %s is refused, and nothing stays mapped', async (_, spoil) => {
    expect(await offer({}, spoil)).toEqual(['5', 0])
  })
})
