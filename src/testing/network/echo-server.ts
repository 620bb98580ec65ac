/**
 * What a peer answers by itself: who asks for its address, ICMP echo, UDP and TCP to its echo port. Its TCP is that of user-mode networks, to
 * which no time passes: it never sends again, so that whoever loses its answers on purpose sees what the guest does.
 */
import { TcpStack, type Packet, type TcpConnection, type TcpHears } from '../../drivers/index.ts'

/** Where a peer is. */
export interface PeerAddress {
  readonly mac: string
  readonly ip: string
  /** The port on which UDP and TCP are echoed. */
  readonly echoPort: number
}

/** Where the peer's own numbers begin: a fixed one, so that runs repeat. */
const FIRST_SEQUENCE = 0x1000_0000
const LIMITS = { connections: 1024, halfOpen: 1024, buffer: 0xffff, segment: 1460 } as const

/** Sends everything back, as fast as it is taken. */
function echo(connection: TcpConnection): TcpHears {
  let owed = 0
  const go = (): void => {
    if (connection.room === 0) return
    connection.taken(owed)
    owed = 0
  }
  connection.accept(0)
  return {
    data: (bytes) => {
      connection.write(bytes.slice())
      owed += bytes.length
      go()
    },
    room: go, ended: () => connection.end(), over: () => undefined,
  }
}

/** Answers for one address. */
export class EchoServer {
  private readonly address: PeerAddress
  private readonly stack: TcpStack
  private answers: Packet[] = []
  /** Where guests' Ethernet addresses are known from. */
  private destination = ''

  constructor(address: PeerAddress) {
    this.address = address
    this.stack = new TcpStack({
      limits: LIMITS, random: { next: () => FIRST_SEQUENCE },
      send: ({ local, localPort, remote, remotePort }, segment) => {
        this.answers.push({ kind: 'tcp', destination: this.destination, source: address.mac, from: local, fromPort: localPort, to: remote, toPort: remotePort, ...segment })
      },
      listen: (connection, { localPort }) => (localPort === address.echoPort ? echo(connection) : undefined),
    })
  }

  /** TCP connections that are open. */
  get open(): number {
    return [...this.stack].filter(({ connection: { state } }) => state !== 'time-wait').length
  }

  /** What the peer sends for a packet that it receives. */
  answer(packet: Packet): readonly Packet[] {
    const { mac, ip, echoPort } = this.address
    if (packet.kind === 'arp') {
      if (packet.operation !== 'request' || packet.target !== ip) return []
      return [{ kind: 'arp', destination: packet.source, source: mac, operation: 'reply', senderMac: mac, sender: ip, targetMac: packet.senderMac, target: packet.sender }]
    }
    if (packet.kind === 'other' || packet.kind === 'icmp-unreachable' || packet.to !== ip) return []
    const back = { destination: packet.source, source: mac, from: ip, to: packet.from }
    if (packet.kind === 'icmp-echo') return packet.operation === 'request' ? [{ ...packet, ...back, operation: 'reply' }] : []
    if (packet.kind === 'tcp') return this.segment(packet)
    return packet.toPort === echoPort ? [{ ...packet, ...back, fromPort: packet.toPort, toPort: packet.fromPort }] : []
  }

  private segment(packet: Extract<Packet, { kind: 'tcp' }>): readonly Packet[] {
    this.destination = packet.source
    this.stack.receive(packet, 0)
    this.stack.flush(0)
    const { answers } = this
    this.answers = []
    return answers
  }
}
