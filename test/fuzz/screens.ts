/**
 * A seeded fuzzer for screens: the back-ends of framebuffer and keyboard are the real ones, the front-end writes what it likes into nodes, shared pages and
 * directories. After a sequence both are disconnected, and nothing may be left mapped or thrown. A failing sequence is repeated by its number.
 */
import { IO_PROTO_ABI, XENFB, XENFB_TYPE, XenfbPage, XenfbResize, XenfbUpdate, XenkbdPage } from '../../src/abi/index.ts'
import { FramebufferBackend, KeyboardBackend, type ScreenInput } from '../../src/drivers/index.ts'
import type { BackendDevice, BackendInstance } from '../../src/guest/index.ts'
import { FakeHypervisor, type FakeDomain } from '../../src/testing/index.ts'
import { below, SeededRandom, XenError, type DomId } from '../../src/util/index.ts'

/** What the sequences reached, so that a fuzzer which only bounces off the first check is noticed. */
export interface ScreensReached {
  /** Front-ends that were connected, and those that were refused. */
  connected: number
  refused: number
  /** Rectangles and sizes that were taken, keys that went out, rings that were given up. */
  drawn: number
  resized: number
  keys: number
  broken: number
}

const BACK = 0 as DomId
const FRONT = 1 as DomId
/** Pages of the front-end: those that it shares, a directory, and pixels. */
const PAGES = 12

/** Values that are wrong in the ways that matter: limits, wraps, near misses, and plain noise. */
function odd(random: SeededRandom): number {
  const values = [0, 1, 0xffff_ffff, 0x8000_0000, 0x7fff_ffff, 4096, 8192, 8193, 64 << 20]
  return below(random, 3) === 0 ? below(random, 2 ** 31) * 2 + below(random, 2) : (values[below(random, values.length)]! + below(random, 3)) >>> 0
}

interface World {
  readonly hub: FakeHypervisor
  readonly back: FakeDomain
  readonly front: FakeDomain
  readonly frames: readonly number[]
  readonly reached: ScreensReached
}

/** A device of the bus as far as an instance asks for it; `handlers` gets what its port calls. */
function deviceOf({ back }: World, type: string, nodes: ReadonlyMap<string, string>, handlers: (() => void)[]): BackendDevice {
  const { grants } = back.kernel
  const number = (name: string, limits: { readonly minimum?: number; readonly maximum?: number } = {}): number | undefined => {
    const text = nodes.get(name)
    const value = text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : -1
    return value >= (limits.minimum ?? 0) && value <= (limits.maximum ?? 0xffff_ffff) ? value : undefined
  }
  const kernel = {
    grants, hypercalls: back.hypercalls, now: () => 0, turn: () => undefined, post: (act: () => void) => act(),
    events: { bindInterdomain: (_: DomId, __: number, handler: () => void) => handlers.push(handler), keep: (port: number) => port, notify: () => undefined, close: () => undefined },
  }
  const device = {
    kernel, otherEnd: FRONT, id: '0', path: `backend/${type}/1/0`, otherPath: `/local/domain/1/device/${type}/0`,
    read: async () => '1', write: async () => undefined, readOther: async (name: string) => nodes.get(name), readOtherNumber: async (name: string, limits?: object) => number(name, limits),
    requireOther: async (name: string, limits?: object) => {
      const value = number(name, limits)
      if (value === undefined) throw new XenError('INVALID_ARGUMENT', `${name} is missing or wrong`)
      return value
    },
  }
  // Only what is here is asked for.
  return device as unknown as BackendDevice
}

/** Writes a shared page that is right, then spoils some of it. */
function writePage({ hub, frames }: World, random: SeededRandom): void {
  const { view } = hub
  const [shared, directory] = [frames[0]! * 4096, frames[1]! * 4096]
  hub.bytes.fill(0, shared, shared + 4096)
  XenfbPage.encode(view, shared, { width: 32, height: 8 * (PAGES - 3), lineLength: 128, memLength: 4096 * (PAGES - 3), depth: [8, 16, 24, 32][below(random, 4)]! })
  XenfbPage.pd.element.setNumber(view, XenfbPage.pd.at(shared, 0), frames[1]!)
  for (let at = 0; at < PAGES - 3; at += 1) view.setBigUint64(directory + at * 8, BigInt(frames[2 + at]!), true)
  if (below(random, 2) === 0) return
  for (let spoils = below(random, 3); spoils >= 0; spoils -= 1) {
    const place = below(random, 3) === 0 ? directory + below(random, 20) * 4 : shared + 16 + below(random, 8) * 4
    view.setUint32(place, odd(random), true)
  }
}

/** Puts an event of any kind into the ring, and moves its index as it likes. */
function writeEvent({ hub, frames }: World, random: SeededRandom): void {
  const { view, bytes } = hub
  const shared = frames[0]! * 4096
  const produced = XenfbPage.outProd.get(view, shared)
  const at = shared + XENFB.OUT_RING_OFFS + (produced % XENFB.OUT_RING_LEN) * XENFB.OUT_EVENT_SIZE
  const small = (): number => (below(random, 3) === 0 ? odd(random) | 0 : below(random, 80))
  bytes.fill(0, at, at + XENFB.OUT_EVENT_SIZE)
  if (below(random, 2) === 0) XenfbUpdate.encode(view, at, { type: XENFB_TYPE.UPDATE, x: small(), y: small(), width: small(), height: small() })
  else XenfbResize.encode(view, at, { type: below(random, 5) === 0 ? odd(random) & 255 : XENFB_TYPE.RESIZE, width: small(), height: small(), stride: small() * 4, depth: 8 * (1 + below(random, 5)), offset: small() })
  XenfbPage.outProd.set(view, shared, below(random, 30) === 0 ? odd(random) : produced + 1)
}

/** Connects where that is possible; only typed errors may come out. */
async function connect(instance: BackendInstance, { reached }: World): Promise<boolean> {
  try {
    await instance.connect('Initialised')
    reached.connected += 1
    return true
  } catch (error) {
    if (!XenError.is(error)) throw error
    reached.refused += 1
    return false
  }
}

async function sequence(world: World, random: SeededRandom): Promise<void> {
  const { hub, back, frames, reached } = world
  const [screens, keyboards, handlers] = [new FramebufferBackend(), new KeyboardBackend(), [] as (() => void)[]]
  const node = (right: number): string => (below(random, 12) === 0 ? String(odd(random)) : String(right))
  writePage(world, random)
  const protocol = below(random, 6) === 0 ? IO_PROTO_ABI.X86_32 : IO_PROTO_ABI.X86_64
  const framebuffer = screens.probe(deviceOf(world, 'vfb', new Map([['page-ref', node(frames[0]!)], ['event-channel', '7'], ['protocol', protocol], ['feature-update', '1']]), handlers))
  const keyboard = keyboards.probe(deviceOf(world, 'vkbd', new Map([['page-ref', node(frames[PAGES - 1]!)], ['event-channel', '8'], ['request-abs-pointer', String(below(random, 2))]]), handlers))
  const [hasScreen, hasKeys] = [await connect(framebuffer, world), await connect(keyboard, world)]
  const [served, keys] = [screens.framebuffer(FRONT, 0)!, keyboards.keyboard(FRONT, 0)!]
  for (let steps = below(random, 24); steps >= 0; steps -= 1) {
    if (below(random, 20) === 0) XenkbdPage.inCons.set(hub.view, frames[PAGES - 1]! * 4096, odd(random))
    if (hasScreen) for (let events = below(random, 4); events > 0; events -= 1) writeEvent(world, random)
    keys.send([{ type: 'key', code: below(random, 700), pressed: true }, { type: 'pointer', x: below(random, 65536), y: 3 }] satisfies ScreenInput[])
    for (const handler of handlers) handler()
    const area = { x: below(random, 100), y: below(random, 100), width: 1 + below(random, 50), height: 1 + below(random, 50) }
    const seen = served.read(area)
    if (seen !== undefined && seen.pixels.length !== seen.width * seen.height * 4) throw new Error(`a picture of ${seen.width} x ${seen.height} has ${seen.pixels.length} bytes`)
  }
  reached.drawn += served.statistics?.updates ?? 0
  reached.resized += served.statistics?.resizes ?? 0
  reached.broken += (served.broken === undefined ? 0 : 1) + (keys.broken === undefined ? 0 : 1)
  reached.keys += hasKeys ? keys.statistics.keys : 0
  for (const instance of [framebuffer, keyboard]) {
    await instance.disconnect()
    await instance.remove?.()
  }
  if (back.foreignFrames !== 0 || back.kernel.grants.mappings !== 0) throw new Error(`${back.foreignFrames} frames and ${back.kernel.grants.mappings} grants are left mapped`)
}

/** Runs so many sequences; what they reached. Throws for the first that fails, with its number. */
export async function fuzzScreens(count: number): Promise<ScreensReached> {
  const hub = new FakeHypervisor(512)
  const back = hub.createDomain(BACK, () => undefined, { pages: 64 })
  const front = hub.createDomain(FRONT, () => undefined, { pages: 64 })
  await hub.settle()
  const frames = Array.from({ length: PAGES }, () => front.kernel.frames.allocate().frame)
  const reached: ScreensReached = { connected: 0, refused: 0, drawn: 0, resized: 0, keys: 0, broken: 0 }
  for (let number = 0; number < count; number += 1) {
    try {
      hub.bytes.fill(0, frames[PAGES - 1]! * 4096, (frames[PAGES - 1]! + 1) * 4096)
      await sequence({ hub, back, front, frames, reached }, new SeededRandom(number))
    } catch (cause) {
      throw new Error(`sequence ${number} of screens failed`, { cause })
    }
  }
  return reached
}
