/**
 * Typed events: a hub that a layer owns and emits into, and the source that users of the layer see.
 * Events inform and never steer: a listener that throws is reported and harms nobody, an event without
 * listeners costs one check, and a slow reader of a stream is told how many events it lost.
 */
import { EventEmitter } from 'eventemitter3'
import { callGuarded } from './callbacks.ts'
import { abortSignal, callable, checkArgument, checkOptions, listOf, text, whole } from './check-options.ts'
import { XenError } from './errors.ts'
import { nearestWord } from './nearest.ts'

/** The least an event is: a member of a discriminated union on `type`. */
export interface EventBase {
  readonly type: string
}

/** What a source adds to each event. */
export interface EventStamp {
  /** Counts the events of this hub from 1; a gap tells a reader that it missed some. */
  readonly seq: number
  /** Host time in nanoseconds. */
  readonly time: number
}

/** In a stream: the reader was too slow and `count` events are gone. */
export interface EventsLost extends EventStamp {
  readonly type: 'events-lost'
  readonly count: number
}

/** The member of union `E` whose type is `T`. */
export type EventOf<E extends EventBase, T extends E['type']> = Extract<E, { readonly type: T }>

/** Which events a reader wants: all that pass every filter that is given. */
export interface EventFilter<E extends EventBase = EventBase> {
  /** Of these types. */
  readonly types?: readonly E['type'][] | undefined
  /** Of this domain: those whose `domid` it is. */
  readonly domid?: number | undefined
  /** Those that it takes. */
  readonly accept?: ((event: E & EventStamp) => boolean) | undefined
}

/** How a stream of events is opened. */
export interface StreamOptions<E extends EventBase = EventBase> extends EventFilter<E> {
  /** Ends the stream when aborted. */
  readonly signal?: AbortSignal | undefined
  /** Events kept for a reader that is behind; older ones are dropped and counted. Default 1024. */
  readonly limit?: number | undefined
  /** Begins with so many of the last events that the source keeps. */
  readonly replay?: number | undefined
  /**
   * Begins behind the event with this number, where a reader has stopped before; what the source does not keep any more is told
   * as lost.
   */
  readonly since?: number | undefined
}

/** The reading side of a hub: what a layer hands to its users. */
export interface EventSource<E extends EventBase> {
  /** Calls `listener` for each event of `type`; returns the function that ends it. */
  on<T extends E['type']>(type: T, listener: (event: EventOf<E, T> & EventStamp) => void): () => void
  /** Calls `listener` for every event. */
  onAny(listener: (event: E & EventStamp) => void): () => void
  /** The next event of `type` that `accept` takes. Rejects with ABORTED when the signal fires. */
  once<T extends E['type']>(
    type: T,
    accept?: (event: EventOf<E, T>) => boolean,
    options?: { readonly signal?: AbortSignal },
  ): Promise<EventOf<E, T> & EventStamp>
  /** All events from now on, for `for await`. */
  stream(options?: StreamOptions<E>): AsyncIterable<(E & EventStamp) | EventsLost>
  /** The last events that the source keeps, oldest first; those that pass the filter. */
  recent(filter?: EventFilter<E>): readonly (E & EventStamp)[]
  /** The number of the last event; 0 before the first. */
  readonly last: number
}

/** The names of all events of a union, by which a hub knows a name that is none. */
export type EventNames<E extends EventBase> = Readonly<Record<E['type'], true>>

/** How a hub is made. */
export interface HubOptions<E extends EventBase> {
  /** With the names of all events nobody can listen for one that there is not. */
  readonly names?: EventNames<E> | undefined
  /** So many of the last events are kept for readers that come later. Default: none. */
  readonly keep?: number | undefined
}

/** Events that come from elsewhere, and only while somebody listens for them. */
interface Feed {
  readonly types: readonly string[]
  readonly open: () => () => void
  close: (() => void) | undefined
}

/** Whether anybody listens to one of several types of events: kept up to date, so that hot paths ask for a field. */
export interface Interest {
  readonly isThere: boolean
}

/** An interest, and the types that it is about. */
interface KeptInterest {
  readonly types: readonly string[]
  readonly interest: { isThere: boolean }
}

const ANY = '*'

const FILTER_CHECKS = { types: /* @__PURE__ */ listOf(text), domid: /* @__PURE__ */ whole(0, 0x7fff), accept: callable }

/** Whether an event passes a filter. */
function passes<E extends EventBase>(event: E & EventStamp, { types, domid, accept }: EventFilter<E>): boolean {
  if (types !== undefined && !types.includes(event.type)) return false
  if (domid !== undefined && (event as { readonly domid?: number }).domid !== domid) return false
  return accept === undefined || accept(event)
}

/** An event that is kept, and its stamp. */
interface Kept<E> extends EventStamp {
  readonly event: E
}

/** Owns the listeners of one layer and numbers its events. */
export class EventHub<E extends EventBase> implements EventSource<E> {
  private readonly emitter = new EventEmitter()
  private readonly now: () => number
  /** Hears of what others' code has thrown: listeners, and whatever else a layer asks. */
  readonly onListenerError: (error: unknown) => void
  private readonly names: EventNames<E> | undefined
  private readonly keep: number
  /** In a ring, once there are as many as are kept; stamped when they are asked for. */
  private readonly ring: Kept<E>[] = []
  private readonly feeds: Feed[] = []
  private seq = 0
  /** How many listen, by the name that they listen for. */
  private readonly listeners = new Map<string, number>()
  private hearsAny = false
  private readonly interests: KeptInterest[] = []

  /**
   * `now` stamps the events; `onListenerError` hears of listeners that threw (by default the console does).
   */
  constructor(
    now: () => number,
    onListenerError: (error: unknown) => void = (error) => console.error(error),
    { names, keep = 0 }: HubOptions<E> = {},
  ) {
    this.now = now
    this.onListenerError = onListenerError
    this.names = names
    this.keep = keep
  }

  /** True when somebody listens to events of this type: check it before building an expensive event. */
  wants(type: E['type']): boolean {
    // hot path: asked at every switch, hypercall and operation.
    return this.hearsAny || (this.listeners.size > 0 && this.listeners.has(type))
  }

  /** Whether somebody listens to one of these, for as long as the hub is there. */
  interest(...types: readonly E['type'][]): Interest {
    const kept = { types, interest: { isThere: types.some((type) => this.wants(type)) } }
    this.interests.push(kept)
    return kept.interest
  }

  /** Tells every listener. To be called last, when the state that the event speaks of is consistent. */
  emit(event: E): void {
    this.seq += 1
    const isWanted = this.wants(event.type)
    if (!isWanted && this.keep === 0) return
    const { seq } = this
    const time = this.now()
    if (this.keep > 0) {
      const kept = { event, seq, time }
      if (this.ring.length < this.keep) this.ring.push(kept)
      else this.ring[(seq - 1) % this.keep] = kept
    }
    if (!isWanted) return
    // Not by a spread with more behind it: docs/performance.md, "Hidden classes".
    const stamped = Object.assign({}, event, { seq, time })
    for (const name of [event.type, ANY]) {
      for (const listener of this.emitter.listeners(name)) {
        callGuarded(() => listener(stamped), this.onListenerError)
      }
    }
  }

  get last(): number {
    return this.seq
  }

  /**
   * Takes events from elsewhere while somebody listens for one of `types`: `open` begins to emit them, and answers with what ends
   * it. Such events are not kept while nobody does.
   */
  feed(types: readonly E['type'][], open: () => () => void): void {
    const feed: Feed = { types, open, close: undefined }
    this.feeds.push(feed)
    this.tend(feed)
  }

  /** Ends all feeds: what they come from is gone. */
  endFeeds(): void {
    for (const feed of this.feeds.splice(0)) feed.close?.()
  }

  private tend(feed: Feed): void {
    const isWanted = feed.types.some((type) => this.wants(type))
    if (isWanted === (feed.close !== undefined)) return
    if (isWanted) {
      feed.close = feed.open()
      return
    }
    feed.close?.()
    feed.close = undefined
  }

  /** What is kept, oldest first. */
  private get kept(): readonly (E & EventStamp)[] {
    const { ring, keep, seq } = this
    const first = ring.length < keep || keep === 0 ? 0 : seq % keep
    return [...ring.slice(first), ...ring.slice(0, first)].map(({ event, ...stamp }) => ({ ...event, ...stamp }))
  }

  recent(filter: EventFilter<E> = {}): readonly (E & EventStamp)[] {
    checkOptions('events.recent', filter, FILTER_CHECKS)
    for (const type of filter.types ?? []) this.checkName(type)
    return this.kept.filter((event) => passes(event, filter))
  }

  on<T extends E['type']>(type: T, listener: (event: EventOf<E, T> & EventStamp) => void): () => void {
    this.checkName(type)
    return this.add(type, listener)
  }

  private checkName(type: string): void {
    if (this.names === undefined || Object.hasOwn(this.names, type)) return
    const nearest = nearestWord(String(type), Object.keys(this.names))
    const hint = nearest === undefined ? `; there are ${Object.keys(this.names).join(', ')}` : `; did you mean ${nearest}?`
    throw new XenError('INVALID_ARGUMENT', `there is no event ${String(type)}${hint}`, { details: { type, nearest } })
  }

  onAny(listener: (event: E & EventStamp) => void): () => void {
    return this.add(ANY, listener)
  }

  private add(name: string, listener: EventEmitter.ListenerFn): () => void {
    checkArgument('the listener of an event', listener, callable)
    this.emitter.on(name, listener)
    this.count(name, 1)
    for (const feed of this.feeds) this.tend(feed)
    let listening = true
    return () => {
      if (!listening) return
      listening = false
      this.emitter.off(name, listener)
      this.count(name, -1)
      for (const feed of this.feeds) this.tend(feed)
    }
  }

  private count(name: string, change: number): void {
    const count = (this.listeners.get(name) ?? 0) + change
    if (count > 0) this.listeners.set(name, count)
    else this.listeners.delete(name)
    this.hearsAny = this.listeners.has(ANY)
    for (const { types, interest } of this.interests) interest.isThere = types.some((type) => this.wants(type))
  }

  once<T extends E['type']>(
    type: T,
    accept: (event: EventOf<E, T>) => boolean = () => true,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<EventOf<E, T> & EventStamp> {
    return new Promise((resolve, reject) => {
      const { signal } = options
      const abort = (): void => {
        stop()
        reject(new XenError('ABORTED', `stopped waiting for event ${type}`, { cause: signal?.reason }))
      }
      const off = this.on(type, (event) => {
        if (!accept(event)) return
        stop()
        resolve(event)
      })
      const stop = (): void => {
        off()
        signal?.removeEventListener('abort', abort)
      }
      if (signal?.aborted) abort()
      else signal?.addEventListener('abort', abort, { once: true })
    })
  }

  stream(options: StreamOptions<E> = {}): AsyncIterable<(E & EventStamp) | EventsLost> {
    const count = whole(0, Number.MAX_SAFE_INTEGER)
    checkOptions('events.stream', options, { signal: abortSignal, limit: whole(1, 1e9), replay: count, since: count, ...FILTER_CHECKS })
    for (const type of options.types ?? []) this.checkName(type)
    const queue = this.earlier(options)
    const take = (event: E & EventStamp): void => {
      if (passes(event, options)) queue.push(event)
    }
    const offs = options.types === undefined ? [this.onAny(take)] : options.types.map((type) => this.on(type, take as (event: object) => void))
    const off = (): void => { for (const end of offs) end() }
    const close = (): void => {
      off()
      queue.close()
      options.signal?.removeEventListener('abort', close)
    }
    if (options.signal?.aborted) close()
    else options.signal?.addEventListener('abort', close, { once: true })
    const lost = (count: number): EventsLost => ({ type: 'events-lost', count, seq: this.seq, time: this.now() })
    return {
      async *[Symbol.asyncIterator]() {
        try {
          for (;;) {
            const next = await queue.take()
            if (next === undefined) return
            if (next.dropped > 0) yield lost(next.dropped)
            yield next.item
          }
        } finally {
          close()
        }
      },
    }
  }

  /** A queue that begins with what a reader missed and the hub has kept. */
  private earlier({ limit = 1024, replay = 0, since, ...filter }: StreamOptions<E>): StreamQueue<E & EventStamp> {
    const queue = new StreamQueue<E & EventStamp>(limit)
    const { kept } = this
    const all = kept.filter((event) => passes(event, filter))
    const wanted = since === undefined ? all.slice(all.length - Math.min(replay, all.length)) : all.filter(({ seq }) => seq > since)
    const oldest = kept[0]?.seq ?? this.seq + 1
    if (since !== undefined && since + 1 < oldest) queue.miss(oldest - since - 1)
    for (const event of wanted) queue.push(event)
    return queue
  }
}

/** A bounded queue with one reader that may be behind. */
class StreamQueue<T> {
  private readonly limit: number
  private items: T[] = []
  private dropped = 0
  private closed = false
  private wake: (() => void) | undefined

  constructor(limit: number) {
    this.limit = Math.max(1, limit)
  }

  /** Counts what was lost before the reader came. */
  miss(count: number): void {
    this.dropped += count
  }

  push(item: T): void {
    if (this.closed) return
    if (this.items.length >= this.limit) {
      this.items.shift()
      this.dropped += 1
    }
    this.items.push(item)
    this.wake?.()
  }

  close(): void {
    this.closed = true
    this.wake?.()
  }

  /** The oldest item and how many were dropped before it; undefined at the end. */
  async take(): Promise<{ item: T; dropped: number } | undefined> {
    while (this.items.length === 0) {
      if (this.closed) return undefined
      await new Promise<void>((resolve) => { this.wake = resolve })
      this.wake = undefined
    }
    const { dropped } = this
    this.dropped = 0
    return { item: this.items.shift() as T, dropped }
  }
}
