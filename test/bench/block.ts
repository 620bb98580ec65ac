/**
 * Block requests through the ring: a guest in TypeScript, its ring, the hypervisor's grants and events, the back-end in
 * dom0, a store in memory; on one host as the toolstack boots it. Against calling the same store directly.
 * Targets: 0.9 of direct at 1 MiB, 200,000 requests of 4 KiB in a second.
 * The part `linux` is dd of Debian's Linux, with what xen-blkfront can negotiate and without.
 */
import { BLKIF_OP, BLKIF_RSP } from '../../src/abi/index.ts'
import type { BlockClient, DataPage, Segment } from '../../src/drivers/index.ts'
import { BlockBackend, BlockFrontend, MemoryBlockStore } from '../../src/drivers/index.ts'
import { BackendBus, FrontendBus } from '../../src/guest/index.ts'
import type { GuestKernel } from '../../src/guest/index.ts'
import { Host } from '../../src/index.ts'
import { seedDisk, seeder } from '../support/devices.ts'
import type { Report } from './report.ts'
import { linuxDisk } from './support/linux-disk.ts'
import { bestRates, type Work } from './support/rates.ts'

const MIB = 1 << 20
const DISK = 64 * MIB
/** Buffers of 1 MiB that the transfers share: as many pages as a back-end keeps mapped for one ring. */
const BUFFERS = 4
/** Transfers of 1 MiB, and requests of 4 KiB, of one round: a few tenths of a second. */
const TRANSFERS = 2048
const REQUESTS = 64 * 1024

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

/** Measures transfers of `size` bytes by as many requests as that takes, again and again, `depth` at a time. */
async function throughRing(
  { host, client, kernel }: Setup, { size, depth }: { readonly size: number; readonly depth: number },
  measure: (work: Work) => Promise<number[]>,
): Promise<number[]> {
  const most = client.maxSegments
  const buffers = Array.from({ length: Math.min(depth, size >= MIB ? BUFFERS : depth) }, (): Buffer => {
    const pages = Array.from({ length: Math.ceil(size / 4096) }, () => client.takePage())
    const segments = pages.map((data): Segment => ({ data, first: 0, last: 7 }))
    const parts = Array.from({ length: Math.ceil(pages.length / most) }, (_, part) => segments.slice(part * most, (part + 1) * most))
    return { pages, parts }
  })
  let done = 0
  let left = 0
  const start = (buffer: Buffer, sector: number): void => {
    left -= 1
    let parts = buffer.parts.length
    const finished = (status: number | undefined): void => {
      if (status !== BLKIF_RSP.OKAY) throw new Error(`a request ended with status ${status}`)
      parts -= 1
      if (parts > 0) return
      done += 1
      if (left > 0) start(buffer, (sector + size / 512) % (DISK / 512))
    }
    client.submitAll(buffer.parts.map((segments, part) => (
      { operation: BLKIF_OP.READ, sector: sector + part * most * 8, segments, done: finished }
    )))
  }
  const rates = await measure(async (count) => {
    done = 0
    left = count
    kernel.post(() => {
      for (let index = 0; index < depth; index += 1) start(buffers[index % buffers.length]!, index * (size / 512))
    })
    await host.until('all transfers', () => done >= count)
  })
  for (const { pages } of buffers) for (const data of pages) client.giveBack(data)
  return rates
}

/** Measures and reports; `parts` are `guest` and `linux`, both where none is named. */
export async function run(report: Report, parts: readonly string[] = []): Promise<void> {
  if (parts.length === 0 || parts.includes('guest')) await guestDisk(report)
  if (parts.length === 0 || parts.includes('linux')) await linuxDisk(report)
}

async function guestDisk(report: Report): Promise<void> {
  const setup = await setUp()
  const { store } = setup
  const target = new Uint8Array(BUFFERS * MIB)
  /** The same reads into as many buffers, without a guest, a ring, or a hypervisor. */
  const direct = (size: number, buffers: number): Work => (count) => {
    for (let round = 0; round < count; round += 1) {
      const start = (round % buffers) * size
      store.read((round * size) % DISK, target.subarray(start, start + size))
    }
  }
  const source = new Uint8Array(DISK).fill(0x5a)
  const copy: Work = (count) => {
    for (let round = 0; round < count; round += 1) {
      const start = (round * MIB) % DISK
      target.set(source.subarray(start, start + MIB))
    }
  }
  for (const depth of [1, 32]) {
    const [rate = 0, baseline = 0, memcpy = 0] = await throughRing(setup, { size: MIB, depth }, (work) => bestRates([
      { work, count: TRANSFERS },
      { work: direct(MIB, Math.min(depth, BUFFERS)), count: TRANSFERS },
      { work: copy, count: TRANSFERS },
    ]))
    const ratio = rate / baseline
    report({
      case: `read 1 MiB, ${depth} at a time`, value: rate, unit: 'MiB/s',
      baseline: `store called directly: ${Math.round(baseline)} MiB/s, memcpy: ${Math.round(memcpy)}`,
      ratio, target: 0.9, met: ratio >= 0.9,
    })
  }
  for (const depth of [1, 32]) {
    const [rate = 0, baseline = 0] = await throughRing(setup, { size: 4096, depth }, (work) => bestRates([
      { work, count: REQUESTS },
      { work: direct(4096, depth), count: REQUESTS },
    ]))
    const goal = depth === 32 ? 200_000 : null
    report({
      case: `read 4 KiB, ${depth} at a time`, value: rate, unit: 'requests/s', baseline: `store called directly: ${Math.round(baseline)}/s`,
      ratio: rate / baseline, target: goal, met: goal === null ? null : rate >= goal,
    })
  }
  await setup.host.shutdown()
}
