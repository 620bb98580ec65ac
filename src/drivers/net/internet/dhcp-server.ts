/**
 * A DHCP server for one subnet: gives each Ethernet address one of its own, the lowest that is free, and the same again later. It answers what it is
 * asked and remembers nothing of who only asked.
 *
 *   op 1 | type 1 | length 1 | hops 1 | transaction 4 | seconds 2 | flags 2 | client 4 | yours 4 | server 4 | relay 4 | hardware 16 | name 64 | file 128 |
 *   cookie 4 | options
 *
 * Reference: RFC 2131, 2132.
 */
import { formatMac } from '../frame.ts'
import { shape, type StateOf } from '../../../util/index.ts'
import { parseIp } from './packet.ts'

/** Ports of DHCP. */
export const DHCP_PORT = { server: 67, client: 68 } as const

const OPTIONS_AT = 240
const COOKIE = [0x63, 0x82, 0x53, 0x63] as const
const BROADCAST_FLAG = 0x80
const MESSAGE = { discover: 1, offer: 2, request: 3, decline: 4, acknowledge: 5, refuse: 6, release: 7, inform: 8 } as const
const OPTION = { pad: 0, mask: 1, router: 3, dns: 6, mtu: 26, address: 50, lease: 51, type: 53, server: 54, end: 255 } as const
/** Clients ask for options up to here; anything as long as Ethernet carries is looked at. */
const LEAST_REPLY = 300
/** An address that somebody else was found to have rests for ten minutes. */
const REST = 600e9

/** What the server gives away. */
export interface DhcpSettings {
  /** Its own address. */
  readonly server: string
  readonly router: string
  readonly dns: string
  readonly mask: string
  readonly mtu: number
  /** Addresses to be given, in this order. */
  readonly pool: readonly string[]
  /** Seconds. */
  readonly lease: number
}

/** An address that is somebody's. */
export interface DhcpLease {
  readonly ip: string
  readonly mac: string
  /** Host time in nanoseconds at which it is anybody's again. */
  readonly until: number
}

/** Leases, and addresses that are not to be given. */
export const dhcpState = /* @__PURE__ */ shape.record({
  leases: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({ ip: /* @__PURE__ */ shape.text(15), mac: /* @__PURE__ */ shape.text(17), until: shape.number }), 2 ** 16),
})

/** A reply, and where it goes. */
export interface DhcpReply {
  readonly bytes: Uint8Array
  /** The client's Ethernet address, or that of all. */
  readonly mac: string
  /** The client's new address, or that of all. */
  readonly ip: string
}

interface Request {
  readonly bytes: Uint8Array
  readonly mac: string
  readonly type: number
  readonly wished: string | undefined
  readonly server: string | undefined
  readonly client: string
  readonly isBroadcast: boolean
}

/** Addresses of nobody in particular. */
const NONE = '0.0.0.0'
const ALL = '255.255.255.255'
const ALL_MAC = 'ff:ff:ff:ff:ff:ff'
/** Whose leases those are that are nobody's. */
const RESTING = '-'

const ipText = (bytes: Uint8Array): string => [...bytes].join('.')

/** Options by number; what is cut short ends them. */
function optionsOf(bytes: Uint8Array): ReadonlyMap<number, Uint8Array> {
  const found = new Map<number, Uint8Array>()
  for (let at = OPTIONS_AT; at < bytes.length && bytes[at] !== OPTION.end;) {
    if (bytes[at] === OPTION.pad) {
      at += 1
      continue
    }
    const end = at + 2 + (bytes[at + 1] ?? 0)
    if (end > bytes.length) break
    found.set(bytes[at]!, bytes.subarray(at + 2, end))
    at = end
  }
  return found
}

/** A client's message; undefined for what is none. */
function parse(bytes: Uint8Array): Request | undefined {
  if (bytes.length < OPTIONS_AT || bytes[0] !== 1 || bytes[1] !== 1 || bytes[2] !== 6 || COOKIE.some((byte, at) => bytes[236 + at] !== byte)) return undefined
  const options = optionsOf(bytes)
  const address = (option: number): string | undefined => (options.get(option)?.length === 4 ? ipText(options.get(option)!) : undefined)
  const type = options.get(OPTION.type)
  if (type?.length !== 1) return undefined
  return {
    bytes, mac: formatMac(bytes.subarray(28, 34)), type: type[0]!, wished: address(OPTION.address), server: address(OPTION.server),
    client: ipText(bytes.subarray(12, 16)), isBroadcast: (bytes[10]! & BROADCAST_FLAG) !== 0,
  }
}

/** The server. */
export class DhcpServer {
  private readonly settings: DhcpSettings
  private byIp = new Map<string, DhcpLease>()

  constructor(settings: DhcpSettings) {
    this.settings = settings
  }

  /** Addresses that are somebody's. */
  leases(now: number): readonly DhcpLease[] {
    return [...this.byIp.values()].filter(({ mac, until }) => mac !== RESTING && until > now)
  }

  /** What a client is answered; undefined where it is nothing, or no client. */
  answer(bytes: Uint8Array, now: number): DhcpReply | undefined {
    const request = parse(bytes)
    switch (request?.type) {
      case MESSAGE.discover: return this.offer(request, now)
      case MESSAGE.request: return this.grant(request, now)
      case MESSAGE.inform: return this.reply(request, MESSAGE.acknowledge, NONE)
      case MESSAGE.release: {
        if (this.byIp.get(request.client)?.mac === request.mac) this.byIp.delete(request.client)
        return undefined
      }
      case MESSAGE.decline: {
        const { wished } = request
        if (wished !== undefined && this.byIp.get(wished)?.mac === request.mac) this.byIp.set(wished, { ip: wished, mac: RESTING, until: now + REST })
        return undefined
      }
      default: return undefined
    }
  }

  private offer(request: Request, now: number): DhcpReply | undefined {
    const ip = this.addressFor(request, now)
    return ip === undefined ? undefined : this.reply(request, MESSAGE.offer, ip)
  }

  private grant(request: Request, now: number): DhcpReply | undefined {
    const { server, lease, pool } = this.settings
    const { mac, wished = request.client } = request
    if (request.server !== undefined && request.server !== server) return undefined
    if (!pool.includes(wished) || !this.isFree(wished, mac, now)) return this.reply(request, MESSAGE.refuse, NONE)
    // One address each: the one before is free.
    for (const [ip, known] of this.byIp) if (known.mac === mac && ip !== wished) this.byIp.delete(ip)
    this.byIp.set(wished, { ip: wished, mac, until: now + lease * 1e9 })
    return this.reply(request, MESSAGE.acknowledge, wished)
  }

  private isFree(ip: string, mac: string, now: number): boolean {
    const known = this.byIp.get(ip)
    return known === undefined || known.mac === mac || known.until <= now
  }

  /** Its own, what it wishes, one that nobody ever had, one whose lease is over. */
  private addressFor({ mac, wished }: Request, now: number): string | undefined {
    const { pool } = this.settings
    for (const { ip, mac: owner } of this.byIp.values()) if (owner === mac) return ip
    if (wished !== undefined && pool.includes(wished) && this.isFree(wished, mac, now)) return wished
    return pool.find((ip) => !this.byIp.has(ip)) ?? pool.find((ip) => this.isFree(ip, mac, now))
  }

  private reply({ bytes, mac, client, isBroadcast, type }: Request, kind: number, ip: string): DhcpReply {
    const { server, router, dns, mask, mtu, lease } = this.settings
    const address = (option: number, text: string): readonly number[] => [option, 4, ...parseIp(text)]
    const seconds = [lease >>> 24, lease >>> 16 & 0xff, lease >>> 8 & 0xff, lease & 0xff]
    const options = [
      OPTION.type, 1, kind, ...address(OPTION.server, server),
      ...(kind === MESSAGE.refuse ? [] : [
        ...(type === MESSAGE.inform ? [] : [OPTION.lease, 4, ...seconds]),
        ...address(OPTION.mask, mask), ...address(OPTION.router, router), ...address(OPTION.dns, dns), OPTION.mtu, 2, mtu >>> 8, mtu & 0xff,
      ]),
      OPTION.end,
    ]
    const reply = new Uint8Array(Math.max(LEAST_REPLY, OPTIONS_AT + options.length))
    reply.set(bytes.subarray(0, 44))
    reply.set([2, 1, 6, 0])
    reply.fill(0, 8, 10)
    reply.set(parseIp(ip), 16)
    reply.set(parseIp(server), 20)
    reply.set(COOKIE, 236)
    reply.set(options, OPTIONS_AT)
    if (type === MESSAGE.inform || (client !== NONE && kind === MESSAGE.acknowledge)) return { bytes: reply, mac, ip: client }
    return isBroadcast || kind === MESSAGE.refuse ? { bytes: reply, mac: ALL_MAC, ip: ALL } : { bytes: reply, mac, ip }
  }

  save(): StateOf<typeof dhcpState> {
    return { leases: [...this.byIp.values()].map((lease) => ({ ...lease })) }
  }

  load({ leases }: StateOf<typeof dhcpState>): void {
    this.byIp = new Map(leases.map((lease) => [lease.ip, lease]))
  }
}
