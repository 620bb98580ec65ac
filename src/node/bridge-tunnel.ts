/**
 * A tunnel between bridges of hosts in several processes: whole Ethernet frames, one a UDP datagram, to every other end. What comes in by it goes to the bridge
 * and to no other end, so that frames never go round; each end therefore knows all others. Nothing is encrypted: it is for loopback and for networks that one trusts.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import type { Bridge } from '../drivers/index.ts'
import { checkArgument, checkOptions, having, text, whole, XenError } from '../util/index.ts'

/** Where an end of a tunnel is. */
export interface TunnelEnd {
  readonly host: string
  readonly port: number
}

/** An end of a tunnel. */
export interface BridgeTunnel extends TunnelEnd {
  /** Other ends that frames go to, and are taken from. */
  join(...others: readonly TunnelEnd[]): void
  /** Frames go there no more, and are not taken from there. */
  leave(other: TunnelEnd): void
  /** Datagrams that came from elsewhere, or were no frames; and frames that were too long for one. */
  readonly refused: number
  /** Takes it off the bridge. */
  close(): void
}

/** Bytes of a frame: a header at least, and what a datagram can carry. */
const [LEAST, MOST] = [14, 65_507]

const keyOf = ({ host, port }: TunnelEnd): string => `${host}:${port}`

/**
 * Opens an end of a tunnel at a bridge. Rejects with IO where the port cannot be had.
 *
 * @example
 * const tunnel = await bridgeTunnel(host.bridge())
 * tunnel.join({ host: '127.0.0.1', port: 7001 })
 */
export async function bridgeTunnel(bridge: Bridge, { host = '127.0.0.1', port = 0 }: Partial<TunnelEnd> = {}): Promise<BridgeTunnel> {
  checkArgument('the bridge', bridge, having('open'))
  checkOptions('bridgeTunnel', { host, port }, { host: text, port: whole(0, 65535) })
  const socket = createSocket('udp4')
  try {
    socket.bind(port, host)
    await once(socket, 'listening')
  } catch (cause) {
    socket.close()
    throw new XenError('IO', `no end of a tunnel can be at ${host}:${port}`, { details: { host, port }, cause })
  }
  const others = new Map<string, TunnelEnd>()
  let refused = 0
  const out = bridge.open({
    onFrame: (frame) => {
      if (frame.length > MOST) refused += 1
      else for (const other of others.values()) socket.send(frame, other.port, other.host, () => undefined)
    },
  })
  socket.on('error', () => undefined)
  socket.on('message', (bytes, from) => {
    if (!others.has(keyOf({ host: from.address, port: from.port })) || bytes.length < LEAST) refused += 1
    else out.send(bytes)
  })
  return {
    host, port: socket.address().port,
    join: (...ends) => { for (const end of ends) others.set(keyOf(end), end) },
    leave: (end) => void others.delete(keyOf(end)),
    get refused() { return refused },
    close: () => {
      out.close()
      socket.close()
    },
  }
}
