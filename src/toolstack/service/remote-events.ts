/** Events of a host of another process: what listens is on this side, and follows a stream of those that are wanted. */
import { callGuarded, XenError, type EventsLost, type EventStamp } from '../../util/index.ts'
import type { HostEvent } from '../host/host-events.ts'
import type { RemoteEvents } from './api.ts'

type Stamped = HostEvent & EventStamp
type Listening = Pick<RemoteEvents, 'stream' | 'recent'>

const isEvent = (event: Stamped | EventsLost): event is Stamped => event.type !== 'events-lost'

/** As on the host itself, what a listener throws ends nothing. */
const tell = <E extends Stamped>(listener: (event: E) => unknown, event: E): void => callGuarded(() => listener(event), (error) => console.error(error))

/** Calls a listener with what a stream gives; the function that ends it. */
function follow({ stream }: Listening, types: readonly HostEvent['type'][] | undefined, listener: (event: Stamped) => void): () => void {
  const stop = new AbortController()
  void (async () => {
    for await (const event of stream({ types, signal: stop.signal })) if (isEvent(event)) tell(listener, event)
  })().catch(() => undefined)
  return () => stop.abort()
}

/** Events out of the two calls that travel. */
export function remoteEvents(events: Listening): RemoteEvents {
  return {
    stream: (options) => events.stream(options),
    recent: (filter) => events.recent(filter),
    onAny: (listener) => follow(events, undefined, listener),
    // A stream of one type has events of that type.
    on: (type, listener) => follow(events, [type], (event) => listener(event as Parameters<typeof listener>[0])),
    once: async (type, accept, { signal } = {}) => {
      for await (const event of events.stream({ types: [type], signal })) {
        const own = event as Parameters<NonNullable<typeof accept>>[0]
        if (isEvent(event) && (accept === undefined || accept(own))) return own
      }
      const why = signal?.aborted === true
      throw new XenError(why ? 'ABORTED' : 'CLOSED', `waiting for ${type} ${why ? 'was aborted' : 'has ended with its host'}`, { details: { type }, cause: signal?.reason })
    },
  }
}
