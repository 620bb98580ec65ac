/**
 * UDP between guests and an outside: a way for each pair of ports, forgotten once nothing has passed for a minute. What comes to a forwarded port is told to the
 * guest as from a port of the gateway, which leads back.
 */
import { shape, type StateOf } from '../../../util/index.ts'
import { addressText } from './guest-streams.ts'
import type { NetworkSettings } from './network-settings.ts'
import type { OutsideAddress, OutsideInput } from './outside.ts'
import type { OutsideDoor } from './outside-door.ts'
import type { UdpPacket } from './packet.ts'

const SILENCE = 60e9
/** Ports of the gateway by which guests see who sends to a forwarded port. */
const FIRST_PORT = 32_768
const PORTS = 16_384

/** The two ends of a way. */
const endsShape = /* @__PURE__ */ shape.record({
  guest: /* @__PURE__ */ shape.text(15), guestPort: shape.word, host: /* @__PURE__ */ shape.text(15), port: shape.word, usedAt: shape.number,
})

/** All ways, saved. */
export const datagramsState = /* @__PURE__ */ shape.record({ ways: /* @__PURE__ */ shape.list(endsShape, 8192), lastPort: shape.time })
type DatagramsState = StateOf<typeof datagramsState>

/** Where a datagram goes, and comes from, as the guest sees it. */
interface Ends {
  readonly guest: string
  readonly guestPort: number
  readonly host: string
  readonly port: number
}

type Way = Ends & { usedAt: number } & ({ readonly socket: number } | { readonly forward: number; readonly from: OutsideAddress })

/** What guests' datagrams need of their network. */
export interface DatagramServices {
  readonly settings: NetworkSettings
  readonly door: OutsideDoor
  now(): number
  /** Sends a datagram to a guest. */
  send(ends: Ends, bytes: Uint8Array): void
  /** Tells a guest that nobody takes its datagrams there. */
  refuse(ends: Ends): void
}

const keyOf = ({ guest, guestPort, host, port }: Ends): string => `${guest}:${guestPort} ${host}:${port}`
/** By whom a way from outside is found. */
const cameBy = (forward: number, from: OutsideAddress): string => `${forward} ${addressText(from)}`

/** The ways of one network. */
export class GuestDatagrams {
  private readonly services: DatagramServices
  /** By their ends, that was used last at the end. */
  private readonly ways = new Map<string, Way>()
  private readonly bySocket = new Map<number, Way>()
  private readonly byClient = new Map<string, Way>()
  private lastPort = 0

  constructor(services: DatagramServices) {
    this.services = services
  }

  /** Ways there are. */
  get size(): number {
    return this.ways.size
  }

  /** When the first is to be forgotten. */
  get deadline(): number | undefined {
    const { value: first } = this.ways.values().next()
    return first === undefined ? undefined : first.usedAt + SILENCE
  }

  /** Takes a guest's datagram. */
  receive({ from, fromPort, to, toPort, data }: UdpPacket): void {
    const { door, settings } = this.services
    const ends = { guest: from, guestPort: fromPort, host: to, port: toPort }
    const known = this.ways.get(keyOf(ends))
    if (known !== undefined && 'forward' in known) {
      this.use(known)
      return door.reply(known.forward, data, known.from)
    }
    const way = known ?? this.open(ends, { socket: door.connectUdp({ host: to === settings.gateway ? '127.0.0.1' : to, port: toPort }) })
    this.use(way)
    if ('socket' in way) door.send(way.socket, data)
  }

  private open(ends: Ends, end: { readonly socket: number } | { readonly forward: number; readonly from: OutsideAddress }): Way {
    while (this.ways.size >= this.services.settings.connections) this.close(this.ways.values().next().value!)
    const way: Way = { ...ends, ...end, usedAt: this.services.now() }
    this.ways.set(keyOf(ends), way)
    if ('socket' in way) this.bySocket.set(way.socket, way)
    else this.byClient.set(cameBy(way.forward, way.from), way)
    return way
  }

  private use(way: Way): void {
    way.usedAt = this.services.now()
    this.ways.delete(keyOf(way))
    this.ways.set(keyOf(way), way)
  }

  private close(way: Way): void {
    this.ways.delete(keyOf(way))
    if ('socket' in way) {
      this.bySocket.delete(way.socket)
      this.services.door.closeSocket(way.socket)
    } else this.byClient.delete(cameBy(way.forward, way.from))
  }

  /** Takes what the outside has sent, or said of a way. */
  take(input: Extract<OutsideInput, { readonly event: 'datagram' | 'unreachable' | 'forwarded' }>): void {
    if (input.event === 'forwarded') return this.takeForwarded(input)
    const way = this.bySocket.get(input.socket)
    if (way === undefined) return
    if (input.event === 'unreachable') {
      this.close(way)
      return this.services.refuse(way)
    }
    this.use(way)
    this.services.send(way, input.bytes)
  }

  private takeForwarded({ forward, from, bytes }: Extract<OutsideInput, { readonly event: 'forwarded' }>): void {
    const { settings } = this.services
    const port = settings.forward[forward]
    if (port === undefined) return
    let way = this.byClient.get(cameBy(forward, from))
    if (way === undefined) {
      this.lastPort = (this.lastPort + 1) % PORTS
      way = this.open({ guest: port.guest, guestPort: port.to, host: settings.gateway, port: FIRST_PORT + this.lastPort }, { forward, from })
    }
    this.use(way)
    this.services.send(way, bytes)
  }

  /** Forgets what was not used for long. */
  tick(now: number): void {
    for (const way of [...this.ways.values()]) {
      if (way.usedAt + SILENCE > now) return
      this.close(way)
    }
  }

  // State

  save(): DatagramsState {
    return { ways: [...this.ways.values()].map(({ guest, guestPort, host, port, usedAt }) => ({ guest, guestPort, host, port, usedAt })), lastPort: this.lastPort }
  }

  /** Takes over where ports count on; ways are opened anew by the next datagram. */
  load({ lastPort }: DatagramsState): void {
    this.lastPort = lastPort
  }
}
