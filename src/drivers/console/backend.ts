/**
 * The console back-end: what xenconsoled does. It runs in dom0 or in any kernel that may map the other's ring, watches
 * each console's directory, moves bytes in both directions, keeps the last output, and goes on when the domain comes
 * back with another ring. The guest is hostile: its indexes are checked at each use, a broken ring is left alone.
 *
 * Reference: public/io/console.h; docs/misc/console.txt.
 */
import { abortSignal, checkOptions, flag } from '../../util/index.ts'
import { GNTTAB_RESERVED_CONSOLE } from '../../abi/index.ts'
import type { GuestKernel, MappedPage, Page } from '../../guest/index.ts'
import { mapForeignPage, readOptional } from '../../guest/index.ts'
import { BytePipe, CONSOLE_PIPE, mirror } from '../../rings/index.ts'
import type { EventNames, DomId, EventPort, EventSource, GrantRef } from '../../util/index.ts'
import { EventHub, XenError } from '../../util/index.ts'
import { ByteLog } from './byte-log.ts'
import type { ConsoleNodes } from './protocol.ts'
import { CONSOLE_LOG_LIMIT, consolePath, parseConsoleNodes } from './protocol.ts'

/** Bytes of input that may wait for the guest; more makes `write` wait. */
export const CONSOLE_WRITE_LIMIT = 1 << 16

/** The services of its kernel that a console back-end uses. */
export type ConsoleBackendServices =
  Pick<GuestKernel, 'store' | 'events' | 'grants' | 'hypercalls' | 'now' | 'turn' | 'post' | 'spawn'>

/** What happens on a console. */
export type ConsoleEvent =
  | { readonly type: 'connected'; readonly domain: DomId }
  /** Output of the guest. */
  | { readonly type: 'output'; readonly domain: DomId; readonly bytes: Uint8Array }
  /** The ring is gone: the domain ended, or is about to come back with another one. */
  | { readonly type: 'disconnected'; readonly domain: DomId }
  /** The guest wrote impossible indexes; the console stays silent until it is connected anew. */
  | { readonly type: 'broken'; readonly domain: DomId }
  | { readonly type: 'closed'; readonly domain: DomId }

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

interface Connection {
  readonly nodes: ConsoleNodes
  readonly pipe: BytePipe
  readonly port: EventPort
  release(): void
}

interface WaitingInput {
  readonly bytes: Uint8Array
  place: number
  resolve(): void
  reject(error: unknown): void
}

/** One domain's console, seen from the host. */
export class ConsoleStream {
  readonly domain: DomId
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

  /** @internal */
  constructor(domain: DomId, services: ConsoleBackendServices) {
    this.domain = domain
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
      return Promise.reject(new XenError('OUT_OF_RESOURCES', `domain ${this.domain} does not read its console`, {
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

  /** Connects to the ring that the nodes name, or lets the old one go when there is none. @internal */
  update(nodes: ConsoleNodes | undefined): void {
    const old = this.connection?.nodes
    if (this.closed || (old?.port === nodes?.port && old?.ringFrame === nodes?.ringFrame)) return
    this.disconnect()
    if (nodes !== undefined) this.connect(nodes)
  }

  /** Ends the console: what is still in the ring is read, everything else is let go. @internal */
  end(): void {
    if (this.closed) return
    this.disconnect()
    this.closed = true
    for (const input of this.waiting.splice(0)) input.reject(this.closedError())
    this.wakeReaders()
    this.hub.emit({ type: 'closed', domain: this.domain })
  }

  private connect(nodes: ConsoleNodes): void {
    const { events } = this.services
    const mapped = this.mapRing(nodes.ringFrame)
    if (mapped === undefined) return
    let port: EventPort
    try {
      port = events.bindInterdomain(this.domain, nodes.port as EventPort, () => this.pump())
    } catch (error) {
      mapped.release()
      if (XenError.is(error, 'HYPERCALL_FAILED')) return
      throw error
    }
    const pipe = new BytePipe(mapped.page.view, mapped.page.base, mirror(CONSOLE_PIPE))
    this.connection = {
      nodes, pipe, port,
      release: () => {
        events.close(port)
        mapped.release()
      },
    }
    this.broken = false
    this.log.resize(nodes.limit)
    this.hub.emit({ type: 'connected', domain: this.domain })
    this.pump()
  }

  /** The ring's page: by the grant that the builder left for it, or as a foreign frame where there is none. */
  private mapRing(frame: number): { readonly page: Page; release(): void } | undefined {
    const { grants, hypercalls } = this.services
    try {
      const page: MappedPage = grants.map(this.domain, GNTTAB_RESERVED_CONSOLE as GrantRef)
      return { page, release: () => grants.unmap(page) }
    } catch (error) {
      if (!XenError.is(error, 'HYPERCALL_FAILED')) throw error
    }
    try {
      const page = mapForeignPage(hypercalls, this.domain, frame)
      return { page, release: () => void hypercalls.unmapForeign(this.domain, frame) }
    } catch (error) {
      if (XenError.is(error, 'HYPERCALL_FAILED')) return undefined
      throw error
    }
  }

  private disconnect(): void {
    if (this.connection === undefined) return
    this.paused = false
    this.pump()
    this.connection.release()
    this.connection = undefined
    this.hub.emit({ type: 'disconnected', domain: this.domain })
  }

  /** Moves what there is in both directions and tells the guest when something moved. */
  private pump(): void {
    const { connection } = this
    if (connection === undefined || this.broken) return
    const read = this.paused ? 0 : this.takeOutput(connection.pipe)
    const written = read === undefined ? undefined : this.giveInput(connection.pipe)
    if (read === undefined || written === undefined) {
      this.broken = true
      this.hub.emit({ type: 'broken', domain: this.domain })
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
    if (this.hub.wants('output')) this.hub.emit({ type: 'output', domain: this.domain, bytes: output.slice() })
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
    const { domain } = this
    return new XenError('CLOSED', `the console of domain ${domain} is closed`, { details: { domain } })
  }
}

interface Served {
  readonly stream: ConsoleStream
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
  open(domain: DomId, options: ConsoleOpenOptions = {}): ConsoleStream {
    const known = this.streams.get(domain)
    if (known !== undefined) return known.stream
    const { store } = this.services
    if (store === undefined) throw new XenError('INVALID_STATE', 'a console back-end needs XenStore')
    const stream = new ConsoleStream(domain, this.services)
    const path = consolePath(domain)
    const refreshing: Refreshing = { underWay: false, again: false }
    const unwatch = store.watch(path, () => this.services.spawn(() => this.refresh(stream, refreshing)))
    this.streams.set(domain, { stream, unwatch })
    const { tty, ring } = options
    if (ring !== undefined) stream.update({ ...ring, limit: CONSOLE_LOG_LIMIT })
    if (tty !== undefined) this.services.spawn(() => this.nameTerminal(path, tty))
    return stream
  }

  /** The stream of a console that is served. */
  get(domain: DomId): ConsoleStream | undefined {
    return this.streams.get(domain)?.stream
  }

  /** Stops serving a console: the domain is gone. What is left in its ring is still read. */
  async close(domain: DomId): Promise<void> {
    const known = this.streams.get(domain)
    if (known === undefined) return
    this.streams.delete(domain)
    known.stream.end()
    await (await known.unwatch)()
  }

  /** Says what the console is called. Its directory may have gone meanwhile: then it does not come back. */
  private async nameTerminal(path: string, tty: string): Promise<void> {
    await this.services.store?.transaction(async (transaction) => {
      if (await readOptional(transaction, path) !== undefined) await transaction.write(`${path}/tty`, tty)
    })
  }

  private async refresh(stream: ConsoleStream, refreshing: Refreshing): Promise<void> {
    refreshing.again = true
    if (refreshing.underWay) return
    refreshing.underWay = true
    while (refreshing.again) {
      refreshing.again = false
      await this.readNodes(stream)
    }
    refreshing.underWay = false
  }

  private async readNodes(stream: ConsoleStream): Promise<void> {
    const { store } = this.services
    if (store === undefined) return
    const path = consolePath(stream.domain)
    const nodes: Record<string, string | undefined> = {}
    for (const name of ['ring-ref', 'port', 'limit', 'type']) nodes[name] = await readOptional(store, `${path}/${name}`)
    this.services.post(() => stream.update(parseConsoleNodes(nodes)))
  }
}
