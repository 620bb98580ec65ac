/**
 * One connection with a Wisp relay: streams by their numbers over one WebSocket. It says which packet is whose, how many may be sent, and when it is over.
 * A relay that says nothing is given up; what it says of streams that there are not is counted, and nothing else.
 */
import type { OwnBytes } from '../../util/index.ts'
import { closePacket, connectPacket, dataPacket, decodeRelayPacket, REASON, type RelayTarget } from './wisp-packets.ts'

/** A WebSocket, as far as a relay needs one: a browser's, Node's, or that of `ws`. */
export interface RelaySocket {
  /** Set to `arraybuffer`. */
  binaryType: string
  /** Bytes that were sent and have not gone out. */
  readonly bufferedAmount: number
  /** Sends a binary message. */
  send(bytes: Uint8Array & { readonly buffer: ArrayBuffer }): void
  /** Ends it. */
  close(): void
  /** Hears of its beginning, its messages and its end. */
  addEventListener(type: 'open' | 'message' | 'close' | 'error', listener: (event: { readonly data?: unknown }) => void): void
}

/** One stream's end of a line. */
export interface LineEnd {
  /** It has been asked for, and may send so many packets. */
  opened(packets: number): void
  heard(bytes: Uint8Array): void
  /** It may send so many packets from now on. */
  allowed(packets: number): void
  /** It is over. `isLost`: the whole line is. */
  closed(reason: number): void
  /** The line takes bytes again. */
  drained(): void
}

/** Milliseconds that a relay has for its first packet; that a line without streams is kept; between two looks at what has not gone out. */
const PATIENCE = 10_000
const IDLE = 30_000
const LOOK = 20
/** Bytes that may be on their way into the socket. */
const MOST_BEHIND = 4 << 20
/** Packets that may be sent without an answer, whatever a relay says. */
const MOST_PACKETS = 256

/** A line, from its first message to its last. */
export class WispLine {
  /** True once it is over: another one is needed. */
  isOver = false
  private readonly socket: RelaySocket
  private readonly refuse: () => void
  private readonly streams = new Map<number, { readonly end: LineEnd; readonly target: RelayTarget }>()
  private readonly waiting = new Set<LineEnd>()
  private timer: ReturnType<typeof setTimeout> | undefined
  private look: ReturnType<typeof setTimeout> | undefined
  private packets: number | undefined
  private last = 0

  /** `refuse` is told of each message that is no packet, or nobody's. */
  constructor(socket: RelaySocket, refuse: () => void) {
    this.socket = socket
    this.refuse = refuse
    socket.binaryType = 'arraybuffer'
    socket.addEventListener('message', ({ data }) => this.hear(data))
    for (const type of ['close', 'error'] as const) socket.addEventListener(type, () => this.end())
    this.timer = setTimeout(() => this.end(), PATIENCE)
  }

  /** False while more than enough is on its way. */
  get hasRoom(): boolean {
    return !this.isOver && this.socket.bufferedAmount < MOST_BEHIND
  }

  /** Opens a stream, at once or when the relay has spoken; gives its number. */
  open(target: RelayTarget, end: LineEnd): number {
    const number = this.last += 1
    this.streams.set(number, { end, target })
    if (this.packets !== undefined) this.connect(number)
    return number
  }

  private connect(number: number): void {
    clearTimeout(this.timer)
    const stream = this.streams.get(number)
    if (stream === undefined || this.packets === undefined) return
    this.send(connectPacket(number, stream.target))
    stream.end.opened(this.packets)
  }

  /** Sends bytes on a stream. */
  data(number: number, bytes: Uint8Array): void {
    this.send(dataPacket(number, bytes))
  }

  /** Has an end told when there is room again. */
  wait(end: LineEnd): void {
    this.waiting.add(end)
    this.look ??= setTimeout(() => this.drain(), LOOK)
  }

  /** A WebSocket does not say when its bytes are gone. */
  private drain(): void {
    this.look = undefined
    if (this.isOver) return
    const ends = [...this.waiting]
    this.waiting.clear()
    for (const end of ends) {
      if (this.hasRoom) end.drained()
      else this.wait(end)
    }
  }

  /** Ends a stream, of which nothing is heard any more. */
  close(number: number, reason: number): void {
    if (!this.streams.has(number)) return
    this.forget(number)
    if (this.packets !== undefined) this.send(closePacket(number, reason))
  }

  private forget(number: number): void {
    this.streams.delete(number)
    if (this.streams.size > 0 || this.packets === undefined) return
    clearTimeout(this.timer)
    this.timer = setTimeout(() => this.end(), IDLE)
  }

  private send(bytes: OwnBytes): void {
    if (this.isOver) return
    try {
      this.socket.send(bytes)
    } catch {
      // It is closing, and says so next.
    }
  }

  private hear(data: unknown): void {
    if (this.isOver) return
    const heard = decodeRelayPacket(data)
    if (heard === undefined) return this.refuse()
    if (heard.stream === 0 && heard.type === 'continue') return this.begin(heard.packets)
    const stream = this.packets === undefined ? undefined : this.streams.get(heard.stream)
    if (stream === undefined) return this.refuse()
    if (heard.type === 'data') return stream.end.heard(heard.bytes)
    if (heard.type === 'continue') return stream.end.allowed(Math.min(heard.packets, MOST_PACKETS))
    this.forget(heard.stream)
    stream.end.closed(heard.reason)
  }

  /** The relay's first word: how many packets a stream may send. */
  private begin(packets: number): void {
    if (this.packets !== undefined) return this.refuse()
    this.packets = Math.min(packets, MOST_PACKETS)
    for (const number of [...this.streams.keys()]) this.connect(number)
  }

  /** Ends it with all of its streams. */
  end(): void {
    if (this.isOver) return
    this.isOver = true
    clearTimeout(this.timer)
    clearTimeout(this.look)
    this.socket.close()
    const ends = [...this.streams.values()]
    this.streams.clear()
    for (const { end } of ends) end.closed(this.packets === undefined ? REASON.unreachable : REASON.network)
  }
}
