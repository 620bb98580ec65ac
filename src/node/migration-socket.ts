/**
 * Live migration over TCP: the two ends of `domain.migrate` and `host.receiveMigration`. As with xl, who may connect is
 * for the network to decide; nothing here asks who is there, and nothing is encrypted. So whoever connects is a stranger:
 * there are only so many connections at a time, and one that is silent for too long is ended.
 */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { openOutput, type MigrationTransport } from '../toolstack/index.ts'
import { XenError, checkOptions, duration, text, thrownMessage, whole } from '../util/index.ts'
import { checkLimits, limitHandshake, limitIdle, type CheckedLimits, type SocketLimits } from './socket-limits.ts'

/** Where to listen for migrations. */
export interface MigrationListenOptions extends SocketLimits {
  /** Default 0: one that is free. */
  readonly port?: number
  /** Default 127.0.0.1. */
  readonly host?: string
  /** Connections at a time, those that wait to be accepted included; further ones are closed at once. Default 8. */
  readonly connections?: number
}

/** Where to send a domain. */
export interface MigrationConnectOptions extends SocketLimits {
  readonly port: number
  /** Default 127.0.0.1. */
  readonly host?: string
  readonly signal?: AbortSignal
}

const LOCAL = '127.0.0.1'

const failed = (what: string, cause: unknown): XenError =>
  new XenError('IO', `${what}: ${thrownMessage(cause)}`, { cause })

/** Connections of a listener at a time. */
const CONNECTIONS = 8
/** Bytes of a sender's first message, the header of an xl stream, and of a receiver's, its banner. */
const FIRST = { sender: 48, receiver: 54 } as const

function asTransport(socket: Socket, peer: keyof typeof FIRST, limits: CheckedLimits): MigrationTransport {
  limitHandshake(socket, FIRST[peer], limits)
  // A socket's bytes are the kernel's once a write is done.
  return { readable: bytesOf(socket), writable: { ...openOutput(socket), keepsNothing: true } }
}

/** The socket's bytes; what has ended it is told to a reader also when that comes later. */
async function* bytesOf(socket: Socket): AsyncGenerator<Uint8Array, void> {
  try {
    for await (const chunk of socket) yield chunk as Uint8Array
  } catch (error) {
    throw XenError.is(socket.errored) ? socket.errored : error
  }
}

/** Makes a listener of a server that listens; for {@link listenMigration} alone. */
let openListener: (server: Server, most: number, limits: CheckedLimits) => MigrationListener

/** Waits for other hosts to connect; each connection is one migration. */
export class MigrationListener {
  /** The port that it listens on. */
  readonly port: number
  private readonly server: Server
  private readonly limits: CheckedLimits
  private readonly open = new Set<Socket>()
  private readonly waiting: Socket[] = []
  private readonly takers: ((socket: Socket | undefined) => void)[] = []

  static {
    openListener = (server, most, limits) => new MigrationListener(server, most, limits)
  }

  private constructor(server: Server, most: number, limits: CheckedLimits) {
    this.server = server
    this.limits = limits
    // A server that listens on TCP has such an address.
    this.port = (server.address() as AddressInfo).port
    server.on('connection', (socket) => this.connected(socket, most))
  }

  /** Connections that are open: those that wait, and those that were accepted. */
  get connections(): number {
    return this.open.size
  }

  private connected(socket: Socket, most: number): void {
    if (this.open.size >= most) {
      socket.destroy()
      return
    }
    // An error shows at the next read or write.
    socket.on('error', () => undefined)
    this.open.add(socket)
    socket.once('close', () => {
      this.open.delete(socket)
      const place = this.waiting.indexOf(socket)
      if (place >= 0) this.waiting.splice(place, 1)
    })
    limitIdle(socket, this.limits)
    const taker = this.takers.shift()
    if (taker === undefined) this.waiting.push(socket)
    else taker(socket)
  }

  /** The next connection. Rejects with CLOSED when the listener is closed. */
  async accept(): Promise<MigrationTransport> {
    const socket = this.waiting.shift() ?? await this.nextConnection()
    if (socket === undefined) throw new XenError('CLOSED', 'nobody listens for migrations any more')
    return asTransport(socket, 'sender', this.limits)
  }

  private nextConnection(): Promise<Socket | undefined> {
    if (!this.server.listening) return Promise.resolve(undefined)
    return new Promise((resolve) => this.takers.push(resolve))
  }

  /** Stops listening; migrations that are under way go on. */
  close(): void {
    this.server.close()
    for (const socket of this.waiting.splice(0)) socket.destroy()
    for (const taker of this.takers.splice(0)) taker(undefined)
  }
}

/**
 * Listens for hosts that want to send a domain.
 *
 * @example
 * const listener = await listenMigration({ port: 8002 })
 * const domain = await host.receiveMigration(await listener.accept())
 */
export async function listenMigration(options: MigrationListenOptions = {}): Promise<MigrationListener> {
  checkOptions('listenMigration', options, {
    port: whole(0, 65535), host: text, connections: whole(1, 1000), handshakeTimeout: duration({ most: Infinity }),
    idleTimeout: duration({ most: Infinity }),
  })
  const limits = checkLimits(options)
  // Each side ends its own direction: the receiver may have the last word.
  const server = createServer({ allowHalfOpen: true, noDelay: true })
  server.listen(options.port ?? 0, options.host ?? LOCAL)
  try {
    await once(server, 'listening')
  } catch (cause) {
    throw failed('cannot listen for migrations', cause)
  }
  return openListener(server, options.connections ?? CONNECTIONS, limits)
}

/**
 * Connects to a host that waits for a domain.
 *
 * @example
 * await domain.migrate(await connectMigration({ port: 8002 }))
 */
export async function connectMigration(options: MigrationConnectOptions): Promise<MigrationTransport> {
  const { port, host = LOCAL, signal } = options
  const limits = checkLimits(options)
  const socket = connect({ port, host, allowHalfOpen: true, noDelay: true })
  try {
    await once(socket, 'connect', signal === undefined ? {} : { signal })
  } catch (cause) {
    socket.destroy()
    if (signal?.aborted === true)
      throw new XenError('ABORTED', `connecting to ${host}:${port} was aborted`, { cause: signal.reason })
    throw failed(`cannot connect to ${host}:${port}`, cause)
  }
  socket.on('error', () => undefined)
  limitIdle(socket, limits)
  return asTransport(socket, 'receiver', limits)
}
