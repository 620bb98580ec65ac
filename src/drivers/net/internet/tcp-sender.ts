/**
 * The half of a TCP connection that sends: what was not acknowledged, how much may be on its way, when it is sent again.
 * Reference: RFC 9293; RFC 6298 (time-outs), 5681 and 6582 (congestion, fast recovery). No selective acknowledgements.
 */
import { shape, type StateOf } from '../../../util/index.ts'
import { SendQueue, sendQueueState } from './send-queue.ts'
import { advance, distance } from './tcp-sequence.ts'
import type { TcpPacket } from './packet.ts'

const SECOND = 1e9
/** Time-outs of what was sent, in nanoseconds. */
const FIRST_TIMEOUT = SECOND
const LEAST_TIMEOUT = SECOND / 5
const MOST_TIMEOUT = 60 * SECOND
/** How finely time is measured, as far as the variance of round trips is concerned. */
const GRANULARITY = SECOND / 100
/** Time-outs in a row after which the other end is taken for gone: some four minutes. */
const MOST_ATTEMPTS = 8
/** Segments that may be on their way at first. */
const FIRST_SEGMENTS = 10
const MOST_CONGESTION = 1 << 20
/** Acknowledgements of the same byte that tell of a loss. */
const DUPLICATES = 3
/** A segment where the other end does not say how large it may be. */
export const DEFAULT_SEGMENT = 536

const senderNumbers = /* @__PURE__ */ shape.record({
  unacknowledged: shape.word, next: shape.word, most: shape.word,
  window: shape.time, windowSequence: shape.word, windowAcknowledged: shape.word, scale: shape.word, segment: shape.word,
  congestion: shape.time, threshold: shape.time, duplicates: shape.time, recover: /* @__PURE__ */ shape.optional(shape.word),
  roundTrip: /* @__PURE__ */ shape.optional(shape.number), variance: shape.number,
  timedSequence: shape.word, timedAt: /* @__PURE__ */ shape.optional(shape.number),
  retransmitAt: /* @__PURE__ */ shape.optional(shape.number), backoff: shape.time, attempts: shape.time,
  isEnding: shape.flag, isEndAcknowledged: shape.flag, retransmitted: shape.time,
})

/** A sender, saved. */
export const senderState = /* @__PURE__ */ shape.record({ numbers: senderNumbers, queue: sendQueueState })

type Numbers = { -readonly [Name in keyof StateOf<typeof senderNumbers>]: StateOf<typeof senderNumbers>[Name] }

/** Sends bytes from a sequence number on; `isEnd`: and that there are no more. */
export type EmitBytes = (sequence: number, bytes: Uint8Array, isEnd: boolean) => void

/** Sends a stream. */
export class TcpSender {
  private readonly is: Numbers
  private readonly queue = new SendQueue()
  private readonly emit: EmitBytes

  /** `initial` is the number of its SYN. */
  constructor(initial: number, emit: EmitBytes) {
    this.emit = emit
    this.is = {
      unacknowledged: initial, next: initial, most: initial, window: 0, windowSequence: 0, windowAcknowledged: 0, scale: 0, segment: DEFAULT_SEGMENT,
      congestion: FIRST_SEGMENTS * DEFAULT_SEGMENT, threshold: MOST_CONGESTION, duplicates: 0, recover: undefined,
      roundTrip: undefined, variance: 0, timedSequence: 0, timedAt: undefined, retransmitAt: undefined, backoff: 0, attempts: 0,
      isEnding: false, isEndAcknowledged: false, retransmitted: 0,
    }
  }

  /** The number behind everything that was ever sent. */
  get most(): number {
    return this.is.most
  }

  /** The number of a segment without bytes; one that lies behind the byte that probes a closed window would not be taken. */
  get pure(): number {
    return this.is.window === 0 ? this.is.next : this.is.most
  }

  /** The first number that was not acknowledged. */
  get unacknowledged(): number {
    return this.is.unacknowledged
  }

  /** Bytes that are kept: waiting, or sent and not acknowledged. */
  get length(): number {
    return this.queue.length
  }

  /** Bytes of a segment at most. */
  get segment(): number {
    return this.is.segment
  }

  /** Segments that were sent again. */
  get retransmitted(): number {
    return this.is.retransmitted
  }

  /** When something is to be done; undefined when nothing is. */
  get deadline(): number | undefined {
    return this.is.retransmitAt
  }

  /** Its SYN was sent, or is sent again. */
  sentSyn(now: number): void {
    const { is } = this
    is.next = is.most = advance(is.unacknowledged, 1)
    is.retransmitAt = now + this.timeout()
  }

  /** What the other end's SYN says. */
  takeOptions({ mss, windowScale, window, sequence, acknowledged }: TcpPacket, largest: number): void {
    const { is } = this
    is.segment = Math.max(64, Math.min(mss ?? DEFAULT_SEGMENT, largest))
    is.scale = windowScale ?? 0
    is.congestion = FIRST_SEGMENTS * is.segment
    // Windows of SYNs are not scaled.
    Object.assign(is, { window, windowSequence: sequence, windowAcknowledged: acknowledged })
  }

  /** Its SYN was acknowledged by a segment. */
  begin(segment: TcpPacket, scale: 'scaled' | 'as it is'): void {
    const { is } = this
    is.unacknowledged = is.next = is.most = segment.acknowledged
    is.retransmitAt = undefined
    is.attempts = is.backoff = 0
    this.takeWindow(segment, scale === 'scaled' ? is.scale : 0)
  }

  private takeWindow({ window, sequence, acknowledged }: TcpPacket, scale: number): void {
    Object.assign(this.is, { window: window * 2 ** scale, windowSequence: sequence, windowAcknowledged: acknowledged })
  }

  /** Takes bytes to be sent; they are its own from now on. */
  push(bytes: Uint8Array): void {
    this.queue.push(bytes)
  }

  /** True once it was said that there will be no more. */
  get isEnding(): boolean {
    return this.is.isEnding
  }

  /** There will be no more. */
  end(): void {
    this.is.isEnding = true
  }

  /** True once the other end has acknowledged that there is no more. */
  get isDone(): boolean {
    return this.is.isEndAcknowledged
  }

  // Sending

  /** Sends what may be sent now. */
  output(now: number): void {
    const { is, queue } = this
    for (;;) {
      const offset = distance(is.next, is.unacknowledged)
      const waiting = queue.length - offset
      const length = Math.max(0, Math.min(is.segment, waiting, Math.min(is.window, is.congestion) - offset))
      const isEnd = is.isEnding && length === waiting
      // Behind the end there is nothing.
      if (waiting < 0 || is.isEndAcknowledged || (length === 0 && !isEnd)) break
      // No small pieces of a window, unless there is nothing else on its way.
      if (length < is.segment && length < waiting && offset > 0) break
      this.sendAt(is.next, length, { now, isEnd })
    }
    const isWaiting = distance(is.next, is.unacknowledged) > 0 || queue.length > 0
    if (isWaiting && is.retransmitAt === undefined) is.retransmitAt = now + this.timeout()
  }

  private sendAt(sequence: number, length: number, { now, isEnd }: { readonly now: number; readonly isEnd: boolean }): void {
    const { is, queue } = this
    const end = advance(sequence, length + (isEnd ? 1 : 0))
    const isNew = distance(end, is.most) > 0
    if (isNew && is.timedAt === undefined) Object.assign(is, { timedAt: now, timedSequence: end })
    if (!isNew) is.retransmitted += 1
    if (distance(end, is.next) > 0) is.next = end
    if (isNew) is.most = end
    this.emit(sequence, queue.read(distance(sequence, is.unacknowledged), length), isEnd)
  }

  /** Sends the first segment that was not acknowledged again. */
  private resendFirst(now: number): void {
    const { is, queue } = this
    const length = Math.min(is.segment, queue.length)
    is.timedAt = undefined
    const wasEndSent = distance(is.most, advance(is.unacknowledged, queue.length)) > 0
    this.sendAt(is.unacknowledged, length, { now, isEnd: is.isEnding && length === queue.length && wasEndSent })
  }

  // Acknowledgements

  /** Takes what a segment acknowledges and how much it lets be sent; true where something was acknowledged. */
  acknowledge(segment: TcpPacket, now: number): boolean {
    const { is } = this
    const { sequence, acknowledged, data, window } = segment
    const count = distance(acknowledged, is.unacknowledged)
    const wasClosed = is.window === 0
    const isSame = window * 2 ** is.scale === is.window
    const newer = distance(sequence, is.windowSequence)
    if (count >= 0 && (newer > 0 || (newer === 0 && distance(acknowledged, is.windowAcknowledged) >= 0))) this.takeWindow(segment, is.scale)
    // Whoever says that it takes nothing is there.
    if (wasClosed) is.attempts = 0
    if (wasClosed && is.window > 0) Object.assign(is, { backoff: 0, retransmitAt: undefined })
    if (count > 0) this.takeBytes(count, now)
    else if (count === 0 && isSame && data.length === 0 && distance(is.next, is.unacknowledged) > 0) this.countDuplicate(now)
    return count > 0
  }

  private takeBytes(count: number, now: number): void {
    const { is, queue } = this
    is.unacknowledged = advance(is.unacknowledged, count)
    if (is.isEnding && count > queue.length) is.isEndAcknowledged = true
    queue.drop(Math.min(count, queue.length))
    if (distance(is.next, is.unacknowledged) < 0) is.next = is.unacknowledged
    if (is.timedAt !== undefined && distance(is.unacknowledged, is.timedSequence) >= 0) this.measure(now - is.timedAt)
    is.attempts = is.backoff = is.duplicates = 0
    this.grow(count, now)
    is.retransmitAt = distance(is.next, is.unacknowledged) > 0 ? now + this.timeout() : undefined
  }

  /** More may be on its way, or the next loss is made good. */
  private grow(count: number, now: number): void {
    const { is } = this
    if (is.recover === undefined) {
      const more = is.congestion < is.threshold ? count : Math.max(1, Math.floor(is.segment * is.segment / is.congestion))
      is.congestion = Math.min(MOST_CONGESTION, is.congestion + more)
    } else if (distance(is.unacknowledged, is.recover) >= 0) {
      is.recover = undefined
      is.congestion = is.threshold
    } else {
      is.congestion = Math.max(is.segment, is.congestion - count + is.segment)
      this.resendFirst(now)
    }
  }

  private countDuplicate(now: number): void {
    const { is } = this
    is.duplicates += 1
    if (is.recover !== undefined) is.congestion = Math.min(MOST_CONGESTION, is.congestion + is.segment)
    else if (is.duplicates === DUPLICATES) {
      this.slowDown()
      is.recover = is.most
      is.congestion = is.threshold + DUPLICATES * is.segment
      this.resendFirst(now)
    }
  }

  private slowDown(): void {
    const { is } = this
    is.threshold = Math.max(2 * is.segment, Math.floor(distance(is.next, is.unacknowledged) / 2))
  }

  // Time

  private timeout(): number {
    const { roundTrip, variance, backoff } = this.is
    const base = roundTrip === undefined ? FIRST_TIMEOUT : Math.max(LEAST_TIMEOUT, roundTrip + Math.max(GRANULARITY, 4 * variance))
    return Math.min(MOST_TIMEOUT, base * 2 ** backoff)
  }

  private measure(sample: number): void {
    const { is } = this
    is.timedAt = undefined
    if (is.roundTrip === undefined) Object.assign(is, { roundTrip: sample, variance: sample / 2 })
    else {
      is.variance = 0.75 * is.variance + 0.25 * Math.abs(is.roundTrip - sample)
      is.roundTrip = 0.875 * is.roundTrip + 0.125 * sample
    }
  }

  /** The time-out of its SYN is over; false where there were enough of them. */
  expireSyn(now: number, most: number): boolean {
    const { is } = this
    is.attempts += 1
    is.backoff += 1
    is.retransmitAt = now + this.timeout()
    return is.attempts < most
  }

  /** Its time-out is over: sends again, or asks a closed window; false where the other end is taken for gone. */
  expire(now: number): boolean {
    const { is, queue } = this
    is.attempts += 1
    if (is.attempts > MOST_ATTEMPTS) return false
    is.backoff += is.backoff < 10 ? 1 : 0
    is.timedAt = undefined
    is.retransmitAt = now + this.timeout()
    if (is.window === 0 && queue.length > 0) this.probe(now)
    else this.goBack(now)
    return true
  }

  /** One byte beyond a closed window, which does not count as sent: the answer says whether it is open. */
  private probe(now: number): void {
    const { next } = this.is
    this.sendAt(this.is.unacknowledged, 1, { now, isEnd: false })
    this.is.next = next
  }

  private goBack(now: number): void {
    const { is } = this
    this.slowDown()
    Object.assign(is, { congestion: is.segment, next: is.unacknowledged, recover: undefined, duplicates: 0 })
    this.output(now)
  }

  // State

  save(): StateOf<typeof senderState> {
    return { numbers: { ...this.is }, queue: this.queue.save() }
  }
}
