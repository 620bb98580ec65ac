/**
 * Frames from one guest in TypeScript to another, through both rings, the hypervisor's grant copies and events, and the
 * bridge in dom0; on one host as the toolstack boots it. Against the same frames between two ports of the same bridge
 * without rings. Targets: at most 5 % below at 1500 bytes, at most 14 % below at 500.
 */
import type { Nic } from '../../src/drivers/index.ts'
import { Bridge, NetBackend, NetFrontend, parseMac } from '../../src/drivers/index.ts'
import type { GuestKernel } from '../../src/guest/index.ts'
import { BackendBus, FrontendBus } from '../../src/guest/index.ts'
import { Host } from '../../src/index.ts'
import { seedNic, seeder } from '../support/devices.ts'
import type { Report } from './report.ts'

const SECONDS = 1
/** Frames that a sender hands in at once. */
const BURST = 128

/** Seconds of this process's CPU: the same as wall time on a quiet machine, and still right on a busy one. */
const seconds = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

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

/** Frames that arrive in a second. */
async function throughRings({ host, ends: [from, to] }: Setup, size: number): Promise<number> {
  const burst = Array.from({ length: BURST }, () => frameOf(size))
  let arrived = 0
  let stop = false
  to.nic.onFrame(() => { arrived += 1 })
  // The receiver says hello once, so that the bridge knows where it is.
  const hello = frameOf(60)
  hello.set(parseMac('00:16:3e:00:00:02')!, 6)
  hello.set(parseMac('00:16:3e:00:00:01')!)
  to.kernel.post(() => void to.nic.send(hello))
  const pump = (): void => {
    if (!stop) from.nic.sendAll(burst)
  }
  from.nic.onRoom(pump)
  const run = async (length: number): Promise<number> => {
    stop = false
    from.kernel.post(pump)
    const begin = seconds()
    const before = arrived
    await host.until('the time to be over', () => seconds() - begin > length)
    const rate = (arrived - before) / (seconds() - begin)
    stop = true
    await host.settled()
    return rate
  }
  await run(SECONDS / 2)
  return run(SECONDS)
}

/** Frames that cross a bridge in a second between two ports that copy what they send and receive, as guests do. */
function withoutRings(size: number): number {
  const bridge = new Bridge({ now: () => 0 })
  const frame = frameOf(size)
  let arrived = 0
  const from = bridge.open()
  const to = bridge.open({ onFrame: () => { arrived += 1 } })
  const hello = frameOf(60)
  hello.set(parseMac('00:16:3e:00:00:02')!, 6)
  to.send(hello)
  const run = (length: number): number => {
    arrived = 0
    const begin = seconds()
    while (seconds() - begin < length) for (let i = 0; i < BURST; i += 1) from.send(frame)
    return arrived / (seconds() - begin)
  }
  run(SECONDS / 4)
  return run(SECONDS / 2)
}

/** Measures and reports. */
export async function run(report: Report): Promise<void> {
  const setup = await setUp()
  for (const [size, target] of [[1500, 0.95], [500, 0.86]] as const) {
    const baseline = withoutRings(size)
    const rate = await throughRings(setup, size)
    const ratio = rate / baseline
    report({
      case: `guest to guest, frames of ${size} bytes`, value: rate, unit: 'frames/s',
      baseline: `bridge without rings: ${Math.round(baseline)}/s`, ratio, target, met: ratio >= target,
    })
  }
  await setup.host.shutdown()
}
