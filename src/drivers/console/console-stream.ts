/**
 * One console as the host sees it: the output that is kept, what is typed, and the ring between them, which may go and
 * come back as another one. The guest is hostile: its indexes are checked at each use, a broken ring is left alone.
 *
 * Reference: public/io/console.h.
 */
import type { GuestKernel } from '../../guest/index.ts'
import type { BytePipe } from '../../rings/index.ts'
import type { EventNames, DomId, EventSource, Rewind } from '../../util/index.ts'
import { EventHub, XenError, part, sameState, shape, type Part, type StateOf } from '../../util/index.ts'
import { byteLogState } from './byte-log.ts'
import { ConsoleLog, type ConsoleOutputOptions } from './console-log.ts'
import { ConsoleRing, consoleRingState } from './console-ring.ts'
import type { ConsoleNodes } from './protocol.ts'
import { CONSOLE_LOG_LIMIT } from './protocol.ts'

/** Bytes of input that may wait for the guest; more makes `write` wait. */
export const CONSOLE_WRITE_LIMIT = 1 << 16

/** The services of its kernel that a console back-end uses. */
export type ConsoleBackendServices =
  Pick<GuestKernel, 'store' | 'events' | 'grants' | 'hypercalls' | 'attachments' | 'now' | 'turn' | 'post' | 'spawn'>

/** What happens on a console. */
export type ConsoleEvent =
  | { readonly type: 'connected'; readonly domid: DomId }
  /** Output of the guest. */
  | { readonly type: 'output'; readonly domid: DomId; readonly bytes: Uint8Array }
  /** The ring is gone: the domain ended, or is about to come back with another one. */
  | { readonly type: 'disconnected'; readonly domid: DomId }
  /** The guest wrote impossible indexes; the console stays silent until it is connected anew. */
  | { readonly type: 'broken'; readonly domid: DomId }
  | { readonly type: 'closed'; readonly domid: DomId }

/** Names of the events of a console. */
export const CONSOLE_EVENTS: EventNames<ConsoleEvent> = {
  connected: true, output: true, disconnected: true, broken: true, closed: true,
}

/** The form in which a console is saved. */
export const consoleStreamState = /* @__PURE__ */ shape.record({
  log: byteLogState,
  /** Typed, and not yet taken by the guest: what each `write` has left. */
  waiting: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.array(Uint8Array, 0, CONSOLE_WRITE_LIMIT), CONSOLE_WRITE_LIMIT),
  paused: shape.flag, broken: shape.flag,
  /** Bytes that the guest's rings have taken in all. */
  taken: shape.time,
  connection: /* @__PURE__ */ shape.optional(consoleRingState),
})
/** A console as it is saved. */
export type ConsoleStreamState = StateOf<typeof consoleStreamState>

/** What has passed through a console, as its back-end sees it. */
export interface ConsoleStatistics {
  /** Bytes that came from the guest. */
  readonly bytesIn: number
  /** Bytes that went to the guest. */
  readonly bytesOut: number
}

interface WaitingInput {
  readonly bytes: Uint8Array
  place: number
  resolve(): void
  reject(error: unknown): void
}

/** What the back-end does with a console, and nobody else. */
export interface ConsoleAccess {
  readonly stream: ConsoleStream
  /** Connects to the ring that the nodes name, or lets the old one go when there is none. */
  update(nodes: ConsoleNodes | undefined): void
  /** Ends the console: what is still in the ring is read, everything else is let go. */
  end(): void
  /** The console as a part of its back-end, under the number of its domain. */
  part(): Part
  /** The console as plain data, for a back-end that saves it with its device. */
  save(): ConsoleStreamState
  /** Takes up what was saved, ring and all. */
  load(state: ConsoleStreamState): void
}

/** Makes the console of a domain, or one of its channels by its name, for {@link ConsoleAccess | its back-end} alone. */
export let openConsole: (domid: DomId, services: ConsoleBackendServices, channel?: string) => ConsoleAccess

/** One domain's console, seen from the host. */
export class ConsoleStream {
  readonly domid: DomId
  /** Name of the channel that it is; undefined for the domain's own console. */
  readonly channel: string | undefined
  /** Everything that happens on this console. */
  readonly events: EventSource<ConsoleEvent>
  private readonly hub: EventHub<ConsoleEvent>
  private readonly services: ConsoleBackendServices
  private readonly log: ConsoleLog
  private readonly waiting: WaitingInput[] = []
  private ring: ConsoleRing | undefined
  private paused = false
  private closed = false
  private broken = false
  private taken = 0
  private known: Part | undefined

  static {
    openConsole = (domid, services, channel) => {
      const stream = new ConsoleStream(domid, services, channel)
      return {
        stream, update: (nodes) => stream.update(nodes), end: () => stream.end(), part: () => stream.part(),
        save: () => stream.save(), load: (state) => stream.load(state),
      }
    }
  }

  private constructor(domid: DomId, services: ConsoleBackendServices, channel: string | undefined) {
    this.domid = domid
    this.channel = channel
    this.services = services
    this.log = new ConsoleLog(CONSOLE_LOG_LIMIT, () => services.turn())
    this.hub = new EventHub<ConsoleEvent>(() => services.now(), undefined, { names: CONSOLE_EVENTS })
    this.events = this.hub
  }

  /** What it is called in messages. */
  get title(): string {
    return this.channel === undefined ? 'console' : `channel ${this.channel}`
  }

  /** True while the guest's ring is mapped and sound. */
  get connected(): boolean {
    return this.ring !== undefined && !this.broken
  }

  /** How often its output was taken back, because its host was brought back in place: what was read of it before is another. */
  get rewound(): number {
    return this.log.rewound
  }

  /** What has passed in each direction since it is there, whatever rings it had. */
  get statistics(): ConsoleStatistics {
    return { bytesIn: this.log.total, bytesOut: this.taken }
  }

  /** The output that is kept, oldest first. */
  history(): Uint8Array {
    return this.log.history()
  }

  /** The output that is kept, as text. */
  text(): string {
    return new TextDecoder().decode(this.history())
  }

  /**
   * The output as it comes, for `for await`; ends when the console is closed. A reader that is slower than the guest
   * misses what the log had no room for.
   *
   * @example
   * for await (const bytes of console.output()) process.stdout.write(bytes)
   */
  output(options: ConsoleOutputOptions = {}): AsyncGenerator<Uint8Array, void> {
    return this.log.output(options)
  }

  /**
   * Types into the console; resolves when the guest's ring has taken all of it, rejects with CLOSED when it never
   * will.
   */
  write(data: string | Uint8Array): Promise<void> {
    if (this.closed) return Promise.reject(this.closedError())
    const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data.slice()
    const queued = this.waiting.reduce((sum, input) => sum + input.bytes.length - input.place, 0)
    if (queued + bytes.length > CONSOLE_WRITE_LIMIT) {
      return Promise.reject(new XenError('OUT_OF_RESOURCES', `domain ${this.domid} does not read its ${this.title}`, {
        details: { queued, limit: CONSOLE_WRITE_LIMIT },
      }))
    }
    return new Promise((resolve, reject) => {
      this.waiting.push({ bytes, place: 0, resolve, reject })
      this.services.post(() => this.pump())
    })
  }

  /** Leaves output in the ring, so that the guest has to wait. */
  pause(): void {
    this.paused = true
  }

  /** Takes output again. */
  resume(): void {
    this.paused = false
    this.services.post(() => this.pump())
  }

  private update(nodes: ConsoleNodes | undefined): void {
    const old = this.ring?.nodes
    if (this.closed) return
    if (old?.port === nodes?.port && old?.ringFrame === nodes?.ringFrame) {
      if (nodes !== undefined) this.log.resize(nodes.limit)
      return
    }
    this.disconnect()
    if (nodes !== undefined) this.connect(nodes)
  }

  private end(): void {
    if (this.closed) return
    this.disconnect()
    this.closed = true
    for (const input of this.waiting.splice(0)) input.reject(this.closedError())
    this.log.end()
    this.hub.emit({ type: 'closed', domid: this.domid })
  }

  // State

  private part(): Part {
    this.known ??= part({ name: String(this.domid), version: 2, shape: consoleStreamState }, {
      save: () => this.save(), isAsSaved: (state) => this.isAsSaved(state), load: (state) => this.load(state), rewind: (state, now) => this.rewind(state, now),
    })
    return this.known
  }

  /** Told at once where no input waits. */
  private isAsSaved({ log, waiting, paused, broken, taken, connection }: ConsoleStreamState): boolean {
    return this.waiting.length === 0 && waiting.length === 0 && paused === this.paused && broken === this.broken && taken === this.taken && this.log.isAsSaved(log)
      && (this.ring === undefined ? connection === undefined : connection !== undefined && this.ring.isAsSaved(connection))
  }

  private save(): ConsoleStreamState {
    const { ring, paused, broken, taken } = this
    return {
      log: this.log.save(), waiting: this.waiting.map(({ bytes, place }) => bytes.slice(place)), paused, broken, taken,
      connection: ring?.save(),
    }
  }

  private load(state: ConsoleStreamState): void {
    this.log.load(state.log)
    this.loadOwn(state)
    const { domid, services } = this
    const { connection } = state
    if (connection !== undefined) this.ring = ConsoleRing.attach(connection, services, { domid, handler: () => this.pump() })
  }

  private loadOwn({ waiting, paused, broken, taken }: ConsoleStreamState): void {
    const ignore = (): void => undefined
    for (const bytes of waiting) this.waiting.push({ bytes: bytes.slice(), place: 0, resolve: ignore, reject: ignore })
    this.paused = paused
    this.broken = broken
    this.taken = taken
  }

  /** In place while the ring is the same. Who waits for input to be taken waits in vain. */
  private rewind(state: ConsoleStreamState, now: ConsoleStreamState): Rewind | undefined {
    if (state.broken !== now.broken || !sameState(state.connection, now.connection)) return undefined
    return () => {
      for (const { reject } of this.waiting.splice(0)) reject(this.closedError())
      this.loadOwn(state)
      this.log.takeBack(state.log)
    }
  }

  // Ring

  private connect(nodes: ConsoleNodes): void {
    const ring = ConsoleRing.connect({ domid: this.domid, nodes, isGranted: this.channel !== undefined, handler: () => this.pump() }, this.services)
    if (ring === undefined) return
    this.ring = ring
    this.broken = false
    this.log.resize(nodes.limit)
    this.hub.emit({ type: 'connected', domid: this.domid })
    this.pump()
  }

  private disconnect(): void {
    if (this.ring === undefined) return
    this.paused = false
    this.pump()
    this.ring.disconnect(this.services)
    this.ring = undefined
    this.hub.emit({ type: 'disconnected', domid: this.domid })
  }

  /** Moves what there is in both directions and tells the guest when something moved. */
  private pump(): void {
    const { ring } = this
    if (ring === undefined || this.broken) return
    const read = this.paused ? 0 : this.takeOutput(ring.pipe)
    const written = read === undefined ? undefined : this.giveInput(ring.pipe)
    if (read === undefined || written === undefined) {
      this.broken = true
      this.hub.emit({ type: 'broken', domid: this.domid })
    } else if (read + written > 0) {
      this.services.events.notify(ring.port)
    }
  }

  private takeOutput(pipe: BytePipe): number | undefined {
    const queued = pipe.input.queued()
    if (queued === undefined || queued === 0) return queued
    const bytes = new Uint8Array(queued)
    const count = pipe.input.read(bytes)
    if (count === undefined || count === 0) return count
    const output = bytes.subarray(0, count)
    this.log.append(output)
    if (this.hub.wants('output')) this.hub.emit({ type: 'output', domid: this.domid, bytes: output.slice() })
    return count
  }

  private giveInput(pipe: BytePipe): number | undefined {
    let total = 0
    while (this.waiting.length > 0) {
      const input = this.waiting[0]!
      const count = pipe.output.write(input.bytes, input.place)
      if (count === undefined) return undefined
      total += count
      this.taken += count
      input.place += count
      if (input.place < input.bytes.length) break
      this.waiting.shift()
      this.services.turn()
      input.resolve()
    }
    return total
  }

  private closedError(): XenError {
    const { domid } = this
    return new XenError('CLOSED', `the ${this.title} of domain ${domid} is closed`, { details: { domid } })
  }
}
