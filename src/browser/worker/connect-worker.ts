/** The page's side: the host of a worker, by the same calls, awaited. */
import { connectHost, portTransport, type ConnectOptions, type RemoteHost } from '../../toolstack/index.ts'
import { checkArgument, ERROR_CODES, having, XenError, type XenErrorCode, type XenErrorDetails } from '../../util/index.ts'
import { isGreeting, type ConnectMessage, type Greeting, type WorkerLike } from './messages.ts'

/** The error that the worker has told of. */
function errorOf({ code, message, details }: Greeting & { readonly paravirt: 'failed' }): XenError {
  const known = code !== undefined && code in ERROR_CODES ? code as XenErrorCode : 'IO'
  return new XenError(known, `the worker has no host: ${message}`, { details: (details ?? {}) as XenErrorDetails })
}

/** The worker's first answer; the port then is the service's. Rejects with IO where its script cannot be run. */
function greeting(port: MessagePort, worker: WorkerLike): Promise<Greeting> {
  return new Promise((resolve, reject) => {
    const hear = ({ data }: MessageEvent): void => {
      if (!isGreeting(data)) return
      port.removeEventListener('message', hear)
      resolve(data)
    }
    port.addEventListener('message', hear)
    port.start()
    worker.addEventListener?.('error', ({ message }) => {
      port.close()
      reject(new XenError('IO', `the worker's script cannot be run: ${message ?? 'it could not be loaded'}`, { details: {} }))
    })
  })
}

/**
 * Connects to the host that a worker serves by {@link serveWorker}; several connections may be open. Rejects with IO where the worker's
 * script fails, and with what making its host has rejected with.
 *
 * @example
 * const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' })
 * const host = await connectWorker(worker)
 * const domain = await host.domain('hello')
 * connectTerminal(domain.console, terminal)
 */
export async function connectWorker(worker: WorkerLike, options: ConnectOptions = {}): Promise<RemoteHost> {
  checkArgument('the worker', worker, having('postMessage'))
  const { port1, port2 } = new MessageChannel()
  const greeted = greeting(port1, worker)
  worker.start?.()
  worker.postMessage({ paravirt: 'connect', port: port2 } satisfies ConnectMessage, [port2])
  const answer = await greeted
  if (answer.paravirt === 'failed') throw errorOf(answer)
  return connectHost(portTransport(port1), options)
}
