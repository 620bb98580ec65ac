/**
 * A network without privileges: a port of a bridge at which guests find a gateway, DHCP and DNS, and reach by TCP and UDP what an `Outside` reaches for
 * them, as slirp and passt do it. Guests' TCP ends here (tcp-stack.ts) and goes on as streams of the outside.
 *
 * It runs in the domain of its bridge, in that domain's steps and time. All that the outside says comes in by one function (`enter`), as plain data.
 * Frames of strangers: what is wrong in any layer is counted and dropped. IPv4 only, and no fragments.
 */
import { badState, part, SeededRandom, shape, randomShape, type Part, type Random, type StateOf } from '../../../util/index.ts'
import type { Bridge, BridgeLink, NetPort } from '../bridge.ts'
import type { NetFrame } from '../frame.ts'
import { DHCP_PORT, DhcpServer, dhcpState, type DhcpLease } from './dhcp-server.ts'
import { GuestDatagrams, datagramsState } from './guest-datagrams.ts'
import { DNS_PORT, GuestNames } from './guest-names.ts'
import { GuestStreams, streamsState } from './guest-streams.ts'
import { networkSettings, type NetworkSettings, type UserNetworkOptions } from './network-settings.ts'
import { OutsideDoor } from './outside-door.ts'
import type { OutsideInput } from './outside.ts'
import { decodePacket, encodePacket, hasRightChecksums, type ArpPacket, type EchoPacket, type Packet, type UdpPacket } from './packet.ts'
import type { TcpEnds } from './tcp-stack.ts'

/** A timer of the domain that the network runs in. */
export interface NetworkTimer {
  readonly deadline: number
  readonly order: number
  /** Keeps its function from being called. */
  cancel(): void
}

/** What a network needs of the domain that it runs in. */
export interface NetworkServices {
  /** Host time in nanoseconds. */
  now(): number
  /** Runs a task in the domain, soon. */
  post(task: () => void): void
  /** Calls a function so many nanoseconds from now. */
  after(nanoseconds: number, act: () => void): NetworkTimer
  /** The same for a timer that was set when the network was saved. */
  attachTimer(order: number, act: () => void): NetworkTimer
  /** JavaScript is to have a turn: the outside may be code with promises. */
  turn(): void
  /** Notes what an outside that follows the wall has said, and has it taken in by `act`. Throws where the host takes in nothing any more. */
  input(input: OutsideInput, act: () => void): void
  /** Code of the outside has thrown, or cannot do what it has to. */
  failed(error: unknown): void
  readonly random: Random
}

/** What a network has counted. */
export interface NetworkStatistics {
  /** Frames of guests, and to them. */
  readonly framesIn: number
  readonly framesOut: number
  readonly bytesIn: number
  readonly bytesOut: number
  /** Frames that were nothing to this network, or that it has no way for. */
  readonly dropped: number
  /** Frames whose checksums were wrong. */
  readonly damaged: number
  /** TCP connections that came to be; SYNs that were refused, and that got no answer under a flood; connections that were reset or timed out; segments sent again. */
  readonly opened: number
  readonly refused: number
  readonly ignored: number
  readonly reset: number
  readonly timedOut: number
  readonly retransmitted: number
  /** Connections and ways for datagrams that there are. */
  readonly connections: number
  readonly datagramWays: number
}

const networkState = /* @__PURE__ */ shape.record({
  link: shape.time, last: shape.time, random: randomShape,
  timer: /* @__PURE__ */ shape.optional(shape.time),
  neighbours: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({ ip: /* @__PURE__ */ shape.text(15), mac: /* @__PURE__ */ shape.text(17) }), 2 ** 16),
  dhcp: dhcpState, streams: streamsState, datagrams: datagramsState,
  counts: /* @__PURE__ */ shape.record({ framesIn: shape.time, framesOut: shape.time, bytesIn: shape.time, bytesOut: shape.time, dropped: shape.time, damaged: shape.time }),
})
type NetworkState = StateOf<typeof networkState>

/** Guests whose Ethernet addresses are remembered. */
const MOST_NEIGHBOURS = 1024
/** Seconds for which an address is a guest's. */
const LEASE = 86_400
/** Headers of IPv4 and TCP in a frame. */
const HEADERS = 40
const ALL_MAC = 'ff:ff:ff:ff:ff:ff'
const NO_MAC = '00:00:00:00:00:00'
const ALL = '255.255.255.255'
/** Why ICMP says that something did not arrive. */
const UNREACHABLE = { port: 3, forbidden: 13 } as const

/** A user-mode network at a bridge. Made by the option `networks` of a host. */
export class UserNetwork {
  private readonly settings: NetworkSettings
  private readonly bridge: Bridge
  private readonly services: NetworkServices
  private random = new SeededRandom(0)
  private readonly door: OutsideDoor
  private readonly dhcp: DhcpServer
  private readonly streams: GuestStreams
  private readonly datagrams: GuestDatagrams
  private readonly names: GuestNames
  private readonly neighbours = new Map<string, string>()
  private readonly counts = { framesIn: 0, framesOut: 0, bytesIn: 0, bytesOut: 0, dropped: 0, damaged: 0 }
  private link: BridgeLink | undefined
  private timer: NetworkTimer | undefined
  private ended: StreamEnds = []

  /** Throws INVALID_ARGUMENT for options that are none. */
  constructor(bridge: Bridge, options: UserNetworkOptions, services: NetworkServices) {
    const settings = this.settings = networkSettings(options)
    this.bridge = bridge
    this.services = services
    this.door = new OutsideDoor(settings.outside, { enter: (input) => this.enter(input), failed: (error) => services.failed(error) })
    this.dhcp = new DhcpServer({
      server: settings.gateway, router: settings.gateway, dns: settings.dns, mask: settings.mask, mtu: bridge.mtu, pool: settings.pool, lease: LEASE,
    })
    const shared = { settings, door: this.door, now: () => services.now() }
    this.streams = new GuestStreams({ ...shared, random: { next: () => this.random.next() }, segment: bridge.mtu - HEADERS, send: (ends, segment) => this.sendTcp(ends, segment) })
    this.datagrams = new GuestDatagrams({
      ...shared, send: ({ guest, guestPort, host, port }, data) => this.sendTo(guest, { kind: 'udp', from: host, fromPort: port, toPort: guestPort, data }),
      refuse: ({ guest, guestPort, host, port }) => this.sendUnreachable(guest, { host, port, guestPort }),
    })
    this.names = new GuestNames({
      ...shared, answer: ({ from, fromPort, to, toPort }, data) => this.sendTo(from, { kind: 'udp', from: to, fromPort: toPort, toPort: fromPort, data }),
    })
  }

  /** The address by which guests reach the machine of the outside. */
  get gateway(): string {
    return this.settings.gateway
  }

  /** The address of DNS. */
  get dns(): string {
    return this.settings.dns
  }

  /** Addresses that were given to guests. */
  get leases(): readonly DhcpLease[] {
    return this.dhcp.leases(this.services.now())
  }

  /** What it has counted. */
  get statistics(): NetworkStatistics {
    return { ...this.counts, ...this.streams.stack.counts, connections: this.streams.stack.size, datagramWays: this.datagrams.size }
  }

  /** True while an outside that follows the wall may have something to say. */
  get isAwaited(): boolean {
    return this.door.isAwaited
  }

  /** Goes on the bridge, and listens at forwarded ports. */
  start(): void {
    this.random = new SeededRandom(this.services.random.next())
    this.link = this.bridge.attach(this.port)
    this.door.listen(this.settings.forward)
  }

  /** Lets go of the outside; the guests hear nothing more. */
  close(): void {
    this.door.close()
  }

  // What comes from outside

  private enter(input: OutsideInput): void {
    const { services, settings } = this
    const act = (): void => services.post(() => {
      this.take(input)
      this.settle()
    })
    if (settings.outside.follows !== 'wall') return act()
    try {
      services.input(input, act)
    } catch {
      // The host takes in nothing any more: it is another, or at its end.
      this.close()
    }
  }

  /** Takes an input out of a record, in the place of its outside. */
  feed(input: OutsideInput): void {
    const { services } = this
    this.door.expect(input)
    services.input(input, () => services.post(() => {
      this.take(input)
      this.settle()
    }))
  }

  private take(input: OutsideInput): void {
    if ('stream' in input) this.streams.take(input, this.settings.forward)
    else if (input.event === 'resolved') this.names.take(input)
    else this.datagrams.take(input)
  }

  // Frames

  private readonly port: NetPort = {
    deliver: (frame) => this.deliver(frame),
    // A guest's TCP ends here: nothing is gained by cutting what is put together again.
    takesLarge: () => true,
    flush: () => this.settle(),
  }

  private deliver({ bytes, checksumBlank, validated }: NetFrame): void {
    this.counts.framesIn += 1
    this.counts.bytesIn += bytes.length
    const packet = decodePacket(bytes)
    const isHere = packet.destination === this.settings.mac || packet.destination === ALL_MAC
    if (!isHere) return void (this.counts.dropped += 1)
    // What was never on a wire has its checksum half written, and whoever wrote it vouches for it.
    if (!hasRightChecksums(bytes, checksumBlank || validated ? 'vouched for' : 'checked')) return void (this.counts.damaged += 1)
    if (!this.receive(packet, bytes)) this.counts.dropped += 1
  }

  /** False for what is nothing to this network. */
  private receive(packet: Packet, bytes: Uint8Array): boolean {
    if (packet.kind === 'arp') return this.receiveArp(packet)
    if (packet.kind === 'other') return false
    if (packet.kind === 'udp' && packet.toPort === DHCP_PORT.server) return this.receiveDhcp(packet)
    if (!this.isGuest(packet.from) || !this.isReachable(packet.to)) return false
    this.learn(packet.from, packet.source)
    switch (packet.kind) {
      case 'icmp-echo': return this.receiveEcho(packet, bytes)
      case 'udp': return this.receiveUdp(packet)
      case 'tcp': {
        this.streams.receive(packet)
        return true
      }
      default: return false
    }
  }

  /** Whether an address is one that a guest may have. */
  private isGuest(address: string): boolean {
    const { settings } = this
    return settings.isInside(address) && address !== settings.gateway && address !== settings.dns && address !== settings.broadcast
  }

  /** Whether something may lie behind an address: guests reach each other by themselves, and nobody all at once. */
  private isReachable(address: string): boolean {
    const { settings } = this
    if (settings.isInside(address)) return address === settings.gateway || address === settings.dns
    const first = Number(address.slice(0, address.indexOf('.')))
    return first !== 0 && first !== 127 && first < 224
  }

  private learn(ip: string, mac: string): void {
    if (this.neighbours.get(ip) === mac) return
    if (this.neighbours.size >= MOST_NEIGHBOURS) for (const [oldest] of this.neighbours) {
      this.neighbours.delete(oldest)
      break
    }
    this.neighbours.set(ip, mac)
  }

  private receiveArp({ operation, sender, senderMac, target }: ArpPacket): boolean {
    const { mac, gateway, dns } = this.settings
    if (this.isGuest(sender)) this.learn(sender, senderMac)
    if (operation !== 'request' || (target !== gateway && target !== dns)) return operation === 'reply'
    this.transmit({ kind: 'arp', destination: senderMac, source: mac, operation: 'reply', senderMac: mac, sender: target, targetMac: senderMac, target: sender })
    return true
  }

  private receiveDhcp({ data, to }: UdpPacket): boolean {
    const { gateway, mac } = this.settings
    const reply = to === ALL || to === gateway ? this.dhcp.answer(data, this.services.now()) : undefined
    if (reply === undefined) return false
    this.transmit({
      kind: 'udp', destination: reply.mac, source: mac, from: gateway, to: reply.ip, fromPort: DHCP_PORT.server, toPort: DHCP_PORT.client, data: reply.bytes,
    })
    return true
  }

  private receiveEcho(packet: EchoPacket, bytes: Uint8Array): boolean {
    if (packet.operation !== 'request') return false
    const { from, to, id, sequence, data } = packet
    if (!this.settings.isInside(to) && !this.door.answersPing(to)) {
      this.sendTo(from, { kind: 'icmp-unreachable', from: this.settings.gateway, code: UNREACHABLE.forbidden, quoted: bytes.slice(14, 42) })
    } else this.sendTo(from, { kind: 'icmp-echo', from: to, operation: 'reply', id, sequence, data })
    return true
  }

  private receiveUdp(packet: UdpPacket): boolean {
    const { dns } = this.settings
    if (packet.to === dns && packet.toPort === DNS_PORT) this.names.receive(packet)
    else if (packet.to === dns) this.sendUnreachable(packet.from, { host: dns, port: packet.toPort, guestPort: packet.fromPort })
    else this.datagrams.receive(packet)
    return true
  }

  // Frames to guests

  private sendTcp({ local, localPort, remote, remotePort }: TcpEnds, segment: Parameters<ConstructorParameters<typeof GuestStreams>[0]['send']>[1]): void {
    this.sendTo(remote, { kind: 'tcp', from: local, fromPort: localPort, toPort: remotePort, ...segment })
  }

  /** Says that nobody takes datagrams there: the beginning of such a datagram is put together anew. */
  private sendUnreachable(guest: string, { host, port, guestPort }: { readonly host: string; readonly port: number; readonly guestPort: number }): void {
    const { mac } = this.settings
    const lost = encodePacket({ kind: 'udp', destination: mac, source: mac, from: guest, to: host, fromPort: guestPort, toPort: port, data: new Uint8Array(0) })
    this.sendTo(guest, { kind: 'icmp-unreachable', from: host, code: UNREACHABLE.port, quoted: lost.subarray(14) })
  }

  /** Sends a packet to a guest; where nobody knows its Ethernet address, it is asked for, and whoever has sent the packet sends it again. */
  private sendTo(to: string, packet: GuestPacket): void {
    const { mac, gateway } = this.settings
    const destination = this.neighbours.get(to)
    if (destination === undefined) {
      this.transmit({ kind: 'arp', destination: ALL_MAC, source: mac, operation: 'request', senderMac: mac, sender: gateway, targetMac: NO_MAC, target: to })
      return
    }
    // Every kind has these; TypeScript does not put a union together again.
    this.transmit({ ...packet, destination, source: mac, to } as Packet)
  }

  private transmit(packet: Packet): void {
    const bytes = encodePacket(packet)
    // A datagram from outside that no frame holds.
    if (bytes.length > this.bridge.mtu + 14) return void (this.counts.dropped += 1)
    this.counts.framesOut += 1
    this.counts.bytesOut += bytes.length
    this.link?.send({ bytes, checksumBlank: false, validated: true })
  }

  /** A batch is over: sends what is to be sent, and sees to the time. */
  private settle(): void {
    this.streams.flush()
    this.link?.flush()
    this.setTimer()
    if (this.door.isUsed) this.services.turn()
  }

  // Time

  private setTimer(): void {
    const [streams, datagrams] = [this.streams.stack.deadline, this.datagrams.deadline]
    const deadline = Math.min(streams ?? Infinity, datagrams ?? Infinity)
    if (this.timer !== undefined && deadline < Infinity && this.timer.deadline <= deadline) return
    this.timer?.cancel()
    this.timer = deadline === Infinity ? undefined : this.services.after(Math.max(0, deadline - this.services.now()), this.onTimer)
  }

  private readonly onTimer = (): void => {
    this.timer = undefined
    const now = this.services.now()
    this.streams.stack.tick(now)
    this.datagrams.tick(now)
    this.settle()
  }

  // State

  /** The network under the name of its bridge. */
  part(): Part {
    return part({ name: this.bridge.name, version: 1, shape: networkState }, { save: () => this.save(), load: (state) => this.load(state) })
  }

  private save(): NetworkState {
    return {
      link: this.link?.number ?? 0, last: this.door.last, random: this.random.save(), timer: this.timer?.order,
      neighbours: [...this.neighbours].map(([ip, mac]) => ({ ip, mac })), dhcp: this.dhcp.save(), streams: this.streams.save(), datagrams: this.datagrams.save(),
      counts: { ...this.counts },
    }
  }

  private load({ link, last, random, timer, neighbours, dhcp, streams, datagrams, counts }: NetworkState): void {
    if (this.link !== undefined) throw badState('the network is at its bridge already')
    this.link = this.bridge.reattach(this.port, link)
    this.door.last = last
    this.random.load(random)
    if (timer !== undefined) this.timer = this.services.attachTimer(timer, this.onTimer)
    for (const { ip, mac } of neighbours) this.neighbours.set(ip, mac)
    this.dhcp.load(dhcp)
    this.streams.load(streams)
    this.datagrams.load(datagrams)
    Object.assign(this.counts, counts)
    this.ended = streams.connections
  }

  /** Goes on once the whole host is loaded: listens again, and tells guests that their connections are over. */
  goOn(): void {
    const { ended } = this
    this.ended = []
    this.door.listen(this.settings.forward)
    if (ended.length === 0) return
    this.services.post(() => {
      this.streams.resetAll(ended)
      this.settle()
    })
  }
}

type StreamEnds = NetworkState['streams']['connections']

/** A packet to a guest, but for where it goes. */
type GuestPacket = DistributiveOmit<Exclude<Packet, { readonly kind: 'arp' | 'other' }>, 'destination' | 'source' | 'to'>
type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never
