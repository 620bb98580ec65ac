/**
 * The outside of a page by a relay: guests' TCP and UDP go over one WebSocket to a server of the Wisp protocol, which opens the connections. It is given names,
 * not addresses: a guest that asks for a name gets an address that is nobody's, which stands for it.
 *
 * Reference: Wisp, version 1.2; RFC 2544 for the addresses.
 */
import type { NameAnswer, NameQuestion, Outside, OutsideAddress, OutsideSocket, OutsideSocketHears, OutsideStream, OutsideStreamHears } from '../../drivers/index.ts'
import { callable, checkArgument, checkOptions, text, thrownMessage, XenError } from '../../util/index.ts'
import { WispLine, type RelaySocket } from './wisp-line.ts'
import type { RelayTarget } from './wisp-packets.ts'
import { WispDatagrams, WispStream, type Kept } from './wisp-stream.ts'

/** How an outside by a relay is made. */
export interface WispOutsideOptions {
  /** What guests may reach, by name or, where they use none, by address; `127.0.0.1` is the relay's own machine. Default: whatever the relay lets them. */
  readonly reach?: ((to: RelayTarget) => boolean) | undefined
  /** Opens a WebSocket. Default: the browser's own; Node before 22 has none, and takes that of the package `ws`. */
  readonly open?: ((url: string) => RelaySocket) | undefined
}

/** Names that have addresses at a time: who asks for more takes them from the oldest. */
const MOST_NAMES = 4096
/** Milliseconds from a relay's end until it is asked again. */
const REST = 1000

/** The address of a name: of 198.18.0.0/15, which is for measurements in laboratories; none that ends in 0 or 255. */
const addressOf = (place: number): string => `198.18.${Math.floor(place / 254)}.${1 + (place % 254)}`
/** A name that a relay is given. */
const NAME = /^[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?$/

/** The names that guests have asked for. */
class Names {
  private readonly byAddress = new Map<string, string>()
  private readonly byName = new Map<string, string>()
  private asked = 0

  address(name: string): string {
    const known = this.byName.get(name)
    if (known !== undefined) return known
    const address = addressOf(this.asked % MOST_NAMES)
    this.asked += 1
    const before = this.byAddress.get(address)
    if (before !== undefined) this.byName.delete(before)
    this.byAddress.set(address, name)
    this.byName.set(name, address)
    return address
  }

  name(address: string): string | undefined {
    return this.byAddress.get(address)
  }
}

/** The outside of a page, by a relay. Made by {@link wispOutside}. */
export class WispOutside implements Outside {
  readonly follows = 'wall'
  private readonly url: string
  private readonly options: WispOutsideOptions
  private readonly names = new Names()
  private readonly kept: Kept = { bytes: 0 }
  private line: WispLine | undefined
  private begun = Number.NEGATIVE_INFINITY
  private isClosed = false
  private noPackets = 0

  /** Made by {@link wispOutside}. */
  constructor(url: string, options: WispOutsideOptions) {
    this.url = url
    this.options = options
  }

  /** Messages of the relay that were no packets, or nobody's. */
  get refused(): number {
    return this.noPackets
  }

  /** Ends the connection with the relay, and all streams with it; there will be no other. */
  close(): void {
    this.isClosed = true
    this.line?.end()
  }

  private target(protocol: 'tcp' | 'udp', { host, port }: OutsideAddress): RelayTarget {
    return { protocol, host: this.names.name(host) ?? host, port }
  }

  private mayReach(target: RelayTarget): boolean {
    const { reach } = this.options
    return target.port !== 0 && (reach === undefined || reach(target) === true)
  }

  /** The connection with the relay; undefined where there can be none now. */
  private reached(): WispLine | undefined {
    if (this.isClosed) return undefined
    if (this.line !== undefined && !this.line.isOver) return this.line
    const now = performance.now()
    // A guest that tries again and again is not to make a page do so.
    if (now - this.begun < REST) return undefined
    this.begun = now
    try {
      const { open = (url: string): RelaySocket => new WebSocket(url) } = this.options
      this.line = new WispLine(open(this.url), () => { this.noPackets += 1 })
    } catch {
      return undefined
    }
    return this.line
  }

  connectTcp(to: OutsideAddress, hears: OutsideStreamHears): OutsideStream {
    const stream = new WispStream(hears, this.kept)
    const target = this.target('tcp', to)
    if (!this.mayReach(target)) stream.fail('forbidden')
    else {
      const line = this.reached()
      if (line === undefined) stream.fail('unreachable')
      else stream.ask(line, target)
    }
    return stream
  }

  connectUdp(to: OutsideAddress, hears: OutsideSocketHears): OutsideSocket {
    const target = this.target('udp', to)
    const isAllowed = this.mayReach(target)
    const line = isAllowed ? this.reached() : undefined
    if (line !== undefined) return new WispDatagrams(hears, line, target)
    return { send: () => hears.failed(isAllowed ? 'unreachable' : 'forbidden'), close: () => undefined }
  }

  resolve({ type, name }: NameQuestion, answered: (answer: NameAnswer) => void): void {
    if (type === 'PTR') {
      const known = this.names.name(name)
      return answered(known === undefined ? { code: 'no-name', answers: [] } : { code: 'okay', answers: [known] })
    }
    if (!NAME.test(name)) return answered({ code: 'no-name', answers: [] })
    answered({ code: 'okay', answers: [this.names.address(name)] })
  }
}

function checkedUrl(url: unknown): string {
  const address = url instanceof URL ? url.href : url
  checkArgument('the address of the relay', address, text)
  const wrong = (why: string, cause?: unknown): XenError => new XenError('INVALID_ARGUMENT', `${String(address)} is no address of a Wisp relay: ${why}`, { details: { url: address }, cause })
  let known: URL
  try {
    known = new URL(address as string)
  } catch (cause) {
    throw wrong(thrownMessage(cause), cause)
  }
  if (known.protocol !== 'ws:' && known.protocol !== 'wss:') throw wrong('it begins with ws: or wss:')
  if (!known.pathname.endsWith('/')) throw wrong('its path ends with a slash')
  return known.href
}

/**
 * The outside of a page, for the option `networks` of a host: guests' TCP and UDP go by a relay that speaks Wisp (version 1), which resolves names and opens connections.
 * Nothing is connected before a guest wants it; a relay that is lost is asked again for the next connection. Throws INVALID_ARGUMENT.
 *
 * A connection is told to a guest as open as soon as the relay was asked for it; one that the relay then cannot open ends. Ports are not forwarded.
 *
 * @example
 * const outside = wispOutside('wss://relay.example/wisp/')
 * const host = await Host.boot({ networks: { xenbr0: { outside } } })
 */
export function wispOutside(url: string | URL, options: WispOutsideOptions = {}): WispOutside {
  checkOptions('wispOutside', options, { reach: callable, open: callable })
  return new WispOutside(checkedUrl(url), options)
}
