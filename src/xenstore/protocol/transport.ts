/**
 * The seam to whatever carries the protocol's bytes: the shared page, a socket, or a pair of queues in memory. A
 * transport only moves bytes; it says when there is something to read or room to write, and nobody polls it.
 */

/** Who listens to a transport. */
export interface TransportListener {
  /** Bytes have arrived, or the other side has ended. */
  readable(): void
  /** There is room again after `send` took less than it was given. */
  writable(): void
}

/** Why a side gives a connection up; over the shared page the other side can read it. */
export type TransportFault = 'communication' | 'ring-index' | 'protocol'

/** How a transport fares. */
export type TransportState =
  | 'open'
  /** The other side has ended; what it sent before can still be received. */
  | 'ended'
  /** The other side broke the rules of the transport itself. */
  | 'broken'

/** A two-way stream of bytes. */
export interface StoreTransport {
  readonly state: TransportState
  /** The bytes that arrived next, valid until the next call; undefined when none are waiting. */
  receive(): Uint8Array | undefined
  /**
   * Sends as much as can be taken now, and says how much that is. The bytes are copied or sent at once. When the other
   * side is gone for good, everything is taken and goes nowhere.
   */
  send(bytes: Uint8Array): number
  /** Ends the transport, with the reason where there is one. */
  close(fault?: TransportFault): void
  /** Names who is to be told. */
  listen(listener: TransportListener): void
}

const SILENT: TransportListener = { readable: () => undefined, writable: () => undefined }

/** One end of a pair in memory. */
export class MemoryTransport implements StoreTransport {
  /** Bytes that the other side may be ahead. */
  static readonly CAPACITY = 65536
  private chunks: Uint8Array[] = []
  private waiting = 0
  private full = false
  private ended = false
  private listener = SILENT
  private other: MemoryTransport | undefined

  /** Two ends; what one sends the other receives. */
  static pair(): readonly [MemoryTransport, MemoryTransport] {
    const one = new MemoryTransport()
    const two = new MemoryTransport()
    one.other = two
    two.other = one
    return [one, two]
  }

  /** `ended` once the other side has closed and everything it sent has been received. */
  get state(): TransportState {
    return this.ended && this.chunks.length === 0 ? 'ended' : 'open'
  }

  receive(): Uint8Array | undefined {
    const chunk = this.chunks.shift()
    if (chunk === undefined) return undefined
    this.waiting -= chunk.length
    const { other } = this
    if (other?.full === true) {
      other.full = false
      other.listener.writable()
    }
    return chunk
  }

  send(bytes: Uint8Array): number {
    const { other } = this
    if (this.ended || other === undefined || other.ended) return bytes.length
    const count = Math.min(bytes.length, MemoryTransport.CAPACITY - other.waiting)
    this.full = count < bytes.length
    if (count === 0) return 0
    other.chunks.push(bytes.slice(0, count))
    other.waiting += count
    other.listener.readable()
    return count
  }

  close(): void {
    if (this.ended) return
    this.ended = true
    const { other } = this
    if (other === undefined || other.ended) return
    other.ended = true
    other.listener.readable()
  }

  listen(listener: TransportListener): void {
    this.listener = listener
  }
}
