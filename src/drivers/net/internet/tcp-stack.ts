/**
 * The TCP of one end of a wire: connections by their addresses, new ones by whoever listens, bounded in number. Of more than may wait half open,
 * further ones hear nothing until there is room, as under a flood; of more than there may be at all, those that only wait for their end make room, and
 * the rest is refused.
 *
 * It knows no clock: `deadline` and `tick` as in tcp-connection.ts.
 */
import type { Random } from '../../../util/index.ts'
import { TCP_FLAG, type TcpPacket } from './packet.ts'
import { TcpConnection, type TcpHears, type TcpSegment } from './tcp-connection.ts'
import { advance, distance } from './tcp-sequence.ts'

/** The two ends of a connection: this one's, and the other's. */
export interface TcpEnds {
  readonly local: string
  readonly localPort: number
  readonly remote: string
  readonly remotePort: number
}

/** How many connections there may be, and what each may hold. */
export interface TcpLimits {
  /** All of them. */
  readonly connections: number
  /** Those that are being opened. */
  readonly halfOpen: number
  /** Bytes each way. */
  readonly buffer: number
  /** Bytes of a segment. */
  readonly segment: number
}

/** What a stack needs. */
export interface TcpStackOptions {
  readonly limits: TcpLimits
  /** First numbers of connections come from it. */
  readonly random: Random
  /** Sends a segment of a connection. */
  send(ends: TcpEnds, segment: TcpSegment): void
  /**
   * Somebody opens a connection: gives who hears of it, and calls its `accept` or `abort`, now or later; undefined where nobody listens, which
   * refuses it.
   */
  listen(connection: TcpConnection, ends: TcpEnds): TcpHears | undefined
}

/** What a stack has counted. */
export interface TcpCounts {
  opened: number
  /** SYNs for which there was nobody, or no room. */
  refused: number
  /** SYNs that got no answer, as too many were half open. */
  ignored: number
  reset: number
  timedOut: number
  retransmitted: number
}

interface Entry {
  readonly ends: TcpEnds
  readonly connection: TcpConnection
  /** Segments sent again that are counted already. */
  counted: number
}

const keyOf = ({ local, localPort, remote, remotePort }: TcpEnds): string => `${local}:${localPort} ${remote}:${remotePort}`

/** A stack. */
export class TcpStack {
  readonly counts: TcpCounts = { opened: 0, refused: 0, ignored: 0, reset: 0, timedOut: 0, retransmitted: 0 }
  private readonly options: TcpStackOptions
  private readonly entries = new Map<string, Entry>()
  private readonly byConnection = new Map<TcpConnection, Entry>()
  /** Connections that may have something to send. */
  private readonly touched = new Set<Entry>()

  constructor(options: TcpStackOptions) {
    this.options = options
  }

  /** Connections there are, in every state. */
  get size(): number {
    return this.entries.size
  }

  /** The connections with their ends. */
  *[Symbol.iterator](): Generator<{ readonly ends: TcpEnds; readonly connection: TcpConnection }> {
    yield* this.entries.values()
  }

  /** The earliest time at which it is to be called; undefined for none. */
  get deadline(): number | undefined {
    let earliest: number | undefined
    for (const { connection: { deadline } } of this.entries.values()) if (deadline !== undefined && (earliest === undefined || deadline < earliest)) earliest = deadline
    return earliest
  }

  /** Whether the ends are free for a connection. */
  isFree(ends: TcpEnds): boolean {
    return !this.entries.has(keyOf(ends))
  }

  /** Opens a connection from this end; undefined where there are too many. */
  open(ends: TcpEnds, hears: TcpHears, now: number): TcpConnection | undefined {
    if (!this.makeRoom()) {
      this.options.send(ends, { flags: TCP_FLAG.RST, sequence: 0, acknowledged: 0, window: 0, data: new Uint8Array(0) })
      return undefined
    }
    const entry = this.add(ends, () => hears)
    entry.connection.open(now)
    return entry.connection
  }

  private add(ends: TcpEnds, hearsOf: () => TcpHears | undefined): Entry {
    const { limits, random, send } = this.options
    const hears: TcpHears = {
      opened: () => {
        this.counts.opened += 1
        hearsOf()?.opened?.()
      },
      data: (bytes) => hearsOf()?.data(bytes),
      ended: () => hearsOf()?.ended(),
      room: () => hearsOf()?.room?.(),
      over: (how) => {
        if (how === 'reset') this.counts.reset += 1
        if (how === 'timed-out') this.counts.timedOut += 1
        hearsOf()?.over(how)
      },
    }
    const connection = new TcpConnection({
      initial: random.next() >>> 0, segment: limits.segment, buffer: limits.buffer, send: (segment) => send(ends, segment),
    }, hears)
    const entry = { ends, connection, counted: 0 }
    this.entries.set(keyOf(ends), entry)
    this.byConnection.set(connection, entry)
    return entry
  }

  /** Takes a segment that has come. */
  receive(packet: TcpPacket, now: number): void {
    const ends: TcpEnds = { local: packet.to, localPort: packet.toPort, remote: packet.from, remotePort: packet.fromPort }
    const known = this.entries.get(keyOf(ends))
    if (known !== undefined && !this.isReopened(known, packet)) {
      known.connection.receive(packet, now)
      this.touched.add(known)
      return this.look(known)
    }
    if ((packet.flags & (TCP_FLAG.SYN | TCP_FLAG.ACK | TCP_FLAG.RST)) === TCP_FLAG.SYN) this.hearSyn(packet, ends, now)
    else this.refuse(packet, ends)
  }

  /** A connection that only waits for its end is followed by a new one over the same ends. */
  private isReopened(entry: Entry, { flags, sequence }: TcpPacket): boolean {
    const { connection } = entry
    if (connection.state !== 'time-wait' || (flags & (TCP_FLAG.SYN | TCP_FLAG.ACK)) !== TCP_FLAG.SYN || distance(sequence, connection.expected) <= 0) return false
    this.forget(entry)
    return true
  }

  private hearSyn(syn: TcpPacket, ends: TcpEnds, now: number): void {
    const { limits, listen } = this.options
    if (this.halfOpen >= limits.halfOpen) return void (this.counts.ignored += 1)
    if (!this.makeRoom()) return this.refuse(syn, ends)
    let hears: TcpHears | undefined
    const entry = this.add(ends, () => hears)
    entry.connection.hearSyn(syn, now)
    hears = listen(entry.connection, ends)
    if (hears === undefined) {
      this.counts.refused += 1
      entry.connection.abort()
    }
    this.look(entry)
  }

  /** Connections that are not open yet. */
  get halfOpen(): number {
    let count = 0
    for (const { connection: { state } } of this.entries.values()) if (state === 'accepting' || state === 'syn-received') count += 1
    return count
  }

  /** True where there is room for one more: those that only wait for their end go first. */
  private makeRoom(): boolean {
    if (this.entries.size < this.options.limits.connections) return true
    for (const entry of this.entries.values()) {
      if (entry.connection.state !== 'time-wait') continue
      this.forget(entry)
      return true
    }
    return false
  }

  /** Answers a segment of a connection that there is not. */
  private refuse({ flags, sequence, acknowledged, data }: TcpPacket, ends: TcpEnds): void {
    if ((flags & TCP_FLAG.RST) !== 0) return
    this.counts.refused += 1
    const rest = { window: 0, data: new Uint8Array(0) }
    if ((flags & TCP_FLAG.ACK) !== 0) return this.options.send(ends, { flags: TCP_FLAG.RST, sequence: acknowledged, acknowledged: 0, ...rest })
    const length = data.length + ((flags & TCP_FLAG.SYN) === 0 ? 0 : 1) + ((flags & TCP_FLAG.FIN) === 0 ? 0 : 1)
    this.options.send(ends, { flags: TCP_FLAG.RST | TCP_FLAG.ACK, sequence: 0, acknowledged: advance(sequence, length), ...rest })
  }

  /** The owner of a connection has done something with it. */
  touch(connection: TcpConnection): void {
    const entry = this.byConnection.get(connection)
    if (entry !== undefined) this.touched.add(entry)
  }

  /** Sends what is to be sent: behind a batch of segments, or of what owners did. */
  flush(now: number): void {
    for (const entry of this.touched) {
      entry.connection.flush(now)
      this.look(entry)
    }
    this.touched.clear()
  }

  /** Time has come to a deadline. */
  tick(now: number): void {
    for (const entry of [...this.entries.values()]) {
      const { deadline } = entry.connection
      if (deadline === undefined || deadline > now) continue
      entry.connection.tick(now)
      this.touched.add(entry)
    }
    this.flush(now)
  }

  /** Forgets what is over. */
  private look(entry: Entry): void {
    const { connection } = entry
    this.counts.retransmitted += connection.retransmitted - entry.counted
    entry.counted = connection.retransmitted
    if (connection.state === 'closed') this.drop(entry)
  }

  /** One that only waited for its end need not wait. */
  private forget(entry: Entry): void {
    entry.connection.forget()
    this.drop(entry)
  }

  private drop(entry: Entry): void {
    const key = keyOf(entry.ends)
    this.byConnection.delete(entry.connection)
    if (this.entries.get(key) === entry) this.entries.delete(key)
    this.touched.delete(entry)
  }
}
