/**
 * Ethernet frames taken apart and put together: ARP, and ICMP echo and unreachable, UDP and TCP over IPv4, as far as user-mode networks
 * and the peers of tests speak them. What is cut short or of another kind is told as an Ethernet frame and no more.
 *
 *   Ethernet: destination 6 | source 6 | type 2; IPv4 from byte 14 on, without fragments
 *
 * Reference: RFC 826, 791, 792, 768, 9293, 7323 (window scale).
 */
import { XenError } from '../../../util/index.ts'
import { formatMac, internetChecksum, parseMac } from '../frame.ts'

/** Bytes of the headers. */
const ETHERNET = 14
const IPV4 = 20
const ARP_TYPE = 0x0806
const IPV4_TYPE = 0x0800
const ICMP = 1
const TCP_PROTOCOL = 6
const UDP_PROTOCOL = 17
/** ICMP's type for what could not be delivered. */
const UNREACHABLE = 3
/** Options of TCP. */
const OPTION = { end: 0, nothing: 1, mss: 2, windowScale: 3 } as const
/** Bits by which a window is shifted at most. */
const MOST_SCALE = 14

/** Flags of TCP. */
export const TCP_FLAG = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16 } as const

/** What every frame has. Addresses are texts: `00:16:3e:00:00:01`, `10.0.0.1`. */
export interface Ethernet {
  readonly destination: string
  readonly source: string
}

/** What every IPv4 packet has. */
export interface Ip extends Ethernet {
  readonly from: string
  readonly to: string
}

/** ARP for IPv4 over Ethernet. */
export interface ArpPacket extends Ethernet {
  readonly kind: 'arp'
  readonly operation: 'request' | 'reply'
  readonly senderMac: string
  readonly sender: string
  readonly targetMac: string
  readonly target: string
}

/** What `ping` sends, and what comes back. */
export interface EchoPacket extends Ip {
  readonly kind: 'icmp-echo'
  readonly operation: 'request' | 'reply'
  readonly id: number
  readonly sequence: number
  readonly data: Uint8Array
}

/** Somebody says that a packet could not be delivered. */
export interface UnreachablePacket extends Ip {
  readonly kind: 'icmp-unreachable'
  /** Why: 1 the host, 3 the port, 13 somebody forbids it. */
  readonly code: number
  /** How the packet began: its IPv4 header and eight bytes. */
  readonly quoted: Uint8Array
}

/** A datagram of UDP. */
export interface UdpPacket extends Ip {
  readonly kind: 'udp'
  readonly fromPort: number
  readonly toPort: number
  readonly data: Uint8Array
}

/** A segment of TCP. */
export interface TcpPacket extends Ip {
  readonly kind: 'tcp'
  readonly fromPort: number
  readonly toPort: number
  readonly flags: number
  readonly sequence: number
  readonly acknowledged: number
  readonly window: number
  readonly data: Uint8Array
  /** The largest segment that its sender takes, where it says so with its SYN. */
  readonly mss?: number | undefined
  /** By how many bits windows of its sender are shifted, where it says so with its SYN. */
  readonly windowScale?: number | undefined
}

/** A frame taken apart. */
export type Packet = ArpPacket | EchoPacket | UnreachablePacket | UdpPacket | TcpPacket | (Ethernet & { readonly kind: 'other'; readonly type: number })

const word = (bytes: Uint8Array, at: number): number => bytes[at]! << 8 | bytes[at + 1]!
const long = (bytes: Uint8Array, at: number): number => (word(bytes, at) * 0x1_0000 + word(bytes, at + 2))
const macAt = (bytes: Uint8Array, at: number): string => formatMac(bytes.subarray(at, at + 6))
const ipAt = (bytes: Uint8Array, at: number): string => [...bytes.subarray(at, at + 4)].join('.')

function putWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8
  bytes[at + 1] = value
}

function putLong(bytes: Uint8Array, at: number, value: number): void {
  putWord(bytes, at, Math.floor(value / 0x1_0000))
  putWord(bytes, at + 2, value & 0xffff)
}

/** The four bytes of an IPv4 address. Throws INVALID_ARGUMENT. */
export function parseIp(text: string): Uint8Array {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(String(text))?.slice(1).map(Number)
  if (parts === undefined || parts.some((part) => part > 255)) throw new XenError('INVALID_ARGUMENT', `${String(text)} is no IPv4 address`, { details: { value: text } })
  return Uint8Array.from(parts)
}

/** The six bytes of an Ethernet address. Throws INVALID_ARGUMENT. */
export function macBytes(text: string): Uint8Array {
  const bytes = parseMac(String(text))
  if (bytes === undefined) throw new XenError('INVALID_ARGUMENT', `${String(text)} is no Ethernet address`, { details: { value: text } })
  return bytes
}

/** Takes a frame apart. */
export function decodePacket(frame: Uint8Array): Packet {
  if (frame.length < ETHERNET) return { kind: 'other', destination: '', source: '', type: 0 }
  const ethernet = { destination: macAt(frame, 0), source: macAt(frame, 6) }
  const type = word(frame, 12)
  const found = type === ARP_TYPE ? decodeArp(frame, ethernet) : type === IPV4_TYPE ? decodeIp(frame, ethernet) : undefined
  return found ?? { kind: 'other', ...ethernet, type }
}

function decodeArp(frame: Uint8Array, ethernet: Ethernet): Packet | undefined {
  const operation = ({ 1: 'request', 2: 'reply' } as const)[word(frame, 20)]
  if (frame.length < 42 || word(frame, 14) !== 1 || word(frame, 16) !== IPV4_TYPE || operation === undefined) return undefined
  return { kind: 'arp', ...ethernet, operation, senderMac: macAt(frame, 22), sender: ipAt(frame, 28), targetMac: macAt(frame, 32), target: ipAt(frame, 38) }
}

function decodeIp(frame: Uint8Array, ethernet: Ethernet): Packet | undefined {
  const header = (frame[ETHERNET]! & 15) * 4
  const end = ETHERNET + word(frame, ETHERNET + 2)
  const at = ETHERNET + header
  const isFragment = (word(frame, ETHERNET + 6) & 0x3fff) !== 0
  if (frame.length < ETHERNET + IPV4 || frame[ETHERNET]! >> 4 !== 4 || header < IPV4 || end > frame.length || isFragment) return undefined
  const ip = { ...ethernet, from: ipAt(frame, ETHERNET + 12), to: ipAt(frame, ETHERNET + 16) }
  switch (frame[ETHERNET + 9]) {
    case ICMP: {
      if (end < at + 8) return undefined
      if (frame[at] === UNREACHABLE) return { kind: 'icmp-unreachable', ...ip, code: frame[at + 1]!, quoted: frame.slice(at + 8, end) }
      const operation = ({ 8: 'request', 0: 'reply' } as const)[frame[at]!]
      if (operation === undefined) return undefined
      return { kind: 'icmp-echo', ...ip, operation, id: word(frame, at + 4), sequence: word(frame, at + 6), data: frame.slice(at + 8, end) }
    }
    case UDP_PROTOCOL:
      if (end < at + 8) return undefined
      return { kind: 'udp', ...ip, fromPort: word(frame, at), toPort: word(frame, at + 2), data: frame.slice(at + 8, end) }
    case TCP_PROTOCOL: {
      const data = at + (frame[at + 12]! >> 4) * 4
      if (end < at + 20 || data < at + 20 || data > end) return undefined
      return {
        kind: 'tcp', ...ip, fromPort: word(frame, at), toPort: word(frame, at + 2), sequence: long(frame, at + 4), acknowledged: long(frame, at + 8),
        flags: frame[at + 13]! & 0x3f, window: word(frame, at + 14), data: frame.slice(data, end),
        ...((frame[at + 13]! & TCP_FLAG.SYN) === 0 ? {} : optionsOf(frame.subarray(at + 20, data))),
      }
    }
    default:
      return undefined
  }
}

/** What a SYN says by its options; of those that are cut or lie about their length, what came before. */
function optionsOf(options: Uint8Array): Pick<TcpPacket, 'mss' | 'windowScale'> {
  const found: { mss?: number; windowScale?: number } = {}
  for (let at = 0; at < options.length && options[at] !== OPTION.end;) {
    if (options[at] === OPTION.nothing) {
      at += 1
      continue
    }
    const length = options[at + 1] ?? 0
    if (length < 2 || at + length > options.length) break
    if (options[at] === OPTION.mss && length === 4) found.mss = word(options, at + 2)
    if (options[at] === OPTION.windowScale && length === 3) found.windowScale = Math.min(options[at + 2]!, MOST_SCALE)
    at += length
  }
  return found
}

/** The options of a SYN, padded to words. */
const optionBytes = ({ mss, windowScale }: Pick<TcpPacket, 'mss' | 'windowScale'>): readonly number[] => [
  ...(mss === undefined ? [] : [OPTION.mss, 4, mss >>> 8, mss & 0xff]),
  ...(windowScale === undefined ? [] : [OPTION.nothing, OPTION.windowScale, 3, windowScale]),
]

/**
 * Whether a frame of IPv4 has the checksums that it must have: of its header, and of ICMP, UDP or TCP in it, unless its sender
 * vouches for that. True for what is no IPv4 and for fragments.
 */
export function hasRightChecksums(frame: Uint8Array, isVouchedFor: 'checked' | 'vouched for'): boolean {
  if (frame.length < ETHERNET + IPV4 || word(frame, 12) !== IPV4_TYPE) return true
  const at = ETHERNET + (frame[ETHERNET]! & 15) * 4
  const end = ETHERNET + word(frame, ETHERNET + 2)
  if (at < ETHERNET + IPV4 || end < at || end > frame.length || internetChecksum(frame, ETHERNET, at) !== 0) return false
  const protocol = frame[ETHERNET + 9]!
  if (isVouchedFor === 'vouched for' || (word(frame, ETHERNET + 6) & 0x3fff) !== 0) return true
  if (protocol === ICMP) return internetChecksum(frame, at, end) === 0
  if (protocol !== UDP_PROTOCOL && protocol !== TCP_PROTOCOL) return true
  // A datagram may go without.
  if (protocol === UDP_PROTOCOL && end >= at + 8 && word(frame, at + 6) === 0) return true
  return internetChecksum(frame, at, end, pseudoHeader(frame, protocol, end - at)) === 0
}

/** The sum of what TCP and UDP count in beside themselves. */
const pseudoHeader = (frame: Uint8Array, protocol: number, length: number): number =>
  word(frame, ETHERNET + 12) + word(frame, ETHERNET + 14) + word(frame, ETHERNET + 16) + word(frame, ETHERNET + 18) + protocol + length

function ethernetHeader(frame: Uint8Array, { destination, source }: Ethernet, type: number): void {
  frame.set(macBytes(destination))
  frame.set(macBytes(source), 6)
  putWord(frame, 12, type)
}

/** An IPv4 frame around what `fill` writes from its offset on; the transport's checksum goes to `field`. */
function ipFrame(ip: Ip, { protocol, length, field }: { readonly protocol: number; readonly length: number; readonly field: number }, fill: (frame: Uint8Array, at: number) => void): Uint8Array {
  const at = ETHERNET + IPV4
  const frame = new Uint8Array(at + length)
  ethernetHeader(frame, ip, IPV4_TYPE)
  frame[ETHERNET] = 0x45
  putWord(frame, ETHERNET + 2, IPV4 + length)
  // Don't fragment.
  frame[ETHERNET + 6] = 0x40
  frame[ETHERNET + 8] = 64
  frame[ETHERNET + 9] = protocol
  frame.set(parseIp(ip.from), ETHERNET + 12)
  frame.set(parseIp(ip.to), ETHERNET + 16)
  putWord(frame, ETHERNET + 10, internetChecksum(frame, ETHERNET, at))
  fill(frame, at)
  const pseudo = protocol === ICMP ? 0 : pseudoHeader(frame, protocol, length)
  putWord(frame, at + field, internetChecksum(frame, at, frame.length, pseudo) || (protocol === UDP_PROTOCOL ? 0xffff : 0))
  return frame
}

/** Puts a frame together. Throws INVALID_ARGUMENT for addresses that are none, and for what cannot be put together. */
export function encodePacket(packet: Packet): Uint8Array {
  switch (packet.kind) {
    case 'arp': {
      const frame = new Uint8Array(42)
      ethernetHeader(frame, packet, ARP_TYPE)
      frame.set([0, 1, 8, 0, 6, 4, 0, packet.operation === 'request' ? 1 : 2], ETHERNET)
      frame.set(macBytes(packet.senderMac), 22)
      frame.set(parseIp(packet.sender), 28)
      frame.set(macBytes(packet.targetMac), 32)
      frame.set(parseIp(packet.target), 38)
      return frame
    }
    case 'icmp-echo':
      return ipFrame(packet, { protocol: ICMP, length: 8 + packet.data.length, field: 2 }, (frame, at) => {
        frame[at] = packet.operation === 'request' ? 8 : 0
        putWord(frame, at + 4, packet.id)
        putWord(frame, at + 6, packet.sequence)
        frame.set(packet.data, at + 8)
      })
    case 'icmp-unreachable':
      return ipFrame(packet, { protocol: ICMP, length: 8 + packet.quoted.length, field: 2 }, (frame, at) => {
        frame.set([UNREACHABLE, packet.code], at)
        frame.set(packet.quoted, at + 8)
      })
    case 'udp':
      return ipFrame(packet, { protocol: UDP_PROTOCOL, length: 8 + packet.data.length, field: 6 }, (frame, at) => {
        putWord(frame, at, packet.fromPort)
        putWord(frame, at + 2, packet.toPort)
        putWord(frame, at + 4, 8 + packet.data.length)
        frame.set(packet.data, at + 8)
      })
    case 'tcp': {
      const options = optionBytes(packet)
      const header = 20 + options.length
      return ipFrame(packet, { protocol: TCP_PROTOCOL, length: header + packet.data.length, field: 16 }, (frame, at) => {
        putWord(frame, at, packet.fromPort)
        putWord(frame, at + 2, packet.toPort)
        putLong(frame, at + 4, packet.sequence)
        putLong(frame, at + 8, packet.acknowledged)
        frame[at + 12] = header << 2
        frame[at + 13] = packet.flags
        putWord(frame, at + 14, packet.window)
        frame.set(options, at + 20)
        frame.set(packet.data, at + header)
      })
    }
    default:
      throw new XenError('INVALID_ARGUMENT', 'a frame of another kind cannot be put together', { details: { kind: packet.kind } })
  }
}

/** A frame in a line, for people. */
export function packetText(packet: Packet): string {
  switch (packet.kind) {
    case 'arp': return packet.operation === 'request' ? `arp who has ${packet.target}, asks ${packet.sender}` : `arp ${packet.sender} is at ${packet.senderMac}`
    case 'icmp-echo': return `icmp echo ${packet.operation} ${packet.from} > ${packet.to} id ${packet.id} sequence ${packet.sequence}, ${packet.data.length} bytes`
    case 'icmp-unreachable': return `icmp unreachable code ${packet.code} ${packet.from} > ${packet.to}`
    case 'udp': return `udp ${packet.from}:${packet.fromPort} > ${packet.to}:${packet.toPort}, ${packet.data.length} bytes`
    case 'tcp': {
      const flags = Object.entries(TCP_FLAG).filter(([, bit]) => (packet.flags & bit) !== 0).map(([name]) => name).join('+')
      return `tcp ${packet.from}:${packet.fromPort} > ${packet.to}:${packet.toPort} ${flags} sequence ${packet.sequence} acknowledged ${packet.acknowledged}, ${packet.data.length} bytes`
    }
    default: return `type 0x${packet.type.toString(16).padStart(4, '0')} ${packet.source} > ${packet.destination}`
  }
}
