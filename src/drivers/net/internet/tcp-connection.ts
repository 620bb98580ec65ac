/**
 * One TCP connection: its states, by RFC 9293, over a half that sends and one that receives. It knows no network and no clock: segments go out by a
 * function, time comes in with each call, and `deadline` says when it wants to be called by itself.
 *
 * Whoever has the connection takes what comes (`data`), says how much of it has gone on (`taken`), which is what opens the window, and may give as
 * much to be sent as `room` says. Resets are taken at the very next number only, and anything else that might be an attack is answered by an
 * acknowledgement (RFC 5961).
 */
import { shape, type StateOf } from '../../../util/index.ts'
import { TCP_FLAG, type TcpPacket } from './packet.ts'
import { receiverState, TcpReceiver } from './tcp-receiver.ts'
import { advance, distance } from './tcp-sequence.ts'
import { senderState, TcpSender } from './tcp-sender.ts'

/** The states of a connection that there is. `accepting`: somebody outside is asked whether there is anybody for it. */
export const TCP_STATES = [
  'accepting', 'syn-sent', 'syn-received', 'established', 'fin-wait-1', 'fin-wait-2', 'close-wait', 'closing', 'last-ack', 'time-wait', 'closed',
] as const

/** The state of a connection. */
export type TcpState = (typeof TCP_STATES)[number]

/** How a connection was over: in good order, by a reset, or since the other end says nothing more. */
export type TcpEnd = 'closed' | 'reset' | 'timed-out'

/** Hears of a connection. */
export interface TcpHears {
  /** Both ends know of it. */
  opened?(): void
  /** Bytes, in their order; {@link TcpConnection.taken} says when they have gone on. */
  data(bytes: Uint8Array): void
  /** The other end sends no more. */
  ended(): void
  /** Half of the room for what is to be sent is free again, all of which was taken. */
  room?(): void
  /** It is over. */
  over(how: TcpEnd): void
}

/** What a connection sends: a segment but for its addresses. */
export type TcpSegment = Pick<TcpPacket, 'flags' | 'sequence' | 'acknowledged' | 'window' | 'data' | 'mss' | 'windowScale'>

/** What a connection is made with. */
export interface TcpOptions {
  /** The first number of what it sends. */
  readonly initial: number
  /** Bytes of a segment at most. */
  readonly segment: number
  /** Bytes that wait for whoever takes them, and for the other end to acknowledge them, at most. */
  readonly buffer: number
  /** Sends a segment. */
  send(segment: TcpSegment): void
}

/** A connection, saved. */
export const tcpConnectionState = /* @__PURE__ */ shape.record({
  state: /* @__PURE__ */ shape.oneOf(...TCP_STATES), sender: senderState, receiver: receiverState,
  heardAt: shape.number, waitUntil: /* @__PURE__ */ shape.optional(shape.number), probes: shape.time,
})

const SECOND = 1e9
/** How long numbers of a connection that is over are remembered: twice the life of a segment. */
const TIME_WAIT = 60 * SECOND
/** Silence after which it is asked whether the other end is there, and how often. */
const SILENCE = 300 * SECOND
const PROBE_INTERVAL = 30 * SECOND
const MOST_PROBES = 6
/** How often a SYN is sent at most. */
const MOST_SYNS = 5
/** Windows are shifted so that the buffer fits in. */
const WINDOW_FIELD = 0xffff
const NOTHING = /* @__PURE__ */ new Uint8Array(0)

const scaleFor = (buffer: number): number => Math.max(0, Math.ceil(Math.log2((buffer + 1) / (WINDOW_FIELD + 1))))

/** States in which it may be sent, and in which anything is still taken. */
const SENDS: ReadonlySet<TcpState> = /* @__PURE__ */ new Set(['established', 'close-wait', 'fin-wait-1', 'closing', 'last-ack'])
const TAKES: ReadonlySet<TcpState> = /* @__PURE__ */ new Set(['established', 'fin-wait-1', 'fin-wait-2'])

/** A connection. */
export class TcpConnection {
  private readonly options: TcpOptions
  private readonly hears: TcpHears
  private readonly sender: TcpSender
  private readonly receiver: TcpReceiver
  private current: TcpState = 'closed'
  /** When the other end was last heard. */
  private heardAt = 0
  private waitUntil: number | undefined
  private probes = 0
  private owesAcknowledgement = false
  private wasFull = false
  /** Whether the other end speaks of scaled windows. */
  private isScaled = true

  constructor(options: TcpOptions, hears: TcpHears) {
    this.options = options
    this.hears = hears
    this.sender = new TcpSender(options.initial, (sequence, bytes, isEnd) => this.sendBytes(sequence, bytes, isEnd))
    this.receiver = new TcpReceiver(options.buffer)
  }

  /** Where it stands. */
  get state(): TcpState {
    return this.current
  }

  /** The number that is expected next of the other end. */
  get expected(): number {
    return this.receiver.next
  }

  /** Bytes that may be given to be sent. */
  get room(): number {
    return Math.max(0, this.options.buffer - this.sender.length)
  }

  /** Bytes that it holds. */
  get held(): number {
    return this.sender.length + this.receiver.untaken
  }

  /** Segments that were sent again. */
  get retransmitted(): number {
    return this.sender.retransmitted
  }

  /** When it is to be called by {@link TcpConnection.tick}; undefined while it waits for nothing. */
  get deadline(): number | undefined {
    if (this.waitUntil !== undefined) return this.waitUntil
    const asked = this.isSilent ? undefined : this.heardAt + SILENCE + this.probes * PROBE_INTERVAL
    const { deadline } = this.sender
    return deadline === undefined || asked === undefined ? deadline ?? asked : Math.min(deadline, asked)
  }

  /** Nobody is asked whether he is there while it is not open. */
  private get isSilent(): boolean {
    return this.current === 'closed' || this.current === 'accepting' || this.current === 'syn-sent' || this.current === 'syn-received'
  }

  // Beginnings

  /** A SYN has come: it is answered by {@link TcpConnection.accept}, or refused. */
  hearSyn(syn: TcpPacket, now: number): void {
    this.current = 'accepting'
    this.heardAt = now
    this.receiver.begin(syn.sequence, scaleFor(this.options.buffer))
    if (syn.windowScale === undefined) this.receiver.unscale()
    this.sender.takeOptions(syn, this.options.segment)
    this.isScaled = syn.windowScale !== undefined
  }

  /** There is somebody for it. */
  accept(now: number): void {
    if (this.current !== 'accepting') return
    this.current = 'syn-received'
    this.sender.sentSyn(now)
    this.sendSyn()
  }

  /** Opens it from this end. */
  open(now: number): void {
    this.current = 'syn-sent'
    this.heardAt = now
    this.sender.sentSyn(now)
    this.sendSyn()
  }

  private sendSyn(): void {
    const { sender, receiver, options } = this
    const isAnswer = this.current === 'syn-received'
    options.send({
      flags: TCP_FLAG.SYN | (isAnswer ? TCP_FLAG.ACK : 0), sequence: sender.unacknowledged, acknowledged: isAnswer ? receiver.next : 0,
      window: receiver.advertiseUnscaled(), data: NOTHING, mss: options.segment,
      windowScale: !isAnswer || this.isScaled ? scaleFor(options.buffer) : undefined,
    })
  }

  // What its owner does

  /** Sends bytes, which are the connection's from now on; they go out with {@link TcpConnection.flush}. */
  write(bytes: Uint8Array): void {
    this.sender.push(bytes)
    if (this.room === 0) this.wasFull = true
  }

  /** There will be no more to be sent. */
  end(): void {
    this.sender.end()
    const next = ({ established: 'fin-wait-1', 'close-wait': 'last-ack' } as const)[this.current as 'established' | 'close-wait']
    if (next !== undefined) this.current = next
  }

  /** So many of the bytes that came have gone on. */
  taken(count: number): void {
    this.receiver.taken(count)
    if (!this.isSilent && this.receiver.isWorthTelling(this.sender.segment)) this.owesAcknowledgement = true
  }

  /** Ends it at once; the other end is told by a reset. */
  abort(): void {
    if (this.current === 'closed') return
    const { sender, receiver } = this
    if (this.current === 'accepting') this.options.send({ flags: TCP_FLAG.RST | TCP_FLAG.ACK, sequence: 0, acknowledged: receiver.next, window: 0, data: NOTHING })
    else if (this.current !== 'time-wait') this.options.send({ flags: TCP_FLAG.RST | TCP_FLAG.ACK, sequence: sender.most, acknowledged: receiver.next, window: 0, data: NOTHING })
    this.current = 'closed'
  }

  /** Its numbers need not be remembered any more. */
  forget(): void {
    this.finish('closed')
  }

  private finish(how: TcpEnd): void {
    if (this.current === 'closed') return
    const wasWaiting = this.current === 'time-wait'
    this.current = 'closed'
    this.hears.over(wasWaiting ? 'closed' : how)
  }

  // Segments

  /** Takes a segment of the other end. */
  receive(segment: TcpPacket, now: number): void {
    if (this.current === 'closed') return
    if (this.current === 'accepting') return this.receiveEarly(segment)
    if (this.current === 'syn-sent') return this.receiveAnswer(segment, now)
    if (this.current === 'syn-received' && this.isSynAgain(segment)) return this.sendSyn()
    this.heardAt = now
    this.probes = 0
    if (!this.receiver.accepts(segment)) return this.refuse(segment, now)
    if (this.isAttack(segment)) return
    if ((segment.flags & TCP_FLAG.ACK) === 0 || !this.takeAcknowledgement(segment, now)) return
    this.takeStream(segment)
    this.follow(now)
  }

  /** The SYN again, which will be answered; or its sender has given up. */
  private receiveEarly({ flags, sequence }: TcpPacket): void {
    if ((flags & TCP_FLAG.RST) !== 0 && sequence === this.receiver.next) this.finish('reset')
  }

  private isSynAgain({ flags, sequence }: TcpPacket): boolean {
    return (flags & (TCP_FLAG.SYN | TCP_FLAG.ACK)) === TCP_FLAG.SYN && advance(sequence, 1) === this.receiver.next
  }

  private receiveAnswer(segment: TcpPacket, now: number): void {
    const { flags, acknowledged, sequence } = segment
    const isOurs = (flags & TCP_FLAG.ACK) !== 0 && acknowledged === this.sender.most
    if ((flags & TCP_FLAG.ACK) !== 0 && !isOurs) return (flags & TCP_FLAG.RST) === 0 ? this.sendReset(acknowledged) : undefined
    if ((flags & TCP_FLAG.RST) !== 0) return isOurs ? this.finish('reset') : undefined
    if ((flags & TCP_FLAG.SYN) === 0 || !isOurs) return
    this.heardAt = now
    this.receiver.begin(sequence, scaleFor(this.options.buffer))
    this.sender.takeOptions(segment, this.options.segment)
    if (segment.windowScale === undefined) this.receiver.unscale()
    this.sender.begin(segment, 'as it is')
    this.establish()
    this.owesAcknowledgement = true
  }

  /** Answers what lies where nothing is expected. */
  private refuse({ flags }: TcpPacket, now: number): void {
    if ((flags & TCP_FLAG.RST) !== 0) return
    this.acknowledgeNow()
    if (this.current === 'time-wait' && (flags & TCP_FLAG.FIN) !== 0) this.waitUntil = now + TIME_WAIT
  }

  /** Resets and SYNs within the window: only the one that must be meant is taken. */
  private isAttack({ flags, sequence }: TcpPacket): boolean {
    if ((flags & TCP_FLAG.RST) !== 0) {
      if (sequence === this.receiver.next) this.finish('reset')
      else this.acknowledgeNow()
      return true
    }
    if ((flags & TCP_FLAG.SYN) === 0) return false
    this.acknowledgeNow()
    return true
  }

  /** False where the segment is not to be looked at any more. */
  private takeAcknowledgement(segment: TcpPacket, now: number): boolean {
    const { sender } = this
    if (distance(segment.acknowledged, sender.most) > 0) {
      if (this.current === 'syn-received') this.sendReset(segment.acknowledged)
      else this.acknowledgeNow()
      return false
    }
    if (this.current === 'syn-received') {
      if (segment.acknowledged !== sender.most) return this.refuseFirst(segment)
      sender.begin(segment, 'scaled')
      this.establish()
    } else sender.acknowledge(segment, now)
    return this.takeEnd(now)
  }

  private refuseFirst({ acknowledged }: TcpPacket): boolean {
    this.sendReset(acknowledged)
    return false
  }

  private establish(): void {
    this.current = 'established'
    this.hears.opened?.()
    // What was said before anybody could hear it.
    if (this.sender.isEnding) this.end()
  }

  /** What follows where the other end has heard that there is no more. False where it is all over. */
  private takeEnd(now: number): boolean {
    if (!this.sender.isDone) return true
    if (this.current === 'fin-wait-1') this.current = 'fin-wait-2'
    else if (this.current === 'closing') this.wait(now)
    else if (this.current === 'last-ack') {
      this.finish('closed')
      return false
    }
    return true
  }

  private wait(now: number): void {
    this.current = 'time-wait'
    this.waitUntil = now + TIME_WAIT
  }

  private takeStream(segment: TcpPacket): void {
    const { receiver, hears } = this
    const hasContent = segment.data.length > 0 || (segment.flags & TCP_FLAG.FIN) !== 0
    if (!hasContent || !TAKES.has(this.current)) return
    const before = receiver.next
    const isInOrder = segment.sequence === before
    for (const bytes of receiver.take(segment)) hears.data(bytes)
    // Each one out of order is told at once: by these the other end knows of a loss.
    if (isInOrder && receiver.next !== before) this.owesAcknowledgement = true
    else this.acknowledgeNow()
  }

  /** What follows from what was taken. */
  private follow(now: number): void {
    if (this.wasFull && this.room >= this.options.buffer / 2) {
      this.wasFull = false
      this.hears.room?.()
    }
    if (!this.receiver.isEnded || !TAKES.has(this.current)) return
    const from = this.current
    if (from === 'established') this.current = 'close-wait'
    else if (from === 'fin-wait-1') this.current = 'closing'
    else this.wait(now)
    this.hears.ended()
  }

  // Sending

  /** Sends what is to be sent: behind a batch of segments, or of what its owner did. */
  flush(now: number): void {
    if (SENDS.has(this.current)) this.sender.output(now)
    if (this.owesAcknowledgement) this.acknowledgeNow()
  }

  private sendBytes(sequence: number, data: Uint8Array, isEnd: boolean): void {
    this.owesAcknowledgement = false
    const flags = TCP_FLAG.ACK | (data.length > 0 ? TCP_FLAG.PSH : 0) | (isEnd ? TCP_FLAG.FIN : 0)
    this.options.send({ flags, sequence, acknowledged: this.receiver.next, window: this.receiver.advertise(), data })
  }

  private acknowledgeNow(): void {
    this.owesAcknowledgement = false
    this.options.send({ flags: TCP_FLAG.ACK, sequence: this.sender.pure, acknowledged: this.receiver.next, window: this.receiver.advertise(), data: NOTHING })
  }

  private sendReset(sequence: number): void {
    this.options.send({ flags: TCP_FLAG.RST, sequence, acknowledged: 0, window: 0, data: NOTHING })
  }

  // Time

  /** It has got to its deadline. */
  tick(now: number): void {
    if (this.waitUntil !== undefined && now >= this.waitUntil) return this.finish('closed')
    const { deadline } = this.sender
    if (deadline !== undefined && now >= deadline && !this.expire(now)) return this.giveUp()
    if (this.isSilent || now < this.heardAt + SILENCE + this.probes * PROBE_INTERVAL) return
    this.probes += 1
    if (this.probes > MOST_PROBES) return this.giveUp()
    // One number back: whoever is there says what he expects.
    this.options.send({ flags: TCP_FLAG.ACK, sequence: advance(this.sender.most, -1), acknowledged: this.receiver.next, window: this.receiver.advertise(), data: NOTHING })
  }

  private expire(now: number): boolean {
    const isSyn = this.current === 'syn-sent' || this.current === 'syn-received'
    if (!isSyn) return this.sender.expire(now)
    const isThere = this.sender.expireSyn(now, MOST_SYNS)
    if (isThere) this.sendSyn()
    return isThere
  }

  private giveUp(): void {
    const isOpening = this.current === 'syn-sent'
    if (!isOpening) this.sendReset(this.sender.most)
    this.finish('timed-out')
  }

  // State

  /** All that it is, as plain data. */
  save(): StateOf<typeof tcpConnectionState> {
    const { current: state, heardAt, waitUntil, probes } = this
    return { state, sender: this.sender.save(), receiver: this.receiver.save(), heardAt, waitUntil, probes }
  }
}
