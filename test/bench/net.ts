/**
 * Frames from one guest in TypeScript to another, through both rings, the hypervisor's grant copies and events, and the
 * bridge in dom0; on one host as the toolstack boots it. Against the same frames between two ports for user code of a
 * bridge without rings, with the same handler at the end. Targets: at most 5 % below at 1500 bytes, at most 14 % below
 * at 500.
 *
 * A port for user code gives its reader bytes of its own, which takes most of its time; a guest reads a frame in its
 * own page. Two more rows show what that makes: readers that keep every frame, and a bridge's bare ports.
 * The part `linux` is a TCP stream of Debian's Linux, with what xen-netfront can negotiate and without.
 */
import type { Nic } from '../../src/drivers/index.ts'
import { Bridge, NetBackend, NetFrontend, parseMac } from '../../src/drivers/index.ts'
import type { GuestKernel } from '../../src/guest/index.ts'
import { BackendBus, FrontendBus } from '../../src/guest/index.ts'
import { Host } from '../../src/index.ts'
import { seedNic, seeder } from '../support/devices.ts'
import type { Report } from './report.ts'
import { linuxStream } from './support/linux-stream.ts'
import { bestRates, type Work } from './support/rates.ts'

/** Frames of one round: a few tenths of a second. */
const FRAMES = 128 * 1024
/** Frames that a reader keeps before it lets them all go. */
const KEPT = 512
/** Frames that a sender hands in at once. */
const BURST = 128

interface End {
  readonly nic: Nic
  readonly kernel: GuestKernel
}

interface Setup {
  readonly host: Host
  readonly bridge: Bridge
  readonly ends: readonly [End, End]
}

async function setUp(): Promise<Setup> {
  const host = await Host.boot({ memory: 64, dom0Memory: 16 })
  const { kernel } = host.dom0
  const bridge = new Bridge({ now: () => kernel.now(), post: (task) => kernel.post(task) })
  await new BackendBus(kernel).register(new NetBackend({ bridge: () => bridge }))
  const found: End[] = []
  for (const number of [1, 2]) {
    const domain = await host.createDomain({
      name: `bench${number}`, memory: 8,
      kernel: async (guest: GuestKernel) => {
        const nics = new NetFrontend()
        await new FrontendBus(guest).register(nics)
        found[number - 1] = { nic: await nics.nic(0), kernel: guest }
      },
    })
    seedNic(seeder(host.store), domain.id, `00:16:3e:00:00:0${number}`)
    await host.until('the interface to connect', () => found[number - 1] !== undefined)
  }
  return { host, bridge, ends: [found[0]!, found[1]!] }
}

function frameOf(size: number): Uint8Array {
  const frame = new Uint8Array(size).fill(0x5a)
  frame.set(parseMac('00:16:3e:00:00:02')!)
  frame.set(parseMac('00:16:3e:00:00:01')!, 6)
  return frame
}

/** A frame from the receiver to the sender. */
function helloFrame(): Uint8Array {
  const hello = frameOf(60)
  hello.set(parseMac('00:16:3e:00:00:02')!, 6)
  hello.set(parseMac('00:16:3e:00:00:01')!)
  return hello
}

/** Two guests on a bridge; the work is to get frames of one size from one to the other. */
function throughRings(
  { host, ends: [from, to] }: Setup, size: number, read: (frame: Uint8Array) => void = () => undefined,
): Work {
  const burst = Array.from({ length: BURST }, () => frameOf(size))
  let arrived = 0
  let left = 0
  const handler = (frame: Uint8Array): void => {
    arrived += 1
    read(frame)
  }
  // The receiver says hello once, so that the bridge knows where it is.
  to.kernel.post(() => void to.nic.send(helloFrame()))
  const pump = (): void => {
    if (left > 0) left -= from.nic.sendAll(left < BURST ? burst.slice(0, left) : burst)
  }
  return async (count) => {
    to.nic.onFrame(handler)
    from.nic.onRoom(pump)
    arrived = 0
    left = count
    from.kernel.post(pump)
    await host.until('all frames', () => arrived >= count)
  }
}

/** Two ports for user code on a bridge; each frame that arrives is the reader's own. */
function betweenUserPorts(size: number): Work {
  const bridge = new Bridge({ now: () => 0 })
  const frame = frameOf(size)
  let arrived = 0
  const from = bridge.open()
  bridge.open({ onFrame: () => { arrived += 1 } }).send(helloFrame())
  return (count) => {
    arrived = 0
    while (arrived < count) for (let i = 0; i < BURST; i += 1) from.send(frame)
  }
}

/**
 * Two bare ports of a bridge that do what a bridge without rings cannot do without: a frame is copied from the sender's
 * buffer to one of the port's, and from there to the receiver's. A bound, not a target: nothing is shared or checked.
 */
function betweenBarePorts(size: number): Work {
  const bridge = new Bridge({ now: () => 0 })
  const frame = frameOf(size)
  const buffers = Array.from({ length: BURST }, () => new Uint8Array(4096))
  const kept = Array.from({ length: BURST }, () => new Uint8Array(4096))
  const sent = buffers.map((bytes) => ({ bytes: bytes.subarray(0, size), checksumBlank: false, validated: false }))
  let arrived = 0
  const from = bridge.attach({ deliver: () => undefined, flush: () => undefined })
  const to = bridge.attach({
    deliver: ({ bytes }) => { kept[arrived++ % BURST]!.set(bytes) },
    flush: () => undefined,
  })
  to.send({ bytes: helloFrame(), checksumBlank: false, validated: false })
  return (count) => {
    arrived = 0
    while (arrived < count) {
      for (const packet of sent) {
        packet.bytes.set(frame)
        from.send(packet)
      }
      from.flush()
    }
  }
}

/** Measures and reports; `parts` are `guest` and `linux`, both where none is named. */
export async function run(report: Report, parts: readonly string[] = []): Promise<void> {
  if (parts.length === 0 || parts.includes('guest')) await betweenGuests(report)
  if (parts.length === 0 || parts.includes('linux')) await linuxStream(report)
}

async function betweenGuests(report: Report): Promise<void> {
  const setup = await setUp()
  for (const [size, target] of [[1500, 0.95], [500, 0.86]] as const) {
    const kept: Uint8Array[] = []
    const keep = (frame: Uint8Array): void => {
      if (kept.push(frame.slice()) === KEPT) kept.length = 0
    }
    const [rate = 0, keeping = 0, baseline = 0, bound = 0] = await bestRates([
      { work: throughRings(setup, size), count: FRAMES },
      { work: throughRings(setup, size, keep), count: FRAMES },
      { work: betweenUserPorts(size), count: FRAMES },
      { work: betweenBarePorts(size), count: 4 * FRAMES },
    ])
    const ratio = rate / baseline
    report({
      case: `guest to guest, frames of ${size} bytes`, value: rate, unit: 'frames/s',
      baseline: `bridge without rings: ${Math.round(baseline)}/s`, ratio, target, met: ratio >= target,
    })
    report({
      case: 'the same, each kept by its reader', value: keeping, unit: 'frames/s',
      baseline: 'bridge without rings', ratio: keeping / baseline, target: null, met: null,
    })
    report({
      case: 'the same, read in place', value: rate, unit: 'frames/s',
      baseline: `bare ports, two copies: ${Math.round(bound)}/s`, ratio: rate / bound, target: null, met: null,
    })
  }
  await setup.host.shutdown()
}
