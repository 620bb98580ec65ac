/**
 * Block requests through the ring: a guest in TypeScript, its ring, the hypervisor's grants and events, the back-end in
 * dom0, a store in memory; on one host as the toolstack boots it. Against calling the same store directly.
 * Targets: 0.9 of direct at 1 MiB, 200,000 requests of 4 KiB in a second.
 */
import { BLKIF_OP, BLKIF_RSP } from '../../src/abi/index.ts'
import type { BlockClient, DataPage, Segment } from '../../src/drivers/index.ts'
import { BlockBackend, BlockFrontend, MemoryBlockStore } from '../../src/drivers/index.ts'
import { BackendBus, FrontendBus } from '../../src/guest/index.ts'
import type { GuestKernel } from '../../src/guest/index.ts'
import { Host } from '../../src/index.ts'
import { seedDisk, seeder } from '../support/devices.ts'
import type { Report } from './report.ts'

const MIB = 1 << 20
const DISK = 64 * MIB
/** Buffers of 1 MiB that the transfers share: as many pages as a back-end keeps mapped for one ring. */
const BUFFERS = 4
const SECONDS = 1

/** Seconds of this process's CPU: the same as wall time on a quiet machine, and still right on a busy one. */
const seconds = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

interface Setup {
  readonly host: Host
  readonly client: BlockClient
  readonly kernel: GuestKernel
  readonly store: MemoryBlockStore
}

/** Pages of one transfer, and the segments of the requests that carry it. */
interface Buffer {
  readonly pages: readonly DataPage[]
  readonly parts: readonly (readonly Segment[])[]
}

async function setUp(): Promise<Setup> {
  const host = await Host.boot({ memory: 192, dom0Memory: 16 })
  const store = new MemoryBlockStore(DISK)
  // Memory that was never written is one page of zeros to the machine underneath, and faster than any disk.
  store.bytes.fill(0x5a)
  await new BackendBus(host.dom0.kernel).register(new BlockBackend({ open: () => store }))
  let found: { client: BlockClient; kernel: GuestKernel } | undefined
  const domain = await host.createDomain({
    name: 'bench', memory: 32,
    kernel: async (kernel: GuestKernel) => {
      const disks = new BlockFrontend()
      await new FrontendBus(kernel).register(disks)
      found = { client: (await disks.disk(51712)).client(), kernel }
    },
  })
  seedDisk(seeder(host.store), { front: domain.id })
  await host.until('the disk to connect', () => found !== undefined)
  return { host, store, ...found! }
}

/** Transfers `size` bytes by as many requests as that takes, again and again, `depth` at a time. Transfers in a second. */
async function throughRing({ host, client, kernel }: Setup, size: number, depth: number): Promise<number> {
  const most = client.maxSegments
  const buffers = Array.from({ length: Math.min(depth, size >= MIB ? BUFFERS : depth) }, (): Buffer => {
    const pages = Array.from({ length: Math.ceil(size / 4096) }, () => client.takePage())
    const segments = pages.map((data): Segment => ({ data, first: 0, last: 7 }))
    const parts = Array.from({ length: Math.ceil(pages.length / most) }, (_, part) => segments.slice(part * most, (part + 1) * most))
    return { pages, parts }
  })
  let done = 0
  let running = depth
  let stop = false
  const start = (buffer: Buffer, sector: number): void => {
    let parts = buffer.parts.length
    const finished = (status: number | undefined): void => {
      if (status !== BLKIF_RSP.OKAY) throw new Error(`a request ended with status ${status}`)
      parts -= 1
      if (parts > 0) return
      done += 1
      if (stop) running -= 1
      else start(buffer, (sector + size / 512) % (DISK / 512))
    }
    client.submitAll(buffer.parts.map((segments, part) => (
      { operation: BLKIF_OP.READ, sector: sector + part * most * 8, segments, done: finished }
    )))
  }
  const run = async (length: number): Promise<number> => {
    stop = false
    running = depth
    done = 0
    const begin = seconds()
    kernel.post(() => {
      for (let index = 0; index < depth; index += 1) start(buffers[index % buffers.length]!, index * (size / 512))
    })
    await host.until('the time to be over', () => seconds() - begin > length)
    stop = true
    await host.until('the last requests', () => running === 0)
    return done / (seconds() - begin)
  }
  await run(SECONDS / 4)
  const rate = await run(SECONDS)
  for (const { pages } of buffers) for (const data of pages) client.giveBack(data)
  return rate
}

/** Calls in a second. */
function timed(call: (round: number) => void): number {
  for (let round = 0; round < 100; round += 1) call(round)
  const begin = seconds()
  let rounds = 0
  while (seconds() - begin < SECONDS / 2) for (let i = 0; i < 20; i += 1) call(rounds++)
  return rounds / (seconds() - begin)
}

/** Measures and reports. */
export async function run(report: Report): Promise<void> {
  const setup = await setUp()
  const { store } = setup
  const target = new Uint8Array(BUFFERS * MIB)
  /** The same reads into as many buffers, without a guest, a ring, or a hypervisor. */
  const direct = (size: number, buffers: number): number =>
    timed((round) => store.read((round * size) % DISK, target.subarray((round % buffers) * size, (round % buffers + 1) * size)))
  const source = new Uint8Array(DISK).fill(0x5a)
  const copy = timed((round) => target.set(source.subarray((round * MIB) % DISK, (round * MIB) % DISK + MIB)))
  for (const depth of [1, 32]) {
    const baseline = direct(MIB, Math.min(depth, BUFFERS))
    const rate = await throughRing(setup, MIB, depth)
    const ratio = rate / baseline
    report({
      case: `read 1 MiB, ${depth} at a time`, value: rate, unit: 'MiB/s', baseline: `store called directly: ${Math.round(baseline)} MiB/s`,
      ratio, target: 0.9, met: ratio >= 0.9,
    })
  }
  report({
    case: 'memcpy of 1 MiB', value: copy, unit: 'MiB/s', baseline: '', ratio: null, target: null, met: null,
  })
  for (const depth of [1, 32]) {
    const baseline = direct(4096, depth)
    const rate = await throughRing(setup, 4096, depth)
    const goal = depth === 32 ? 200_000 : null
    report({
      case: `read 4 KiB, ${depth} at a time`, value: rate, unit: 'requests/s', baseline: `store called directly: ${Math.round(baseline)}/s`,
      ratio: rate / baseline, target: goal, met: goal === null ? null : rate >= goal,
    })
  }
  await setup.host.shutdown()
}
