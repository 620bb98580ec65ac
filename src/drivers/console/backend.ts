/**
 * The console back-end: what xenconsoled does. It runs in dom0 or in any kernel that may map the other's ring, watches
 * each console's directory, moves bytes in both directions, keeps the last output, and goes on when the domain comes
 * back with another ring. The guest is hostile: its indexes are checked at each use, a broken ring is left alone.
 *
 * Reference: public/io/console.h; docs/misc/console.txt.
 */
import { GNTTAB_RESERVED_CONSOLE } from '../../abi/index.ts'
import type { GuestKernel, MappedPage, Page } from '../../guest/index.ts'
import { mapForeignPage, mappedPageState, readOptional } from '../../guest/index.ts'
import { BytePipe, CONSOLE_PIPE, mirror } from '../../rings/index.ts'
import type { EventNames, DomId, EventPort, EventSource, GrantRef } from '../../util/index.ts'
import { EventHub, XenError, abortSignal, checkOptions, flag, part, partSet, shape, type Part, type StateOf } from '../../util/index.ts'
import { ByteLog, byteLogState } from './byte-log.ts'
import type { ConsoleNodes } from './protocol.ts'
import { CONSOLE_LOG_LIMIT, consolePath, parseConsoleNodes } from './protocol.ts'

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

/** How a console is opened. */
export interface ConsoleOpenOptions {
  /** Written to `console/tty`, where tools look for the console's name. */
  readonly tty?: string
  /** Where the ring is, for those who know it before its nodes are noticed: it is connected at once. */
  readonly ring?: Pick<ConsoleNodes, 'ringFrame' | 'port'>
}

/** How output is read. */
export interface ConsoleOutputOptions {
  /** Ends the reading when aborted. */
  readonly signal?: AbortSignal
  /** Begins with the output from now on, not with the oldest that is kept. */
  readonly fromNow?: boolean
}

/** The ring's page: mapped by the grant that the builder left for it, or as a frame of the domain where there is none. */
interface MappedRing {
  readonly page: Page
  /** Of the grant; undefined for a foreign frame. */
  readonly handle: number | undefined
  release(): void
}

interface Connection {
  readonly nodes: ConsoleNodes
  readonly pipe: BytePipe
  readonly port: EventPort
  readonly ring: MappedRing
}

const connectionState = /* @__PURE__ */ shape.record({
  nodes: /* @__PURE__ */ shape.record<ConsoleNodes>({ ringFrame: shape.time, port: shape.word, limit: /* @__PURE__ */ shape.whole(0, 2 ** 30) }),
  port: shape.word,
  /** The frame; of a mapped grant its handle, too. */
  page: /* @__PURE__ */ shape.record({ frame: shape.word, handle: /* @__PURE__ */ shape.optional(shape.word) }),
})
const streamState = /* @__PURE__ */ shape.record({
  log: byteLogState,
  /** Typed, and not yet taken by the guest: what each `write` has left. */
  waiting: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.array(Uint8Array, 0, CONSOLE_WRITE_LIMIT), CONSOLE_WRITE_LIMIT),
  paused: shape.flag, broken: shape.flag,
  connection: /* @__PURE__ */ shape.optional(connectionState),
})
type StreamState = StateOf<typeof streamState>

interface WaitingInput {
  readonly bytes: Uint8Array
  place: number
  resolve(): void
  reject(error: unknown): void
}

/** What the back-end does with a console, and nobody else. */
interface ConsoleAccess {
  readonly stream: ConsoleStream
  /** Connects to the ring that the nodes name, or lets the old one go when there is none. */
  update(nodes: ConsoleNodes | undefined): void
  /** Ends the console: what is still in the ring is read, everything else is let go. */
  end(): void
  /** The console as a part of its back-end, under the number of its domain. */
  part(): Part
}

let openConsole: (domid: DomId, services: ConsoleBackendServices) => ConsoleAccess

/** One domain's console, seen from the host. */
export class ConsoleStream {
  readonly domid: DomId
  /** Everything that happens on this console. */
  readonly events: EventSource<ConsoleEvent>
  private readonly hub: EventHub<ConsoleEvent>
  private readonly services: ConsoleBackendServices
  private readonly log = new ByteLog(CONSOLE_LOG_LIMIT)
  private readonly waiting: WaitingInput[] = []
  private readonly readers = new Set<() => void>()
  private connection: Connection | undefined
  private paused = false
  private closed = false
  private broken = false

  static {
    openConsole = (domid, services) => {
      const stream = new ConsoleStream(domid, services)
      return { stream, update: (nodes) => stream.update(nodes), end: () => stream.end(), part: () => stream.part() }
    }
  }

  private constructor(domid: DomId, services: ConsoleBackendServices) {
    this.domid = domid
    this.services = services
    this.hub = new EventHub<ConsoleEvent>(() => services.now(), undefined, CONSOLE_EVENTS)
    this.events = this.hub
  }

  /** True while the guest's ring is mapped and sound. */
  get connected(): boolean {
    return this.connection !== undefined && !this.broken
  }

  /** The output that is kept, oldest first. */
  history(): Uint8Array {
    return this.log.since(0)
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
    checkOptions('console.output', options, { signal: abortSignal, fromNow: flag })
    return this.pieces(options)
  }

  private async *pieces(options: ConsoleOutputOptions): AsyncGenerator<Uint8Array, void> {
    let place = options.fromNow === true ? this.log.end : 0
    for (;;) {
      if (options.signal?.aborted === true) return
      if (place < this.log.end) {
        const bytes = this.log.since(place)
        place = this.log.end
        yield bytes
      } else if (this.closed) {
        return
      } else {
        await this.more(options.signal)
      }
    }
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
      return Promise.reject(new XenError('OUT_OF_RESOURCES', `domain ${this.domid} does not read its console`, {
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
    const old = this.connection?.nodes
    if (this.closed || (old?.port === nodes?.port && old?.ringFrame === nodes?.ringFrame)) return
    this.disconnect()
    if (nodes !== undefined) this.connect(nodes)
  }

  private end(): void {
    if (this.closed) return
    this.disconnect()
    this.closed = true
    for (const input of this.waiting.splice(0)) input.reject(this.closedError())
    this.wakeReaders()
    this.hub.emit({ type: 'closed', domid: this.domid })
  }

  // State

  private part(): Part {
    return part({ name: String(this.domid), version: 1, shape: streamState }, { save: () => this.save(), load: (state) => this.load(state) })
  }

  private save(): StreamState {
    const { connection, paused, broken } = this
    return {
      log: this.log.save(), waiting: this.waiting.map(({ bytes, place }) => bytes.slice(place)), paused, broken,
      connection: connection && {
        nodes: { ...connection.nodes }, port: connection.port,
        page: { frame: connection.ring.page.frame, handle: connection.ring.handle },
      },
    }
  }

  private load({ log, waiting, paused, broken, connection }: StreamState): void {
    const ignore = (): void => undefined
    this.log.load(log)
    for (const bytes of waiting) this.waiting.push({ bytes: bytes.slice(), place: 0, resolve: ignore, reject: ignore })
    this.paused = paused
    this.broken = broken
    if (connection === undefined) return
    const { attachPage, attachPort } = this.services.attachments
    const { frame, handle } = connection.page
    const ring = handle === undefined
      ? this.foreignRing(attachPage({ frame, handle: 0 }), connection.nodes.ringFrame)
      : this.grantedRing(attachPage({ frame, handle }))
    const port = attachPort(connection.port, () => this.pump())
    this.connection = { nodes: connection.nodes, port, ring, pipe: new BytePipe(ring.page.view, ring.page.base, mirror(CONSOLE_PIPE)) }
  }

  // Ring

  private connect(nodes: ConsoleNodes): void {
    const { events } = this.services
    const ring = this.mapRing(nodes.ringFrame)
    if (ring === undefined) return
    let port: EventPort
    try {
      port = events.keep(events.bindInterdomain(this.domid, nodes.port as EventPort, () => this.pump()))
    } catch (error) {
      ring.release()
      if (XenError.is(error, 'HYPERCALL_FAILED')) return
      throw error
    }
    this.connection = { nodes, port, ring, pipe: new BytePipe(ring.page.view, ring.page.base, mirror(CONSOLE_PIPE)) }
    this.broken = false
    this.log.resize(nodes.limit)
    this.hub.emit({ type: 'connected', domid: this.domid })
    this.pump()
  }

  /** The ring's page: by the grant that the builder left for it, or as a foreign frame where there is none. */
  private mapRing(frame: number): MappedRing | undefined {
    const { grants, hypercalls } = this.services
    try {
      return this.grantedRing(grants.map(this.domid, GNTTAB_RESERVED_CONSOLE as GrantRef))
    } catch (error) {
      if (!XenError.is(error, 'HYPERCALL_FAILED')) throw error
    }
    try {
      return this.foreignRing(mapForeignPage(hypercalls, this.domid, frame), frame)
    } catch (error) {
      if (XenError.is(error, 'HYPERCALL_FAILED')) return undefined
      throw error
    }
  }

  private grantedRing(page: MappedPage): MappedRing {
    return { page, handle: page.handle, release: () => this.services.grants.unmap(page) }
  }

  private foreignRing(page: Page, frame: number): MappedRing {
    return { page, handle: undefined, release: () => void this.services.hypercalls.unmapForeign(this.domid, frame) }
  }

  private disconnect(): void {
    if (this.connection === undefined) return
    this.paused = false
    this.pump()
    this.services.events.close(this.connection.port)
    this.connection.ring.release()
    this.connection = undefined
    this.hub.emit({ type: 'disconnected', domid: this.domid })
  }

  /** Moves what there is in both directions and tells the guest when something moved. */
  private pump(): void {
    const { connection } = this
    if (connection === undefined || this.broken) return
    const read = this.paused ? 0 : this.takeOutput(connection.pipe)
    const written = read === undefined ? undefined : this.giveInput(connection.pipe)
    if (read === undefined || written === undefined) {
      this.broken = true
      this.hub.emit({ type: 'broken', domid: this.domid })
    } else if (read + written > 0) {
      this.services.events.notify(connection.port)
    }
  }

  private takeOutput(pipe: BytePipe): number | undefined {
    const bytes = new Uint8Array(pipe.input.size)
    const count = pipe.input.read(bytes)
    if (count === undefined || count === 0) return count
    const output = bytes.subarray(0, count)
    this.log.append(output)
    this.wakeReaders()
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
      input.place += count
      if (input.place < input.bytes.length) break
      this.waiting.shift()
      this.services.turn()
      input.resolve()
    }
    return total
  }

  private more(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.readers.delete(done)
        signal?.removeEventListener('abort', done)
        resolve()
      }
      this.readers.add(done)
      signal?.addEventListener('abort', done)
    })
  }

  private wakeReaders(): void {
    if (this.readers.size === 0) return
    this.services.turn()
    for (const wake of [...this.readers]) wake()
  }

  private closedError(): XenError {
    const { domid } = this
    return new XenError('CLOSED', `the console of domain ${domid} is closed`, { details: { domid } })
  }
}

interface Served {
  readonly console: ConsoleAccess
  readonly unwatch: Promise<() => Promise<void>>
}

/** Reading a console's nodes: at most one is under way, and however often they change meanwhile, one follows. */
interface Refreshing {
  underWay: boolean
  again: boolean
}

/** Serves the consoles of other domains. */
export class ConsoleBackend {
  private readonly services: ConsoleBackendServices
  private readonly streams = new Map<DomId, Served>()

  constructor(services: ConsoleBackendServices) {
    this.services = services
  }

  /** Serves the console of `domain`, which may not be ready yet; the same stream again when it is served already. */
  open(domid: DomId, options: ConsoleOpenOptions = {}): ConsoleStream {
    const known = this.streams.get(domid)
    if (known !== undefined) return known.console.stream
    const { store } = this.services
    if (store === undefined) throw new XenError('INVALID_STATE', 'a console back-end needs XenStore')
    const path = consolePath(domid)
    const served = this.serve(domid, (handler) => store.watch(path, handler, { kept: true }))
    const { tty, ring } = options
    if (ring !== undefined) served.update({ ...ring, limit: CONSOLE_LOG_LIMIT })
    if (tty !== undefined) this.services.spawn(() => this.nameTerminal(path, tty))
    return served.stream
  }

  private serve(domid: DomId, watch: (handler: () => void) => Promise<() => Promise<void>>): ConsoleAccess {
    const console = openConsole(domid, this.services)
    const refreshing: Refreshing = { underWay: false, again: false }
    const unwatch = watch(() => this.services.spawn(() => this.refresh(console, refreshing)))
    this.streams.set(domid, { console, unwatch })
    return console
  }

  /** The consoles that are served, to be saved with the kernel and loaded into one that was loaded. */
  part(): Part {
    const { attachments } = this.services
    return partSet({ name: 'consoles', version: 1 }, {
      present: () => [...this.streams.values()].map(({ console }) => console.part()),
      make: (name) => {
        if (!/^\d{1,5}$/.test(name)) return undefined
        const domid = Number(name) as DomId
        return this.serve(domid, (handler) => Promise.resolve(attachments.attachWatch(consolePath(domid), handler))).part()
      },
    })
  }

  /** The stream of a console that is served. */
  get(domid: DomId): ConsoleStream | undefined {
    return this.streams.get(domid)?.console.stream
  }

  /** Stops serving a console: the domain is gone. What is left in its ring is still read. */
  async close(domid: DomId): Promise<void> {
    const known = this.streams.get(domid)
    if (known === undefined) return
    this.streams.delete(domid)
    known.console.end()
    await (await known.unwatch)()
  }

  /** Says what the console is called. Its directory may have gone meanwhile: then it does not come back. */
  private async nameTerminal(path: string, tty: string): Promise<void> {
    await this.services.store?.transaction(async (transaction) => {
      if (await readOptional(transaction, path) !== undefined) await transaction.write(`${path}/tty`, tty)
    })
  }

  private async refresh(console: ConsoleAccess, refreshing: Refreshing): Promise<void> {
    refreshing.again = true
    if (refreshing.underWay) return
    refreshing.underWay = true
    while (refreshing.again) {
      refreshing.again = false
      await this.readNodes(console)
    }
    refreshing.underWay = false
  }

  private async readNodes({ stream, update }: ConsoleAccess): Promise<void> {
    const { store } = this.services
    if (store === undefined) return
    const path = consolePath(stream.domid)
    const nodes: Record<string, string | undefined> = {}
    for (const name of ['ring-ref', 'port', 'limit', 'type']) nodes[name] = await readOptional(store, `${path}/${name}`)
    this.services.post(() => update(parseConsoleNodes(nodes)))
  }
}
