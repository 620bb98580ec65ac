/**
 * A host as a service on a Unix socket or on TCP at the loopback address. The socket's file lets in its owner alone; whoever gets to a TCP
 * port is a stranger, so that one wants a token.
 */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { connectHost, serveHost, type ConnectOptions, type Host, type RemoteHost, type ServeOptions, type ServiceTransport } from '../toolstack/index.ts'
import { thrownMessage, XenError } from '../util/index.ts'
import { listenAt } from './listen-at.ts'

/** Where a service is: the path of a Unix socket, or a port of the loopback address. */
export type ServiceAddress = { readonly path: string } | { readonly port: number }

/** A service that listens. */
export interface ServiceListener {
  /** Where it listens; the port is the one that was free where 0 was asked for. */
  readonly address: ServiceAddress
  /** Connections now. */
  readonly connections: number
  /** Stops listening and ends all connections. */
  close(): Promise<void>
}

const LOOPBACK = '127.0.0.1'
/** Connections at a time; further ones are closed at once. */
const MOST_CONNECTIONS = 64
/** Milliseconds that a client has for its first message. */
const PATIENCE = 10_000

const transportOf = (socket: Socket): ServiceTransport => ({ readable: socket as AsyncIterable<Uint8Array>, writable: socket })

/**
 * Serves a host at an address until the listener is closed or the host is shut down. Throws INVALID_ARGUMENT for a TCP port without a
 * token, IO where it cannot listen.
 *
 * @example
 * const service = await listenService(host, { path: '/run/user/1000/paravirt.sock' })
 */
export async function listenService(host: Host, address: ServiceAddress, options: ServeOptions = {}): Promise<ServiceListener> {
  if ('port' in address && options.token === undefined && Object.keys(options.tokens ?? {}).length === 0) {
    throw new XenError('INVALID_ARGUMENT', 'a service on TCP wants a token: anybody on this machine can connect', { details: { address } })
  }
  const open = new Set<Socket>()
  const release = host.expectInput()
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => undefined)
    if (open.size >= MOST_CONNECTIONS) return void socket.destroy()
    open.add(socket)
    const late = setTimeout(() => { if (socket.bytesRead === 0) socket.destroy() }, PATIENCE).unref()
    socket.once('close', () => {
      clearTimeout(late)
      open.delete(socket)
    })
    serveHost(host, transportOf(socket), options)
  })
  try {
    if ('path' in address) await listenAt(server, address.path)
    else await once(server.listen(address.port, LOOPBACK), 'listening')
  } catch (cause) {
    release()
    throw new XenError('IO', `cannot listen for clients: ${thrownMessage(cause)}`, { details: { address }, cause })
  }
  const close = async (): Promise<void> => {
    release()
    for (const socket of open) socket.destroy()
    if (server.listening) await new Promise<void>((resolve) => server.close(() => resolve()))
  }
  host.events.on('host-shutdown', () => void close())
  return {
    address: 'path' in address ? address : { port: (server.address() as AddressInfo).port },
    get connections() { return open.size },
    close,
  }
}

/**
 * Connects to a host that another process serves. Rejects with IO where nobody listens, PERMISSION_DENIED for a wrong token.
 *
 * @example
 * const host = await connectService({ path: '/run/user/1000/paravirt.sock' })
 * console.log(await host.listDomains())
 */
export async function connectService(address: ServiceAddress, options: ConnectOptions = {}): Promise<RemoteHost> {
  const socket = 'path' in address ? connect(address.path) : connect(address.port, LOOPBACK)
  try {
    await once(socket, 'connect')
  } catch (cause) {
    throw new XenError('IO', `cannot connect to the host: ${thrownMessage(cause)}`, { details: { address }, cause })
  }
  socket.setNoDelay(true)
  socket.on('error', () => undefined)
  return connectHost(transportOf(socket), options)
}
