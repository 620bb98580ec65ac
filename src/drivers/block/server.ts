/**
 * Serves one block ring: takes requests, checks them, has them carried out on a store (store-work.ts), answers. It knows
 * the ring and the grants, nothing of XenStore. The front-end is hostile: each request is copied out of the ring once, every field of
 * the copy is checked before it is used, and a grant that cannot be mapped fails its request and nothing else.
 *
 * Segments whose frames lie one behind the other are moved in one piece, by the store straight to or from the guest's
 * memory. Grants stay mapped when the front-end said that it uses them again and again.
 * hot path: a request of 1 MiB costs 7 microseconds beside what its bytes take (80), both halves and the host included.
 *
 * Reference: public/io/blkif.h.
 */
import { BLKIF_OP, BLKIF_RSP, BlkifRequestSegment, GNTST, PAGE_SIZE } from '../../abi/index.ts'
import type { HypercallPort, RateLimit } from '../../guest/index.ts'
import { BackRing, NO_ENTRY, SPLIT_ENTRY, ringState } from '../../rings/index.ts'
import type { DomId, GrantHandle, GrantRef, Quiescible } from '../../util/index.ts'
import { badState, shape, type StateOf } from '../../util/index.ts'
import type { BlockStore } from './block-store.ts'
import { SECTOR_SIZE } from './block-store.ts'
import { PersistentGrants, persistentState } from './persistent-grants.ts'
import type { BlockLayout } from './protocol.ts'
import { DIRECT_SEGMENTS, INDIRECT_SEGMENTS, SECTORS_PER_PAGE, SEGMENT_AT } from './protocol.ts'
import { StoreWork, type ByteRuns, type Outcome } from './store-work.ts'
import { WaitingRequests, type RecordedAnswer, type StoreAnswer } from './waiting-requests.ts'

/** Segments that are moved in one go, 4 MiB: a full ring asks for 32 MiB, and whoever shares the thread waits for it. */
export const TURN_SEGMENTS = 1024

/**
 * What a segment costs the back-end's domain in virtual time, in instructions: a page mapped, moved by the store and let
 * go. A microsecond of plain code; the slowest of the library's stores take some ten times as long for one.
 */
export const SEGMENT_COST = 1000

const count = shape.time

/** Where a ring is, the grants that stay mapped, and what has been done. */
export const blockServerState = /* @__PURE__ */ shape.record({
  ring: ringState,
  persistent: persistentState,
  answers: shape.time,
  statistics: /* @__PURE__ */ shape.record<BlockStatistics>({
    reads: count, writes: count, flushes: count, discards: count, indirect: count, sectorsRead: count, sectorsWritten: count, errors: count,
  }),
})

/** A saved server: no request under way, none resting. */
export type BlockServerState = StateOf<typeof blockServerState>

/** What has been done for a ring so far. */
export interface BlockStatistics {
  reads: number
  writes: number
  flushes: number
  discards: number
  /** Of the reads and writes, those whose segments stood in a page of their own. */
  indirect: number
  sectorsRead: number
  sectorsWritten: number
  errors: number
}

/** Limits of one disk. */
export interface BlockLimits {
  readonly requests?: RateLimit | undefined
  readonly bytes?: RateLimit | undefined
}

/** What the server works with. */
export interface BlockServerOptions {
  readonly grants: Pick<HypercallPort, 'memory' | 'mapGrant' | 'unmapGrant'>
  readonly domid: DomId
  readonly store: BlockStore
  readonly layout: BlockLayout
  /** Byte offsets of the ring's pages in host memory, in their order. */
  readonly ring: readonly number[]
  /** Keep grants mapped between requests. */
  readonly persistent: boolean
  /** Wakes the front-end: responses were published that it asked to hear of. */
  notify(): void
  /** A store has not answered at once: time is to stand still until the returned function is called. */
  hold(): () => void
  /** Charges virtual time, in instructions, for what a front-end made the back-end do. */
  spend?(instructions: number): void
  /** Lets everybody else have a turn, behind a part of a long discard or of a ring's requests. */
  pause?(): Promise<void>
  /** The store has answered what it was asked before: `take` carries that to the guest. Default: at once. */
  answered?(answer: StoreAnswer, take: () => void): void
  /** The store has thrown or rejected: its request is answered with an error, and this hears of it. */
  onStoreFailed?(error: unknown): void
}

/** The segments of a request, in a private copy, and what is to be done with them. */
interface SegmentList {
  readonly view: DataView
  /** Where the first of them stands. */
  readonly at: number
  readonly count: number
  /** First sector of the disk; as the guest gave it, and not yet checked. */
  readonly first: number
}

/** A request that has been checked: whole sectors in mapped frames. */
interface Transfer {
  readonly write: boolean
  readonly idLow: number
  readonly idHigh: number
  readonly operation: number
  /** Its segments stood in a page of their own. */
  readonly indirect: boolean
  /** Mappings that end with the request. */
  readonly handles: GrantHandle[]
  sectors: number
}

/** Serves one ring. */
export class BlockServer implements Quiescible {
  readonly statistics: BlockStatistics = {
    reads: 0, writes: 0, flushes: 0, discards: 0, indirect: 0, sectorsRead: 0, sectorsWritten: 0, errors: 0,
  }
  private readonly options: BlockServerOptions
  private readonly ring: BackRing
  private readonly copy: Uint8Array
  private readonly view: DataView
  private readonly persistent = new PersistentGrants()
  private readonly work: StoreWork
  /** Requests that the store has not answered. */
  private readonly waiting: WaitingRequests
  /** Takes no more requests. */
  private concluding = false
  /** Answers no more. */
  private stopped = false
  /** How much the front-end may ask for; undefined where it may as much as it can. */
  limits: BlockLimits | undefined
  /** Others have their turn; the ring is looked at again behind it. */
  private resting = false
  /** Segments looked at in this turn. */
  private segments = 0
  /** Byte runs of the request in hand. */
  private readonly runs: ByteRuns = { at: new Uint32Array(2 * INDIRECT_SEGMENTS), count: 0 }
  /** Copy of the segments of an indirect request. */
  private readonly indirect = new Uint8Array(INDIRECT_SEGMENTS * BlkifRequestSegment.size)
  private readonly indirectView = new DataView(this.indirect.buffer)

  constructor(options: BlockServerOptions) {
    const { layout, store, grants: { memory } } = options
    this.options = options
    this.work = new StoreWork({
      store, memory, pause: () => options.pause?.(), onStoreFailed: (error) => options.onStoreFailed?.(error),
    })
    this.waiting = new WaitingRequests(memory)
    const [base = 0] = options.ring
    this.ring = new BackRing({ view: memory.view, base, pages: options.ring, entrySize: layout.entrySize })
    this.copy = new Uint8Array(layout.entrySize)
    this.view = new DataView(this.copy.buffer)
  }

  /** What the store said when it failed last. */
  get lastError(): unknown {
    return this.work.lastError
  }

  /** True when the front-end has overrun its ring; nothing is served any more. */
  get broken(): boolean {
    return this.ring.broken
  }

  /** True while the store has not answered a request. */
  get isAwaited(): boolean {
    return this.waiting.size > 0
  }

  /** What keeps it from being saved: requests that the store has not answered, or a ring that waits for its turn. */
  underWay(): string | undefined {
    if (this.waiting.size > 0) return 'a request to its store'
    return this.resting ? 'a turn of its ring' : undefined
  }

  /** The position in the ring and what is kept of the front-end, for a save of its back-end. */
  save(): BlockServerState {
    return { ring: this.ring.save(), persistent: this.persistent.save(), answers: this.waiting.asked, statistics: { ...this.statistics } }
  }

  /** Goes on where the saved one was. */
  load({ ring, persistent, answers, statistics }: BlockServerState): void {
    const most = this.options.grants.memory.bytes.length / PAGE_SIZE
    if (persistent.frames.some((frame) => frame >= most)) throw badState("a grant is beyond the machine's memory")
    this.ring.load(ring)
    this.persistent.load(persistent)
    this.waiting.asked = answers
    Object.assign(this.statistics, statistics)
  }

  /** Serves what is in the ring, a turn's worth at a time. To be called for each event. */
  serve(): void {
    if (this.concluding || this.resting) return
    this.segments = 0
    do {
      while (this.segments < TURN_SEGMENTS && !this.isHeldBack() && this.ring.copyRequest(this.copy)) this.handle()
      this.push()
      // What is left in the ring is taken when there is something left to spend.
      if (this.isHeldBack()) return
      if (this.segments >= TURN_SEGMENTS && this.rest()) return
    } while (this.ring.finalCheckForRequests())
  }

  /** Goes on behind a turn of everybody else; false where nobody gives one. Needs no event: the ring is looked at again. */
  private rest(): boolean {
    this.segments = 0
    const pause = this.options.pause?.()
    if (pause === undefined) return false
    this.resting = true
    void pause.then(() => {
      this.resting = false
      this.serve()
    })
    return true
  }

  /**
   * Takes no more requests; resolves when none is under way any more and every grant has been let go. A store that does
   * not answer keeps its pages, and time from standing still no longer.
   */
  async stop(): Promise<void> {
    this.stopped = true
    this.work.stop()
    await this.conclude()
  }

  /**
   * Takes no more requests, and answers those that are under way; resolves when none is any more and every grant has been let go:
   * another server can take the ring up.
   */
  async conclude(): Promise<void> {
    this.concluding = true
    await this.waiting.end()
    this.release(this.persistent.clear())
  }

  private isHeldBack(): boolean {
    const { limits } = this
    return limits !== undefined && (limits.requests?.isSpent() === true || limits.bytes?.isSpent() === true)
  }

  private handle(): void {
    this.limits?.requests?.spend(1)
    const { request } = this.options.layout
    const operation = request.operation.get(this.view, 0)
    const idLow = request.id.low(this.view, 0)
    const idHigh = request.id.high(this.view, 0)
    switch (operation) {
      case BLKIF_OP.READ:
      case BLKIF_OP.WRITE:
        this.transfer(operation, idLow, idHigh)
        return
      case BLKIF_OP.INDIRECT:
        this.transferIndirect(idLow, idHigh)
        return
      case BLKIF_OP.WRITE_BARRIER:
      case BLKIF_OP.FLUSH_DISKCACHE:
        this.flush(operation, idLow, idHigh)
        return
      case BLKIF_OP.DISCARD:
        this.discard(idLow, idHigh)
        return
      default:
        this.respond(idLow, idHigh, operation, BLKIF_RSP.EOPNOTSUPP)
    }
  }

  /** Makes what was written durable, after a barrier's own segments where it has some. */
  private flush(operation: number, idLow: number, idHigh: number): void {
    this.statistics.flushes += 1
    const carries = this.options.layout.request.nrSegments.get(this.view, 0) > 0
    if (operation === BLKIF_OP.WRITE_BARRIER && carries) this.transfer(operation, idLow, idHigh)
    else this.finish(this.work.flush(), { ...NOTHING, operation, idLow, idHigh })
  }

  private transfer(operation: number, idLow: number, idHigh: number): void {
    const { request } = this.options.layout
    const count = request.nrSegments.get(this.view, 0)
    const list: SegmentList = {
      view: this.view, at: request.seg.at(0, 0), count: count <= DIRECT_SEGMENTS ? count : 0,
      first: request.sectorNumber.number(this.view, 0),
    }
    this.start(list, { write: operation !== BLKIF_OP.READ, idLow, idHigh, operation, indirect: false, handles: [], sectors: 0 })
  }

  /**
   * A request whose segments stand in a page of their own, which is copied before it is looked at. Its answer names
   * what was done, a read or a write, as Linux expects.
   */
  private transferIndirect(idLow: number, idHigh: number): void {
    const { layout: { indirect }, grants: { memory } } = this.options
    const operation = indirect.indirectOp.get(this.view, 0)
    const count = indirect.nrSegments.get(this.view, 0)
    const handles: GrantHandle[] = []
    const sound = (operation === BLKIF_OP.READ || operation === BLKIF_OP.WRITE) && count <= INDIRECT_SEGMENTS
    const ref = this.view.getUint32(indirect.indirectGrefs.at(0, 0), true)
    const frame = sound ? this.persistent.frameOf(ref) || this.mapOne(ref, true, handles) : -1
    if (frame >= 0) {
      const start = frame * PAGE_SIZE
      this.indirect.set(memory.bytes.subarray(start, start + count * BlkifRequestSegment.size))
    }
    const list: SegmentList = {
      view: this.indirectView, at: 0, count: frame < 0 ? 0 : count,
      first: indirect.sectorNumber.number(this.view, 0),
    }
    this.start(list, {
      write: operation === BLKIF_OP.WRITE, idLow, idHigh, operation, indirect: true, handles, sectors: 0,
    })
  }

  /** Carries a transfer out, or answers that it cannot be. */
  private start(list: SegmentList, transfer: Transfer): void {
    const { store } = this.options
    const sectors = transfer.write && store.readOnly ? -1 : this.mapSegments(list, transfer)
    if (sectors < 0) {
      this.release(transfer.handles)
      this.respond(transfer.idLow, transfer.idHigh, transfer.operation, BLKIF_RSP.ERROR)
      return
    }
    transfer.sectors = sectors
    this.limits?.bytes?.spend(sectors * SECTOR_SIZE)
    const done = this.work.move(transfer.write ? 'write' : 'read', list.first * SECTOR_SIZE, this.runs)
    this.finish(transfer.operation === BLKIF_OP.WRITE_BARRIER ? this.work.flushBehind(done) : done, transfer)
  }

  /** Checks and maps all segments, and notes their bytes as runs; sectors in all, or -1. */
  private mapSegments({ view, at, count, first }: SegmentList, { write, handles }: Transfer): number {
    const end = this.work.sectors
    this.segments += count
    this.options.spend?.(count * SEGMENT_COST)
    if (count === 0 || first >= end) return -1
    const { runs, persistent } = this
    const { at: places } = runs
    const { gref, firstSect, lastSect, size } = SEGMENT_AT
    let sectors = 0
    let next = 0
    let runEnd = -1
    for (let segment = at; segment < at + count * size; segment += size) {
      const from = view.getUint8(segment + firstSect)
      const to = view.getUint8(segment + lastSect)
      if (from > to || to >= SECTORS_PER_PAGE) return -1
      sectors += to - from + 1
      if (first + sectors > end) return -1
      const ref = view.getUint32(segment + gref, true)
      const frame = persistent.frameOf(ref) || this.mapOne(ref, write, handles)
      if (frame < 0) return -1
      const start = frame * PAGE_SIZE + from * SECTOR_SIZE
      const length = (to - from + 1) * SECTOR_SIZE
      if (start === runEnd) {
        places[next - 1]! += length
      } else {
        places[next] = start
        places[next + 1] = length
        next += 2
      }
      runEnd = start + length
    }
    runs.count = next / 2
    return sectors
  }

  /** The frame of a grant that is not kept mapped, now mapped; -1 when it cannot be. */
  private mapOne(ref: number, write: boolean, handles: GrantHandle[]): number {
    const { grants, domid, persistent } = this.options
    if (persistent && this.persistent.hasRoom(ref)) {
      const { status, frame, handle } = grants.mapGrant({ domid, ref: ref as GrantRef })
      if (status === GNTST.okay) this.persistent.keep(ref, frame, handle)
      if (status === GNTST.okay) return frame
    }
    // A request that writes to the disk only reads the guest's page.
    const { status, frame, handle } = grants.mapGrant({ domid, ref: ref as GrantRef, readOnly: write })
    if (status !== GNTST.okay) return -1
    handles.push(handle)
    return frame
  }

  private discard(idLow: number, idHigh: number): void {
    const { layout: { discard }, store } = this.options
    const first = discard.sectorNumber.number(this.view, 0)
    const count = discard.nrSectors.number(this.view, 0)
    const operation = BLKIF_OP.DISCARD
    if (store.discard === undefined) {
      this.respond(idLow, idHigh, operation, BLKIF_RSP.EOPNOTSUPP)
    } else if (store.readOnly || first + count > this.work.sectors) {
      this.respond(idLow, idHigh, operation, BLKIF_RSP.ERROR)
    } else {
      this.statistics.discards += 1
      this.finish(this.work.discard(first * SECTOR_SIZE, count * SECTOR_SIZE), { ...NOTHING, operation, idLow, idHigh })
    }
  }

  /** Answers a request when the store has, and lets its pages go. */
  private finish(done: Outcome, transfer: Transfer): void {
    if (typeof done === 'boolean') {
      this.complete(done, transfer)
      return
    }
    const reads = this.runs.at.slice(0, transfer.write || transfer.sectors === 0 ? 0 : 2 * this.runs.count)
    const number = this.waiting.add({ reads, release: this.options.hold(), take: (okay) => this.take(okay, transfer) })
    void done.then((okay) => {
      if (this.waiting.has(number)) this.answer(number, okay)
    })
  }

  /** True while the store has not answered the request with this number. */
  waitsFor(request: number): boolean {
    return this.waiting.has(request)
  }

  /**
   * Answers a waiting request as its store did in another run; the store itself stays silent, or is not heard any more.
   * Throws INVALID_STATE when no such request waits, INVALID_ARGUMENT when it reads another number of bytes.
   */
  answerFrom({ request, okay, bytes }: RecordedAnswer): void {
    this.waiting.fill(request, bytes)
    this.answer(request, okay)
  }

  private answer(request: number, okay: boolean): void {
    const { waiting, options: { answered } } = this
    const take = (): void => waiting.take(request, okay)
    if (answered === undefined) take()
    else answered({ request, okay, bytes: () => waiting.bytesOf(request) }, take)
  }

  private take(okay: boolean, transfer: Transfer): void {
    this.complete(okay, transfer)
    if (!this.stopped) this.push()
  }

  private complete(okay: boolean, { write, idLow, idHigh, operation, indirect, handles, sectors }: Transfer): void {
    this.release(handles)
    if (okay && sectors > 0) this.count({ write, indirect, sectors })
    if (!this.stopped) this.respond(idLow, idHigh, operation, okay ? BLKIF_RSP.OKAY : BLKIF_RSP.ERROR)
  }

  private count({ write, indirect, sectors }: Pick<Transfer, 'write' | 'indirect' | 'sectors'>): void {
    const { statistics } = this
    if (indirect) statistics.indirect += 1
    if (write) {
      statistics.writes += 1
      statistics.sectorsWritten += sectors
    } else {
      statistics.reads += 1
      statistics.sectorsRead += sectors
    }
  }

  private release(handles: readonly GrantHandle[]): void {
    for (const handle of handles) this.options.grants.unmapGrant(handle)
  }

  private respond(idLow: number, idHigh: number, operation: number, status: number): void {
    const { ring, options: { layout: { response }, grants: { memory } } } = this
    if (status !== BLKIF_RSP.OKAY) this.statistics.errors += 1
    const address = ring.nextResponse()
    // Each request is answered once, so there is always room; a broken ring gets no answers at all.
    if (address === NO_ENTRY) return
    const isSplit = address === SPLIT_ENTRY
    const view = isSplit ? ring.staged : memory.view
    const at = isSplit ? 0 : address
    response.id.setParts(view, at, idLow, idHigh)
    response.operation.set(view, at, operation)
    response.status.set(view, at, status)
    if (isSplit) ring.writeStaged(response.size)
  }

  private push(): void {
    if (this.ring.pushResponsesAndCheckNotify()) this.options.notify()
  }
}

/** A request that moves no sectors. */
const NOTHING: Transfer = /* @__PURE__ */ Object.freeze({
  write: false, idLow: 0, idHigh: 0, operation: 0, indirect: false, handles: [], sectors: 0,
})
