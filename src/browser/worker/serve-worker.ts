/**
 * The worker's side: a host that lives in a worker, for the page that has started it, or for all pages that share it. Guests
 * run there, so that the page's own thread only draws.
 */
import { serveHost, portTransport, type Host, type ServeOptions } from '../../toolstack/index.ts'
import { callable, checkArgument, thrownMessage, XenError } from '../../util/index.ts'
import { isConnect, type Greeting } from './messages.ts'

/** What is used of a worker's global scope, dedicated or shared. */
export interface WorkerScope {
  /** Hears of messages, and of pages that connect. */
  addEventListener(type: string, listener: (event: { readonly data?: unknown; readonly ports?: readonly MessagePort[] }) => void): void
}

/** Clones nothing that cannot be cloned. */
function detailsOf(error: unknown): unknown {
  if (!XenError.is(error)) return undefined
  try {
    return JSON.parse(JSON.stringify(error.details)) as unknown
  } catch {
    return undefined
  }
}

const failure = (error: unknown): Greeting =>
  ({ paravirt: 'failed', code: XenError.is(error) ? error.code : undefined, message: thrownMessage(error), details: detailsOf(error) })

/**
 * Makes a host once, and serves it to every page that asks by {@link connectWorker}. A host that cannot be made is told to whoever asks.
 * Messages that are not of this library are left to the worker's own listeners.
 *
 * @example
 * // worker.js
 * serveWorker(async () => {
 *   const host = await Host.boot({ memory: 256, clock: 'realtime' })
 *   await host.createDomain({ name: 'hello', memory: 32 })
 *   return host
 * })
 */
export function serveWorker(make: () => Host | Promise<Host>, options: ServeOptions = {}, scope: WorkerScope = globalThis as unknown as WorkerScope): void {
  checkArgument('what serveWorker is given', make, callable)
  const host = Promise.resolve().then(make)
  // It waits for its pages, however idle it is.
  host.then((made) => made.expectInput(), () => undefined)
  const greet = async (port: MessagePort): Promise<void> => {
    try {
      const made = await host
      port.postMessage({ paravirt: 'ready' } satisfies Greeting)
      serveHost(made, portTransport(port), options)
    } catch (error) {
      port.postMessage(failure(error))
      port.close()
    }
  }
  const hear = ({ data }: { readonly data?: unknown }): void => {
    if (isConnect(data)) void greet(data.port)
  }
  scope.addEventListener('message', hear)
  // Each page of a shared worker has a port of its own.
  scope.addEventListener('connect', ({ ports: [port] = [] }) => {
    port?.addEventListener('message', hear)
    port?.start()
  })
}
