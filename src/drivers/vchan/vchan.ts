/**
 * One end of a vchan: bytes as a stream or in packets, with the notifications of libxenvchan. Who waits does so in a queue for each direction, and is woken by the other
 * end's events. Indices are checked at each use; an end whose peer lies lets everything go.
 *
 * Reference: xen/include/public/io/libxenvchan.h; tools/libs/vchan/io.c.
 */
import { VCHAN_NOTIFY, VchanInterface } from '../../abi/index.ts'
import type { GuestKernel, Timer } from '../../guest/index.ts'
import { ScatteredConsumer, ScatteredProducer } from '../../rings/index.ts'
import { badState, byteArray, checkArgument, whole, XenError, type DomId, type EventPort, type GrantRef, type NumberField } from '../../util/index.ts'
import { releasePages, ringsIn, type VchanPages } from './pages.ts'
import { VCHAN_LIVE, VCHAN_RING_LIMIT } from './protocol.ts'
import type { VchanState } from './saved.ts'

/** Why an end is over that did nothing but close. */
const CLOSED_HERE = 'it was closed here'
/** After so long a server that somebody waits at looks whether its client is still there: one that died with its domain says nothing. */
const LOOK_AGAIN = '1s'

/** Which of the two: the server makes the rings, the client finds them. */
export type VchanRole = 'server' | 'client'

/** `waiting` is a server to which no client has come. */
export type VchanStanding = 'waiting' | 'open' | 'closed'

/** What went over an end of a vchan. */
export interface VchanStatistics {
  /** Bytes that were read and written. */
  readonly received: number
  readonly sent: number
  /** Events that came from the other end, and that went there. */
  readonly events: number
  readonly notified: number
}

/** What an end is made of. */
export interface VchanParts {
  readonly kernel: GuestKernel
  readonly role: VchanRole
  readonly peer: DomId
  readonly path: string
  readonly pages: VchanPages
  readonly port: EventPort
  readonly persistent: boolean
  readonly onEvent: (() => void) | undefined
  /** Ends what stands in XenStore for this end. */
  readonly unpublish: () => Promise<void>
}

/** What whoever made an end tells it of. */
export interface VchanDoor {
  readonly vchan: Vchan
  /** Something has happened at the other end. */
  onEvent(): void
  /** The other end has gone without a word. */
  peerGone(): void
  /** Says that the client is there, and wakes the server. */
  arrive(): void
  /** Goes on where a saved one was. */
  load(state: VchanState): void
}

/** Makes an end. */
export let makeVchan: (parts: VchanParts) => VchanDoor

/** Somebody who waits: tries again, and says whether that is the end of it. */
type Attempt = () => boolean

/**
 * One end of a vchan, of `openVchanServer` or `openVchanClient`. Reads and writes that cannot be done now wait; those that begin with `try` do not. All of them throw,
 * or reject with, CLOSED once the other end is gone and what it left is read, or once this one was closed. A vchan is to be closed also when the other end was.
 */
export class Vchan {
  /** Which end it is. */
  readonly role: VchanRole
  /** The other end's domain. */
  readonly peer: DomId
  /** Where it stands in XenStore. */
  readonly path: string
  private readonly parts: VchanParts
  private readonly input: ScatteredConsumer
  private readonly output: ScatteredProducer
  private readonly ownNotify: NumberField
  private readonly peerNotify: NumberField
  private readonly queues: { readonly reading: Attempt[]; readonly writing: Attempt[] } = { reading: [], writing: [] }
  private readonly counts = { received: 0, sent: 0, events: 0, notified: 0 }
  private timer: Timer | undefined
  /** The other end has gone. */
  private gone = false
  /** Why this end is over, and when nothing of it is left in XenStore. */
  private over: string | undefined
  private unpublished: Promise<void> = Promise.resolve()

  static {
    makeVchan = (parts) => {
      const vchan = new Vchan(parts)
      return { vchan, onEvent: () => vchan.onEvent(), peerGone: () => vchan.peerGone(), arrive: () => vchan.arrive(), load: (state) => vchan.load(state) }
    }
  }

  private constructor(parts: VchanParts) {
    const { kernel, role, peer, path, pages } = parts
    const { left, right } = ringsIn(kernel, pages)
    const isServer = role === 'server'
    this.parts = parts
    this.role = role
    this.peer = peer
    this.path = path
    this.input = new ScatteredConsumer(isServer ? left : right)
    this.output = new ScatteredProducer(isServer ? right : left)
    this.ownNotify = isServer ? VchanInterface.cliNotify : VchanInterface.srvNotify
    this.peerNotify = isServer ? VchanInterface.srvNotify : VchanInterface.cliNotify
  }

  /** Whether the other end is there. A server that is persistent waits for the next client where one has gone. */
  get state(): VchanStanding {
    if (this.over !== undefined || this.gone) return 'closed'
    return this.role === 'server' ? this.clientState() : this.serverState()
  }

  /** Why this end is over, where it did not just close: what the other end did. */
  get broken(): string | undefined {
    return this.over === CLOSED_HERE ? undefined : this.over
  }

  /** Bytes that can be read now, as {@link Vchan.tryRead} would. The next event tells of more. */
  get ready(): number {
    if (this.over !== undefined) return 0
    this.ask(VCHAN_NOTIFY.WRITE)
    return this.queued()
  }

  /** Bytes that can be written now. The next event tells of more room. */
  get space(): number {
    if (this.state === 'closed') return 0
    this.ask(VCHAN_NOTIFY.READ)
    return this.room()
  }

  /** Bytes that each direction holds at most: a packet cannot be larger. */
  get sizes(): { readonly receive: number; readonly send: number } {
    return { receive: this.input.size, send: this.output.size }
  }

  /** What went over it. */
  get statistics(): VchanStatistics {
    return { ...this.counts }
  }

  /** Bytes that have come, one at least and `most` at most. */
  read(most: number = VCHAN_RING_LIMIT): Promise<Uint8Array> {
    checkArgument('most', most, whole(1, VCHAN_RING_LIMIT))
    return this.waitFor('reading', () => this.take(1, most))
  }

  /** Bytes that have come, at most so many; none where there are none. */
  tryRead(most: number = VCHAN_RING_LIMIT): Uint8Array {
    checkArgument('most', most, whole(1, VCHAN_RING_LIMIT))
    return (this.queues.reading.length > 0 ? undefined : this.take(1, most)) ?? new Uint8Array()
  }

  /** A packet of exactly `size` bytes. */
  receive(size: number): Promise<Uint8Array> {
    checkArgument('size', size, whole(1, this.input.size))
    return this.waitFor('reading', () => this.take(size, size))
  }

  /** A packet of exactly `size` bytes; undefined while it has not come as a whole. */
  tryReceive(size: number): Uint8Array | undefined {
    checkArgument('size', size, whole(1, this.input.size))
    return this.queues.reading.length > 0 ? undefined : this.take(size, size)
  }

  /** Writes all bytes, as the other end makes room. */
  write(bytes: Uint8Array): Promise<void> {
    checkArgument('bytes', bytes, byteArray)
    let left = bytes.slice()
    return this.waitFor('writing', () => {
      do {
        const count = this.put(left, Math.min(1, left.length))
        if (count === undefined) return undefined
        left = left.subarray(count)
      } while (left.length > 0)
      return true
    }).then(() => undefined)
  }

  /** Writes as many of the bytes as there is room for, and says how many. */
  tryWrite(bytes: Uint8Array): number {
    checkArgument('bytes', bytes, byteArray)
    return (this.queues.writing.length > 0 ? undefined : this.put(bytes, Math.min(1, bytes.length))) ?? 0
  }

  /** Writes a packet once there is room for all of it: the other end finds it whole. */
  send(packet: Uint8Array): Promise<void> {
    this.checkPacket(packet)
    const kept = packet.slice()
    return this.waitFor('writing', () => this.put(kept, kept.length)).then(() => undefined)
  }

  /** Writes a packet if there is room for all of it now. */
  trySend(packet: Uint8Array): boolean {
    this.checkPacket(packet)
    return this.queues.writing.length === 0 && this.put(packet, packet.length) !== undefined
  }

  /** Closes this end: the other reads what is there and then finds it closed. Who waits here is rejected with CLOSED. Resolves when the nodes are gone. */
  async close(): Promise<void> {
    this.end(CLOSED_HERE)
    await this.unpublished
  }

  /** The end as plain data, for `attachVchan` in a kernel that was loaded. Throws INVALID_STATE while somebody waits, and where it is over. */
  save(): VchanState {
    if (this.over !== undefined) throw badState('a vchan that is over has no state')
    if (this.queues.reading.length + this.queues.writing.length > 0) throw badState(`somebody waits at the vchan ${this.path}`)
    const { role, peer, path, pages: { orders, head, left, right }, port, persistent } = this.parts
    const named = ({ page, name }: (typeof left)[number]) => ({ frame: page.frame as number, name })
    return {
      role, peer, path, port, persistent, gone: this.gone, orders: { ...orders }, pages: [head, ...left, ...right].map(named),
      consumed: this.input.save(), produced: this.output.save(),
    }
  }

  // The door

  private load({ gone, consumed, produced }: VchanState): void {
    this.gone = gone
    this.input.load(consumed)
    this.output.load(produced)
  }

  private onEvent(): void {
    if (this.over !== undefined) return
    this.counts.events += 1
    this.pump()
    this.parts.onEvent?.()
  }

  private peerGone(): void {
    if (this.over !== undefined || this.gone) return
    this.gone = true
    this.pump()
    this.parts.onEvent?.()
  }

  private arrive(): void {
    const { view, base } = this.parts.pages.head.page
    VchanInterface.cliLive.set(view, base, VCHAN_LIVE.connected)
    VchanInterface.srvNotify.set(view, base, VCHAN_NOTIFY.WRITE)
    this.written()
    this.notify()
  }

  // The other end

  private clientState(): VchanStanding {
    const { pages: { head }, persistent, kernel } = this.parts
    const { view, base } = head.page
    const live = VchanInterface.cliLive.get(view, base)
    if (live === VCHAN_LIVE.awaited) return 'waiting'
    if (live !== VCHAN_LIVE.gone && kernel.grants.inUse(head.name as GrantRef)) return 'open'
    // It said so, or its domain has ended with it: nothing is mapped any more.
    VchanInterface.cliLive.set(view, base, VCHAN_LIVE.gone)
    if (persistent) return 'waiting'
    this.gone = true
    return 'closed'
  }

  private serverState(): VchanStanding {
    const { view, base } = this.parts.pages.head.page
    this.gone = VchanInterface.srvLive.get(view, base) === VCHAN_LIVE.gone
    return this.gone ? 'closed' : 'open'
  }

  /** Asks to be woken for what the other end does next. */
  private ask(bit: number): void {
    const { view, base } = this.parts.pages.head.page
    this.ownNotify.set(view, base, this.ownNotify.get(view, base) | bit)
    this.written()
  }

  /** Wakes the other end where it has asked for that. */
  private tell(bit: number): void {
    const { view, base } = this.parts.pages.head.page
    const asked = this.peerNotify.get(view, base)
    if ((asked & bit) === 0) return
    this.peerNotify.set(view, base, asked & ~bit)
    this.written()
    this.notify()
  }

  private notify(): void {
    this.counts.notified += 1
    this.parts.kernel.events.notify(this.parts.port)
  }

  private written(): void {
    const { kernel, pages: { head } } = this.parts
    kernel.hypercalls.memory.markWritten(head.page.frame)
  }

  // Bytes

  private queued(): number {
    return this.input.queued() ?? this.broke('read')
  }

  private room(): number {
    return this.output.free() ?? this.broke('write')
  }

  private broke(direction: 'read' | 'write'): number {
    this.end(`the other end has moved an index of the ring that is ${direction} beyond it`)
    return 0
  }

  /** Takes bytes once there are at least so many; undefined while there are not. */
  private take(least: number, most: number): Uint8Array | undefined {
    if (this.over !== undefined) throw this.closed()
    let queued = this.queued()
    if (queued < least && this.over === undefined) {
      this.ask(VCHAN_NOTIFY.WRITE)
      queued = this.queued()
    }
    if (queued < least) {
      if (this.state === 'closed') throw this.closed()
      return undefined
    }
    const bytes = new Uint8Array(Math.min(queued, most))
    this.input.peek(bytes)
    this.input.advance(bytes.length)
    this.counts.received += bytes.length
    this.tell(VCHAN_NOTIFY.READ)
    return bytes
  }

  /** Puts bytes once there is room for at least so many of them; undefined while there is not. */
  private put(bytes: Uint8Array, least: number): number | undefined {
    if (this.state === 'closed') throw this.closed()
    let room = this.room()
    if (room < least && this.over === undefined) {
      this.ask(VCHAN_NOTIFY.READ)
      room = this.room()
    }
    if (this.over !== undefined) throw this.closed()
    if (room < least) return undefined
    const piece = bytes.subarray(0, room)
    if (piece.length === 0) return 0
    this.output.write(piece)
    this.counts.sent += piece.length
    this.tell(VCHAN_NOTIFY.WRITE)
    return piece.length
  }

  private checkPacket(packet: Uint8Array): void {
    checkArgument('packet', packet, byteArray)
    const { size } = this.output
    if (packet.length > size) throw new XenError('INVALID_ARGUMENT', `a packet of ${packet.length} bytes is larger than the ring, which holds ${size}`, { details: { length: packet.length, size } })
  }

  // Waiting

  private waitFor<T>(queue: 'reading' | 'writing', attempt: () => T | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      this.queues[queue].push(() => {
        try {
          const value = attempt()
          if (value === undefined) return false
          resolve(value)
        } catch (error) {
          reject(error as Error)
        }
        return true
      })
      this.pump()
    })
  }

  /** Lets everybody who waits try again, in their order. */
  private pump(): void {
    const { reading, writing } = this.queues
    let isOver = false
    for (const queue of [reading, writing]) {
      while (queue.length > 0 && queue[0]!()) {
        queue.shift()
        isOver = true
      }
    }
    if (isOver) this.parts.kernel.turn()
    this.lookAgain(reading.length + writing.length > 0)
  }

  /** A client that dies with its domain sends no event. */
  private lookAgain(isAwaited: boolean): void {
    if (isAwaited && this.role === 'server' && this.state === 'open') {
      this.timer ??= this.parts.kernel.after(LOOK_AGAIN, () => {
        this.timer = undefined
        this.pump()
      })
      return
    }
    this.timer?.cancel()
    this.timer = undefined
  }

  // The end

  private end(why: string): void {
    if (this.over !== undefined) return
    this.over = why
    const { kernel, role, pages, port, unpublish } = this.parts
    const { view, base } = pages.head.page
    const live = role === 'server' ? VchanInterface.srvLive : VchanInterface.cliLive
    live.set(view, base, VCHAN_LIVE.gone)
    this.written()
    this.notify()
    kernel.events.close(port)
    releasePages(pages)
    this.unpublished = unpublish()
    this.pump()
  }

  private closed(): XenError {
    const why = this.over ?? 'the other end is closed'
    return new XenError('CLOSED', `the vchan ${this.path} is closed: ${why}`, { details: { path: this.path, why } })
  }
}
