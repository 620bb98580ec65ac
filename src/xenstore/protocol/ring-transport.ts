/**
 * The protocol over the shared page: two byte rings and three words of state.
 *
 *     byte 0       1024      2048       2056       2064              2068         2072
 *     | requests | replies | indexes  | indexes  | server features | connection | error |
 *
 * Everything in the page can be written by the other side at any time: indexes are checked at each use, and bytes are
 * copied out before they are looked at.
 *
 * Reference: xen/docs/misc/xenstore-ring.txt, xen/include/public/io/xs_wire.h.
 */
import { XENSTORE, XenstoreDomainInterface } from '../../abi/index.ts'
import { BytePipe, XENSTORE_PIPE, mirror } from '../../rings/index.ts'
import type { StoreTransport, TransportFault, TransportListener, TransportState } from './transport.ts'

/** Where a shared page lies, and how to wake the other side. */
export interface StoreRing {
  readonly view: DataView
  /** Byte offset of the page in `view`. */
  readonly base: number
  /** Sends the event of the connection's channel. */
  notify(): void
}

const FAULT_NUMBERS: Readonly<Record<TransportFault, number>> = {
  communication: XENSTORE.ERROR_COMM,
  'ring-index': XENSTORE.ERROR_RINGIDX,
  protocol: XENSTORE.ERROR_PROTO,
}

/** Bytes of the buffer for what is received, at least. */
const SMALLEST = 64

/** One side of the page. Whoever gets the channel's event calls {@link RingTransport.event}. */
export class RingTransport implements StoreTransport {
  private readonly ring: StoreRing
  private readonly pipe: BytePipe
  private readonly side: 'server' | 'client'
  /** What was received last; it grows to what comes at once. */
  private buffer = new Uint8Array(0)
  private listener: TransportListener | undefined
  private condition: TransportState = 'open'

  constructor(ring: StoreRing, side: 'server' | 'client') {
    this.ring = ring
    this.side = side
    this.pipe = new BytePipe(ring.view, ring.base, side === 'client' ? XENSTORE_PIPE : mirror(XENSTORE_PIPE))
  }

  /** `broken` once the indexes of the page make no sense, `ended` after `close`; `reset` opens it again. */
  get state(): TransportState {
    return this.condition
  }

  receive(): Uint8Array | undefined {
    if (this.condition !== 'open') return undefined
    const count = this.read()
    if (count === undefined) this.condition = 'broken'
    if (count === undefined || count === 0) return undefined
    // The other side may wait for room without its ring being full, so every reading is news.
    this.ring.notify()
    return this.buffer.subarray(0, count)
  }

  private read(): number | undefined {
    const queued = this.pipe.input.queued()
    if (queued === undefined || queued === 0) return queued
    if (queued > this.buffer.length) this.buffer = new Uint8Array(Math.min(XENSTORE.RING_SIZE, 2 ** Math.ceil(Math.log2(Math.max(queued, SMALLEST)))))
    return this.pipe.input.read(this.buffer)
  }

  send(bytes: Uint8Array): number {
    if (this.condition !== 'open') return 0
    const count = this.pipe.output.write(bytes)
    if (count === undefined) this.condition = 'broken'
    if (count === undefined || count === 0) return 0
    this.ring.notify()
    return count
  }

  close(fault?: TransportFault): void {
    if (this.side === 'server' && fault !== undefined) {
      XenstoreDomainInterface.error.set(this.ring.view, this.ring.base, FAULT_NUMBERS[fault])
      this.ring.notify()
    }
    this.condition = 'ended'
  }

  listen(listener: TransportListener): void {
    this.listener = listener
  }

  /** The channel's event has come: there may be bytes, or room. */
  event(): void {
    this.listener?.readable()
    this.listener?.writable()
  }

  // The server's side of the page's state

  /** Shows what the server offers. */
  offer(features: number): void {
    XenstoreDomainInterface.serverFeatures.set(this.ring.view, this.ring.base, features)
  }

  /** True when the other side asks for a new start. */
  wantsReconnect(): boolean {
    return XenstoreDomainInterface.connection.get(this.ring.view, this.ring.base) === XENSTORE.RECONNECT
  }

  /** Empties both rings and clears errors: the connection begins anew. */
  reset(): void {
    const { view, base } = this.ring
    const page = XenstoreDomainInterface
    for (const index of [page.reqCons, page.reqProd, page.rspCons, page.rspProd]) index.set(view, base, 0)
    page.error.set(view, base, XENSTORE.ERROR_NONE)
    this.condition = 'open'
    if (!this.wantsReconnect()) return
    page.connection.set(view, base, XENSTORE.CONNECTED)
    this.ring.notify()
  }
}
