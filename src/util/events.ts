/**
 * Typed events: a hub that a layer owns and emits into, and the source that users of the layer see.
 * Events inform and never steer: a listener that throws is reported and harms nobody, an event without
 * listeners costs one check, and a slow reader of a stream is told how many events it lost.
 */
import { EventEmitter } from 'eventemitter3'
import { callGuarded } from './callbacks.ts'
import { abortSignal, callable, checkArgument, checkOptions, whole } from './check-options.ts'
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

/** How a stream of events is opened. */
export interface StreamOptions {
  /** Ends the stream when aborted. */
  readonly signal?: AbortSignal
  /** Events kept for a reader that is behind; older ones are dropped and counted. Default 1024. */
  readonly limit?: number
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
  stream(options?: StreamOptions): AsyncIterable<(E & EventStamp) | EventsLost>
}

/** The names of all events of a union, by which a hub knows a name that is none. */
export type EventNames<E extends EventBase> = Readonly<Record<E['type'], true>>

const ANY = '*'

/** Owns the listeners of one layer and numbers its events. */
export class EventHub<E extends EventBase> implements EventSource<E> {
  private readonly emitter = new EventEmitter()
  private readonly now: () => number
  private readonly onListenerError: (error: unknown) => void
  private readonly names: EventNames<E> | undefined
  private seq = 0
  private listeners = 0

  /**
   * `now` stamps the events; `onListenerError` hears of listeners that threw (by default the console does). With `names`
   * nobody can listen for an event that there is not.
   */
  constructor(
    now: () => number,
    onListenerError: (error: unknown) => void = (error) => console.error(error),
    names?: EventNames<E>,
  ) {
    this.now = now
    this.onListenerError = onListenerError
    this.names = names
  }

  /** True when somebody listens to events of this type: check it before building an expensive event. */
  wants(type: E['type']): boolean {
    if (this.listeners === 0) return false
    return this.emitter.listenerCount(type) + this.emitter.listenerCount(ANY) > 0
  }

  /** Tells every listener. To be called last, when the state that the event speaks of is consistent. */
  emit(event: E): void {
    this.seq += 1
    if (!this.wants(event.type)) return
    const stamped = { ...event, seq: this.seq, time: this.now() }
    for (const name of [event.type, ANY]) {
      for (const listener of this.emitter.listeners(name)) {
        callGuarded(() => listener(stamped), this.onListenerError)
      }
    }
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
    this.listeners += 1
    let listening = true
    return () => {
      if (!listening) return
      listening = false
      this.listeners -= 1
      this.emitter.off(name, listener)
    }
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

  stream(options: StreamOptions = {}): AsyncIterable<(E & EventStamp) | EventsLost> {
    checkOptions('events.stream', options, { signal: abortSignal, limit: whole(1, 1e9) })
    const queue = new StreamQueue<E & EventStamp>(options.limit ?? 1024)
    const off = this.onAny((event) => queue.push(event))
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
