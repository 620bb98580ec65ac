/**
 * TCP between guests and an outside: each connection of a guest is a stream of the outside's, and each that comes to a forwarded port one to a guest.
 * Neither end is read faster than the other takes: the guest by TCP's window, the outside by `pause`.
 */
import { joinBytes, shape, type Random, type StateOf } from '../../../util/index.ts'
import type { ForwardedPort, NetworkSettings } from './network-settings.ts'
import type { OutsideAddress, OutsideInput } from './outside.ts'
import type { OutsideDoor } from './outside-door.ts'
import { TCP_FLAG, type TcpPacket } from './packet.ts'
import { tcpConnectionState, type TcpConnection, type TcpHears, type TcpSegment } from './tcp-connection.ts'
import { TcpStack, type TcpEnds } from './tcp-stack.ts'

/** Bytes that a connection holds each way. */
export const STREAM_BUFFER = 256 << 10
/** Connections that are being opened at a time. */
const HALF_OPEN = 64
/** Ports of the gateway by which guests see who comes through a forwarded port. */
const FIRST_PORT = 49_152
const PORTS = 16_384

/** All connections, saved. */
export const streamsState = /* @__PURE__ */ shape.record({
  lastPort: shape.time,
  connections: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({
    local: /* @__PURE__ */ shape.text(15), localPort: shape.word, remote: /* @__PURE__ */ shape.text(15), remotePort: shape.word, connection: tcpConnectionState,
  }), 4096),
})
type StreamsState = StateOf<typeof streamsState>

/** What guests' streams need of their network. */
export interface StreamServices {
  readonly settings: NetworkSettings
  readonly door: OutsideDoor
  readonly random: Random
  /** Bytes of a segment at most. */
  readonly segment: number
  now(): number
  send(ends: TcpEnds, segment: TcpSegment): void
}

/** Bytes in one piece. */
const joined = (pieces: readonly Uint8Array[]): Uint8Array => (pieces.length === 1 ? pieces[0]! : joinBytes(pieces))

interface Stream {
  readonly number: number
  readonly connection: TcpConnection
  isPaused: boolean
  /** What the guest has sent in the present batch, and whether that is all. */
  readonly pending: Uint8Array[]
  isEnding: boolean
}

/** The streams of one network. */
export class GuestStreams {
  readonly stack: TcpStack
  private readonly services: StreamServices
  private readonly byNumber = new Map<number, Stream>()
  /** Streams for which the guest has sent something in the present batch. */
  private readonly touched = new Set<Stream>()
  private lastPort = 0

  constructor(services: StreamServices) {
    this.services = services
    const { settings, random, segment, send } = services
    this.stack = new TcpStack({
      limits: { connections: settings.connections, halfOpen: Math.min(HALF_OPEN, settings.connections), buffer: STREAM_BUFFER, segment },
      random, send, listen: (connection, ends) => this.connect(connection, ends),
    })
  }

  /** A guest opens a connection: it is answered once the outside has. */
  private connect(connection: TcpConnection, { local, localPort }: TcpEnds): TcpHears | undefined {
    const { door, settings } = this.services
    // The services of the network itself speak no TCP.
    if (local === settings.dns) return undefined
    const number = door.connectTcp({ host: local === settings.gateway ? '127.0.0.1' : local, port: localPort })
    return this.join(number, connection)
  }

  private join(number: number, connection: TcpConnection): TcpHears {
    const { door } = this.services
    const stream: Stream = { number, connection, isPaused: false, pending: [], isEnding: false }
    this.byNumber.set(number, stream)
    return {
      data: (bytes) => {
        stream.pending.push(bytes)
        this.touched.add(stream)
      },
      ended: () => {
        stream.isEnding = true
        this.touched.add(stream)
      },
      room: () => this.resume(stream),
      over: (how) => {
        this.byNumber.delete(number)
        this.hand(stream)
        if (how === 'closed') door.release(number)
        else door.reset(number)
      },
    }
  }

  /** A batch is over: what guests have sent goes out in one piece each, and what is to be sent to them is sent. */
  flush(): void {
    for (const stream of this.touched) this.hand(stream)
    this.stack.flush(this.services.now())
    // What was over meanwhile.
    this.touched.clear()
  }

  private hand(stream: Stream): void {
    const bytes = joined(stream.pending.splice(0))
    const { isEnding } = stream
    stream.isEnding = false
    this.touched.delete(stream)
    if (bytes.length === 0 && !isEnding) return
    this.services.door.stream(stream.number, (outside) => {
      if (bytes.length > 0) outside.write(bytes)
      if (isEnding) outside.end()
    })
  }

  private resume(stream: Stream): void {
    if (!stream.isPaused) return
    stream.isPaused = false
    this.services.door.stream(stream.number, (outside) => outside.resume())
  }

  /** Somebody has connected to a forwarded port. */
  private accept(number: number, { guest, to }: ForwardedPort): void {
    const { door, settings, now } = this.services
    const ends = this.freeEnds(settings.gateway, guest, to)
    let hears: TcpHears | undefined
    const connection = ends && this.stack.open(ends, {
      data: (bytes) => hears?.data(bytes), ended: () => hears?.ended(), room: () => hears?.room?.(), over: (how) => hears?.over(how),
    }, now())
    if (connection === undefined) return door.reset(number)
    hears = this.join(number, connection)
  }

  private freeEnds(local: string, remote: string, remotePort: number): TcpEnds | undefined {
    for (let tries = 0; tries < PORTS; tries += 1) {
      this.lastPort = (this.lastPort + 1) % PORTS
      const ends = { local, localPort: FIRST_PORT + this.lastPort, remote, remotePort }
      if (this.stack.isFree(ends)) return ends
    }
    return undefined
  }

  /** Takes what the outside has said of a stream. */
  take(input: Extract<OutsideInput, { readonly stream: number }>, forwards: readonly ForwardedPort[]): void {
    if (input.event === 'accepted') {
      const forward = forwards[input.forward]
      return forward === undefined ? this.services.door.reset(input.stream) : this.accept(input.stream, forward)
    }
    const stream = this.byNumber.get(input.stream)
    if (stream === undefined) return
    this.takeOf(stream, input)
    this.stack.touch(stream.connection)
  }

  private takeOf(stream: Stream, input: Exclude<Extract<OutsideInput, { readonly stream: number }>, { readonly event: 'accepted' }>): void {
    const { connection, number } = stream
    switch (input.event) {
      case 'opened': return connection.accept(this.services.now())
      case 'data': {
        connection.write(input.bytes)
        if (connection.room > 0 || stream.isPaused) return
        stream.isPaused = true
        return this.services.door.stream(number, (outside) => outside.pause())
      }
      case 'taken': return connection.taken(input.count)
      case 'ended': return connection.end()
      case 'failed': {
        this.byNumber.delete(number)
        this.services.door.reset(number)
        connection.abort()
      }
    }
  }

  /** Takes a segment of a guest's. */
  receive(packet: TcpPacket): void {
    this.stack.receive(packet, this.services.now())
  }

  // State

  save(): StreamsState {
    return { lastPort: this.lastPort, connections: [...this.stack].map(({ ends, connection }) => ({ ...ends, connection: connection.save() })) }
  }

  /** Takes over where ports count on; connections are over, as {@link GuestStreams.resetAll} tells guests. */
  load({ lastPort }: StreamsState): void {
    this.lastPort = lastPort
  }

  /** Tells guests that connections are over, whose outside nobody can bring back. */
  resetAll(connections: StreamsState['connections']): void {
    for (const { connection: { state, sender, receiver }, ...ends } of connections) {
      if (state === 'time-wait' || state === 'closed') continue
      this.stack.counts.reset += 1
      this.services.send(ends, {
        flags: TCP_FLAG.RST | TCP_FLAG.ACK, sequence: state === 'accepting' ? 0 : sender.numbers.most, acknowledged: receiver.numbers.next, window: 0, data: new Uint8Array(0),
      })
    }
  }
}

/** Who connects to a forwarded port, in words. */
export const addressText = ({ host, port }: OutsideAddress): string => `${host}:${port}`
