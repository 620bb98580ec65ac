/**
 * The outside of a page: guests' HTTP goes out by `fetch`, all that a page can do without a relay. Every name has one address, at which port 80 answers; whom a
 * request is for is told by its `Host`. What a guest may reach is said when it is made; unless it is, the page's own origin.
 *
 * One request a connection: the answer says `Connection: close`. Bodies of requests have a length; those of answers go through as they come.
 * Reference: RFC 9112; the Fetch standard.
 */
import type { NameAnswer, NameQuestion, Outside, OutsideAddress, OutsideSocket, OutsideSocketHears, OutsideStream, OutsideStreamHears } from '../../drivers/index.ts'
import { callable, checkOptions, thrownMessage } from '../../util/index.ts'

/** How the outside of a page is made. */
export interface FetchOutsideOptions {
  /** Where a request really goes: gives its URL, another one such as the same by `https:`, or undefined, which forbids it. Default: URLs of the page's own origin as they are. */
  readonly reach?: ((url: URL) => URL | undefined) | undefined
}

/** The address that every name has: one for documentation, that is nobody's. */
const ADDRESS = '192.0.2.80'
const HTTP_PORT = 80
/** Bytes of a request's head, and of its body, at most. */
const MOST_HEAD = 64 << 10
const MOST_BODY = 16 << 20
/** Headers that belong to one connection, or to what fetch makes itself. */
const OWN_HEADERS: ReadonlySet<string> = /* @__PURE__ */ new Set([
  'connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'host', 'content-length', 'content-encoding', 'expect',
])
const encoder = /* @__PURE__ */ new TextEncoder()
const decoder = /* @__PURE__ */ new TextDecoder('latin1')

/** A request, as far as it has come. */
interface Head {
  readonly method: string
  readonly url: URL
  readonly headers: readonly (readonly [string, string])[]
  readonly length: number
}

/** The head of a request; a status where it is none. */
function parseHead(text: string): Head | number {
  const [first = '', ...lines] = text.split('\r\n')
  const [, method, target] = /^([A-Z]{1,16}) (\S{1,8192}) HTTP\/1\.[01]$/.exec(first) ?? []
  if (method === undefined || target === undefined) return 400
  const headers = lines.map((line) => /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(line)).map((found) => (found === null ? undefined : [found[1]!.toLowerCase(), found[2]!] as const))
  if (headers.includes(undefined)) return 400
  const known = headers as (readonly [string, string])[]
  const valueOf = (name: string): string | undefined => known.find(([key]) => key === name)?.[1]
  if (valueOf('transfer-encoding') !== undefined) return 411
  const length = valueOf('content-length') ?? '0'
  if (!/^\d{1,15}$/.test(length)) return 400
  if (Number(length) > MOST_BODY) return 413
  try {
    return { method, url: new URL(target.startsWith('/') ? `http://${valueOf('host') ?? ''}${target}` : target), headers: known, length: Number(length) }
  } catch {
    return 400
  }
}

/** One connection of a guest: a request, and its answer. */
class Exchange {
  readonly stream: OutsideStream
  private readonly hears: OutsideStreamHears
  private readonly reach: (url: URL) => URL | undefined
  private readonly aborted = new AbortController()
  private received = new Uint8Array(0)
  private head: Head | undefined
  private isAnswered = false
  private isPaused = false
  private goOn: (() => void) | undefined

  constructor(hears: OutsideStreamHears, reach: (url: URL) => URL | undefined) {
    this.hears = hears
    this.reach = reach
    this.stream = {
      write: (bytes) => this.hear(bytes), end: () => undefined,
      reset: () => {
        this.aborted.abort()
        this.goOn?.()
      },
      pause: () => { this.isPaused = true },
      resume: () => {
        this.isPaused = false
        this.goOn?.()
      },
    }
  }

  private hear(bytes: Uint8Array): void {
    this.hears.taken(bytes.length)
    if (this.isAnswered) return
    const all = new Uint8Array(this.received.length + bytes.length)
    all.set(this.received)
    all.set(bytes, this.received.length)
    this.received = all
    if (this.head === undefined && !this.takeHead()) return
    const { head } = this
    if (head === undefined || this.received.length < head.length) return
    this.isAnswered = true
    this.answer(head).catch((error: unknown) => this.refuse(502, thrownMessage(error)))
  }

  /** True once the head is there. */
  private takeHead(): boolean {
    const text = decoder.decode(this.received.subarray(0, MOST_HEAD))
    const end = text.indexOf('\r\n\r\n')
    if (end < 0) {
      if (this.received.length >= MOST_HEAD) this.refuse(431, 'the head is too long')
      return false
    }
    const head = parseHead(text.slice(0, end))
    if (typeof head === 'number') {
      this.refuse(head, 'this is no request that can go on')
      return false
    }
    this.head = head
    this.received = this.received.slice(end + 4)
    return true
  }

  private refuse(status: number, why: string): void {
    this.isAnswered = true
    if (this.aborted.signal.aborted) return
    this.hears.data(encoder.encode(`HTTP/1.1 ${status} Refused\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n${why}\n`))
    this.hears.ended()
  }

  private async answer({ method, url, headers, length }: Head): Promise<void> {
    const target = this.reach(url)
    if (target === undefined) return this.refuse(403, `${url.origin} is not to be reached`)
    const answer = await fetch(target, {
      method, headers: headers.filter(([name]) => !OWN_HEADERS.has(name)).map(([name, value]) => [name, value] as [string, string]), signal: this.aborted.signal,
      ...(length === 0 ? {} : { body: this.received.slice(0, length) }),
    })
    const kept = [...answer.headers].filter(([name]) => !OWN_HEADERS.has(name)).map(([name, value]) => `${name}: ${value}\r\n`).join('')
    this.hears.data(encoder.encode(`HTTP/1.1 ${answer.status} ${answer.statusText}\r\n${kept}Connection: close\r\n\r\n`))
    const reader = answer.body?.getReader()
    for (;;) {
      while (this.isPaused && !this.aborted.signal.aborted) await new Promise<void>((resolve) => { this.goOn = resolve })
      const read = await reader?.read()
      if (read === undefined || read.done) break
      this.hears.data(read.value)
    }
    this.hears.ended()
  }
}

/** The outside of a page. Made by {@link fetchOutside}. */
export class FetchOutside implements Outside {
  readonly follows = 'wall'
  private readonly reach: (url: URL) => URL | undefined

  /** Made by {@link fetchOutside}. */
  constructor({ reach = (url) => (url.origin === globalThis.location?.origin ? url : undefined) }: FetchOutsideOptions) {
    this.reach = reach
  }

  connectTcp({ port }: OutsideAddress, hears: OutsideStreamHears): OutsideStream {
    const { stream } = new Exchange(hears, this.reach)
    if (port === HTTP_PORT) hears.opened()
    else hears.failed('refused')
    return stream
  }

  connectUdp(_: OutsideAddress, hears: OutsideSocketHears): OutsideSocket {
    return { send: () => hears.failed('forbidden'), close: () => undefined }
  }

  resolve({ type }: NameQuestion, answered: (answer: NameAnswer) => void): void {
    answered(type === 'A' ? { code: 'okay', answers: [ADDRESS] } : { code: 'no-name', answers: [] })
  }
}

/**
 * The outside of a page, for the option `networks` of a host: guests reach HTTP servers by `fetch`, under the rules that the page is under. Throws INVALID_ARGUMENT.
 *
 * @example
 * const outside = fetchOutside({ reach: (url) => (url.host === 'api.example' ? new URL(url.href.replace('http:', 'https:')) : undefined) })
 * const host = await Host.boot({ networks: { xenbr0: { outside } } })
 */
export function fetchOutside(options: FetchOutsideOptions = {}): FetchOutside {
  checkOptions('fetchOutside', options, { reach: callable })
  return new FetchOutside(options)
}
