/**
 * Live migration over TCP: the two ends of `domain.migrate` and `host.receiveMigration`. As with xl, who may connect is
 * for the network to decide; nothing here asks who is there, and nothing is encrypted.
 */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { openOutput, type MigrationTransport } from '../toolstack/index.ts'
import { XenError } from '../util/index.ts'

/** Where to listen for migrations. */
export interface MigrationListenOptions {
  /** Default 0: one that is free. */
  readonly port?: number
  /** Default 127.0.0.1. */
  readonly host?: string
}

/** Where to send a domain. */
export interface MigrationConnectOptions {
  readonly port: number
  /** Default 127.0.0.1. */
  readonly host?: string
  readonly signal?: AbortSignal
}

const LOCAL = '127.0.0.1'

const failed = (what: string, cause: unknown): XenError =>
  new XenError('IO', `${what}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })

function asTransport(socket: Socket): MigrationTransport {
  // An error shows at the next read or write.
  socket.on('error', () => undefined)
  // A socket's bytes are the kernel's once a write is done.
  return { readable: socket, writable: { ...openOutput(socket), keepsNothing: true } }
}

/** Waits for other hosts to connect; each connection is one migration. */
export class MigrationListener {
  /** The port that it listens on. */
  readonly port: number
  private readonly server: Server
  private readonly waiting: Socket[] = []
  private readonly takers: ((socket: Socket | undefined) => void)[] = []

  /** @internal */
  constructor(server: Server) {
    this.server = server
    // A server that listens on TCP has such an address.
    this.port = (server.address() as AddressInfo).port
    server.on('connection', (socket) => {
      const taker = this.takers.shift()
      if (taker === undefined) this.waiting.push(socket)
      else taker(socket)
    })
  }

  /** The next connection. Rejects with CLOSED when the listener is closed. */
  async accept(): Promise<MigrationTransport> {
    const socket = this.waiting.shift() ?? await this.nextConnection()
    if (socket === undefined) throw new XenError('CLOSED', 'nobody listens for migrations any more')
    return asTransport(socket)
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
  // Each side ends its own direction: the receiver may have the last word.
  const server = createServer({ allowHalfOpen: true, noDelay: true })
  server.listen(options.port ?? 0, options.host ?? LOCAL)
  try {
    await once(server, 'listening')
  } catch (cause) {
    throw failed('cannot listen for migrations', cause)
  }
  return new MigrationListener(server)
}

/**
 * Connects to a host that waits for a domain.
 *
 * @example
 * await domain.migrate(await connectMigration({ port: 8002 }))
 */
export async function connectMigration(options: MigrationConnectOptions): Promise<MigrationTransport> {
  const { port, host = LOCAL, signal } = options
  const socket = connect({ port, host, allowHalfOpen: true, noDelay: true })
  try {
    await once(socket, 'connect', signal === undefined ? {} : { signal })
  } catch (cause) {
    socket.destroy()
    if (signal?.aborted === true)
      throw new XenError('ABORTED', `connecting to ${host}:${port} was aborted`, { cause: signal.reason })
    throw failed(`cannot connect to ${host}:${port}`, cause)
  }
  return asTransport(socket)
}
