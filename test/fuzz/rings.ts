/**
 * Seeded fuzzers for hostile rings: one half of a split driver is the real one, the other writes what it likes into the
 * shared pages. A sequence is a few dozen steps on a fresh pair of rings; after it the connection is ended, and nothing may
 * be left mapped, granted or thrown. A failing sequence is repeated by its number.
 */
import {
  BLKIF_OP, BlkifRequest, BlkifRequestDiscard, BlkifRequestIndirect, BlkifRequestSegment, BlkifResponse, GrantEntryV1, NETIF_EXTRA_TYPE, NETRXF, NETTXF,
  NetifExtraInfo, NetifRxRequest, NetifRxResponse, NetifTxRequest, Sring,
} from '../../src/abi/index.ts'
import type { BlockRequest } from '../../src/drivers/index.ts'
import {
  BlockClient, BlockServer, Bridge, LAYOUT_64, MemoryBlockStore, MulticastFilter, NetFrontend, ReceiveServer, Staging, TransmitServer, noStatistics,
} from '../../src/drivers/index.ts'
import { framesOf } from '../../src/drivers/net/staging.ts'
import type { FrontendDevice, GuestKernel } from '../../src/guest/index.ts'
import type { DomId } from '../../src/util/index.ts'
import { SeededRandom, below } from '../../src/util/index.ts'
import { type FakeDomain, FakeHypervisor } from '../../src/testing/index.ts'
import { blankTcp } from '../support/tcp-frames.ts'

/** What is fuzzed: the driver, and the half that is real. */
export type Target = 'block back-end' | 'block front-end' | 'net transmit' | 'net receive' | 'net front-end'

/** What the sequences reached, so that a fuzzer which only bounces off the first check is noticed. */
export interface Reached {
  /** Requests, frames or responses that were carried out. */
  served: number
  /** Those that were refused. */
  refused: number
  /** Rings that were given up because of the other side. */
  broken: number
}

/** Both sides of a fuzzed ring; one host serves many sequences. */
export interface FuzzHost {
  readonly hub: FakeHypervisor
  readonly back: FakeDomain
  readonly front: FakeDomain
  readonly reached: Reached
}

/** A fake host with a back-end's and a front-end's kernel. */
export async function fuzzHost(): Promise<FuzzHost> {
  const hub = new FakeHypervisor(2048)
  const back = hub.createDomain(0, () => undefined, { pages: 256 })
  const front = hub.createDomain(1, () => undefined, { pages: 256 })
  await hub.settle()
  return { hub, back, front, reached: { served: 0, refused: 0, broken: 0 } }
}

/** Bytes before the first entry of a ring's page. */
const RING_HEADER = 64
const BACK = 0 as DomId
const FRONT = 1 as DomId

/** Values that are wrong in the ways that matter: limits, wraps, near misses, and plain noise. */
function odd(random: SeededRandom): number {
  const choice = below(random, 8)
  if (choice === 0) return 0
  if (choice === 1) return 0xffff_ffff
  if (choice === 2) return 0x8000_0000 + below(random, 3) - 1
  if (choice === 3) return 2 ** below(random, 32)
  if (choice < 6) return below(random, 64)
  return random.next()
}

/** One hostile half: knows the ring's pages, and follows the protocol closely enough to get anywhere. */
interface Attack {
  readonly random: SeededRandom
  readonly hub: FakeHypervisor
  /** Byte offset of the ring's first page. */
  readonly ring: number
  /** Byte offsets of all pages of a ring that has several. */
  readonly pages?: readonly number[]
  readonly entrySize: number
  readonly entries: number
  /** The index that this half writes. */
  readonly producer: 'reqProd' | 'rspProd'
}

const rarely = (random: SeededRandom, oneIn: number): boolean => below(random, oneIn) === 0

/** Entry number `ahead` beyond what has been produced, or any at all now and then. */
function entryOf({ random, hub, ring, entrySize, entries, producer }: Attack, ahead = 0): number {
  const index = rarely(random, 12) ? below(random, entries) : Sring[producer].get(hub.view, ring) + ahead
  return ring + RING_HEADER + (index % entries) * entrySize
}

/** A block ring of 1, 2, 4, 8 or 16 pages that lie where they like. */
const blockRing = (pages: readonly number[]): Pick<Attack, 'ring' | 'pages' | 'entrySize' | 'entries'> => ({
  ring: pages[0]!, pages, entrySize: BlkifRequest.size, entries: 2 ** Math.floor(Math.log2((4096 * pages.length - RING_HEADER) / BlkifRequest.size)),
})

/**
 * Changes an entry of a block ring, number `ahead` beyond what has been produced or any at all now and then: it may be
 * split between two pages.
 */
function withEntry({ random, hub, entrySize, entries, producer, ring, pages = [ring] }: Attack, ahead: number, change: (view: DataView, at: number) => void): void {
  const index = rarely(random, 12) ? below(random, entries) : Sring[producer].get(hub.view, ring) + ahead
  const start = RING_HEADER + (index % entries) * entrySize
  const at = pages[Math.floor(start / 4096)]! + (start % 4096)
  const first = Math.min(entrySize, 4096 - (start % 4096))
  const second = pages[Math.floor(start / 4096) + 1] ?? 0
  if (first === entrySize) return change(hub.view, at)
  const copy = new Uint8Array(entrySize)
  copy.set(hub.bytes.subarray(at, at + first))
  copy.set(hub.bytes.subarray(second, second + entrySize - first), first)
  change(new DataView(copy.buffer), 0)
  hub.bytes.set(copy.subarray(0, first), at)
  hub.bytes.set(copy.subarray(first), second)
}

/** Claims to have produced `count` entries; now and then far more, or something absurd. */
function produce({ random, hub, ring, entries, producer }: Attack, count: number): void {
  const now = Sring[producer].get(hub.view, ring)
  const next = rarely(random, 150) ? odd(random) : rarely(random, 40) ? now + below(random, 2 * entries) : now + count
  Sring[producer].set(hub.view, ring, next >>> 0)
}

/** Disturbs what is not this half's to write, or anything in the page. */
function disturb({ random, hub, ring, producer }: Attack): void {
  if (rarely(random, 6)) Sring[producer === 'reqProd' ? 'rspEvent' : 'reqEvent'].set(hub.view, ring, odd(random) >>> 0)
  if (rarely(random, 12)) for (let i = 0; i < 8; i += 1) hub.bytes[ring + 64 + below(random, 4032)] = random.next() & 0xff
  if (rarely(random, 80)) for (let i = 0; i < 4; i += 1) hub.bytes[ring + below(random, 64)] = random.next() & 0xff
}

/** A block request that is nearly right. */
function writeBlockRequest({ random }: Attack, refs: readonly number[], { view, at }: { readonly view: DataView; readonly at: number }): void {
  const pick = (usual: number): number => (rarely(random, 16) ? odd(random) : usual)
  BlkifRequest.operation.set(view, at, pick(below(random, 3)) & 0xff)
  BlkifRequest.nrSegments.set(view, at, pick(1 + below(random, 4)) & 0xff)
  BlkifRequest.id.setParts(view, at, odd(random), odd(random))
  BlkifRequest.sectorNumber.setParts(view, at, pick(below(random, 2000)), rarely(random, 30) ? odd(random) : 0)
  for (let index = 0; index < 11; index += 1) {
    const segment = BlkifRequest.seg.at(at, index)
    BlkifRequestSegment.gref.set(view, segment, rarely(random, 30) ? odd(random) : refs[below(random, refs.length)]!)
    BlkifRequestSegment.firstSect.set(view, segment, pick(below(random, 5)) & 0xff)
    BlkifRequestSegment.lastSect.set(view, segment, pick(4 + below(random, 4)) & 0xff)
  }
}

/** A block request whose segments stand in a page of their own. */
function writeIndirectRequest({ random, hub }: Attack, { refs, pages }: { readonly refs: readonly number[]; readonly pages: { readonly refs: readonly number[]; readonly bases: readonly number[] } }, { view, at }: { readonly view: DataView; readonly at: number }): void {
  const pick = (usual: number): number => (rarely(random, 16) ? odd(random) : usual)
  const list = below(random, pages.refs.length)
  BlkifRequestIndirect.operation.set(view, at, BLKIF_OP.INDIRECT)
  BlkifRequestIndirect.indirectOp.set(view, at, pick(below(random, 2)) & 0xff)
  BlkifRequestIndirect.nrSegments.set(view, at, pick(1 + below(random, 20)) & 0xffff)
  BlkifRequestIndirect.sectorNumber.setParts(view, at, pick(below(random, 1800)), 0)
  view.setUint32(BlkifRequestIndirect.indirectGrefs.at(at, 0), pick(pages.refs[list]!), true)
  for (let index = 0; index < 20; index += 1) {
    const place = pages.bases[list]! + index * BlkifRequestSegment.size
    BlkifRequestSegment.gref.set(hub.view, place, rarely(random, 60) ? odd(random) : refs[below(random, refs.length)]!)
    BlkifRequestSegment.firstSect.set(hub.view, place, below(random, 5))
    BlkifRequestSegment.lastSect.set(hub.view, place, rarely(random, 60) ? odd(random) & 0xff : 4 + below(random, 4))
  }
}

/** A discard that is nearly right. */
function writeDiscard({ random }: Attack, { view, at }: { readonly view: DataView; readonly at: number }): void {
  const pick = (usual: number): number => (rarely(random, 8) ? odd(random) : usual)
  BlkifRequestDiscard.operation.set(view, at, BLKIF_OP.DISCARD)
  BlkifRequestDiscard.flag.set(view, at, below(random, 256))
  BlkifRequestDiscard.id.setParts(view, at, odd(random), odd(random))
  BlkifRequestDiscard.sectorNumber.setParts(view, at, pick(below(random, 2000)), rarely(random, 20) ? odd(random) : 0)
  BlkifRequestDiscard.nrSectors.setParts(view, at, pick(below(random, 64)), rarely(random, 20) ? odd(random) : 0)
}

/** Pages of a kernel, granted to the other side, each fifth for reading only, and the way back. */
function granted(kernel: GuestKernel, to: DomId, count: number, readOnly = (index: number): boolean => index % 5 === 4): { readonly refs: number[]; readonly bases: number[]; release(): void } {
  const pages = Array.from({ length: count }, () => kernel.frames.allocate())
  const refs = pages.map((page, index) => kernel.grants.grant(to, page.frame, { readOnly: readOnly(index) }))
  return {
    refs, bases: pages.map((page) => page.base),
    release: () => {
      for (const ref of refs) if (!kernel.grants.end(ref)) throw new Error(`grant ${ref} is still in use`)
      for (const page of pages) kernel.frames.release(page)
    },
  }
}

async function blockBackend({ hub, back, front, reached }: FuzzHost, random: SeededRandom): Promise<void> {
  const count = 2 ** below(random, 5)
  // Those of the ring are handed out in any order, so that they do not lie in a row.
  const ringPages = granted(front.kernel, BACK, count, () => false)
  const pages = granted(front.kernel, BACK, 6)
  const store = new MemoryBlockStore(1 << 20, { readOnly: below(random, 4) === 0 })
  const order = ringPages.refs.map((ref, index) => ({ ref, base: ringPages.bases[index]!, place: random.next() })).sort((a, b) => a.place - b.place)
  // The ring's own pages are granted, too, and may be where a disk is read to.
  const refs = [...ringPages.refs, ...pages.refs]
  for (const { base } of order) hub.bytes.fill(0, base, base + 4096)
  const mapped = order.map(({ ref }) => back.kernel.grants.map(FRONT, ref as never))
  const bases = order.map(({ base }) => base)
  const server = new BlockServer({
    grants: back.kernel.hypercalls, domid: FRONT, store, layout: LAYOUT_64, ring: bases, persistent: below(random, 2) === 0,
    notify: () => undefined, hold: () => () => undefined,
  })
  const attack: Attack = { random, hub, ...blockRing(bases), producer: 'reqProd' }
  for (let step = 0; step < 24; step += 1) {
    const requests = below(random, 6) * (rarely(random, 12) ? count : 1)
    for (let i = 0; i < requests; i += 1) {
      withEntry(attack, i, (view, at) => {
        if (rarely(random, 8)) writeDiscard(attack, { view, at })
        else if (rarely(random, 3)) writeIndirectRequest(attack, { refs, pages }, { view, at })
        else writeBlockRequest(attack, refs, { view, at })
      })
    }
    produce(attack, requests)
    disturb(attack)
    server.serve()
  }
  await server.stop()
  for (const page of mapped) back.kernel.grants.unmap(page)
  reached.served += server.statistics.reads + server.statistics.writes + server.statistics.discards
  reached.refused += server.statistics.errors
  reached.broken += server.broken ? 1 : 0
  ringPages.release()
  pages.release()
}

function blockFrontend({ hub, front, reached }: FuzzHost, random: SeededRandom): void {
  const { kernel } = front
  const queues = Array.from({ length: 1 + below(random, 3) }, () => {
    const pages = Array.from({ length: 2 ** below(random, 3) }, () => ({ page: kernel.frames.allocate(), place: random.next() }))
    return pages.sort((a, b) => a.place - b.place).map(({ page }) => page)
  })
  let failed = 0
  const client = new BlockClient({
    kernel, domid: BACK, rings: queues.map((pages) => ({ pages, notify: () => undefined })), failed: () => { failed += 1 },
  })
  client.begin({
    geometry: { sectors: 2048, readOnly: false, cdrom: false, removable: false },
    persistent: below(random, 2) === 0, flush: true, barrier: true, discard: true, indirect: 256,
  })
  let open = 0
  const submit = (): void => {
    const data = client.takePage()
    open += 1
    const request: BlockRequest = {
      operation: BLKIF_OP.READ, sector: 0, segments: [{ data, first: 0, last: 7 }],
      done: (status) => {
        open -= 1
        if (status === undefined) reached.refused += 1
        else reached.served += 1
        client.giveBack(data)
      },
    }
    client.submit(request)
  }
  const attacks = queues.map((pages): Attack => ({ random, hub, ...blockRing(pages.map(({ base }) => base)), producer: 'rspProd' }))
  for (let step = 0; step < 24; step += 1) {
    for (let i = below(random, 5 * queues.length); i > 0 && open < 40; i -= 1) submit()
    const attack = attacks[below(random, attacks.length)]!
    const outstanding = (Sring.reqProd.get(hub.view, attack.ring) - Sring.rspProd.get(hub.view, attack.ring)) >>> 0
    const count = Math.min(below(random, 4), outstanding)
    for (let i = 0; i < count; i += 1) {
      withEntry(attack, i, (view, at) => {
        // A request and its response share the entry: the identifier is there to be sent back.
        const id = rarely(random, 60) ? odd(random) : BlkifRequest.id.low(view, at)
        BlkifResponse.id.setParts(view, at, id, rarely(random, 60) ? odd(random) : 0)
        BlkifResponse.operation.set(view, at, rarely(random, 60) ? odd(random) & 0xff : BLKIF_OP.READ)
        BlkifResponse.status.set(view, at, below(random, 3) - 2)
      })
    }
    produce(attack, count)
    if (rarely(random, 4)) disturb(attack)
    client.onEvent()
  }
  client.end()
  if (open !== 0) throw new Error(`${open} requests were never ended`)
  reached.broken += failed
  if (failed > 1) throw new Error(`the failure was told ${failed} times`)
  for (const page of queues.flat()) kernel.frames.release(page)
}

const marksOf = (random: SeededRandom): number =>
  (rarely(random, 40) ? odd(random) & 0xffff : rarely(random, 12) ? NETTXF.more_data : rarely(random, 4) ? NETTXF.csum_blank : 0) | (rarely(random, 8) ? NETTXF.extra_info : 0)

/** Extra information that is nearly right. */
function writeExtra({ random, hub: { view } }: Attack, at: number): void {
  const kinds = [NETIF_EXTRA_TYPE.GSO, NETIF_EXTRA_TYPE.GSO, NETIF_EXTRA_TYPE.GSO, NETIF_EXTRA_TYPE.MCAST_ADD, NETIF_EXTRA_TYPE.MCAST_DEL, NETIF_EXTRA_TYPE.HASH]
  NetifExtraInfo.type.set(view, at, rarely(random, 400) ? odd(random) & 0xff : kinds[below(random, kinds.length)]!)
  NetifExtraInfo.flags.set(view, at, rarely(random, 200) ? odd(random) & 0xff : 0)
  NetifExtraInfo.gsoSize.set(view, at, rarely(random, 400) ? odd(random) & 0xffff : 1 + below(random, 1500))
  NetifExtraInfo.gsoType.set(view, at, rarely(random, 400) ? odd(random) & 0xff : 1 + below(random, 2))
}

function netTransmit({ hub, back, front, reached }: FuzzHost, random: SeededRandom, staging: Staging): void {
  const pages = granted(front.kernel, BACK, 6)
  const ring = pages.bases[0]!
  hub.bytes.fill(0, ring, ring + 4096)
  const bridge = new Bridge({ now: () => hub.clock.now() })
  let frames = 0
  // One port takes what the guest sends as it is, the other has it cut.
  bridge.attach({ deliver: () => { frames += 1 }, flush: () => undefined, takesLarge: () => true })
  bridge.open()
  pages.bases.slice(1).forEach((base, index) => hub.bytes.set(blankTcp({ version: index % 2 === 0 ? 4 : 6, data: new Uint8Array(1000) }), base))
  const statistics = noStatistics()
  const link = bridge.attach({ deliver: () => undefined, flush: () => undefined })
  const services = { grants: back.kernel.hypercalls, domid: FRONT, staging, statistics }
  const groups = new MulticastFilter()
  const server = new TransmitServer(services, ring, { link, groups, notify: () => undefined })
  const attack: Attack = { random, hub, ring, entrySize: NetifTxRequest.size, entries: 256, producer: 'reqProd' }
  for (let step = 0; step < 24; step += 1) {
    const count = below(random, 24)
    for (let i = 0; i < count; i += 1) {
      const at = entryOf(attack, i)
      NetifTxRequest.gref.set(hub.view, at, rarely(random, 20) ? odd(random) : pages.refs[below(random, pages.refs.length)]!)
      const flags = i === count - 1 && !rarely(random, 20) ? 0 : marksOf(random)
      const hasHeaders = (flags & (NETTXF.extra_info | NETTXF.csum_blank)) !== 0 && !rarely(random, 8)
      NetifTxRequest.offset.set(hub.view, at, rarely(random, 20) ? odd(random) & 0xffff : hasHeaders ? 0 : below(random, 2000))
      NetifTxRequest.flags.set(hub.view, at, flags)
      NetifTxRequest.packetSize.set(hub.view, at, rarely(random, 10) ? odd(random) & 0xffff : 14 + below(random, 1500))
      if ((flags & NETTXF.extra_info) !== 0 && i + 1 < count) writeExtra(attack, entryOf(attack, (i += 1)))
    }
    produce(attack, count)
    disturb(attack)
    server.serve()
  }
  if (groups.save().groups.length > 64) throw new Error('more groups are kept than may be')
  reached.served += statistics.framesIn
  reached.refused += statistics.errors
  reached.broken += server.broken ? 1 : 0
  if (frames > statistics.framesIn) throw new Error('a frame was made up')
  link.detach()
  pages.release()
}

function netReceive({ hub, back, front, reached }: FuzzHost, random: SeededRandom, staging: Staging): void {
  const pages = granted(front.kernel, BACK, 6)
  const ring = pages.bases[0]!
  hub.bytes.fill(0, ring, ring + 4096)
  const statistics = noStatistics()
  const services = { grants: back.kernel.hypercalls, domid: FRONT, staging, statistics }
  const features = { scatter: below(random, 2) === 0, checksumBlank: below(random, 2) === 0, checksumBlankIpv6: below(random, 2) === 0, large: below(random, 2) === 0, largeIpv6: below(random, 2) === 0 }
  const server = new ReceiveServer(services, ring, { features, notify: () => undefined })
  const attack: Attack = { random, hub, ring, entrySize: NetifRxRequest.size, entries: 256, producer: 'reqProd' }
  for (let step = 0; step < 24; step += 1) {
    const count = below(random, 40)
    for (let i = 0; i < count; i += 1) {
      const at = entryOf(attack, i)
      NetifRxRequest.id.set(hub.view, at, odd(random) & 0xffff)
      NetifRxRequest.gref.set(hub.view, at, rarely(random, 12) ? odd(random) : pages.refs[below(random, pages.refs.length)]!)
    }
    produce(attack, count)
    disturb(attack)
    for (let i = below(random, 40); i > 0; i -= 1) {
      const staged = framesOf(staging)[below(random, framesOf(staging).length)]!
      const isStaged = below(random, 3) === 0
      if (isStaged) staged.resize(14 + below(random, 1500))
      const bytes = isStaged ? staged.bytes : new Uint8Array(14 + below(random, below(random, 8) === 0 ? 60_000 : 1500))
      server.deliver(isStaged ? staged : { bytes, checksumBlank: below(random, 4) === 0, validated: false, ...(rarely(random, 4) ? { segmentSize: 1 + below(random, 0xffff) } : {}) })
    }
    server.serve()
  }
  reached.served += statistics.framesOut
  reached.refused += statistics.dropped
  reached.broken += server.broken ? 1 : 0
  pages.release()
}

async function netFrontend({ hub, front, reached }: FuzzHost, random: SeededRandom): Promise<void> {
  const { kernel } = front
  const nodes: Record<string, string> = {}
  let closed = 0
  const device = {
    kernel, otherEnd: BACK, id: '0', path: 'device/vif/0',
    read: async () => '00:16:3e:00:00:01', readOtherNumber: async () => 1,
    writeTogether: async (written: Record<string, string>) => void Object.assign(nodes, written),
    close: async () => { closed += 1 },
  }
  // The interface uses these members of a device and no others.
  const large = below(random, 2) === 0
  const driver = new NetFrontend({ large })
  const instance = driver.probe(device as unknown as FrontendDevice)
  const nic = driver.nics[0]!
  await instance.publish()
  await instance.connected()
  nic.onFrame(() => { reached.served += 1 })
  const base = (name: string): number => GrantEntryV1.frame.get(hub.view, front.grantEntry(Number(nodes[name]))!) * 4096
  const rings = [base('tx-ring-ref'), base('rx-ring-ref')] as const
  for (let step = 0; step < 24; step += 1) {
    const receive = !rarely(random, 3)
    const attack: Attack = {
      random, hub, ring: rings[receive ? 1 : 0], entrySize: receive ? 8 : 12, entries: 256, producer: 'rspProd',
    }
    const outstanding = Sring.reqProd.get(hub.view, attack.ring) - Sring.rspProd.get(hub.view, attack.ring)
    const count = Math.max(0, Math.min(outstanding, below(random, 12)))
    for (let i = 0; i < count; i += 1) {
      const at = entryOf(attack, i)
      // The identifier of a request stands at another place than that of its response on the transmit ring only.
      const id = hub.view.getUint16(at + (receive ? 0 : 8), true)
      hub.view.setUint16(at, rarely(random, 80) ? odd(random) & 0xffff : id, true)
      if (!receive) {
        hub.view.setInt16(at + 2, below(random, 3) - 2, true)
        continue
      }
      NetifRxResponse.offset.set(hub.view, at, rarely(random, 80) ? odd(random) & 0xffff : 0)
      NetifRxResponse.flags.set(hub.view, at, rarely(random, 10) ? odd(random) & 0xffff : 0)
      NetifRxResponse.status.set(hub.view, at, rarely(random, 10) ? (odd(random) << 16) >> 16 : below(random, 1514))
      if (rarely(random, large ? 10 : 300) && i + 1 < count) {
        NetifRxResponse.flags.set(hub.view, at, NETRXF.extra_info | (rarely(random, 3) ? NETRXF.more_data : 0))
        writeExtra(attack, entryOf(attack, (i += 1)))
      }
    }
    produce(attack, count)
    if (rarely(random, 4)) disturb(attack)
    if (nic.connected && below(random, 2) === 0 && !nic.send(new Uint8Array(rarely(random, 4) ? below(random, 9000) : 60))) reached.refused += 1
    front.setPending(Number(nodes['event-channel-rx']))
    front.runner.run(1_000_000)
  }
  await instance.disconnect()
  reached.broken += closed
  if (closed > 1) throw new Error(`the interface was closed ${closed} times`)
}

/**
 * Pages that nobody was granted: whatever is written into one of them was written where it must not be. They lie right
 * behind those that a sequence is going to use.
 */
function canaries({ front, back }: FuzzHost): () => void {
  const pages = [front, back].flatMap(({ kernel: { frames } }) => {
    const room = Array.from({ length: 8 }, () => frames.allocate())
    const behind = Array.from({ length: 4 }, () => frames.allocate())
    for (const page of room.reverse()) frames.release(page)
    return behind
  })
  for (const page of pages) page.bytes.fill(0xa5)
  return () => {
    if (pages.some((page) => page.bytes[0] !== 0xa5 || page.bytes[4095] !== 0xa5)) throw new Error('a page that was not granted was written')
  }
}

/** Runs sequences `first` to `first + count - 1`; the error of a failing one names it. */
export async function fuzz(target: Target, count: number, first = 0): Promise<Reached> {
  const host = await fuzzHost()
  const checkCanaries = canaries(host)
  const staging = new Staging(host.back.kernel)
  const before = { front: host.front.kernel.frames.free, back: host.back.kernel.frames.free }
  for (let sequence = first; sequence < first + count; sequence += 1) {
    const random = new SeededRandom(sequence)
    try {
      if (target === 'block back-end') await blockBackend(host, random)
      else if (target === 'block front-end') blockFrontend(host, random)
      else if (target === 'net transmit') netTransmit(host, random, staging)
      else if (target === 'net receive') netReceive(host, random, staging)
      else await netFrontend(host, random)
      check(host, before)
      checkCanaries()
    } catch (error) {
      throw new Error(`${target}, sequence ${sequence}`, { cause: error })
    }
  }
  return host.reached
}

/** Nothing may be left of a sequence. */
function check({ hub, front, back }: FuzzHost, before: { readonly front: number; readonly back: number }): void {
  const left = {
    mappings: hub.mappings, granted: front.kernel.grants.granted, counted: back.kernel.grants.mappings,
    front: before.front - front.kernel.frames.free, back: before.back - back.kernel.frames.free,
  }
  if (Object.values(left).some((value) => value !== 0)) throw new Error(`left behind: ${JSON.stringify(left)}`)
}

