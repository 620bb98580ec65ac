/** What a user-mode network is made with: checked, with the defaults. */
import { anything, checkOptions, having, shown, text, whole, XenError } from '../../../util/index.ts'
import type { ListenAt, Outside } from './outside.ts'
import { parseIp } from './packet.ts'

/** A port of the outside that leads to one of a guest. */
export interface PortForward {
  /** The port of TCP at which the outside listens; 0 for one that is free. */
  readonly tcp?: number | undefined
  /** The same of UDP; one of the two. */
  readonly udp?: number | undefined
  /** The guest's port. */
  readonly to: number
  /** The guest's address. Default: the first that is given by DHCP. */
  readonly guest?: string | undefined
  /** The address at which the outside listens. Default `127.0.0.1`, so that nobody else's machine reaches the guest. */
  readonly host?: string | undefined
}

/** How a user-mode network is made. */
export interface UserNetworkOptions {
  /** What guests reach: `nodeOutside()` of `paravirt/node`, `simulatedOutside()` of `paravirt/testing`, or one of your own. */
  readonly outside: Outside
  /** Its addresses, 16 to 65,536 of them: the second is the gateway's, the third that of DNS, and from the fifteenth on they are guests'. Default `10.0.2.0/24`. */
  readonly subnet?: string | undefined
  /** Ports that lead to guests, 64 at most. */
  readonly forward?: readonly PortForward[] | undefined
  /** Names that DNS knows by itself, in lower case, with their addresses, 256 at most. `host.internal` is the gateway. */
  readonly names?: Readonly<Record<string, string>> | undefined
  /** TCP connections and ways for datagrams at a time, each. Default 256; a connection holds 256 KiB each way at most. */
  readonly connections?: number | undefined
}

/** A forwarded port, with everything said. */
export interface ForwardedPort extends ListenAt {
  readonly guest: string
  readonly to: number
}

/** Everything about a network. */
export interface NetworkSettings {
  readonly outside: Outside
  readonly gateway: string
  readonly dns: string
  readonly mask: string
  readonly broadcast: string
  /** The Ethernet address of gateway and DNS. */
  readonly mac: string
  readonly pool: readonly string[]
  readonly forward: readonly ForwardedPort[]
  readonly names: ReadonlyMap<string, string>
  readonly connections: number
  /** Whether an address is one of the subnet. */
  isInside(address: string): boolean
}

const GATEWAY = 2
const DNS = 3
const FIRST_GUEST = 15
const MOST_FORWARDS = 64
const MOST_NAMES = 256
/** Guests that are given addresses at most. */
const MOST_POOL = 1024

const numberOf = (address: string): number => parseIp(address).reduce((sum, byte) => sum * 256 + byte, 0)
const addressOf = (number: number): string => [number >>> 24, number >>> 16 & 255, number >>> 8 & 255, number & 255].join('.')

const wrong = (name: string, message: string, value: unknown): XenError =>
  new XenError('INVALID_ARGUMENT', `${name} of a network ${message}, got ${shown(value)}`, { details: { name, value } })

/** An address of a subnet, or the error of who gives none. */
function checkedAddress(name: string, value: unknown): string {
  if (typeof value !== 'string' || !/^\d+\.\d+\.\d+\.\d+$/.test(value)) throw wrong(name, 'must be an IPv4 address', value)
  return [...parseIp(value)].join('.')
}

function checkedForward(forward: PortForward, place: number, { first, isInside }: { readonly first: string; readonly isInside: (address: string) => boolean }): ForwardedPort {
  checkOptions('a forwarded port', forward, { tcp: whole(0, 65535), udp: whole(0, 65535), to: whole(1, 65535), guest: text, host: text })
  const { tcp, udp, to, guest = first, host = '127.0.0.1' } = forward
  if ((tcp === undefined) === (udp === undefined)) throw wrong('forward', 'must have a port of tcp or of udp', forward)
  if (to === undefined) throw wrong('forward', 'must say to which port of the guest it leads', forward)
  if (!isInside(checkedAddress('guest', guest))) throw wrong('guest', 'must be an address of the subnet', guest)
  return { protocol: tcp === undefined ? 'udp' : 'tcp', port: (tcp ?? udp)!, host: checkedAddress('host', host), forward: place, guest, to }
}

/** Checks what a network is to be made with, before there is one. Throws INVALID_ARGUMENT. */
export const checkUserNetwork = (options: UserNetworkOptions): void => void networkSettings(options)

/** Everything about a network, out of its options. Throws INVALID_ARGUMENT. */
export function networkSettings(options: UserNetworkOptions): NetworkSettings {
  checkOptions('a network', options, { outside: having('connectTcp'), subnet: text, forward: anything, names: anything, connections: whole(1, 4096) })
  const { outside, subnet = '10.0.2.0/24', forward = [], names = {}, connections = 256 } = options
  if (outside === undefined) throw wrong('outside', 'must be what guests reach', outside)
  const [, text_ = '', bits = ''] = /^(\d+\.\d+\.\d+\.\d+)\/(\d+)$/.exec(subnet) ?? []
  if (text_ === '' || Number(bits) < 16 || Number(bits) > 28) throw wrong('subnet', 'must be written like 10.0.2.0/24, with 16 to 28 bits', subnet)
  const size = 2 ** (32 - Number(bits))
  const base = numberOf(checkedAddress('subnet', text_))
  if (base % size !== 0 || base < 2 ** 24 || base >= 224 * 2 ** 24 || Math.floor(base / 2 ** 24) === 127) throw wrong('subnet', 'must begin where a subnet may', subnet)
  const isInside = (address: string): boolean => {
    const number = numberOf(address)
    return number >= base && number < base + size
  }
  const from = size > FIRST_GUEST + 1 ? FIRST_GUEST : DNS + 1
  const pool = Array.from({ length: Math.min(MOST_POOL, size - 1 - from) }, (_, at) => addressOf(base + from + at))
  if (!Array.isArray(forward) || forward.length > MOST_FORWARDS) throw wrong('forward', `must be a list of at most ${MOST_FORWARDS} ports`, forward)
  if (typeof names !== 'object' || names === null || Object.keys(names).length > MOST_NAMES) throw wrong('names', `must be an object of at most ${MOST_NAMES} names`, names)
  const gateway = addressOf(base + GATEWAY)
  const known = Object.entries(names).map(([name, address]) => [name.toLowerCase(), checkedAddress('names', address)] as const)
  return {
    outside, gateway, dns: addressOf(base + DNS), mask: addressOf(2 ** 32 - size), broadcast: addressOf(base + size - 1),
    mac: `52:55:${[...parseIp(gateway)].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`,
    pool, forward: forward.map((one: PortForward, place) => checkedForward(one, place, { first: pool[0]!, isInside })), names: new Map([['host.internal', gateway], ...known]), connections, isInside,
  }
}
