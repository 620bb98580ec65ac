/**
 * The front-end's half of one block ring: sends requests, takes responses, and keeps the pages that carry data.
 * Requests larger than one ring entry are split, and wait where the ring is full. What the back-end answers is
 * checked: an identifier that is not under way or an impossible index ends the connection, it never reaches another
 * request.
 *
 * hot path: with pages that stay granted, a request costs no hypercall but the notification;
 * figure in server.ts.
 * Reference: public/io/blkif.h.
 */
import { BLKIF_OP, BLKIF_RSP, PAGE_SIZE } from '../../abi/index.ts'
import type { GuestKernel, Page, SharedPage } from '../../guest/index.ts'
import { sharePage } from '../../guest/index.ts'
import { FrontRing, NO_ENTRY } from '../../rings/index.ts'
import type { DomId } from '../../util/index.ts'
import { XenError } from '../../util/index.ts'
import { SECTOR_SIZE } from './block-store.ts'
import type { DiskGeometry } from './protocol.ts'
import { DIRECT_SEGMENTS, INDIRECT_SEGMENTS, LAYOUT_64, SECTORS_PER_PAGE, SEGMENT_AT } from './protocol.ts'

/** Pages that stay granted for reuse: as many as a full ring of direct requests carries, or four indirect ones. */
const POOL_LIMIT = 1024

/** What the back-end offers. */
export interface BlockFeatures {
  readonly geometry: DiskGeometry
  readonly persistent: boolean
  readonly flush: boolean
  readonly barrier: boolean
  readonly discard: boolean
  /** Segments of an indirect request; 0 where there are none. */
  readonly indirect: number
}

/** A page of the guest that its back-end may use. */
export type DataPage = SharedPage

/** One segment of a request: sectors `first` to `last` of a page. */
export interface Segment {
  readonly data: DataPage
  readonly first: number
  readonly last: number
}

/** One ring entry's worth of work: up to {@link BlockClient.maxSegments} segments. */
export interface BlockRequest {
  readonly operation: number
  readonly sector: number
  readonly segments: readonly Segment[]
  /** For a discard: how many sectors. */
  readonly count?: number
  /** Called with a BLKIF_RSP status, or undefined when the connection ended first. */
  done(status: number | undefined): void
}

/** What the client works with. */
export interface BlockClientOptions {
  readonly kernel: Pick<GuestKernel, 'frames' | 'grants' | 'endGrant' | 'turn'>
  readonly domid: DomId
  readonly ring: Page
  /** Wakes the back-end: requests were published that it asked to hear of. */
  notify(): void
  /** The back-end broke the protocol. */
  failed(): void
}

/** One disk's ring, from the guest's side. */
export class BlockClient {
  private readonly options: BlockClientOptions
  private readonly ring: FrontRing
  /** Requests under way by their identifier, which is a number below the ring's size. */
  private readonly slots: (BlockRequest | undefined)[]
  /** The pages that hold the segments of indirect requests under way. */
  private readonly lists: (DataPage | undefined)[]
  private readonly freeSlots: number[]
  private readonly waiting: BlockRequest[] = []
  private readonly pool: DataPage[] = []
  private features: BlockFeatures | undefined
  private ended = false
  private broken = false

  constructor(options: BlockClientOptions) {
    const { view, base } = options.ring
    this.options = options
    this.ring = FrontRing.create({ view, base, entrySize: LAYOUT_64.entrySize })
    this.slots = new Array<BlockRequest | undefined>(this.ring.entries).fill(undefined)
    this.lists = new Array<DataPage | undefined>(this.ring.entries).fill(undefined)
    this.freeSlots = Array.from({ length: this.ring.entries }, (_, index) => this.ring.entries - 1 - index)
  }

  /** Requests that are in the ring. */
  get underWay(): number {
    return this.ring.entries - this.freeSlots.length
  }

  /** Segments that one request can carry. */
  get maxSegments(): number {
    return Math.max(DIRECT_SEGMENTS, Math.min(this.features?.indirect ?? 0, INDIRECT_SEGMENTS))
  }

  /** The disk has another size from now on. */
  resize(geometry: DiskGeometry): void {
    if (this.features !== undefined) this.features = { ...this.features, geometry }
  }

  /** The connection is up. */
  begin(features: BlockFeatures): void {
    this.features = features
  }

  /** Reads whole sectors. */
  async read(sector: number, count: number): Promise<Uint8Array> {
    this.check(sector, count)
    const result = new Uint8Array(count * SECTOR_SIZE)
    await this.inParts(BLKIF_OP.READ, { sector, count }, undefined, result)
    return result
  }

  /** Writes whole sectors. */
  async write(sector: number, bytes: Uint8Array): Promise<void> {
    if (bytes.length % SECTOR_SIZE !== 0) {
      const details = { length: bytes.length }
      throw new XenError('INVALID_ARGUMENT', `${bytes.length} bytes are not whole sectors`, { details })
    }
    const { geometry } = this.check(sector, bytes.length / SECTOR_SIZE)
    if (geometry.readOnly) throw new XenError('PERMISSION_DENIED', 'the disk is read-only')
    await this.inParts(BLKIF_OP.WRITE, { sector, count: bytes.length / SECTOR_SIZE }, bytes, undefined)
  }

  /** Makes what has been written durable. */
  async flush(): Promise<void> {
    const { flush, barrier } = this.check(0, 0)
    if (!flush && !barrier) return
    const operation = flush ? BLKIF_OP.FLUSH_DISKCACHE : BLKIF_OP.WRITE_BARRIER
    await this.promise({ operation, sector: 0, segments: [] })
  }

  /** Tells that sectors are no longer needed. */
  async discard(sector: number, count: number): Promise<void> {
    const { discard } = this.check(sector, count)
    if (!discard) throw new XenError('NOT_SUPPORTED', 'the back-end does not discard')
    await this.promise({ operation: BLKIF_OP.DISCARD, sector, segments: [], count })
  }

  /** Sends a request, now or when the ring has room. The caller sees to pages and limits. */
  submit(request: BlockRequest): void {
    if (this.ended || this.broken) {
      request.done(undefined)
      return
    }
    this.waiting.push(request)
    this.pump()
  }

  /** Sends several requests with one notification. */
  submitAll(requests: readonly BlockRequest[]): void {
    for (const request of requests.slice(0, -1)) {
      if (this.ended || this.broken) request.done(undefined)
      else this.waiting.push(request)
    }
    const last = requests.at(-1)
    if (last !== undefined) this.submit(last)
  }

  /** A page that is granted to the back-end until {@link BlockClient.giveBack}. */
  takePage(): DataPage {
    // First in, first out: pages that lie side by side stay together, and the back-end moves them in one piece.
    return this.pool.shift() ?? sharePage(this.options.kernel, this.options.domid)
  }

  /** A granted page, or undefined when the guest has none to spare. */
  private tryTakePage(): DataPage | undefined {
    try {
      return this.takePage()
    } catch (error) {
      if (XenError.is(error, 'OUT_OF_MEMORY') || XenError.is(error, 'OUT_OF_RESOURCES')) return undefined
      throw error
    }
  }

  /** Takes a page back; it stays granted for the next request where the back-end keeps it mapped. */
  giveBack(data: DataPage): void {
    if (!this.ended && this.features?.persistent === true && this.pool.length < POOL_LIMIT) this.pool.push(data)
    else data.release()
  }

  /** Takes responses. To be called for each event. */
  onEvent(): void {
    if (this.ended || this.broken) return
    do {
      for (let address = this.ring.takeResponse(); address !== NO_ENTRY; address = this.ring.takeResponse()) {
        if (!this.accept(address)) return this.breakDown()
      }
    } while (this.ring.finalCheckForResponses())
    if (this.ring.broken) return this.breakDown()
    this.pump()
  }

  /** The connection is over: what is under way or waiting fails, all pages are taken back. */
  end(): void {
    this.ended = true
    this.abandon()
    for (const data of this.pool.splice(0)) this.giveBack(data)
  }

  private check(sector: number, count: number): BlockFeatures {
    const { features } = this
    if (features === undefined || this.ended || this.broken) throw new XenError('CLOSED', 'the disk is not connected')
    const { sectors } = features.geometry
    if (!Number.isInteger(sector) || !Number.isInteger(count) || sector < 0 || count < 0 || sector + count > sectors) {
      const range = `sectors ${sector} to ${sector + count}`
      throw new XenError('INVALID_ARGUMENT', `${range} are not within the disk's ${sectors}`, {
        details: { sector, count, sectors },
      })
    }
    return features
  }

  /** Cuts a transfer into ring entries and waits for all of them. */
  private async inParts(
    operation: number, range: { readonly sector: number; readonly count: number },
    source: Uint8Array | undefined, target: Uint8Array | undefined,
  ): Promise<void> {
    const perRequest = this.maxSegments * SECTORS_PER_PAGE
    const parts: Promise<void>[] = []
    for (let done = 0; done < range.count; done += perRequest) {
      const count = Math.min(perRequest, range.count - done)
      const slice = { start: done * SECTOR_SIZE, end: (done + count) * SECTOR_SIZE }
      parts.push(this.part(operation, range.sector + done, {
        source: source?.subarray(slice.start, slice.end), target: target?.subarray(slice.start, slice.end), count,
      }))
    }
    const results = await Promise.allSettled(parts)
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }

  private async part(
    operation: number, sector: number,
    { source, target, count }: {
      readonly source: Uint8Array | undefined; readonly target: Uint8Array | undefined; readonly count: number
    },
  ): Promise<void> {
    const pages: DataPage[] = []
    try {
      const segments: Segment[] = []
      for (let done = 0; done < count; done += SECTORS_PER_PAGE) {
        const data = this.takePage()
        pages.push(data)
        const last = Math.min(SECTORS_PER_PAGE, count - done) - 1
        segments.push({ data, first: 0, last })
        const part = source?.subarray(done * SECTOR_SIZE, (done + last + 1) * SECTOR_SIZE)
        if (part !== undefined) data.page.bytes.set(part)
      }
      await this.promise({ operation, sector, segments })
      segments.forEach(({ data, last }, index) => {
        target?.set(data.page.bytes.subarray(0, (last + 1) * SECTOR_SIZE), index * PAGE_SIZE)
      })
    } finally {
      for (const data of pages) this.giveBack(data)
    }
  }

  private promise(request: Omit<BlockRequest, 'done'>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.submit({
        ...request,
        done: (status) => {
          this.options.kernel.turn()
          if (status === BLKIF_RSP.OKAY) resolve()
          else reject(failure(status, request))
        },
      })
    })
  }

  /** Moves waiting requests into the ring. */
  private pump(): void {
    let wrote = false
    while (this.waiting.length > 0 && this.freeSlots.length > 0) {
      const request = this.waiting[0]!
      const isIndirect = request.segments.length > DIRECT_SEGMENTS
      const list = isIndirect ? this.tryTakePage() : undefined
      if (isIndirect && list === undefined && this.underWay > 0) break
      this.waiting.shift()
      if (isIndirect && list === undefined) {
        request.done(BLKIF_RSP.ERROR)
        continue
      }
      const address = this.ring.nextRequest()
      // There are as many slots as entries, and one of them was free.
      const slot = this.freeSlots.pop()!
      this.slots[slot] = request
      this.lists[slot] = list
      this.fill(address, slot, request)
      wrote = true
    }
    if (wrote && this.ring.pushRequestsAndCheckNotify()) this.options.notify()
  }

  private fill(address: number, slot: number, { operation, sector, segments, count }: BlockRequest): void {
    const { view } = this.options.ring
    const { request, discard } = LAYOUT_64
    request.operation.set(view, address, operation)
    request.id.setParts(view, address, slot, 0)
    request.handle.set(view, address, 0)
    request.sectorNumber.setNumber(view, address, sector)
    if (count !== undefined) {
      discard.flag.set(view, address, 0)
      discard.nrSectors.setNumber(view, address, count)
      return
    }
    if (segments.length > DIRECT_SEGMENTS) {
      this.fillIndirect(address, slot, { operation, sector, segments })
      return
    }
    request.nrSegments.set(view, address, segments.length)
    writeSegments(view, request.seg.at(address, 0), segments)
  }

  private fillIndirect(address: number, slot: number, request: Omit<BlockRequest, 'done'>): void {
    const { operation, sector, segments } = request
    const { view } = this.options.ring
    const { indirect } = LAYOUT_64
    // A request with that many segments was given its page before it was given its entry.
    const list = this.lists[slot]!
    writeSegments(view, list.page.base, segments)
    indirect.operation.set(view, address, BLKIF_OP.INDIRECT)
    indirect.indirectOp.set(view, address, operation)
    indirect.nrSegments.set(view, address, segments.length)
    indirect.handle.set(view, address, 0)
    indirect.sectorNumber.setNumber(view, address, sector)
    view.setUint32(indirect.indirectGrefs.at(address, 0), list.ref, true)
  }

  /** Ends the request that a response names; false when there is none such, or another operation was answered. */
  private accept(address: number): boolean {
    const { view } = this.options.ring
    const slot = LAYOUT_64.response.id.low(view, address)
    const status = LAYOUT_64.response.status.get(view, address)
    const request = LAYOUT_64.response.id.high(view, address) === 0 ? this.slots[slot] : undefined
    if (request === undefined || LAYOUT_64.response.operation.get(view, address) !== request.operation) return false
    this.slots[slot] = undefined
    this.freeSlots.push(slot)
    this.giveBackList(slot)
    request.done(status)
    return true
  }

  private breakDown(): void {
    this.broken = true
    this.abandon()
    this.options.failed()
  }

  private abandon(): void {
    const lost = [...this.slots.filter((request) => request !== undefined), ...this.waiting.splice(0)]
    this.slots.fill(undefined)
    for (let slot = 0; slot < this.lists.length; slot += 1) this.giveBackList(slot)
    for (const request of lost) request.done(undefined)
  }

  private giveBackList(slot: number): void {
    const list = this.lists[slot]
    if (list === undefined) return
    this.lists[slot] = undefined
    this.giveBack(list)
  }
}

/** Writes segments one behind the other, as they stand in a request and in the page of an indirect one. */
function writeSegments(view: DataView, start: number, segments: readonly Segment[]): void {
  const { gref, firstSect, lastSect, size } = SEGMENT_AT
  let place = start
  for (let index = 0; index < segments.length; index += 1) {
    const { data, first, last } = segments[index]!
    view.setUint32(place + gref, data.ref, true)
    view.setUint8(place + firstSect, first)
    view.setUint8(place + lastSect, last)
    place += size
  }
}

/** Why a request failed, as an error of the API. */
function failure(status: number | undefined, { operation, sector }: Omit<BlockRequest, 'done'>): XenError {
  const details = { operation, sector, status }
  if (status === undefined) return new XenError('CLOSED', 'the disk went away', { details })
  if (status === BLKIF_RSP.EOPNOTSUPP) {
    return new XenError('NOT_SUPPORTED', 'the back-end does not do this', { details })
  }
  return new XenError('IO', `the back-end failed a request at sector ${sector}`, { details })
}
