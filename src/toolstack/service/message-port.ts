/** A message port as the way for a service's bytes: between a page and its workers, or between threads. */
import { checkArgument, having } from '../../util/index.ts'
import type { ByteSink } from '../stream/index.ts'
import type { ServiceTransport } from './peer.ts'

/** What is used of a `MessagePort`, of browsers and of Node. */
export interface PortLike {
  /** Hands a message to the other end. */
  postMessage(message: unknown): void
  /** Ends the connection at this end. */
  close(): void
  /** Hears of messages, and of the end where the platform tells it. */
  addEventListener(type: 'message' | 'close', listener: (event: { readonly data?: unknown }) => void): void
  /** Begins to deliver messages, where listening alone does not. */
  start?(): void
}

/**
 * A transport over one end of a `MessageChannel`. A port that is closed at the other end says so only where the platform does:
 * an end that closes sends `null` first.
 */
export function portTransport(port: PortLike): ServiceTransport {
  checkArgument('the port', port, having('postMessage', 'close', 'addEventListener'))
  const pieces: Uint8Array[] = []
  let [isOver, wake] = [false, (): void => undefined]
  const end = (): void => {
    isOver = true
    wake()
  }
  port.addEventListener('message', ({ data }) => {
    if (data instanceof Uint8Array) pieces.push(data)
    else if (data === null) isOver = true
    wake()
  })
  port.addEventListener('close', end)
  port.start?.()
  const writable: ByteSink = {
    write: (chunk) => port.postMessage(chunk.slice()),
    close: () => {
      port.postMessage(null)
      port.close()
      end()
    },
    abort: () => {
      port.postMessage(null)
      port.close()
      end()
    },
  }
  return {
    writable,
    readable: (async function* () {
      for (;;) {
        while (pieces.length === 0 && !isOver) await new Promise<void>((resolve) => { wake = resolve })
        const piece = pieces.shift()
        if (piece === undefined) return
        yield piece
      }
    })(),
  }
}
