/**
 * Wires that join a bridge to what is outside a page: other tabs of the same origin, and a relay at a WebSocket. A wire is a port of the
 * bridge; whole Ethernet frames go over it, one a message. What comes from outside is looked at before the bridge sees it.
 */
import type { Bridge } from '../../drivers/index.ts'
import { checkArgument, having, text, thrownMessage, XenError } from '../../util/index.ts'

/** A wire. */
export interface Wire {
  /** Takes it off the bridge. */
  close(): void
  /** Resolves when it is over, by `close` or from outside. */
  readonly closed: Promise<void>
  /** Messages that came and were no frames. */
  readonly refused: number
}

/** Shortest and longest frames, without a checksum: a header alone, and what a 16-bit length can say. */
const LEAST = 14
const MOST = 65_550
/** Bytes that a relay may be behind, before frames are dropped as a full wire drops them. */
const MOST_BEHIND = 4 << 20

/** The outside of a wire. */
interface Outside {
  send(frame: Uint8Array): void
  close(): void
}

/** The frame of a message; undefined for what is none. */
function frameOf(data: unknown): Uint8Array | undefined {
  const bytes = data instanceof Uint8Array ? data : data instanceof ArrayBuffer ? new Uint8Array(data) : undefined
  return bytes === undefined || bytes.length < LEAST || bytes.length > MOST ? undefined : bytes
}

/** Joins a bridge with an outside: gives what takes its messages, what ends it, and the wire. */
function join(bridge: Bridge, outside: Outside): { readonly wire: Wire; hear(data: unknown): void; end(): void } {
  let end: () => void = () => undefined
  const closed = new Promise<void>((resolve) => { end = resolve })
  let [isOver, refused] = [false, 0]
  const port = bridge.open({ onFrame: (frame) => { if (!isOver) outside.send(frame) } })
  const over = (): void => {
    if (isOver) return
    isOver = true
    port.close()
    outside.close()
    end()
  }
  const hear = (data: unknown): void => {
    if (isOver) return
    const frame = frameOf(data)
    if (frame === undefined) refused += 1
    else port.send(frame)
  }
  return { wire: { close: over, closed, get refused() { return refused } }, hear, end: over }
}

/**
 * Joins a bridge with those of the same name in other tabs and workers of this origin, by a BroadcastChannel.
 *
 * @example
 * const wire = connectTabs(host.bridge(), 'lab')
 */
export function connectTabs(bridge: Bridge, name: string): Wire {
  checkArgument('the bridge', bridge, having('open'))
  checkArgument('the name of the wire', name, text)
  const channel = new BroadcastChannel(`paravirt ${name}`)
  const { wire, hear } = join(bridge, { send: (frame) => channel.postMessage(frame), close: () => channel.close() })
  channel.onmessage = ({ data }) => hear(data)
  return wire
}

/**
 * Joins a bridge with a relay of Ethernet frames at a WebSocket, one frame a binary message. Rejects with IO where nobody answers there.
 *
 * @example
 * const wire = await connectRelay(host.bridge(), 'wss://relay.example/')
 */
export async function connectRelay(bridge: Bridge, url: string | URL): Promise<Wire> {
  checkArgument('the bridge', bridge, having('open'))
  const socket = opened(String(url))
  const { wire, hear, end } = join(bridge, {
    send: (frame) => { if (socket.readyState === WebSocket.OPEN && socket.bufferedAmount < MOST_BEHIND) socket.send(frame as Uint8Array<ArrayBuffer>) },
    close: () => socket.close(),
  })
  socket.onmessage = ({ data }) => hear(data)
  socket.onclose = end
  await new Promise<void>((resolve, reject) => {
    socket.onopen = () => resolve()
    socket.onerror = () => {
      end()
      reject(new XenError('IO', `no relay answers at ${String(url)}`, { details: { url: String(url) } }))
    }
  })
  return wire
}

function opened(url: string): WebSocket {
  try {
    const socket = new WebSocket(url)
    socket.binaryType = 'arraybuffer'
    return socket
  } catch (cause) {
    throw new XenError('INVALID_ARGUMENT', `${url} is no address of a relay: ${thrownMessage(cause)}`, { details: { url }, cause })
  }
}
