/** A host's events on Node's diagnostics channels, for tracing tools that know nothing of this library. */
import { channel } from 'node:diagnostics_channel'
import type { Host } from '../toolstack/index.ts'

/** The channel that has all events; each type has one of its own, with its name behind this one's and a colon. */
export const DIAGNOSTICS_CHANNEL = 'paravirt:host'

/**
 * Publishes each event of a host as `{ host, event }` on the channel `paravirt:host` and on `paravirt:host:TYPE`, until the returned
 * function is called.
 *
 * @example
 * const stop = publishDiagnostics(host)
 * subscribe('paravirt:host:domain-crashed', ({ event }) => console.log(event.crash.text))
 */
export function publishDiagnostics(host: Host): () => void {
  const all = channel(DIAGNOSTICS_CHANNEL)
  return host.events.onAny((event) => {
    const own = channel(`${DIAGNOSTICS_CHANNEL}:${event.type}`)
    if (all.hasSubscribers) all.publish({ host, event })
    if (own.hasSubscribers) own.publish({ host, event })
  })
}
