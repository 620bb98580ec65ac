/** A domain for GDB on a TCP port of the loopback address. */
import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { serveGdb, type DebugOptions } from '../debug/index.ts'
import type { DomainReference, Host } from '../toolstack/index.ts'
import { checkOptions, record, shown, text, thrownMessage, whole, XenError } from '../util/index.ts'

/** Where to listen. */
export interface GdbListenOptions extends DebugOptions {
  /** TCP port. Default 0: any that is free. */
  readonly port?: number | undefined
  /** Address. Default 127.0.0.1: whoever can connect has the guest's memory and registers. */
  readonly address?: string | undefined
}

/** A port for debuggers. */
export interface GdbListener {
  /** The TCP port. */
  readonly port: number
  /** Stops listening; a debugger that is connected is sent away, and the guest goes on. */
  close(): Promise<void>
}

/**
 * Waits for debuggers of a domain, or of several, one at a time: `gdb -ex 'target remote localhost:PORT'`. They run until one connects. Throws
 * DOMAIN_NOT_FOUND, INVALID_ARGUMENT, IO where it cannot listen.
 *
 * @example
 * const { port } = await listenGdb(host, 'web', { port: 1234 })
 */
export async function listenGdb(host: Host, reference: DomainReference | readonly DomainReference[], options: GdbListenOptions = {}): Promise<GdbListener> {
  checkOptions('listenGdb', options, { port: whole(0, 65535), address: text, run: record, processes: (value) => (value === 'all' || Array.isArray(value) ? undefined : `must be 'all' or a list, got ${shown(value)}`) })
  const ids = (Array.isArray(reference) ? reference as readonly DomainReference[] : [reference as DomainReference]).map((one) => host.domain(one).id)
  const { run, processes } = options
  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => undefined)
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    try {
      serveGdb(host, ids, { readable: socket as AsyncIterable<Uint8Array>, writable: socket }, { run, processes })
    } catch {
      // It has a debugger, is not there any more, or has none of these processes.
      socket.destroy()
    }
  })
  try {
    await once(server.listen(options.port ?? 0, options.address ?? '127.0.0.1'), 'listening')
  } catch (cause) {
    throw new XenError('IO', `cannot listen for debuggers: ${thrownMessage(cause)}`, { details: { port: options.port }, cause })
  }
  const release = host.expectInput()
  const close = async (): Promise<void> => {
    release()
    for (const socket of sockets) socket.destroy()
    if (server.listening) await new Promise<void>((resolve) => server.close(() => resolve()))
  }
  host.events.on('host-shutdown', () => void close())
  return { port: (server.address() as AddressInfo).port, close }
}
