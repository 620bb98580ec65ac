/**
 * What a peer answers by itself: who asks for its address, ICMP echo, UDP and TCP to its echo port. TCP here takes segments in their
 * order, acknowledges each, and sends everything back; what comes out of order is acknowledged as it stood, so that the
 * sender sends again. It never sends again itself: whoever loses its answers on purpose sees what the guest does.
 */
import { TCP_FLAG, type Packet } from './packet.ts'

/** Where a peer is. */
export interface PeerAddress {
  readonly mac: string
  readonly ip: string
  /** The port on which UDP and TCP are echoed. */
  readonly echoPort: number
}

/** One TCP connection: what is expected next, and what is sent next. */
interface Connection {
  next: number
  send: number
}

type TcpPacket = Extract<Packet, { kind: 'tcp' }>

/** Where the peer's own numbers begin: a fixed one, so that runs repeat. */
const FIRST_SEQUENCE = 0x1000_0000
const WINDOW = 0xffff

const sum = (sequence: number, length: number): number => (sequence + length) >>> 0

/** Answers for one address. */
export class EchoServer {
  private readonly address: PeerAddress
  private readonly connections = new Map<string, Connection>()

  constructor(address: PeerAddress) {
    this.address = address
  }

  /** TCP connections that are open. */
  get open(): number {
    return this.connections.size
  }

  /** What the peer sends for a packet that it receives. */
  answer(packet: Packet): readonly Packet[] {
    const { mac, ip, echoPort } = this.address
    if (packet.kind === 'arp') {
      if (packet.operation !== 'request' || packet.target !== ip) return []
      return [{ kind: 'arp', destination: packet.source, source: mac, operation: 'reply', senderMac: mac, sender: ip, targetMac: packet.senderMac, target: packet.sender }]
    }
    if (packet.kind === 'other' || packet.to !== ip) return []
    const back = { destination: packet.source, source: mac, from: ip, to: packet.from }
    if (packet.kind === 'icmp-echo') return packet.operation === 'request' ? [{ ...packet, ...back, operation: 'reply' }] : []
    if (packet.toPort !== echoPort) return packet.kind === 'tcp' ? this.refuse(packet) : []
    const ports = { fromPort: packet.toPort, toPort: packet.fromPort }
    return packet.kind === 'udp' ? [{ ...packet, ...back, ...ports }] : this.segment(packet)
  }

  private reply(packet: TcpPacket, { flags, sequence, acknowledged, data = new Uint8Array(0) }: Pick<TcpPacket, 'flags' | 'sequence' | 'acknowledged'> & { readonly data?: Uint8Array }): TcpPacket {
    const { mac, ip } = this.address
    return {
      kind: 'tcp', destination: packet.source, source: mac, from: ip, to: packet.from, fromPort: packet.toPort, toPort: packet.fromPort,
      flags, sequence, acknowledged, window: WINDOW, data,
    }
  }

  /** Nobody listens there. */
  private refuse(packet: TcpPacket): readonly Packet[] {
    if ((packet.flags & TCP_FLAG.RST) !== 0) return []
    const length = packet.data.length + ((packet.flags & (TCP_FLAG.SYN | TCP_FLAG.FIN)) === 0 ? 0 : 1)
    return [this.reply(packet, { flags: TCP_FLAG.RST | TCP_FLAG.ACK, sequence: packet.acknowledged, acknowledged: sum(packet.sequence, length) })]
  }

  private segment(packet: TcpPacket): readonly Packet[] {
    const { flags, data, sequence } = packet
    const key = `${packet.from}:${packet.fromPort}`
    if ((flags & TCP_FLAG.RST) !== 0) {
      this.connections.delete(key)
      return []
    }
    if ((flags & TCP_FLAG.SYN) !== 0) {
      this.connections.set(key, { next: sum(sequence, 1), send: sum(FIRST_SEQUENCE, 1) })
      return [this.reply(packet, { flags: TCP_FLAG.SYN | TCP_FLAG.ACK, sequence: FIRST_SEQUENCE, acknowledged: sum(sequence, 1) })]
    }
    const connection = this.connections.get(key)
    if (connection === undefined) return this.refuse(packet)
    const isFinished = (flags & TCP_FLAG.FIN) !== 0
    if (sequence !== connection.next) return [this.reply(packet, { flags: TCP_FLAG.ACK, sequence: connection.send, acknowledged: connection.next })]
    if (data.length === 0 && !isFinished) return []
    connection.next = sum(connection.next, data.length + (isFinished ? 1 : 0))
    const push = data.length > 0 ? TCP_FLAG.PSH : 0
    const answer = this.reply(packet, { flags: TCP_FLAG.ACK | push | (isFinished ? TCP_FLAG.FIN : 0), sequence: connection.send, acknowledged: connection.next, data })
    connection.send = sum(connection.send, data.length + (isFinished ? 1 : 0))
    if (isFinished) this.connections.delete(key)
    return [answer]
  }
}
