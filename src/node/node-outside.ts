/**
 * The outside of this machine: guests' connections are sockets of this process, their questions about names those of its resolver. What may be
 * reached is said when it is made; unless it is, nothing but this machine's own loopback.
 *
 * Reference: Node's `net`, `dgram`, `dns`; the SLIRP of QEMU and passt, which do the same.
 */
import { createSocket, type Socket as DatagramSocket } from 'node:dgram'
import { lookup, reverse } from 'node:dns/promises'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import type {
  ListenAt, ListenHears, NameAnswer, NameQuestion, Outside, OutsideAddress, OutsideFailure, OutsideListener, OutsideSocket, OutsideSocketHears, OutsideStream, OutsideStreamHears,
} from '../drivers/index.ts'
import { anything, checkOptions, flag, parseDuration, shown, XenError, type Duration } from '../util/index.ts'

/** What guests may reach: this machine's loopback, anything, or what a function says yes to. */
export type OutsideReach = 'loopback' | 'any' | ((to: OutsideAddress & { readonly protocol: 'tcp' | 'udp' }) => boolean)

/** How the outside of this machine is made. */
export interface NodeOutsideOptions {
  /** What may be reached. Default `'loopback'`: servers of this machine at 127.0.0.1, which guests find at the gateway's address, and nothing else. */
  readonly reach?: OutsideReach | undefined
  /** Whether names are asked of this machine's resolver. Default: unless only the loopback may be reached; `localhost` is always known. */
  readonly names?: boolean | undefined
  /** How long a connection may take to come to be. Default 10 seconds of the wall. */
  readonly connectTimeout?: Duration | undefined
}

/** A port that is listened at. */
export interface ListeningPort extends Pick<ListenAt, 'protocol' | 'host' | 'forward'> {
  /** The port, also where any was asked for. */
  readonly port: number
}

const LOOPBACK = '127.0.0.1'
const FAILURES: Readonly<Record<string, OutsideFailure>> = { ECONNREFUSED: 'refused', ECONNRESET: 'reset', EPIPE: 'reset', ETIMEDOUT: 'timed-out' }
const failureOf = (error: unknown): OutsideFailure => FAILURES[(error as NodeJS.ErrnoException).code ?? ''] ?? 'unreachable'
const bytesOf = (buffer: Buffer): Uint8Array => new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length)

/** A socket as a stream; what it has to say goes to `hears`, until it is let go. */
function streamOf(socket: Socket, hears: OutsideStreamHears): OutsideStream {
  let isOver = false
  const over = (why: OutsideFailure): void => {
    if (isOver) return
    isOver = true
    hears.failed(why)
  }
  socket.on('data', (buffer: Buffer) => { if (!isOver) hears.data(bytesOf(buffer)) })
  socket.on('end', () => { if (!isOver) hears.ended() })
  socket.on('error', (error) => over(failureOf(error)))
  // One that is closed in good order has ended both ways.
  socket.on('close', () => { if (!socket.readableEnded || !socket.writableFinished) over('reset') })
  return {
    write: (bytes) => void socket.write(bytes, (error) => { if (error === undefined || error === null) hears.taken(bytes.length) }),
    end: () => void socket.end(),
    reset: () => {
      isOver = true
      socket.resetAndDestroy()
    },
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
  }
}

/** What stands for a stream that may not be. */
const NO_STREAM: OutsideStream = { write: () => undefined, end: () => undefined, reset: () => undefined, pause: () => undefined, resume: () => undefined }

/** A port that is listened at, for the networks that want it: the last of them has what comes. */
interface Listening {
  readonly claims: ListenHears[]
  readonly bound: Promise<ListeningPort | undefined>
  reply(bytes: Uint8Array, to: OutsideAddress): void
  close(): void
}

/** The outside of this machine. Made by {@link nodeOutside}. */
export class NodeOutside implements Outside {
  readonly follows = 'wall'
  private readonly reach: OutsideReach
  private readonly asksNames: boolean
  private readonly connectTimeout: number
  private readonly listening = new Map<string, Listening>()

  /** Made by {@link nodeOutside}. */
  constructor({ reach = 'loopback', names = reach !== 'loopback', connectTimeout = '10s' }: NodeOutsideOptions) {
    this.reach = reach
    this.asksNames = names
    this.connectTimeout = Math.max(1, Math.ceil(parseDuration(connectTimeout, 'connectTimeout') / 1e6))
  }

  private mayReach(to: OutsideAddress, protocol: 'tcp' | 'udp'): boolean {
    const { reach } = this
    if (typeof reach === 'function') return reach({ ...to, protocol }) === true
    return reach === 'any' || to.host === LOOPBACK
  }

  connectTcp(to: OutsideAddress, hears: OutsideStreamHears): OutsideStream {
    if (to.port === 0 || !this.mayReach(to, 'tcp')) {
      hears.failed('forbidden')
      return NO_STREAM
    }
    const socket = connect({ host: to.host, port: to.port, allowHalfOpen: true, noDelay: true })
    const timer = setTimeout(() => socket.destroy(Object.assign(new Error('nobody has answered'), { code: 'ETIMEDOUT' })), this.connectTimeout)
    socket.once('connect', () => {
      clearTimeout(timer)
      hears.opened()
    })
    socket.once('close', () => clearTimeout(timer))
    return streamOf(socket, hears)
  }

  connectUdp(to: OutsideAddress, hears: OutsideSocketHears): OutsideSocket {
    if (to.port === 0 || !this.mayReach(to, 'udp')) return { send: () => hears.failed('forbidden'), close: () => undefined }
    const socket = createSocket('udp4')
    // A datagram that comes too early waits for the socket; how many may, guests do not decide.
    const early: Uint8Array[] = []
    let isConnected = false
    socket.on('message', (buffer: Buffer) => hears.data(bytesOf(buffer)))
    socket.on('error', (error) => hears.failed(failureOf(error)))
    socket.connect(to.port, to.host, () => {
      isConnected = true
      for (const bytes of early.splice(0)) socket.send(bytes)
    })
    const send = (bytes: Uint8Array): void => {
      if (isConnected) socket.send(bytes)
      else if (early.length < EARLY) early.push(bytes)
    }
    return { send, close: () => closeSocket(socket) }
  }

  resolve(question: NameQuestion, answered: (answer: NameAnswer) => void): void {
    const { type, name } = question
    if (type === 'A' && (name === 'localhost' || name.endsWith('.localhost'))) return answered({ code: 'okay', answers: [LOOPBACK] })
    if (!this.asksNames) return answered({ code: 'refused', answers: [] })
    const found = type === 'A' ? lookup(name, { all: true, family: 4 }).then((all) => all.map(({ address }) => address)) : reverse(name)
    found.then((answers) => answered({ code: 'okay', answers }), (error: NodeJS.ErrnoException) => {
      answered({ code: error.code === 'ENOTFOUND' || error.code === 'ENODATA' ? 'no-name' : 'failure', answers: [] })
    })
  }

  // Forwarded ports

  /** The ports at which it listens, once it does; those at which it cannot are not among them. */
  async ports(): Promise<readonly ListeningPort[]> {
    const all = await Promise.all([...this.listening.values()].map(({ bound }) => bound))
    return all.filter((port) => port !== undefined)
  }

  /** Listens at a port. A network that wants one which another of this outside has gets what comes from then on; when it goes, the other has it again. */
  listen(at: ListenAt, hears: ListenHears): OutsideListener {
    const key = `${at.protocol} ${at.host}:${at.port === 0 ? `any ${at.forward}` : at.port}`
    let known = this.listening.get(key)
    if (known === undefined) {
      known = at.protocol === 'tcp' ? listenTcp(at) : listenUdp(at)
      this.listening.set(key, known)
    }
    const listening = known
    listening.claims.push(hears)
    return {
      reply: (bytes, to) => listening.reply(bytes, to),
      close: () => {
        const place = listening.claims.indexOf(hears)
        if (place >= 0) listening.claims.splice(place, 1)
        if (listening.claims.length > 0 || this.listening.get(key) !== listening) return
        this.listening.delete(key)
        listening.close()
      },
    }
  }
}

/** Datagrams that wait for their socket. */
const EARLY = 16

function closeSocket(socket: DatagramSocket): void {
  try {
    socket.close()
  } catch {
    // It is closed already.
  }
}

const portOf = ({ protocol, host, forward }: ListenAt, { port }: AddressInfo): ListeningPort => ({ protocol, host, forward, port })

/** Resolves once it listens; who wants the port hears of a failure. */
function boundBy(at: ListenAt, claims: readonly ListenHears[], source: Server | DatagramSocket): Promise<ListeningPort | undefined> {
  return new Promise((resolve) => {
    source.once('listening', () => resolve(portOf(at, source.address() as AddressInfo)))
    source.on('error', (cause: Error) => {
      const error = new XenError('IO', `port ${at.port} of ${at.protocol} at ${at.host} cannot be forwarded: ${cause.message}`, { details: { ...at }, cause })
      for (const claim of claims) claim.failed(error)
      resolve(undefined)
    })
  })
}

function listenTcp(at: ListenAt): Listening {
  const claims: ListenHears[] = []
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const claim = claims.at(-1)
    if (claim === undefined) return void socket.destroy()
    const later: { hears?: OutsideStreamHears } = {}
    // The stream says nothing before the next turn, and by then it is known who hears it.
    const stream = streamOf(socket, {
      opened: () => undefined, data: (bytes) => later.hears?.data(bytes), ended: () => later.hears?.ended(),
      taken: (count) => later.hears?.taken(count), failed: (why) => later.hears?.failed(why),
    })
    later.hears = claim.accepted(stream, { host: socket.remoteAddress ?? LOOPBACK, port: socket.remotePort ?? 0 })
  })
  const bound = boundBy(at, claims, server)
  server.listen(at.port, at.host)
  return { claims, bound, reply: () => undefined, close: () => void server.close() }
}

function listenUdp(at: ListenAt): Listening {
  const claims: ListenHears[] = []
  const socket = createSocket('udp4')
  socket.on('message', (buffer, { address: host, port }) => claims.at(-1)?.datagram(bytesOf(buffer), { host, port }))
  const bound = boundBy(at, claims, socket)
  socket.bind(at.port, at.host)
  return { claims, bound, reply: (bytes, { host, port }) => socket.send(bytes, port, host), close: () => closeSocket(socket) }
}

const reachCheck = (value: unknown): string | undefined =>
  (value === 'loopback' || value === 'any' || typeof value === 'function' ? undefined : `must be 'loopback', 'any' or a function, got ${shown(value)}`)

/**
 * The outside of this machine, for the option `networks` of a host. Throws INVALID_ARGUMENT.
 *
 * @example
 * const host = await Host.boot({ networks: { xenbr0: { outside: nodeOutside(), forward: [{ tcp: 8080, to: 80 }] } } })
 */
export function nodeOutside(options: NodeOutsideOptions = {}): NodeOutside {
  checkOptions('nodeOutside', options, { reach: reachCheck, names: flag, connectTimeout: anything })
  return new NodeOutside(options)
}
