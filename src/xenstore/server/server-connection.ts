/**
 * One client of the server: bytes in, messages through the store, bytes out. It stops reading where the protocol says
 * so - too many requests unanswered, too much memory, too many writes, or a client that does not take its replies -
 * and it never waits: whoever owns it calls again when there is news.
 *
 * Reference: xen/docs/misc/xenstore.txt; behaviour of tools/xenstored/core.c and domain.c.
 */
import { XS, XENSTORE } from '../../abi/index.ts'
import { ByteQueue } from '../protocol/byte-queue.ts'
import { HEADER_SIZE, PacketParser } from '../protocol/packet-parser.ts'
import { isSpecial } from '../tree/path.ts'
import { RingTransport } from '../protocol/ring-transport.ts'
import { expectSaved, type SavedConnection } from '../store/saved-state.ts'
import type { StoreSession } from '../store/session.ts'
import type { EventCause } from '../store/watches.ts'
import type { StoreErrorName } from '../protocol/store-error.ts'
import { putRawText } from '../tree/text.ts'
import type { StoreTransport, TransportFault } from '../protocol/transport.ts'

/** Bytes of replies after which a client that does not take them is not read from any more. */
export const REPLY_BACKLOG = 256 * 1024
/** Bytes of messages after which a privileged client that does not take its events is dropped. Bounds the memory. */
export const EVENT_BACKLOG = 16 * 1024 * 1024
/** Milliseconds after which an event that its receiver does not take no longer holds up the domain that caused it. */
export const EVENT_TIMEOUT = 20_000

/** Messages that one client is served before the next has its turn. */
const TURN = 256

/** What the server is to its connections. */
export interface ConnectionOwner {
  /** Carries out the message that the connection's parser holds, and answers it. */
  serve(connection: ServerConnection): void
  /** There is output to be sent. */
  dirty(connection: ServerConnection): void
  /** There may be input to be served. */
  ready(connection: ServerConnection): void
  /** The connection is held back, and is to be tried again when time or quotas may have changed. */
  stalled(connection: ServerConnection): void
  /** The client is gone. */
  closed(connection: ServerConnection): void
  /** Whether the domain's account allows reading. */
  mayWrite(connection: ServerConnection): boolean
  milliseconds(): number
  /** Milliseconds for which the message that has just come waits; absent where none ever does. */
  wait?(connection: ServerConnection): number
}

/** A request of an unprivileged domain, until its reply and all events that it caused are taken. */
export class RequestCause implements EventCause {
  pending = 0
  /** Its reply was taken. */
  answered = false
  readonly connection: ServerConnection

  constructor(connection: ServerConnection, saved: { readonly pending: number; readonly answered: boolean } = { pending: 0, answered: false }) {
    this.connection = connection
    this.pending = saved.pending
    this.answered = saved.answered
  }

  /** One event that it caused was taken, dropped, or has waited too long. */
  eventDone(): void {
    this.pending -= 1
    this.check()
  }

  /** Its reply was taken. */
  replyTaken(): void {
    this.answered = true
    this.check()
  }

  private check(): void {
    if (this.answered && this.pending === 0) this.connection.requestDone()
  }
}

/** A message in the output that something hangs on. */
interface Marker {
  /** Where it ends, counted from the beginning of the connection. */
  readonly end: number
  /** Bytes booked on the domain's memory. */
  readonly bytes: number
  /** For an event: its text, for finding equal ones. */
  readonly event: string | undefined
  /** For an event: the request that caused it; for a reply: the request itself. */
  cause: RequestCause | undefined
  /** When the cause is let go, in milliseconds. */
  readonly deadline: number
}

/** The state of a client. */
export type ConnectionState =
  | 'open'
  /** A domain that broke the protocol: not served until it connects anew. */
  | 'ignored'
  | 'closed'

/** A client as its user sees it. */
export interface StoreConnection {
  /** Its number, which the store's events name. */
  readonly id: number
  /** The domain at the other end. */
  readonly domid: number
  readonly state: ConnectionState
  /** Ends the connection from the server's side. */
  close(reason: string): void
}

/** One client as the server works with it. */
export class ServerConnection implements StoreConnection {
  /** What the client may do and has open. */
  readonly session: StoreSession
  readonly transport: StoreTransport
  readonly parser = new PacketParser()
  state: ConnectionState = 'open'
  readonly output = new ByteQueue()
  /** When a message is looked at that waits, in milliseconds; Infinity while none does. */
  parkedUntil = Infinity
  private readonly owner: ConnectionOwner
  private markers: Marker[] = []
  private firstMarker = 0
  private readonly waitingEvents = new Set<string>()
  private readonly limited: boolean
  private readonly restartable: boolean

  /** The server makes connections. */
  constructor(owner: ConnectionOwner, session: StoreSession, transport: StoreTransport) {
    this.owner = owner
    this.restartable = transport instanceof RingTransport
    this.session = session
    this.transport = transport
    this.limited = !session.privileged
    transport.listen({ readable: () => owner.ready(this), writable: () => owner.dirty(this) })
  }

  /** Its number, which the store's events name. */
  get id(): number {
    return this.session.id
  }

  /** The domain at the other end. */
  get domid(): number {
    return this.session.domid
  }

  /** True while there is a reason of the protocol not to read from this client. */
  private held(): boolean {
    if (this.isHeldByOthers()) return true
    return this.limited && this.session.record !== undefined && !this.owner.mayWrite(this)
  }

  /** True while it is not read from for a reason that ends by what somebody does, not by time. */
  isHeldByOthers(): boolean {
    if (this.output.length > REPLY_BACKLOG) return true
    const { record } = this.session
    if (!this.limited || record === undefined) return false
    const { limits, usage } = record
    if (limits.outstanding !== 0 && usage.outstanding >= limits.outstanding) return true
    return limits.memory !== 0 && usage.memory >= limits.memory
  }

  /** Serves what has arrived, a turn's worth; true when there may be more. */
  serveInput(): boolean {
    for (let served = 0; served < TURN; served += 1) {
      if (this.state !== 'open') return false
      if (this.held() || this.isParked()) {
        this.owner.stalled(this)
        return false
      }
      const wasParked = this.parkedUntil < Infinity
      this.parkedUntil = Infinity
      // A message that has waited is in the parser's hand.
      if (!wasParked && !this.nextMessage()) return false
      this.owner.serve(this)
    }
    return true
  }

  /** Finds the next message that is to be served now; false where there is none. */
  private nextMessage(): boolean {
    for (let found = this.parser.next(); found !== 'message'; found = this.parser.next()) {
      if (found === 'invalid') return this.fail('protocol')
      const chunk = this.transport.receive()
      if (chunk === undefined) return this.inputEnded()
      this.parser.feed(chunk)
    }
    return !this.park()
  }

  private isParked(): boolean {
    return this.parkedUntil < Infinity && this.owner.milliseconds() < this.parkedUntil
  }

  /** Lets the message in hand wait, where somebody wants that. */
  private park(): boolean {
    const wait = this.owner.wait?.(this) ?? 0
    if (wait <= 0) return false
    this.parkedUntil = this.owner.milliseconds() + wait
    this.owner.stalled(this)
    return true
  }

  private inputEnded(): false {
    if (this.transport.state === 'broken') return this.fail('ring-index')
    if (this.transport.state === 'ended') this.close('the client has ended')
    return false
  }

  /** The client broke the rules. A domain stays connected but is ignored, anybody else is dropped. */
  fail(fault: TransportFault): false {
    this.transport.close(fault)
    if (this.restartable) this.ignore()
    else this.close(`the client broke the rules (${fault})`)
    return false
  }

  private ignore(): void {
    this.state = 'ignored'
    this.forgetEverything()
  }

  private forgetEverything(): void {
    this.session.resetWatches()
    this.dropOutput()
    this.parser.reset()
    this.parkedUntil = Infinity
  }

  /** Begins anew: watches, transactions and messages of the time before are gone. */
  restart(): void {
    this.forgetEverything()
    this.state = 'open'
  }

  /** Ends the connection from the server's side. */
  close(reason: string): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.transport.close()
    this.dropOutput()
    this.session.close(reason)
    this.owner.closed(this)
  }

  private dropOutput(): void {
    this.output.clear()
    this.settleMarkers()
  }

  // State

  /** True for a domain's connection over its page. */
  get isPage(): boolean {
    return this.restartable
  }

  /** Messages that wait: what was received and not served, or what the client has not taken. */
  get waiting(): number {
    return this.parser.pending + this.output.length
  }

  /** Requests on which messages hang that wait to be taken. */
  *causes(): IterableIterator<RequestCause> {
    for (let at = this.firstMarker; at < this.markers.length; at += 1) {
      const { cause } = this.markers[at]!
      if (cause !== undefined) yield cause
    }
  }

  /** The messages of the connection; `placeOf` says which place a request has among those that are not done. */
  save(placeOf: (cause: RequestCause) => number): Pick<SavedConnection, 'page' | 'ignored' | 'input' | 'output' | 'markers'> {
    const { taken } = this.output
    const markers = this.markers.slice(this.firstMarker).map(({ end, bytes, event, cause, deadline }) =>
      ({ end: end - taken, bytes, event, cause: cause && placeOf(cause), deadline }))
    return {
      page: this.restartable, ignored: this.state === 'ignored', input: this.parser.save(), output: this.output.peek().slice(), markers,
    }
  }

  /** Whether no message waits, neither here nor in what was saved, and the rest is the same. */
  isIdleAs({ page, ignored, input, output, markers }: SavedConnection): boolean {
    return this.waiting === 0 && this.firstMarker === this.markers.length && input.length === 0 && output.length === 0 && markers.length === 0
      && page === this.restartable && ignored === (this.state === 'ignored')
  }

  /** Takes saved messages over, with the requests that they hang on. */
  load(saved: SavedConnection, causes: readonly (RequestCause | undefined)[]): void {
    if (saved.ignored) this.state = 'ignored'
    this.parser.feed(saved.input.slice())
    const at = this.output.reserve(saved.output.length)
    this.output.data.set(saved.output, at)
    let last = 0
    for (const { end, bytes, event, cause, deadline } of saved.markers) {
      expectSaved(end >= last && end <= saved.output.length, 'messages out of order')
      expectSaved(cause === undefined || cause < causes.length, 'a request that is not there')
      last = end
      if (event !== undefined && event !== '') this.waitingEvents.add(event)
      this.mark({ end, bytes, event, cause: cause === undefined ? undefined : causes[cause], deadline })
    }
  }

  // Output

  private header(type: number, length: number): number {
    const at = this.output.reserve(HEADER_SIZE + length)
    const { data } = this.output
    const { requestId, transaction } = this.parser
    const event = type === XS.WATCH_EVENT
    putWord(data, at, type)
    putWord(data, at + 4, event ? 0 : requestId)
    putWord(data, at + 8, event ? 0 : transaction)
    putWord(data, at + 12, length)
    return at + HEADER_SIZE
  }

  private replied(bytes: number, cause: RequestCause | undefined): void {
    this.owner.dirty(this)
    if (!this.limited) return
    this.session.use('outstanding', 1)
    const own = cause ?? new RequestCause(this)
    this.mark({ end: this.output.appended, bytes, event: undefined, cause: own, deadline: 0 })
  }

  private mark(marker: Marker): void {
    this.session.use('memory', marker.bytes)
    this.markers.push(marker)
  }

  /** Answers with raw bytes. */
  replyBytes(value: Uint8Array, cause?: RequestCause): void {
    if (value.length > XENSTORE.PAYLOAD_MAX) {
      this.replyError('E2BIG', cause)
      return
    }
    const at = this.header(this.parser.type, value.length)
    this.output.data.set(value, at)
    this.replied(HEADER_SIZE + value.length, cause)
  }

  /** Answers with text that has its terminators already. */
  replyText(text: string, cause?: RequestCause): void {
    if (text.length > XENSTORE.PAYLOAD_MAX) {
      this.replyError('E2BIG', cause)
      return
    }
    const at = this.header(this.parser.type, text.length)
    putRawText(text, this.output.data, at)
    this.replied(HEADER_SIZE + text.length, cause)
  }

  /** Refuses. */
  replyError(error: StoreErrorName, cause?: RequestCause): void {
    const at = this.header(XS.ERROR, error.length + 1)
    this.output.data[putRawText(error, this.output.data, at)] = 0
    this.replied(HEADER_SIZE + error.length + 1, cause)
  }

  /** Queues a watch event. An equal one that still waits stands for both; special ones are always sent. */
  event(path: string, token: string, cause: RequestCause | undefined): void {
    const text = `${path}\0${token}\0`
    if (this.state !== 'open' || text.length > XENSTORE.PAYLOAD_MAX) return
    const special = isSpecial(path)
    if (!special && this.waitingEvents.has(text)) return
    const bytes = HEADER_SIZE + text.length
    if (this.limited && this.session.exceeds('memory', (this.session.record?.usage.memory ?? 0) + bytes)) return
    if (this.output.length + bytes > EVENT_BACKLOG) {
      this.close('the client does not take its events')
      return
    }
    const at = this.header(XS.WATCH_EVENT, text.length)
    putRawText(text, this.output.data, at)
    if (!special) this.waitingEvents.add(text)
    if (cause !== undefined) cause.pending += 1
    const deadline = this.limited ? this.owner.milliseconds() + EVENT_TIMEOUT : Infinity
    this.mark({ end: this.output.appended, bytes, event: special ? '' : text, cause, deadline })
    this.owner.dirty(this)
  }

  /** Sends what waits, as far as the client takes it; true when something was taken. */
  flush(): boolean {
    if (this.state !== 'open' || this.output.length === 0) return false
    const sent = this.transport.send(this.output.peek())
    if (this.transport.state === 'broken') {
      this.fail('ring-index')
      return false
    }
    if (sent === 0) return false
    this.output.take(sent)
    this.settleMarkers()
    return true
  }

  /** Lets go of everything that hangs on messages which have been taken. */
  private settleMarkers(): void {
    const { taken } = this.output
    let at = this.firstMarker
    for (; at < this.markers.length && this.markers[at]!.end <= taken; at += 1) this.settle(this.markers[at]!)
    this.firstMarker = at
    if (at < 256 && at < this.markers.length) return
    this.markers = this.markers.slice(at)
    this.firstMarker = 0
  }

  private settle(marker: Marker): void {
    this.session.use('memory', -marker.bytes)
    if (marker.event === undefined) marker.cause?.replyTaken()
    else {
      this.waitingEvents.delete(marker.event)
      marker.cause?.eventDone()
    }
  }

  /** Lets go of the causes of events that have waited too long; when that is due next. */
  expireEvents(now: number): number {
    for (let at = this.firstMarker; at < this.markers.length; at += 1) {
      const marker = this.markers[at]!
      if (marker.event === undefined || marker.cause === undefined) continue
      if (marker.deadline > now) return marker.deadline
      const { cause } = marker
      marker.cause = undefined
      cause.eventDone()
    }
    return Infinity
  }

  /** A request's reply and events are all taken. */
  requestDone(): void {
    this.session.use('outstanding', -1)
    if (this.state === 'open') this.owner.ready(this)
  }
}

function putWord(data: Uint8Array, at: number, value: number): void {
  data[at] = value
  data[at + 1] = value >>> 8
  data[at + 2] = value >>> 16
  data[at + 3] = value >>> 24
}
