/**
 * A host as a service: carries out the calls that another process makes over a connection, as far as its token allows. Whatever comes
 * from there is hostile until proved otherwise: unknown calls, broken frames and values end in an error or the connection's end.
 */
import { callable, checkArgument, checkOptions, record, shown, text, whole, XenError, type EventFilter, type StreamOptions } from '../../util/index.ts'
import { Catalogue } from '../catalogue/catalogue.ts'
import { CpuPool } from '../control/cpu-pools.ts'
import { DomainConsole } from '../domains/domain-console.ts'
import { Domain } from '../host/domain.ts'
import { Host } from '../host/host.ts'
import type { HostEvent } from '../host/host-events.ts'
import { narrow, type Narrowing } from '../host/narrow.ts'
import { Moment } from '../moments/moment.ts'
import type { Operation } from '../run/operation.ts'
import { SERVICE_VERSION } from './api.ts'
import { checkTransport, Peer, type Message, type ServiceTransport } from './peer.ts'
import { OPTIONS_AT, OWN_CALLS, TRAVELLING, type ServedSubject } from './travelling.ts'
import { errorToWire, fromWire, regexpFromWire, toWire, type Tag } from './values.ts'

/** How a host is served. */
export interface ServeOptions {
  /** What the other end has to say first. Without it, and without `tokens`, the connection itself is trusted. */
  readonly token?: string | undefined
  /** Several tokens, each with the handle that its bearer gets: of one domain, or for looking only. */
  readonly tokens?: Readonly<Record<string, Narrowing>> | undefined
  /** Asked before each call; false refuses it with PERMISSION_DENIED. */
  readonly allow?: ((call: ServedCall) => boolean) | undefined
  /** Defined domains, for bearers of a token that is not narrowed. Without it there are none. */
  readonly catalogue?: Catalogue | undefined
  /** Bytes that a message may have at most. Default 16 MiB. */
  readonly messageLimit?: number | undefined
}

/** A call as a policy of the service sees it. */
export interface ServedCall {
  readonly on: ServedSubject
  /** The domain; undefined for calls of the host. */
  readonly domid: number | undefined
  readonly name: string
}

/** One connection that is served. */
export interface ServedConnection {
  /** Ends it; what its other end has under way is given up. */
  close(): void
  /** Resolves when it is over, with the reason. */
  readonly closed: Promise<XenError>
}

/** What came with a call. */
interface GivenCall {
  readonly args: unknown
  /** Its signal is made where the call takes one: most take none. */
  readonly abort: AbortController
  /** Takes the numbers of streams that came, and are let go when the call is over. */
  readonly streams: number[]
}

/** Bytes of a message, unless more or fewer are allowed. */
export const MESSAGE_LIMIT = 16 << 20
/** Calls of one connection under way at a time. */
const MOST_CALLS = 4096

/** Whether two texts are the same, in a time that does not tell where they differ. */
function isSame(one: string, other: string): boolean {
  let differs = one.length ^ other.length
  for (let i = 0; i < other.length; i += 1) differs |= one.charCodeAt(i % (one.length || 1)) ^ other.charCodeAt(i)
  return differs === 0
}

/** Moments that one connection may hold. */
const MOST_MOMENTS = 1024
/** Handles of domains that one connection keeps, so that those of gone ones can say so. */
const MOST_HANDLES = 1024

/** Members by what they are called on. */
const SERVED: ReadonlyMap<string, ReadonlySet<string>> = /* @__PURE__ */ new Map(
  ['events', ...Object.keys(TRAVELLING)].map((on) => [on, new Set<string>([
    ...(on === 'events' ? [] : TRAVELLING[on as keyof typeof TRAVELLING].travels), ...OWN_CALLS[on as ServedSubject] ?? [],
  ])]))

class Served {
  private readonly host: Host
  private readonly options: ServeOptions
  private readonly peer: Peer
  private readonly calls = new Map<number, AbortController>()
  /** Moments that the client has handles of, by the handles' numbers. */
  private readonly moments = new Map<number, Moment<Host>>()
  private readonly handles = new Map<number, Domain>()
  private momentsGiven = 0
  /** The host as the token allows it; undefined before the token. */
  private seen: Host | undefined

  constructor(host: Host, transport: ServiceTransport, options: ServeOptions) {
    this.host = host
    this.options = options
    this.peer = new Peer(transport, { first: 1, limit: options.messageLimit ?? MESSAGE_LIMIT, onMessage: (message) => this.receive(message) })
    this.peer.onEnd(() => {
      for (const abort of this.calls.values()) abort.abort()
      for (const moment of this.moments.values()) moment.dispose()
    })
  }

  connection(): ServedConnection {
    return { close: () => this.peer.close(), closed: new Promise((resolve) => this.peer.onEnd(resolve)) }
  }

  private receive(message: Message): void {
    if (this.seen === undefined) this.greet(message)
    else if ('call' in message) void this.carryOut(message)
    else if ('cancel' in message) this.calls.get(message['cancel'] as number)?.abort()
    else throw new XenError('INVALID_STREAM', 'the service\'s other end sends a message that there is not', { details: { keys: Object.keys(message).slice(0, 3) } })
  }

  private greet({ hello, version, token }: Message): void {
    try {
      if (hello !== 'paravirt' || version !== SERVICE_VERSION) {
        throw new XenError('NOT_SUPPORTED', `this host speaks version ${SERVICE_VERSION} of the service`, { details: { version: SERVICE_VERSION } })
      }
      this.seen = this.admit(typeof token === 'string' ? token : '')
      this.peer.send({ welcome: SERVICE_VERSION })
    } catch (error) {
      this.peer.close(error as XenError, { refused: errorToWire(error) })
    }
  }

  private admit(token: string): Host {
    const { token: own, tokens = {} } = this.options
    if (own === undefined && Object.keys(tokens).length === 0) return this.host
    if (own !== undefined && isSame(own, token)) return this.host
    for (const [known, narrowing] of Object.entries(tokens)) if (isSame(known, token)) return narrow(this.host, narrowing)
    throw new XenError('PERMISSION_DENIED', 'the token is none of this host\'s', { details: {} })
  }

  private async carryOut({ call, on, name, args }: Message): Promise<void> {
    if (!Number.isSafeInteger(call) || this.calls.has(call as number)) throw this.broken('a call without a number of its own')
    const id = call as number
    const abort = new AbortController()
    const streams: number[] = []
    try {
      if (this.calls.size >= MOST_CALLS) throw new XenError('BUSY', `a connection has at most ${MOST_CALLS} calls under way`, { details: { limit: MOST_CALLS } })
      this.calls.set(id, abort)
      const result = this.make(on, name, { args, abort, streams })
      if (isOperation(result)) result.progress.onAny((event) => { if (!this.peer.isBehind) this.peer.send({ progress: id, event: toWire(event) }) })
      const value = isStream(result) ? result : await result
      this.peer.send({ result: id, value: toWire(value, (what) => this.tag(what)) })
    } catch (error) {
      this.peer.send({ failed: id, error: errorToWire(error) })
    } finally {
      this.calls.delete(id)
      for (const stream of streams) this.peer.release(stream)
    }
  }

  private broken(why: string): XenError {
    const error = new XenError('INVALID_STREAM', `the service's other end sends ${why}`, { details: {} })
    this.peer.close(error)
    return error
  }

  private make(on: unknown, name: unknown, { args, abort, streams }: GivenCall): unknown {
    const [kind, id] = Array.isArray(on) ? on as readonly unknown[] : []
    if (typeof kind !== 'string' || typeof name !== 'string' || SERVED.get(kind)?.has(name) !== true || !Array.isArray(args)) {
      throw new XenError('NOT_SUPPORTED', 'the host has no such call', { details: { on: kind, name } })
    }
    const subjectKind = kind as ServedSubject
    const [named] = Array.isArray(id) ? id as readonly unknown[] : [id]
    const domid = (subjectKind === 'domain' || subjectKind === 'console') && typeof named === 'number' ? named : undefined
    const asked: ServedCall = { on: subjectKind, domid, name }
    if (this.options.allow?.(asked) === false) {
      throw new XenError('PERMISSION_DENIED', `${name} of the ${kind} is not allowed`, { details: { ...asked } })
    }
    const given = args.map((arg) => fromWire(arg, (tag) => this.argument(tag, streams)))
    addSignal(given, (OPTIONS_AT[subjectKind] as Readonly<Record<string, number>>)[name], abort)
    const subject = this.subject(subjectKind, id) as Readonly<Record<string, unknown>>
    const member = subject[name]
    return typeof member === 'function' ? (member as (...all: unknown[]) => unknown).call(subject, ...given) : member
  }

  private subject(on: ServedSubject, id: unknown): unknown {
    const host = this.seen!
    switch (on) {
      case 'host': return host
      case 'events': return {
        stream: (options: StreamOptions<HostEvent> = {}) => host.events.stream(options),
        recent: (filter: EventFilter<HostEvent> = {}) => host.events.recent(filter),
      }
      case 'domain': return this.domain(numberOf(id))
      case 'console': return this.console(id)
      case 'cpupools': return host.cpupools
      case 'cpupool': return host.cpupools.find(numberOf(id))
      case 'moment': return this.moment(id)
      case 'catalogue': return this.catalogue()
    }
  }

  /** A domain by its number; one that is gone and of which this client has a handle answers for itself, as a handle does where the host is. */
  private domain(id: number): Domain {
    try {
      return this.seen!.domain(id)
    } catch (error) {
      const known = XenError.is(error, 'DOMAIN_NOT_FOUND') ? this.handles.get(id) : undefined
      if (known === undefined) throw error
      return known
    }
  }

  /** Keeps a handle that the client is given: the last ones of many. */
  private keep(domain: Domain): void {
    this.handles.delete(domain.id)
    this.handles.set(domain.id, domain)
    for (const oldest of this.handles.keys()) {
      if (this.handles.size <= MOST_HANDLES) break
      this.handles.delete(oldest)
    }
  }

  /** A domain's own console by the domain's number, or one of its channels by both's. */
  private console(id: unknown): DomainConsole {
    if (!Array.isArray(id)) return this.seen!.domain(numberOf(id)).console
    const [domid, channel] = id as readonly unknown[]
    return this.seen!.domain(numberOf(domid)).channel(channel as string)
  }

  private moment(id: unknown): Moment<Host> {
    const found = this.moments.get(id as number)
    if (found !== undefined) return found
    throw new XenError('CLOSED', 'this connection has no such moment', { details: { moment: id } })
  }

  /** The catalogue with the host that is served. */
  private catalogue(): object {
    const { options: { catalogue }, host } = this
    if (this.seen !== host) throw new XenError('PERMISSION_DENIED', 'the catalogue is for bearers of a token for everything', { details: { call: 'catalogue' } })
    if (catalogue === undefined) throw new XenError('NOT_SUPPORTED', 'this host is served without a catalogue', { details: { option: 'catalogue' } })
    return {
      ...Object.fromEntries(TRAVELLING.catalogue.travels.map((name) =>
        [name, (...given: unknown[]) => (catalogue[name] as (...all: unknown[]) => unknown).call(catalogue, ...given)])),
      start: (name: string) => catalogue.start(host, name),
      startAll: () => catalogue.startAll(host),
    }
  }

  /** What of an argument is no data. */
  private argument(tag: Tag, streams: number[]): unknown {
    if ((tag.$ === 'stream' || tag.$ === 'sink') && typeof tag['id'] === 'number') streams.push(tag['id'])
    switch (tag.$) {
      case 'stream': return this.peer.take(tag['id'])
      case 'sink': return typeof tag['id'] === 'number' ? this.peer.sink(tag['id']) : undefined
      case 'transport': return { readable: this.argument(tag['readable'] as Tag, streams), writable: this.argument(tag['writable'] as Tag, streams) }
      case 'domain': return this.seen!.domain(numberOf(tag['id']))
      case 'cpupool': return this.seen!.cpupools.find(numberOf(tag['id']))
      case 'moment': return this.moment(tag['id'])
      case 'regexp': return this.pattern(tag)
      default: return undefined
    }
  }

  /** A regular expression: it can keep the whole host waiting, so it is taken from whoever could end the host as well. */
  private pattern(tag: Tag): RegExp {
    if (this.seen === this.host) return regexpFromWire(tag)
    throw new XenError('PERMISSION_DENIED', 'a narrowed handle waits for texts, not for regular expressions', { details: { call: 'waitFor' } })
  }

  private tag(what: object): Tag | undefined {
    // A kernel in TypeScript, a way to look symbols up: they stay here.
    if (typeof what === 'function') return { $: 'undefined' }
    if (what instanceof Domain) this.keep(what)
    if (what instanceof Domain) return { $: 'domain', id: what.id, uuid: what.uuid, name: what.name }
    if (what instanceof DomainConsole) return { $: 'console', id: what.channel === undefined ? what.domid : [what.domid, what.channel] }
    if (what instanceof CpuPool) return { $: 'cpupool', ...what.toJSON() }
    if (what instanceof Moment) return this.momentTag(what as Moment<Host>)
    return isStream(what) ? this.peer.stream(what, (inner) => this.tag(inner)) : undefined
  }

  private momentTag(moment: Moment<Host>): Tag {
    const { label, time, newPages } = moment
    for (const [id, kept] of this.moments) if (!kept.exists) this.moments.delete(id)
    if (this.moments.size >= MOST_MOMENTS) {
      moment.dispose()
      throw new XenError('OUT_OF_RESOURCES', `a connection has at most ${MOST_MOMENTS} moments`, { details: { limit: MOST_MOMENTS } })
    }
    const id = this.momentsGiven += 1
    this.moments.set(id, moment)
    return { $: 'moment', id, label, time, newPages }
  }
}

/** A number of a domain or pool; -1, which none has, for what is none. */
const numberOf = (id: unknown): number => (typeof id === 'number' ? id : -1)

/** Puts the signal among the options of a call that takes one; what is no object of options is left for the call to refuse. */
function addSignal(given: unknown[], at: number | undefined, abort: AbortController): void {
  if (at === undefined || given.length > at + 1) return
  const options = given[at]
  if (options !== undefined && (typeof options !== 'object' || options === null || Array.isArray(options))) return
  given[at] = { ...options, signal: abort.signal }
}

const isStream = (value: unknown): value is AsyncIterable<unknown> => typeof value === 'object' && value !== null && Symbol.asyncIterator in value
const isOperation = (value: unknown): value is Operation<unknown, { readonly type: string }> => value instanceof Promise && 'progress' in value

/**
 * Serves a host over a connection, to one client, until it is over; docs/service-protocol.md says what goes over it.
 *
 * @example
 * createServer((socket) => serveHost(host, { readable: socket, writable: socket }, { token })).listen('/run/host.sock')
 */
export function serveHost(host: Host, transport: ServiceTransport, options: ServeOptions = {}): ServedConnection {
  checkOptions('serveHost', options, {
    token: text, tokens: record, allow: callable, messageLimit: whole(1024, 1 << 30),
    catalogue: (value) => (value instanceof Catalogue ? undefined : `must be a catalogue, got ${shown(value)}`),
  })
  checkArgument('the host of serveHost', host, (value) => (value instanceof Host ? undefined : `must be a host, got ${shown(value)}`))
  checkTransport('serveHost', transport)
  return new Served(host, transport, options).connection()
}
