/** The other end of a service: a host of another process, with the API's own calls. */
import { abortSignal, checkOptions, EventHub, text, whole, XenError, type EventBase, type EventSource, type EventStamp } from '../../util/index.ts'
import { abortedError, type Operation } from '../run/operation.ts'
import type { ByteInput, ByteOutput } from '../stream/index.ts'
import { SERVICE_VERSION, type RemoteHost } from './api.ts'
import { checkTransport, Peer, type Message, type ServiceTransport } from './peer.ts'
import { remoteEvents } from './remote-events.ts'
import { OWN_CALLS, TRAVELLING, type ServedSubject } from './travelling.ts'
import { errorFromWire, fromWire, toWire, type Tag } from './values.ts'
import { MESSAGE_LIMIT } from './serve-host.ts'

/** How a client introduces itself. */
export interface ConnectOptions {
  /** What the host wants to hear first. */
  readonly token?: string | undefined
  /** Ends the connection when aborted. */
  readonly signal?: AbortSignal | undefined
  /** Bytes that a message of the host may have at most. Default 16 MiB. */
  readonly messageLimit?: number | undefined
}

/** A call under way. */
interface Pending {
  resolve(value: unknown): void
  reject(error: unknown): void
  /** Tells a report of progress with the host's time. */
  report(event: EventBase & Partial<EventStamp>): void
  /** Streams that went with it. */
  readonly streams: readonly number[]
}

/** What a call is made on: a subject, and which one of several. */
type On = readonly [subject: ServedSubject, id?: unknown]

/** What stands for the handles that were given out, and by whom. */
const HANDLES = /* @__PURE__ */ new WeakMap<object, { readonly client: Client; readonly tag: Tag }>()

class Client {
  private readonly peer: Peer
  private readonly pending = new Map<number, Pending>()
  private calls = 0
  private welcomed: { resolve(): void; reject(error: unknown): void } | undefined

  constructor(transport: ServiceTransport, { messageLimit = MESSAGE_LIMIT, signal }: ConnectOptions) {
    this.peer = new Peer(transport, { first: 0, limit: messageLimit, onMessage: (message) => this.receive(message) })
    this.peer.readTag = (tag) => this.value(tag)
    this.peer.onEnd((why) => {
      this.welcomed?.reject(why)
      for (const { reject } of this.pending.values()) reject(why)
      this.pending.clear()
    })
    const stop = (): void => this.peer.close(abortedError('the connection to the host', signal))
    if (signal?.aborted === true) stop()
    else signal?.addEventListener('abort', stop, { once: true })
  }

  async greet(token: string | undefined): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.welcomed = { resolve, reject }
      this.peer.onEnd(reject)
      this.peer.send({ hello: 'paravirt', version: SERVICE_VERSION, ...(token === undefined ? {} : { token }) })
    })
    this.welcomed = undefined
  }

  host(): RemoteHost {
    const events = this.callsOf(['events'])
    // Every name of the tables, each with its call.
    return {
      ...this.callsOf(['host']), cpupools: this.callsOf(['cpupools']), catalogue: this.callsOf(['catalogue']),
      events: remoteEvents({ stream: events['stream'], recent: events['recent'] } as unknown as Parameters<typeof remoteEvents>[0]),
      close: () => this.peer.close(), closed: new Promise<void>((resolve) => this.peer.onEnd(() => resolve())),
    } as unknown as RemoteHost
  }

  /** The handle of a tag: its facts, and its calls. */
  private handle(tag: Tag): object {
    const { $: kind, ...facts } = tag
    const { id } = facts as { readonly id?: unknown }
    const on = kind as 'domain' | 'cpupool' | 'moment'
    const made = { ...facts, ...this.callsOf([on, id]), ...(on === 'domain' ? { console: this.callsOf(['console', id]) } : {}) }
    HANDLES.set(made, { client: this, tag: { $: on, id } })
    return made
  }

  private callsOf(on: On): Readonly<Record<string, (...given: unknown[]) => unknown>> {
    const [subject] = on
    const names: readonly string[] = [...(subject === 'events' ? [] : TRAVELLING[subject].travels), ...OWN_CALLS[subject] ?? []]
    return Object.fromEntries(names.map((name) => [name, STREAMS.has(`${subject}.${name}`)
      ? (...given: unknown[]): AsyncIterable<unknown> => this.streamed(on, name, given)
      : (...given: unknown[]): Promise<unknown> => this.call(on, name, given)]))
  }

  /** A stream: asked for when it is first read. */
  private streamed(on: On, name: string, given: readonly unknown[]): AsyncIterable<unknown> {
    const open = (): Promise<unknown> => this.call(on, name, given)
    const { signal } = (given.at(-1) ?? {}) as { readonly signal?: AbortSignal }
    return {
      async* [Symbol.asyncIterator]() {
        const iterator = (await open() as AsyncIterable<unknown>)[Symbol.asyncIterator]()
        let stop: () => void = () => undefined
        const stopped = new Promise<undefined>((resolve) => { stop = () => resolve(undefined) })
        signal?.addEventListener('abort', stop, { once: true })
        try {
          for (;;) {
            const next = signal?.aborted === true ? undefined : await Promise.race([iterator.next(), stopped])
            if (next === undefined || next.done === true) return
            yield next.value
          }
        } finally {
          signal?.removeEventListener('abort', stop)
          void iterator.return?.(undefined)
        }
      },
    }
  }

  private call(on: On, name: string, given: readonly unknown[]): Operation<unknown, EventBase> {
    const id = this.calls += 1
    let time = 0
    const hub = new EventHub<EventBase>(() => time)
    const report: Pending['report'] = ({ seq: _, ...event }) => {
      time = event.time ?? time
      hub.emit(event)
    }
    const progress: EventSource<EventBase> = hub
    const made = new Promise<unknown>((resolve, reject) => {
      if (this.peer.isOver) return reject(new XenError('CLOSED', `${name}: the connection to the host is closed`, { details: { name } }))
      const last = given.at(-1)
      const signal = typeof last === 'object' && last !== null ? (last as { readonly signal?: AbortSignal }).signal : undefined
      const isLong = abortSignal(signal) === undefined
      const args = given.map((arg, at) => (isLong && at === given.length - 1 ? { ...(arg as object), signal: undefined } : arg))
      const streams: number[] = []
      const message = { call: id, on, name, args: args.map((arg) => toWire(arg, (what) => this.tag(what, streams))) }
      if (isLong && signal!.aborted) return reject(abortedError(name, signal))
      this.peer.send(message)
      this.pending.set(id, { resolve, reject, report, streams })
      if (isLong) signal!.addEventListener('abort', () => { if (this.pending.has(id)) this.peer.send({ cancel: id }) }, { once: true })
    })
    return Object.assign(made, { progress })
  }

  private receive(message: Message): void {
    if ('welcome' in message) return this.welcomed?.resolve()
    if ('refused' in message) return this.welcomed?.reject(errorFromWire(message['refused'] as Tag))
    const id = message['result'] ?? message['failed'] ?? message['progress']
    const call = this.pending.get(id as number)
    if (call === undefined) return
    if ('progress' in message) return call.report(fromWire(message['event']) as EventBase)
    this.pending.delete(id as number)
    if ('failed' in message) {
      const error = errorFromWire(message['error'] as Tag)
      for (const stream of call.streams) this.peer.abandon(stream, XenError.is(error) ? error : new XenError('ABORTED', error.message))
      call.reject(error)
    } else call.resolve(fromWire(message['value'], (tag) => this.value(tag)))
  }

  /** What a tag of the host stands for. */
  private value(tag: Tag): unknown {
    if (tag.$ === 'domain' || tag.$ === 'cpupool' || tag.$ === 'moment') return this.handle(tag)
    if (tag.$ === 'console') return this.callsOf(['console', tag['id']])
    return tag.$ === 'stream' ? this.peer.take(tag['id']) : undefined
  }

  /** Streams and handles among the arguments; `streams` takes the numbers of the former. */
  private tag(what: object, streams: number[]): Tag | undefined {
    const known = HANDLES.get(what)
    if (known?.client === this) return known.tag
    if (known !== undefined) throw new XenError('INVALID_ARGUMENT', `this ${known.tag.$} is another connection's`, { details: { kind: known.tag.$ } })
    const opened = (tag: Tag): Tag => {
      streams.push(tag['id'] as number)
      return tag
    }
    const input = (source: ByteInput): Tag => opened(this.peer.stream(bytesOf(source)))
    if ('readable' in what && 'writable' in what && !('write' in what)) {
      const { readable, writable } = what as ServiceTransport
      return { $: 'transport', readable: input(readable), writable: opened(this.peer.fill(writable)) }
    }
    if ('write' in what || 'getWriter' in what) return opened(this.peer.fill(what as ByteOutput))
    return Symbol.asyncIterator in what || 'getReader' in what ? input(what as ByteInput) : undefined
  }
}

/** Calls that answer with a stream at once. */
const STREAMS: ReadonlySet<string> = new Set(['console.output', 'host.watchStatistics', 'catalogue.watch', 'events.stream'])

async function* bytesOf(input: ByteInput): AsyncGenerator<Uint8Array, void> {
  if (input instanceof Uint8Array) return yield input
  if (!('getReader' in input)) return yield* input
  const reader = input.getReader()
  for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value
}

/**
 * A host of another process, over a connection that `serveHost` serves. Rejects with PERMISSION_DENIED for a wrong token, and with
 * NOT_SUPPORTED for another version.
 *
 * @example
 * const host = await connectHost({ readable: socket, writable: socket }, { token })
 * const domain = await host.createDomain({ name: 'web', memory: 64 })
 * await domain.console.waitFor('ready')
 */
export async function connectHost(transport: ServiceTransport, options: ConnectOptions = {}): Promise<RemoteHost> {
  checkOptions('connectHost', options, { token: text, signal: abortSignal, messageLimit: whole(1024, 1 << 30) })
  checkTransport('connectHost', transport)
  const client = new Client(transport, options)
  await client.greet(options.token)
  return client.host()
}
