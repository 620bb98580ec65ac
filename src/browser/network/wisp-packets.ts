/**
 * Packets of the Wisp protocol, by which a relay at a WebSocket opens connections for whoever cannot: one packet a binary message, a type, a stream's
 * number and what belongs to the type, little-endian. What a relay sends is a stranger's: what is no packet is none.
 *
 * Reference: Wisp, version 1.2 (https://github.com/MercuryWorkshop/wisp-protocol), which relays of version 2 speak as well.
 */
import type { OwnBytes } from '../../util/index.ts'

const TYPE = { connect: 1, data: 2, continue: 3, close: 4 } as const
const HEADER = 5
const PROTOCOL = { tcp: 1, udp: 2 } as const

/** Why a stream ends, as far as it matters to whoever hears of it. */
export const REASON = {
  unknown: 0x01, voluntary: 0x02, network: 0x03, invalid: 0x41, unreachable: 0x42, noAnswer: 0x43, refused: 0x44, tooSlow: 0x47, blocked: 0x48, throttled: 0x49, client: 0x81,
} as const

/** What a relay says. */
export type RelayPacket =
  | { readonly type: 'data'; readonly stream: number; readonly bytes: Uint8Array }
  /** So many packets more may be sent; of stream 0: on each new one. */
  | { readonly type: 'continue'; readonly stream: number; readonly packets: number }
  | { readonly type: 'close'; readonly stream: number; readonly reason: number }

/** The packet of a message; undefined for what is none, or none that a relay sends. */
export function decodeRelayPacket(data: unknown): RelayPacket | undefined {
  if (!(data instanceof ArrayBuffer) || data.byteLength < HEADER) return undefined
  const view = new DataView(data)
  const [type, stream, room] = [view.getUint8(0), view.getUint32(1, true), data.byteLength - HEADER]
  if (type === TYPE.data) return { type: 'data', stream, bytes: new Uint8Array(data, HEADER) }
  if (type === TYPE.continue && room === 4) return { type: 'continue', stream, packets: view.getUint32(HEADER, true) }
  if (type === TYPE.close && room === 1) return { type: 'close', stream, reason: view.getUint8(HEADER) }
  return undefined
}

function packet(type: number, stream: number, length: number): { readonly bytes: OwnBytes; readonly view: DataView } {
  const bytes = new Uint8Array(HEADER + length)
  const view = new DataView(bytes.buffer)
  view.setUint8(0, type)
  view.setUint32(1, stream, true)
  return { bytes, view }
}

/** Whom a stream is for: a name or an address. */
export interface RelayTarget {
  readonly protocol: 'tcp' | 'udp'
  readonly host: string
  readonly port: number
}

/** Opens a stream. */
export function connectPacket(stream: number, { protocol, host, port }: RelayTarget): OwnBytes {
  const name = new TextEncoder().encode(host)
  const { bytes, view } = packet(TYPE.connect, stream, 3 + name.length)
  view.setUint8(HEADER, PROTOCOL[protocol])
  view.setUint16(HEADER + 1, port, true)
  bytes.set(name, HEADER + 3)
  return bytes
}

/** Sends bytes on a stream. */
export function dataPacket(stream: number, sent: Uint8Array): OwnBytes {
  const { bytes } = packet(TYPE.data, stream, sent.length)
  bytes.set(sent, HEADER)
  return bytes
}

/** Ends a stream. */
export function closePacket(stream: number, reason: number): OwnBytes {
  const { bytes, view } = packet(TYPE.close, stream, 1)
  view.setUint8(HEADER, reason)
  return bytes
}
