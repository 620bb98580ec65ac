/**
 * The server: connections, whose messages it takes to the store, and the domains behind shared pages. It has no timer
 * and no loop of its own. Transports tell it that there is news, its owner calls {@link XenStoreServer.process}, and
 * the same calls give the same run.
 */
import { anything, callable, checkOptions, flag, part, partTree, whole, type Part, type Quiescible } from '../../util/index.ts'
import { isUnprivileged } from '../store/domains.ts'
import { OPERATION_BY_NUMBER } from '../protocol/messages.ts'
import { interfered, type StoreInterference } from './interference.ts'
import { HANDLERS, type Exchange, type HandlerHost } from './request-handlers.ts'
import { RingTransport, type StoreRing } from '../protocol/ring-transport.ts'
import {
  EVENT_TIMEOUT, RequestCause, ServerConnection, type ConnectionOwner, type StoreConnection,
} from './server-connection.ts'
import { connectionsState, expectSaved, type ConnectionsState, type SavedConnection } from '../store/saved-state.ts'
import { openSession } from '../store/session.ts'
import { isStoreErrorName, type StoreErrorName } from '../protocol/store-error.ts'
import type { StoreCore } from '../store/store-core.ts'
import { TimedConnections } from './timed-connections.ts'
import { coreOf, type XenStore } from '../store/store.ts'
import { MemoryTransport, type StoreTransport } from '../protocol/transport.ts'

/** What a server needs. */
export interface XenStoreServerOptions {
  readonly store: XenStore
  /** Finds the page and the channel of a domain that a client introduces; undefined when it cannot be had. */
  readonly connectDomain?: (domid: number, frame: number, port: number) => StoreRing | undefined
  /**
   * Called once when work comes up: the owner is to call `process` soon, but not from within this call, which may
   * come in the middle of an operation of the store.
   */
  readonly onWork?: () => void
  /** What comes between clients and the store, for tests. */
  readonly interference?: StoreInterference | undefined
}

/** Names a connection that is to go on. */
export interface ConnectionName {
  readonly id: number
  readonly domid: number
}

/** How a loaded server finds its clients again. A connection that is not found is gone. */
export interface Reconnection {
  /** The stream to a client that was connected by one. */
  readonly transportOf?: (connection: ConnectionName) => StoreTransport | undefined
  /** The page of a domain that was connected by one. */
  readonly ringOf?: (connection: ConnectionName) => StoreRing | undefined
  /** Nothing has come meanwhile: only connections that were about to be looked at are. Default: all are looked at. */
  readonly asLeft?: boolean
}

/** A connection that goes on from saved state. */
interface KeptConnection {
  readonly connection: ServerConnection
  readonly saved: SavedConnection
}

/** How a client is taken on. */
export interface ConnectionOptions {
  /** The domain at the other end; 0, the default, is privileged. */
  readonly domid?: number
  /** The number of a connection that goes on after a live update. */
  readonly id?: number
}

/** How a domain's page is taken on. */
export interface IntroduceOptions {
  /** The page is in use and stays as it is: after a live update. */
  readonly resume?: boolean
  /** The number of a connection that goes on after a live update. */
  readonly id?: number
}

/**
 * Serves a store to any number of clients.
 *
 * @example
 * const server = new XenStoreServer({ store, onWork: () => queueMicrotask(() => server.process()) })
 * server.introduceDomain(1, { view, base, notify })
 */
export class XenStoreServer implements Quiescible {
  readonly store: XenStore
  private readonly core: StoreCore
  private readonly options: XenStoreServerOptions
  private readonly connections = new Set<ServerConnection>()
  private readonly pages = new Map<number, { readonly ring: RingTransport; readonly connection: ServerConnection }>()
  private readySet = new Set<ServerConnection>()
  private dirtySet = new Set<ServerConnection>()
  /** Held back until somebody does something. */
  private readonly stalledSet = new Set<ServerConnection>()
  /** Held back until time has passed. */
  private readonly timed: TimedConnections<ServerConnection>
  private processing = false
  /** True once the owner has been told of work and has not come yet. */
  private signalled = false
  private eventDeadline = Infinity
  private readonly owner: ConnectionOwner
  private readonly host: HandlerHost

  constructor(options: XenStoreServerOptions) {
    checkOptions('XenStoreServer', options, { store: anything, connectDomain: callable, onWork: callable, interference: anything })
    this.options = options
    this.store = options.store
    this.core = coreOf(options.store)
    this.timed = new TimedConnections(this.core.rate)
    this.owner = {
      serve: (connection) => this.serve(connection),
      dirty: (connection) => this.note(this.dirtySet, connection),
      ready: (connection) => this.note(this.readySet, connection),
      stalled: (connection) => this.stall(connection),
      closed: (connection) => this.forget(connection),
      mayWrite: (connection) => this.mayWrite(connection),
      ...(options.interference?.wait === undefined ? {} : { wait: (connection: ServerConnection) => options.interference?.wait?.(connection.domid) ?? 0 }),
      milliseconds: () => this.core.milliseconds(),
    }
    this.host = {
      store: this.core,
      introduce: (domid, frame, port) => this.introduceByRequest(domid, frame, port),
      // Domain 0 is reached in other ways than by a page where the server runs within it.
      isConnected: (domid) => !isUnprivileged(domid) || this.pages.has(domid),
      release: (domid) => this.releaseDomain(domid),
    }
  }

  /** How many clients are connected. */
  get clients(): number {
    return this.connections.size
  }

  /** Takes a client on. */
  addConnection(transport: StoreTransport, options: ConnectionOptions = {}): StoreConnection {
    checkOptions('addConnection', options, { domid: whole(0, 0x7fff), id: whole(0, 0xffff_ffff) })
    return this.connect(transport, options)
  }

  private connect(transport: StoreTransport, options: ConnectionOptions): ServerConnection {
    let connection: ServerConnection | undefined
    const session = openSession(this.core, {
      domid: options.domid ?? 0,
      ...(options.id === undefined ? {} : { id: options.id }),
      sink: (path, token, cause) => connection?.event(path, token, cause as RequestCause | undefined),
      onClose: (reason) => connection?.close(reason),
    })
    connection = new ServerConnection(this.owner, session, transport)
    this.connections.add(connection)
    this.note(this.readySet, connection)
    return connection
  }

  /** A transport to this server for a client in the same process. */
  connectLocal(domid = 0): StoreTransport {
    const [client, server] = MemoryTransport.pair()
    this.addConnection(server, { domid })
    return client
  }

  // State

  /** Clients that are connected by a stream, not by a domain's page. */
  get streams(): readonly StoreConnection[] {
    return [...this.connections].filter(({ isPage }) => !isPage)
  }

  /** What keeps the server from being saved with the host that it is in; undefined when nothing does. */
  underWay(): string | undefined {
    if (this.hasWork || this.processing || this.timed.someParked) return 'requests to XenStore'
    for (const { isPage, waiting } of this.connections) if (!isPage && waiting > 0) return 'messages of XenStore'
    return undefined
  }

  /**
   * The server and its store, to be saved between two calls of `process`, and to be loaded into a server and a store that
   * were just made: a live update.
   */
  part(reconnection: Reconnection = {}): Part {
    checkOptions('XenStoreServer.part', reconnection, { transportOf: callable, ringOf: callable, asLeft: flag })
    return partTree({ name: 'xenstore', version: 1 }, [
      this.store.part(),
      part({ name: 'connections', version: 1, shape: connectionsState }, {
        save: () => this.saveConnections(), isAsSaved: (saved) => this.areAsSaved(saved), load: (saved) => this.loadConnections(saved, reconnection),
      }),
    ])
  }

  private saveConnections(): ConnectionsState {
    const connections = [...this.connections]
    const causes = [...new Set(connections.flatMap((connection) => [...connection.causes()]))]
    const watches = connections.flatMap(({ session }) => [...session.watches.values()]).sort((a, b) => a.sequence - b.sequence)
    const places = new Map(watches.map((watch, place) => [watch, place]))
    return {
      connections: connections.map((connection): SavedConnection => ({
        session: connection.session.save((watch) => places.get(watch)!), ...connection.save((cause) => causes.indexOf(cause)),
        ready: this.readySet.has(connection), dirty: this.dirtySet.has(connection), stalled: this.stalledSet.has(connection) || this.timed.has(connection),
      })),
      causes: causes.map(({ connection, pending, answered }) => ({ connection: connection.id, pending, answered })),
      eventDeadline: this.eventDeadline,
    }
  }

  /** Told at once where no message waits; otherwise what is saved is compared. */
  private areAsSaved({ connections, causes, eventDeadline }: ConnectionsState): boolean {
    if (causes.length > 0 || connections.length !== this.connections.size || eventDeadline !== this.eventDeadline) return false
    const sequences: number[] = []
    let at = 0
    for (const connection of this.connections) {
      const saved = connections[at++]!
      const isSame = saved.ready === this.readySet.has(connection) && saved.dirty === this.dirtySet.has(connection) && saved.stalled === (this.stalledSet.has(connection) || this.timed.has(connection))
        && connection.isIdleAs(saved) && connection.session.isAsSaved(saved.session, (place, { sequence }) => { sequences[place] = sequence })
      if (!isSame) return false
    }
    return sequences.every((sequence, place) => place === 0 || sequence > sequences[place - 1]!)
  }

  private loadConnections(saved: ConnectionsState, reconnection: Reconnection): void {
    // Nobody is to come before all is there.
    this.signalled = true
    const kept: KeptConnection[] = []
    for (const each of saved.connections) {
      const connection = this.reconnect(each, reconnection)
      if (connection !== undefined) kept.push({ connection, saved: each })
    }
    const causes = saved.causes.map(({ connection: id, pending, answered }) => {
      const own = kept.find(({ connection }) => connection.id === id)?.connection
      own?.session.use('outstanding', 1)
      return own && new RequestCause(own, { pending, answered })
    })
    for (const { connection, saved: each } of kept) {
      connection.session.load(each.session)
      connection.load(each, causes)
    }
    this.loadWatches(kept)
    this.eventDeadline = saved.eventDeadline
    this.loadWork(kept, reconnection.asLeft === true)
  }

  private loadWatches(kept: readonly KeptConnection[]): void {
    const watches = kept.flatMap(({ connection: { session }, saved }) => saved.session.watches.map((watch) => ({ session, watch })))
    for (const { session, watch } of watches.sort((a, b) => a.watch.place - b.watch.place)) {
      const set = session.addWatch(watch.path, watch.token, watch.depth, false)
      expectSaved(!isStoreErrorName(set), `a watch on ${watch.path}`)
    }
  }

  /** What the server is about to do: what it was, or to look at everybody. */
  private loadWork(kept: readonly KeptConnection[], asLeft: boolean): void {
    for (const set of [this.readySet, this.dirtySet, this.stalledSet, this.timed]) set.clear()
    for (const { connection, saved } of kept) {
      if (saved.ready || !asLeft) this.readySet.add(connection)
      if (saved.dirty || (!asLeft && saved.output.length > 0)) this.dirtySet.add(connection)
      if (saved.stalled && asLeft) this.stall(connection)
    }
    this.signalled = this.hasWork
    if (this.hasWork) this.options.onWork?.()
  }

  private reconnect(saved: SavedConnection, { transportOf, ringOf }: Reconnection): ServerConnection | undefined {
    const { id, domid } = saved.session
    expectSaved(!this.core.sessions.has(id), `a connection ${id} twice`)
    if (!saved.page) {
      const transport = transportOf?.({ id, domid })
      return transport === undefined ? undefined : this.connect(transport, { domid, id })
    }
    const ring = ringOf?.({ id, domid })
    if (ring === undefined) return undefined
    this.introduceDomain(domid, ring, { resume: true, id })
    return this.pages.get(domid)?.connection
  }

  // Domains

  /** Connects a domain by its page. For one that is connected already the connection begins anew, over the new page. */
  introduceDomain(domid: number, ring: StoreRing, options: IntroduceOptions = {}): void {
    checkOptions('introduceDomain', options, { resume: flag, id: whole(0, 0xffff_ffff) })
    const old = this.pages.get(domid)
    this.pages.delete(domid)
    old?.connection.close('introduced anew')
    const transport = new RingTransport(ring, 'server')
    const record = this.store.introduceDomain(domid)
    if (options.resume !== true) {
      transport.offer(record.features)
      transport.reset()
    }
    const connection = this.connect(transport, { domid, ...(options.id === undefined ? {} : { id: options.id }) })
    this.pages.set(domid, { ring: transport, connection })
  }

  private introduceByRequest(domid: number, frame: number, port: number): StoreErrorName | undefined {
    const ring = this.options.connectDomain?.(domid, frame, port)
    if (ring === undefined) return 'EINVAL'
    this.introduceDomain(domid, ring)
    return undefined
  }

  /** The event of a domain's channel has come. */
  domainEvent(domid: number): void {
    const page = this.pages.get(domid)
    if (page === undefined) return
    if (page.ring.wantsReconnect()) {
      page.connection.restart()
      page.ring.reset()
    }
    page.ring.event()
  }

  /** A domain is gone: its connection, its nodes, and its name in permissions. */
  releaseDomain(domid: number): void {
    if (!isUnprivileged(domid)) return
    const page = this.pages.get(domid)
    this.pages.delete(domid)
    page?.connection.close('domain released')
    this.store.releaseDomain(domid)
  }

  // Work

  private note(set: Set<ServerConnection>, connection: ServerConnection): void {
    if (connection.state === 'closed' || set.has(connection)) return
    set.add(connection)
    if (this.processing || this.signalled) return
    this.signalled = true
    this.options.onWork?.()
  }

  private forget(connection: ServerConnection): void {
    this.connections.delete(connection)
    this.readySet.delete(connection)
    this.dirtySet.delete(connection)
    this.stalledSet.delete(connection)
    this.timed.delete(connection)
    const { domid } = connection.session
    if (this.pages.get(domid)?.connection === connection) this.pages.delete(domid)
  }

  /** True when a call of {@link XenStoreServer.process} would find something to do. */
  get hasWork(): boolean {
    return this.readySet.size > 0 || this.dirtySet.size > 0
  }

  /** Host time in milliseconds at which `process` should be called even if nothing else happens, or Infinity. */
  nextDeadline(): number {
    return Math.min(this.eventDeadline, this.timed.due())
  }

  /** Serves all clients in turns until nobody has anything to be served, and sends what is to be sent. */
  process(): void {
    if (this.processing) return
    this.processing = true
    this.signalled = false
    try {
      this.wakeByTime()
      do {
        const round = this.readySet
        this.readySet = new Set()
        for (const connection of round) if (connection.serveInput()) this.readySet.add(connection)
        this.flush()
      } while (this.readySet.size > 0)
    } finally {
      this.processing = false
    }
  }

  private flush(): void {
    for (const connection of this.dirtySet) {
      this.dirtySet.delete(connection)
      // A client that was held back for not taking its replies may be served again.
      if (connection.flush() && (this.stalledSet.delete(connection) || this.timed.delete(connection))) this.readySet.add(connection)
    }
    this.dirtySet = new Set()
  }

  private wakeByTime(): void {
    for (const connection of this.stalledSet) {
      this.stalledSet.delete(connection)
      this.readySet.add(connection)
    }
    const now = this.core.milliseconds()
    for (const connection of this.timed.takeDue(now)) this.readySet.add(connection)
    if (now < this.eventDeadline) return
    this.eventDeadline = Infinity
    for (const connection of this.connections) {
      this.eventDeadline = Math.min(this.eventDeadline, connection.expireEvents(now))
    }
  }

  /** Puts a connection aside that is held back. */
  private stall(connection: ServerConnection): void {
    if (connection.isHeldByOthers()) this.stalledSet.add(connection)
    else this.timed.add(connection)
  }

  private mayWrite({ session }: ServerConnection): boolean {
    const credit = session.record?.credit
    if (credit === undefined || credit.credit >= 0) return true
    return this.core.rate.update(credit, this.core.milliseconds())
  }

  // Messages

  private serve(connection: ServerConnection): void {
    const { parser, session } = connection
    const cause = session.privileged ? undefined : new RequestCause(connection)
    this.core.cause = cause
    const refused = this.dispatch({ host: this.host, connection, transaction: parser.transaction, cause })
    if (refused !== undefined) connection.replyError(refused, cause)
    this.core.cause = undefined
    if (cause !== undefined && cause.pending > 0 && this.eventDeadline === Infinity) {
      this.eventDeadline = this.core.milliseconds() + EVENT_TIMEOUT
    }
  }

  private dispatch(exchange: Exchange): StoreErrorName | undefined {
    const { parser, session } = exchange.connection
    const row = OPERATION_BY_NUMBER[parser.type]
    if (row === undefined) return 'ENOSYS'
    if (row.privileged === true && !session.privileged) return 'EACCES'
    const named = row.outside === true ? 0 : parser.transaction
    if (named !== 0 && !session.transactions.has(named)) return 'ENOENT'
    const request = row.decode(parser)
    if (request === undefined) return 'EINVAL'
    // The table's type pairs each operation with its own request; TypeScript cannot follow that through a lookup.
    const handle = HANDLERS[request.op] as (exchange: Exchange, request: unknown) => void
    const { interference } = this.options
    const carried = interference === undefined ? request : interfered(interference, request, { domid: session.domid, transaction: named })
    if (isStoreErrorName(carried)) {
      // A transaction that could not be committed is over.
      if (request.op === 'transaction-end') session.transactionEnd(named, 'abort')
      return carried
    }
    if (carried === undefined) exchange.connection.replyText('OK\0', exchange.cause)
    else handle(exchange, carried)
    return undefined
  }

  /** Fires the watches of a domain's clients once more, as a watch does that is set; clients must take events that tell of nothing. */
  fireWatches(domid: number): void {
    for (const { session } of this.connections) {
      if (session.domid === domid) for (const watch of session.watches.values()) session.deliver(watch, watch.path, undefined)
    }
  }
}
