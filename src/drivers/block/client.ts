/**
 * The front-end's half of a disk: sends requests by its rings (request-queue.ts), takes responses, and keeps the pages
 * that carry data. Requests larger than one ring entry are split, and wait where all rings are full. A back-end that
 * breaks one of its rings ends the connection.
 *
 * hot path: with pages that stay granted, a request costs no hypercall but the notification;
 * figure in server.ts.
 * Reference: public/io/blkif.h.
 */
import { BLKIF_OP, BLKIF_RSP, PAGE_SIZE } from '../../abi/index.ts'
import type { GuestKernel } from '../../guest/index.ts'
import { sharePage } from '../../guest/index.ts'
import type { DomId } from '../../util/index.ts'
import { XenError } from '../../util/index.ts'
import { SECTOR_SIZE } from './block-store.ts'
import type { DiskGeometry } from './protocol.ts'
import { DIRECT_SEGMENTS, INDIRECT_SEGMENTS, SECTORS_PER_PAGE } from './protocol.ts'
import { RequestQueue, type BlockRequest, type DataPage, type RingPages, type Segment } from './request-queue.ts'

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

/** What the client works with. */
export interface BlockClientOptions {
  readonly kernel: Pick<GuestKernel, 'frames' | 'grants' | 'endGrant' | 'turn'>
  readonly domid: DomId
  /** The rings, of which there is at least one. */
  readonly rings: readonly RingPages[]
  /** The back-end broke the protocol. */
  failed(): void
}

/** One disk's rings, from the guest's side. */
export class BlockClient {
  private readonly options: BlockClientOptions
  private readonly queues: readonly RequestQueue[]
  /** The ring that takes the next request: each has its turn. */
  private turn = 0
  private readonly waiting: BlockRequest[] = []
  private readonly pool: DataPage[] = []
  private features: BlockFeatures | undefined
  private ended = false
  private broken = false

  constructor(options: BlockClientOptions) {
    this.options = options
    this.queues = options.rings.map((ring) => new RequestQueue(ring))
  }

  /** Requests that are in the rings. */
  get underWay(): number {
    return this.queues.reduce((sum, queue) => sum + queue.underWay, 0)
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
    const queue = this.waiting.length > 0 || request.segments.length > DIRECT_SEGMENTS ? undefined : this.nextQueue()
    if (queue === undefined) {
      this.waiting.push(request)
      this.pump()
      return
    }
    queue.put(request, undefined)
    queue.push()
  }

  /** Sends several requests with one notification. */
  submitAll(requests: readonly BlockRequest[]): void {
    if (requests.length === 1) return this.submit(requests[0]!)
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
    for (const queue of this.queues) if (!queue.take(this.answered)) return this.breakDown()
    this.pump()
  }

  private readonly answered = (request: BlockRequest, list: DataPage | undefined, status: number): void => {
    if (list !== undefined) this.giveBack(list)
    request.done(status)
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

  /** Moves waiting requests into the rings. */
  private pump(): void {
    while (this.waiting.length > 0) {
      const queue = this.nextQueue()
      if (queue === undefined) break
      const request = this.waiting[0]!
      const isIndirect = request.segments.length > DIRECT_SEGMENTS
      const list = isIndirect ? this.tryTakePage() : undefined
      if (isIndirect && list === undefined && this.underWay > 0) break
      this.waiting.shift()
      if (isIndirect && list === undefined) request.done(BLKIF_RSP.ERROR)
      else queue.put(request, list)
    }
    for (const queue of this.queues) queue.push()
  }

  /** A ring that has room, each in its turn; undefined when all are full. */
  private nextQueue(): RequestQueue | undefined {
    const { queues } = this
    for (let tried = 0; tried < queues.length; tried += 1) {
      const queue = queues[this.turn]!
      this.turn = this.turn + 1 < queues.length ? this.turn + 1 : 0
      if (queue.hasRoom) return queue
    }
    return undefined
  }

  private breakDown(): void {
    this.broken = true
    this.abandon()
    this.options.failed()
  }

  private abandon(): void {
    const given = this.queues.map((queue) => queue.abandon())
    const lost = [...given.flatMap(({ requests }) => requests), ...this.waiting.splice(0)]
    for (const list of given.flatMap(({ lists }) => lists)) this.giveBack(list)
    for (const request of lost) request.done(undefined)
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
