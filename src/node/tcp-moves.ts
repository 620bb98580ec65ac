/** Joins the hosts of a fleet over TCP, so that domains move between them with their memory. Who may connect is for the network to decide, and nothing is encrypted. */
import type { MoveNetwork, MovePipe } from '../fleet/index.ts'
import { openOutput, type MigrationTransport } from '../toolstack/index.ts'
import { XenError } from '../util/index.ts'
import { connectMigration, listenMigration, type MigrationListenOptions } from './migration-socket.ts'

/** A host's place in the network, and its end. */
export interface TcpMoves extends MoveNetwork {
  /** Closes the port; domains that are under way go on. */
  close(): void
}

const pipeOf = (transport: MigrationTransport): MovePipe =>
  ({ transport, cut: () => void openOutput(transport.writable).abort(new XenError('CLOSED', 'the pipe was cut')).catch(() => undefined) })

/** Domains on their way here at a time: from many hosts, of which each sends a few. */
const CONNECTIONS = 64

/**
 * Opens a port for domains that come. Rejects with IO.
 *
 * @example
 * const moves = await tcpMoves({ host: '10.0.0.7' })
 * const machine = hostMachine(host, { moves })
 */
export async function tcpMoves(options: MigrationListenOptions = {}): Promise<TcpMoves> {
  const listener = await listenMigration({ connections: CONNECTIONS, ...options })
  let isOver = false
  return {
    address: `${options.host ?? '127.0.0.1'}:${listener.port}`,
    connect: async (address) => {
      const at = address.lastIndexOf(':')
      return pipeOf(await connectMigration({ host: address.slice(0, at), port: Number(address.slice(at + 1)) }))
    },
    listen: (take) => {
      void (async () => {
        while (!isOver) take(pipeOf(await listener.accept()))
      })().catch(() => undefined)
      return () => { isOver = true }
    },
    close: () => listener.close(),
  }
}
