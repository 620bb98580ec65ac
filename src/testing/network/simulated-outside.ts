/**
 * An outside for tests: services are functions, names a table, and nothing leaves the process. The same calls give the same run, bit for bit.
 *
 * A service that is a function with promises has its turns as guests' programs have theirs: before host time moves on.
 */
import type {
  ListenHears, NameAnswer, NameQuestion, Outside, OutsideAddress, OutsideListener, OutsideSocket, OutsideSocketHears, OutsideStream, OutsideStreamHears,
} from '../../drivers/index.ts'
import { anything, checkOptions, XenError } from '../../util/index.ts'

/** One connection, as a service or a client sees it: what comes, as an AsyncIterable, and `write`. */
export interface SimulatedConnection extends AsyncIterable<Uint8Array> {
  /** Sends bytes or a text; resolves when there is room for more. Rejects with CLOSED once the guest has reset the connection. */
  write(content: Uint8Array | string): Promise<void>
  /** There will be no more. */
  end(): void
  /** Ends it at once. */
  reset(): void
}

/** A service of TCP; the connection ends when it returns, and is reset when it throws. */
export type SimulatedService = (connection: SimulatedConnection) => void | Promise<void>

/** A service of UDP: what is answered to a datagram; undefined for nothing. */
export type SimulatedResponder = (datagram: Uint8Array) => Uint8Array | undefined

/** What there is outside. Addresses are texts: `198.51.100.7:80`; `127.0.0.1` is what guests reach at the gateway's address. */
export interface SimulatedOutsideOptions {
  readonly tcp?: Readonly<Record<string, SimulatedService>> | undefined
  readonly udp?: Readonly<Record<string, SimulatedResponder>> | undefined
  /** Names with their addresses. */
  readonly names?: Readonly<Record<string, string | readonly string[]>> | undefined
  /** Addresses that answer pings. */
  readonly pings?: readonly string[] | undefined
}

/** Bytes that are handed over at a time. */
const PIECE = 64 << 10
const CLIENT: OutsideAddress = { host: '127.0.0.1', port: 40_000 }
const encoder = /* @__PURE__ */ new TextEncoder()
const keyOf = ({ host, port }: OutsideAddress): string => `${host}:${port}`

/** A connection between a network, which has a stream, and a service or a client, which has an iterable. */
class Pipe {
  /** What the network has told, and whether it tells more. */
  private readonly waiting: Uint8Array[] = []
  private isPaused = false
  private guestEnded = false
  private isOver = false
  private hasEnded = false
  private wakeReader: (() => void) | undefined
  private writers: (() => void)[] = []
  private hears: OutsideStreamHears | undefined

  /** Says who hears what the service sends. */
  tell(hears: OutsideStreamHears): void {
    this.hears = hears
  }

  /** Serves it by a function. */
  serve(service: SimulatedService): void {
    const served = new Promise<void>((resolve) => resolve(service(this.connection)))
    served.then(() => this.finish(), () => this.abort())
  }

  /** The network's end. */
  readonly stream: OutsideStream = {
    write: (bytes) => {
      this.waiting.push(bytes)
      this.wake()
    },
    end: () => {
      this.guestEnded = true
      this.wake()
    },
    reset: () => this.drop(),
    pause: () => { this.isPaused = true },
    resume: () => {
      this.isPaused = false
      for (const goOn of this.writers.splice(0)) goOn()
    },
  }

  /** The service's end. */
  readonly connection: SimulatedConnection = {
    write: (content) => this.send(typeof content === 'string' ? encoder.encode(content) : content),
    end: () => this.finish(),
    reset: () => this.abort(),
    [Symbol.asyncIterator]: () => this.read(),
  }

  private wake(): void {
    const { wakeReader } = this
    this.wakeReader = undefined
    wakeReader?.()
  }

  private async *read(): AsyncGenerator<Uint8Array, void> {
    for (;;) {
      const bytes = this.waiting.shift()
      if (bytes !== undefined) {
        this.hears?.taken(bytes.length)
        yield bytes
      } else if (this.guestEnded) return
      else if (this.isOver) throw new XenError('CLOSED', 'the connection was reset')
      else await new Promise<void>((resolve) => { this.wakeReader = resolve })
    }
  }

  private async send(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += PIECE) {
      while (this.isPaused && !this.isOver) await new Promise<void>((resolve) => { this.writers.push(resolve) })
      if (this.isOver || this.hasEnded) throw new XenError('CLOSED', 'the connection is over')
      this.hears?.data(bytes.slice(at, at + PIECE))
    }
  }

  private finish(): void {
    if (this.hasEnded || this.isOver) return
    this.hasEnded = true
    this.hears?.ended()
  }

  private abort(): void {
    if (this.isOver) return
    this.drop()
    this.hears?.failed('reset')
  }

  private drop(): void {
    this.isOver = true
    this.wake()
    for (const goOn of this.writers.splice(0)) goOn()
  }
}

/** A simulated outside. */
export class SimulatedOutside implements Outside {
  private readonly options: SimulatedOutsideOptions
  private readonly listening = new Map<string, ListenHears>()
  private clients = 0

  /** Made by {@link simulatedOutside}. */
  constructor(options: SimulatedOutsideOptions) {
    this.options = options
  }

  connectTcp(to: OutsideAddress, hears: OutsideStreamHears): OutsideStream {
    const pipe = new Pipe()
    pipe.tell(hears)
    const service = own(this.options.tcp, keyOf(to))
    if (service === undefined) hears.failed('refused')
    else {
      hears.opened()
      pipe.serve(service)
    }
    return pipe.stream
  }

  connectUdp(to: OutsideAddress, hears: OutsideSocketHears): OutsideSocket {
    const responder = own(this.options.udp, keyOf(to))
    return {
      send: (bytes) => {
        if (responder === undefined) return hears.failed('refused')
        const answer = responder(bytes)
        if (answer !== undefined) hears.data(answer)
      },
      close: () => undefined,
    }
  }

  resolve({ type, name }: NameQuestion, answered: (answer: NameAnswer) => void): void {
    const { names = {} } = this.options
    const answers = type === 'A' ? [own(names, name) ?? []].flat() : Object.keys(names).filter((known) => [names[known]!].flat().includes(name))
    answered(answers.length === 0 ? { code: 'no-name', answers } : { code: 'okay', answers })
  }

  listen(at: Parameters<NonNullable<Outside['listen']>>[0], hears: ListenHears): OutsideListener {
    const key = `${at.protocol} ${at.port}`
    this.listening.set(key, hears)
    return {
      reply: (bytes, to) => this.datagrams.get(keyOf(to))?.(bytes),
      close: () => { if (this.listening.get(key) === hears) this.listening.delete(key) },
    }
  }

  answersPing(host: string): boolean {
    return this.options.pings?.includes(host) === true
  }

  // What somebody outside does

  private readonly datagrams = new Map<string, (bytes: Uint8Array) => void>()

  private client(): OutsideAddress {
    return { ...CLIENT, port: CLIENT.port + this.clients++ % 20_000 }
  }

  private hearer(protocol: 'tcp' | 'udp', port: number): ListenHears {
    const hears = this.listening.get(`${protocol} ${port}`)
    if (hears === undefined) throw new XenError('INVALID_ARGUMENT', `nobody forwards port ${port} of ${protocol}`, { details: { protocol, port } })
    return hears
  }

  /** Connects to a forwarded port, as somebody outside. Throws INVALID_ARGUMENT where none is forwarded. */
  connect(port: number): SimulatedConnection {
    const pipe = new Pipe()
    pipe.tell(this.hearer('tcp', port).accepted(pipe.stream, this.client()))
    return pipe.connection
  }

  /** Sends a datagram to a forwarded port; resolves with the answer to it. Throws INVALID_ARGUMENT where none is forwarded. */
  ask(port: number, datagram: Uint8Array): Promise<Uint8Array> {
    const hears = this.hearer('udp', port)
    const from = this.client()
    return new Promise((resolve) => {
      this.datagrams.set(keyOf(from), (bytes) => {
        this.datagrams.delete(keyOf(from))
        resolve(bytes)
      })
      hears.datagram(datagram, from)
    })
  }
}

/** A table's own entry: names of strangers are looked up in it. */
const own = <T>(table: Readonly<Record<string, T>> | undefined, name: string): T | undefined => (table !== undefined && Object.hasOwn(table, name) ? table[name] : undefined)

/**
 * Makes an outside of services that are functions. Throws INVALID_ARGUMENT.
 *
 * @example
 * const outside = simulatedOutside({
 *   tcp: { '198.51.100.7:7': async (connection) => { for await (const bytes of connection) await connection.write(bytes) } },
 *   names: { 'echo.example': '198.51.100.7' },
 * })
 * const host = await testHost({ networks: { xenbr0: { outside } } })
 */
export function simulatedOutside(options: SimulatedOutsideOptions = {}): SimulatedOutside {
  checkOptions('simulatedOutside', options, { tcp: anything, udp: anything, names: anything, pings: anything })
  return new SimulatedOutside(options)
}
