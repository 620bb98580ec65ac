/**
 * The guest's receive ring, served: frames for the guest are copied by the hypervisor into the pages that it has
 * put up, in the order of the ring, as front-ends expect. What finds no page waits, up to a limit, and is dropped
 * beyond it.
 *
 * hot path: one hypercall for a batch. Reference: public/io/netif.h.
 */
import { GNTST, NETIF_RSP, NETRXF, NetifRxRequest, NetifRxResponse } from '../../abi/index.ts'
import type { GrantCopy } from '../../guest/index.ts'
import { BackRing } from '../../rings/index.ts'
import type { GrantRef, Mfn } from '../../util/index.ts'
import type { NetFrame } from './frame.ts'
import { completeChecksum, isIpv6 } from './frame.ts'
import { RX_ENTRY } from './protocol.ts'
import { RECEIVE_PAGES } from './staging.ts'
import type { RingServices } from './transmit.ts'

/** Frames that wait for a guest which has put up no pages: stops a guest from filling its driver domain's memory. */
export const RECEIVE_QUEUE_LIMIT = 512
const PAGE_SIZE = 4096

/** What the front-end can take. */
export interface ReceiveFeatures {
  /** Frames of more than one page. */
  readonly scatter: boolean
  /** Blank checksums. */
  readonly checksumBlank: boolean
  /** Blank checksums over IPv6. */
  readonly checksumBlankIpv6: boolean
}

/** A piece of a frame in one slot of the ring. */
interface Piece {
  readonly id: number
  readonly length: number
  readonly flags: number
}

/** Serves a receive ring. */
export class ReceiveServer {
  private readonly services: RingServices
  private readonly features: ReceiveFeatures
  private readonly notify: () => void
  private readonly ring: BackRing
  private readonly copy = new Uint8Array(RX_ENTRY)
  private readonly view = new DataView(this.copy.buffer)
  private queue: NetFrame[] = []

  /** `base` is the byte offset of the ring's page. */
  constructor(services: RingServices, base: number, options: { readonly features: ReceiveFeatures; notify(): void }) {
    this.services = services
    this.features = options.features
    this.notify = () => options.notify()
    this.ring = new BackRing({ view: services.grants.memory.view, base, entrySize: RX_ENTRY })
  }

  /** True when the front-end has broken the rules of the ring; nothing is served any more. */
  get broken(): boolean {
    return this.ring.broken
  }

  /** Takes a frame for the guest; it is on its way with the next `serve`. */
  deliver(frame: NetFrame): void {
    const fits = frame.bytes.length <= PAGE_SIZE || this.features.scatter
    if (!fits || this.queue.length >= RECEIVE_QUEUE_LIMIT) this.services.statistics.dropped += 1
    else this.queue.push(this.readable(frame))
  }

  /** Gives the guest what waits, as far as it has put up pages; what stays is kept. */
  serve(): void {
    let next = 0
    do {
      for (let given = this.give(next); given > 0; given = this.give(next)) next += given
    } while (next < this.queue.length && this.ring.finalCheckForRequests() && this.fits(this.queue[next]!))
    this.queue = this.queue.slice(next).map(kept)
  }

  /** The frame as this guest can read it: with a whole checksum where it would not understand a blank one. */
  private readable(frame: NetFrame): NetFrame {
    if (!frame.checksumBlank) return frame
    const { checksumBlank, checksumBlankIpv6 } = this.features
    if (checksumBlank && (checksumBlankIpv6 || !isIpv6(frame.bytes))) return frame
    const bytes = frame.bytes.slice()
    completeChecksum(bytes)
    return { bytes, checksumBlank: false, validated: frame.validated }
  }

  private slotsOf(frame: NetFrame): number {
    return Math.ceil(frame.bytes.length / PAGE_SIZE)
  }

  private fits(frame: NetFrame): boolean {
    return this.ring.unconsumedRequests() >= this.slotsOf(frame)
  }

  /** Gives a batch of frames from number `start` of the queue on; how many. */
  private give(start: number): number {
    const copies: GrantCopy[] = []
    const pieces: Piece[] = []
    const ends: number[] = []
    let staged = 0
    for (let index = start; index < this.queue.length; index += 1) {
      const frame = this.queue[index]!
      const pages = frame.place === undefined ? this.slotsOf(frame) : 0
      if (staged + pages > RECEIVE_PAGES || !this.fits(frame)) break
      this.plan(frame, { copies, pieces, staged })
      staged += pages
      ends.push(pieces.length)
    }
    if (pieces.length > 0) this.answer(pieces, this.services.grants.copyGrants(copies), { start, ends })
    return ends.length
  }

  /** Takes slots for a frame and notes what is to be copied into them. */
  private plan(
    frame: NetFrame, batch: { readonly copies: GrantCopy[]; readonly pieces: Piece[]; readonly staged: number },
  ): void {
    const { domain, staging } = this.services
    const { bytes, place, checksumBlank, validated } = frame
    const marks = (checksumBlank ? NETRXF.csum_blank : 0) | (validated || checksumBlank ? NETRXF.data_validated : 0)
    for (let done = 0, slot = 0; done < bytes.length; done += PAGE_SIZE, slot += 1) {
      const length = Math.min(PAGE_SIZE, bytes.length - done)
      this.ring.copyRequest(this.copy)
      const ref = NetifRxRequest.gref.get(this.view, 0) as GrantRef
      const more = done + length < bytes.length ? NETRXF.more_data : 0
      batch.pieces.push({ id: NetifRxRequest.id.get(this.view, 0), length, flags: (done === 0 ? marks : 0) | more })
      let source: { readonly frame: Mfn; readonly offset: number }
      if (place === undefined) {
        const page = staging.receive[batch.staged + slot]!
        page.bytes.set(bytes.subarray(done, done + length))
        source = { frame: page.frame, offset: 0 }
      } else {
        // A frame that lies in an own page is at most that page long.
        source = { frame: place.frame as Mfn, offset: place.offset }
      }
      batch.copies.push({ source, destination: { domain, ref, offset: 0 }, length })
    }
  }

  /** Answers each slot; a frame of which one slot failed counts as dropped. */
  private answer(
    pieces: readonly Piece[], statuses: readonly number[],
    frames: { readonly start: number; readonly ends: readonly number[] },
  ): void {
    const { grants: { memory: { view } }, statistics } = this.services
    pieces.forEach(({ id, length, flags }, index) => {
      const address = this.ring.nextResponse()
      if (address < 0) return
      NetifRxResponse.id.set(view, address, id)
      NetifRxResponse.offset.set(view, address, 0)
      NetifRxResponse.flags.set(view, address, flags)
      NetifRxResponse.status.set(view, address, statuses[index] === GNTST.okay ? length : NETIF_RSP.ERROR)
    })
    let first = 0
    for (const end of frames.ends) {
      const okay = statuses.slice(first, end).every((status) => status === GNTST.okay)
      if (okay) {
        statistics.framesOut += 1
        for (let index = first; index < end; index += 1) statistics.bytesOut += pieces[index]!.length
      } else {
        statistics.dropped += 1
      }
      first = end
    }
    if (this.ring.pushResponsesAndCheckNotify()) this.notify()
  }
}

/** A frame with bytes of its own, as it must be when it outlives the batch that brought it. */
const kept = (frame: NetFrame): NetFrame =>
  frame.place === undefined && frame.bytes.buffer.byteLength === frame.bytes.length
    ? frame
    : { bytes: frame.bytes.slice(), checksumBlank: frame.checksumBlank, validated: frame.validated }
