/**
 * Somebody at a bridge for a test to talk with: it answers ARP, ICMP echo, and UDP and TCP echo by itself, keeps what it has seen,
 * sends what the test wants, and waits for frames in host time.
 */
import { decodePacket, encodePacket, formatMac, macBytes, parseIp, type Packet, type UserPort } from '../../drivers/index.ts'
import type { Host, UntilOptions } from '../../toolstack/index.ts'
import { checkOptions, flag, parseDuration, text, whole, XenError } from '../../util/index.ts'
import { EchoServer, type PeerAddress } from './echo-server.ts'
import { frameCondition, framesText, matcherText, type FrameMatcher } from './frame-matcher.ts'

/** Where the peer is, and what it does by itself. */
export interface NetworkPeerOptions {
  /** Default `xenbr0`. */
  readonly bridge?: string | undefined
  /** Default `00:16:3e:` and the last three bytes of its address: peers with addresses of their own have MACs of their own. */
  readonly mac?: string | undefined
  /** Its IPv4 address. Default `10.0.0.254`. */
  readonly ip?: string | undefined
  /** The port on which UDP and TCP are echoed. Default 7. */
  readonly echoPort?: number | undefined
  /** Whether it answers at all. Default true. */
  readonly answers?: boolean | undefined
}

/** Frames that are kept. */
const MOST_FRAMES = 10_000
/** Host time that a peer waits where nobody says. */
const PATIENCE = 10e9
/** Nanoseconds behind which an address is asked for once more. */
const ARP_PATIENCE = 1e9
const BROADCAST = 'ff:ff:ff:ff:ff:ff'
/** The first bytes of MACs in Xen's range. */
const XEN_PREFIX = [0x00, 0x16, 0x3e]

/** A peer on a bridge. */
export class NetworkPeer {
  readonly mac: string
  readonly ip: string
  /** What it has received, the oldest first; of very many the last. */
  readonly frames: readonly Uint8Array[]
  private readonly kept: Uint8Array[] = []
  private readonly host: Host
  private readonly port: UserPort
  private readonly server: EchoServer
  private readonly answers: boolean
  /** Frames that were received and are kept no more, and how many of all a wait has looked at. */
  private dropped = 0
  private seen = 0
  private echoes = 0

  /** Made by {@link networkPeer}. */
  constructor(host: Host, address: PeerAddress, { bridge, answers }: { readonly bridge: string; readonly answers: boolean }) {
    this.frames = this.kept
    this.host = host
    this.mac = address.mac
    this.ip = address.ip
    this.answers = answers
    this.server = new EchoServer(address)
    this.port = host.bridge(bridge).open({ limit: MOST_FRAMES })
    void this.listen()
  }

  /** TCP connections that are open at its echo port. */
  get connections(): number {
    return this.server.open
  }

  private async listen(): Promise<void> {
    for await (const frame of this.port) this.take(frame)
  }

  private take(frame: Uint8Array): void {
    this.kept.push(frame)
    if (this.kept.length > MOST_FRAMES) {
      this.kept.shift()
      this.dropped += 1
    }
    if (!this.answers) return
    for (const packet of this.server.answer(decodePacket(frame))) this.port.send(encodePacket(packet))
  }

  /** Sends a frame, or a packet that is put together for it. Throws CLOSED, INVALID_ARGUMENT. */
  send(frame: Uint8Array | Packet): void {
    this.port.send(frame instanceof Uint8Array ? frame : encodePacket(frame))
  }

  /**
   * Waits for the next frame that is meant, behind the last one that was found, and gives it taken apart. Rejects with TIMED_OUT,
   * whose message lists what came instead.
   *
   * @example
   * const request = await peer.waitFor({ kind: 'udp', toPort: 53 }, { timeout: '2s' })
   */
  async waitFor(matcher: FrameMatcher, options: UntilOptions = {}): Promise<Packet> {
    const isMeant = frameCondition(matcher)
    const begun = Math.max(this.seen, this.dropped)
    let found: Uint8Array | undefined
    const look = (): boolean => {
      for (let at = Math.max(this.seen, this.dropped); found === undefined && at < this.dropped + this.kept.length; at += 1) {
        const frame = this.kept[at - this.dropped]!
        if (isMeant(frame)) found = frame
        this.seen = at + 1
      }
      return found !== undefined
    }
    try {
      await this.host.until(matcherText(matcher), look, { timeout: PATIENCE, ...options })
    } catch (error) {
      if (!XenError.is(error, 'TIMED_OUT') && !XenError.is(error, 'IDLE')) throw error
      const instead = framesText(this.kept.slice(Math.max(0, begun - this.dropped)).slice(-20))
      throw new XenError(error.code, `${matcherText(matcher)} did not come; ${instead === '' ? 'nothing came' : `there came\n${instead}`}`, { details: { ...error.details } })
    }
    return decodePacket(found!)
  }

  /** The Ethernet address behind an IPv4 address, asked for by ARP, every second until it answers. Rejects with TIMED_OUT. */
  async resolve(ip: string, options: UntilOptions = {}): Promise<string> {
    const target = [...parseIp(ip)].join('.')
    const deadline = this.host.now() + (options.timeout === undefined ? PATIENCE : parseDuration(options.timeout, 'timeout', { most: Infinity }))
    for (;;) {
      const left = deadline - this.host.now()
      try {
        return await this.askFor(target, { ...options, timeout: Math.min(left, ARP_PATIENCE) })
      } catch (error) {
        if (!XenError.is(error, 'TIMED_OUT') || left <= ARP_PATIENCE) throw error
      }
    }
  }

  /** Asks once. */
  private async askFor(target: string, options: UntilOptions): Promise<string> {
    this.send({ kind: 'arp', destination: BROADCAST, source: this.mac, operation: 'request', senderMac: this.mac, sender: this.ip, targetMac: '00:00:00:00:00:00', target })
    const answer = await this.waitFor({ kind: 'arp', operation: 'reply', sender: target, target: this.ip }, options)
    return (answer as Extract<Packet, { kind: 'arp' }>).senderMac
  }

  /** Pings an address, once; resolves with the host time in nanoseconds that it took. Rejects with TIMED_OUT. */
  async ping(ip: string, options: UntilOptions & { readonly bytes?: number } = {}): Promise<number> {
    const { bytes = 56, ...until } = options
    const destination = await this.resolve(ip, until)
    const sequence = this.echoes++ & 0xffff
    const begun = this.host.now()
    const data = Uint8Array.from({ length: bytes }, (_, at) => at & 0xff)
    this.send({ kind: 'icmp-echo', destination, source: this.mac, from: this.ip, to: ip, operation: 'request', id: 0x7076, sequence, data })
    await this.waitFor({ kind: 'icmp-echo', operation: 'reply', from: ip, to: this.ip, id: 0x7076, sequence, data }, until)
    return this.host.now() - begun
  }

  /** Leaves the bridge. */
  close(): void {
    this.port.close()
  }

  /** The same, for `using`. */
  [Symbol.dispose](): void {
    this.close()
  }
}

/**
 * Puts a peer on a bridge of a host.
 *
 * @example
 * using peer = networkPeer(host, { ip: '10.0.0.1' })
 * await peer.ping('10.0.0.2')
 */
export function networkPeer(host: Host, options: NetworkPeerOptions = {}): NetworkPeer {
  checkOptions('networkPeer', options, { bridge: text, mac: text, ip: text, echoPort: whole(1, 65535), answers: flag })
  const { bridge = 'xenbr0', ip = '10.0.0.254', echoPort = 7, answers = true } = options
  const mac = options.mac ?? formatMac(Uint8Array.of(...XEN_PREFIX, ...parseIp(ip).subarray(1)))
  macBytes(mac)
  return new NetworkPeer(host, { mac: mac.toLowerCase(), ip, echoPort }, { bridge, answers })
}
