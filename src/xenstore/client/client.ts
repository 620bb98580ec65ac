/**
 * A client of any XenStore server over any transport: requests as promises, which are resolved while the transport
 * delivers, with no timer in between; transactions that are tried again on conflict; watches as streams.
 *
 * Events may come between any two replies, and replies need not come in the order of the requests: both are told
 * apart by the header alone.
 */
import { XENSTORE } from '../../abi/index.ts'
import { XenError, abortSignal, badState, checkOptions, shape, whole, type StateOf, type Quiescible } from '../../util/index.ts'
import { ByteQueue } from '../protocol/byte-queue.ts'
import { ClientOperations, type Requester } from './client-operations.ts'
import { ClientDomains } from './client-domains.ts'
import { ClientWatch, type WatchEvent } from './client-watch.ts'
import { decodeServerMessage, operationNumber, replyStrings, requestBody, requestStrings, type StoreRequest } from '../protocol/messages.ts'
import { HEADER_SIZE, PacketParser } from '../protocol/packet-parser.ts'
import { knownErrorName, storeError, storeErrorName, type StoreErrorName } from '../protocol/store-error.ts'
import { putRawText } from '../tree/text.ts'
import type { StoreTransport } from '../protocol/transport.ts'

/** How often a transaction is tried before its conflict is the caller's. */
const ATTEMPTS = 100

/** How a watch is set. */
export interface WatchOptions {
  /** Ends the watch when it fires. */
  readonly signal?: AbortSignal
  /** Levels below the node that count; all when left out. Needs a server that offers it. */
  readonly depth?: number
}

/** The last numbers that were given, and the watches in the order in which they were set. */
export const clientState = /* @__PURE__ */ shape.record({
  lastRequest: shape.word,
  lastToken: shape.time,
  watches: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({
    path: /* @__PURE__ */ shape.text(XENSTORE.PAYLOAD_MAX), token: /* @__PURE__ */ shape.text(64),
    depth: /* @__PURE__ */ shape.optional(shape.word),
  })),
})

/** A saved client: one without a request under way. */
export type ClientState = StateOf<typeof clientState>

interface Pending {
  readonly request: StoreRequest
  resolve(value: Uint8Array): void
  reject(error: unknown): void
}

/**
 * The client.
 *
 * @example
 * const store = new XenStoreClient(server.connectLocal())
 * await store.transaction(async (t) => t.write('count', String(Number(await t.read('count')) + 1)))
 * for await (const { path } of store.watch('device', { signal })) console.log('changed:', path)
 */
export class XenStoreClient extends ClientOperations implements Quiescible {
  /** What a toolstack tells the server of domains, and asks about them. */
  readonly domains: ClientDomains
  private transport: StoreTransport
  private readonly output = new ByteQueue()
  private readonly parser = new PacketParser()
  private readonly pending = new Map<number, Pending>()
  private readonly watches = new Map<string, ClientWatch>()
  private lastRequest = 0
  private lastToken = 0
  private failure: XenError | undefined

  constructor(transport: StoreTransport) {
    const requester: Requester = { request: (request, transaction) => this.request(request, transaction) }
    super(requester, 0)
    this.domains = new ClientDomains(requester)
    this.transport = transport
    this.listen()
  }

  private listen(): void {
    this.transport.listen({ readable: () => this.receive(), writable: () => this.flush() })
  }

  /** Requests without an answer yet. */
  get outstanding(): number {
    return this.pending.size
  }

  /** Sends one request; the promise has the reply's bytes, or the error as a XenError. */
  request(request: StoreRequest, transaction = 0): Promise<Uint8Array> {
    const { text, value } = requestBody(request)
    return new Promise((resolve, reject) => {
      if (this.failure !== undefined) {
        reject(this.failure)
        return
      }
      const length = text.length + (value?.length ?? 0)
      const unfit = whyUnfit(request, length)
      if (unfit !== undefined) {
        reject(storeError(unfit, request.op, 'path' in request ? request.path : ''))
        return
      }
      const id = this.nextRequestId()
      const at = this.output.reserve(HEADER_SIZE + length)
      const { data } = this.output
      const header = new DataView(data.buffer, data.byteOffset + at, HEADER_SIZE)
      header.setUint32(0, operationNumber(request.op), true)
      header.setUint32(4, id, true)
      header.setUint32(8, transaction, true)
      header.setUint32(12, length, true)
      const end = putRawText(text, data, at + HEADER_SIZE)
      if (value !== undefined) data.set(value, end)
      this.pending.set(id, { request, resolve, reject })
      this.flush()
    })
  }

  // State

  /** What keeps the client from being saved: requests without an answer, or events that have not come to their watch. */
  underWay(): string | undefined {
    if (this.pending.size > 0 || this.output.length > 0 || this.parser.pending > 0) return 'a request to XenStore'
    return this.failure === undefined ? undefined : 'a connection to XenStore that has ended'
  }

  /** What it takes to go on over a connection like this one. */
  save(): ClientState {
    const watches = [...this.watches.values()].map(({ path, token, depth }) => ({ path, token, depth }))
    return { lastRequest: this.lastRequest, lastToken: this.lastToken, watches }
  }

  /** Whether it is what a save of it said, so that nothing has to be brought back. */
  isAsSaved({ lastRequest, lastToken, watches }: ClientState): boolean {
    if (lastRequest !== this.lastRequest || lastToken !== this.lastToken || watches.length !== this.watches.size) return false
    let at = 0
    for (const { path, token, depth } of this.watches.values()) {
      const saved = watches[at++]!
      if (saved.path !== path || saved.token !== token || saved.depth !== depth) return false
    }
    return true
  }

  /** Takes over what a client was that is connected alike; its watches are there, and wait to be attached. */
  load({ lastRequest, lastToken, watches }: ClientState): void {
    if (new Set(watches.map(({ token }) => token)).size < watches.length) throw badState('two watches have one token')
    this.lastRequest = lastRequest
    this.lastToken = lastToken
    for (const { path, token, depth } of watches) this.watches.set(token, new ClientWatch(path, token, depth))
  }

  /** Gives a watch that was loaded its listener again: the first on this path without one. The function ends the watch. */
  attach(path: string, listener: (event: WatchEvent) => void): () => Promise<void> {
    const watch = this.withoutListener().find((each) => each.path === path)
    if (watch === undefined) throw badState(`there is no watch on ${path} to be attached`)
    watch.listener = listener
    return () => this.endWatch(watch)
  }

  /** Paths of the watches without a listener. */
  unattached(): readonly string[] {
    return this.withoutListener().map(({ path }) => path)
  }

  private withoutListener(): readonly ClientWatch[] {
    return [...this.watches.values()].filter(({ listener }) => listener === undefined)
  }

  private nextRequestId(): number {
    do this.lastRequest = (this.lastRequest + 1) >>> 0
    while (this.lastRequest === 0 || this.pending.has(this.lastRequest))
    return this.lastRequest
  }

  private flush(): void {
    while (this.output.length > 0) {
      const sent = this.transport.send(this.output.peek())
      if (sent === 0) return
      this.output.take(sent)
    }
  }

  /** Takes what the transport has received. A transport's listener calls it; a caller need not. */
  receive(): void {
    for (;;) {
      const found = this.parser.next()
      if (found === 'message') {
        this.take()
        continue
      }
      if (found === 'invalid') return this.end('the server sent what is no message')
      const chunk = this.transport.receive()
      if (chunk !== undefined) this.parser.feed(chunk)
      else if (this.transport.state !== 'open') return this.end('the connection has ended')
      else return
    }
  }

  private take(): void {
    const { parser } = this
    const message = decodeServerMessage(parser.type, parser)
    if (message.kind === 'unknown') return
    if (message.kind === 'event') {
      this.watches.get(message.token)?.push(message)
      return
    }
    const waiting = this.pending.get(parser.requestId)
    if (waiting === undefined) return
    this.pending.delete(parser.requestId)
    if (message.kind === 'reply' && message.type === operationNumber(waiting.request.op)) waiting.resolve(message.value)
    else waiting.reject(this.refusal(waiting.request, message.kind === 'error' ? message.name : 'EIO'))
  }

  private refusal(request: StoreRequest, name: string): XenError {
    return storeError(knownErrorName(name), request.op, 'path' in request ? request.path : '')
  }

  private end(reason: string): void {
    if (this.failure !== undefined) return
    this.failure = new XenError('CLOSED', `xenstore: ${reason}`)
    this.transport.close()
    for (const waiting of this.pending.values()) waiting.reject(this.failure)
    this.pending.clear()
    for (const watch of this.watches.values()) watch.fail(this.failure)
    this.watches.clear()
  }

  /** Ends the connection; requests without an answer are rejected with code CLOSED, and so are watches. */
  close(): void {
    this.end('closed by its owner')
  }

  /**
   * Goes on over another transport, as a guest must after it was restored elsewhere: requests without an answer are
   * rejected with code CLOSED, watches are set anew and report their path once more.
   */
  async reconnect(transport: StoreTransport): Promise<void> {
    const lost = new XenError('CLOSED', 'xenstore: the connection began anew')
    for (const waiting of this.pending.values()) waiting.reject(lost)
    this.pending.clear()
    this.output.clear()
    this.parser.reset()
    this.failure = undefined
    this.transport = transport
    this.listen()
    await Promise.all([...this.watches.values()].map((watch) => this.request(watch.request())))
  }

  /**
   * The changes at or below `path`, beginning with `path` itself as soon as the watch is set. Equal changes that were
   * not taken yet are reported once. Ending the loop ends the watch; when `signal` fires the stream ends.
   */
  watch(path: string, options: WatchOptions = {}): AsyncIterable<WatchEvent> {
    checkOptions('watch', options, { signal: abortSignal, depth: whole(0, 0xffff_ffff) })
    return { [Symbol.asyncIterator]: () => this.events(path, options) }
  }

  private async *events(path: string, options: WatchOptions): AsyncGenerator<WatchEvent, void> {
    const watch = this.newWatch(path, options)
    const abort = (): void => watch.end()
    options.signal?.addEventListener('abort', abort)
    try {
      if (options.signal?.aborted === true) return
      await this.request(watch.request())
      for (let event = await watch.next(); event !== undefined; event = await watch.next()) yield event
    } finally {
      options.signal?.removeEventListener('abort', abort)
      await this.endWatch(watch)
    }
  }

  /**
   * Calls `listener` while the transport delivers, for every change at or below `path` and once for `path` itself.
   * Resolves, with the function that ends the watch, when the watch is set.
   */
  async onChange(path: string, listener: (event: WatchEvent) => void, depth?: number): Promise<() => Promise<void>> {
    const watch = this.newWatch(path, depth === undefined ? {} : { depth })
    watch.listener = listener
    try {
      await this.request(watch.request())
    } catch (error) {
      this.watches.delete(watch.token)
      throw error
    }
    return () => this.endWatch(watch)
  }

  private newWatch(path: string, { depth }: WatchOptions): ClientWatch {
    this.lastToken += 1
    const watch = new ClientWatch(path, `w${this.lastToken}`, depth)
    this.watches.set(watch.token, watch)
    return watch
  }

  private async endWatch(watch: ClientWatch): Promise<void> {
    watch.end()
    if (!this.watches.delete(watch.token) || this.failure !== undefined) return
    try {
      await this.request({ op: 'unwatch', path: watch.path, token: watch.token })
    } catch (error) {
      // The watch was never set, or the connection ended meanwhile: it is gone either way.
      if (storeErrorName(error) === undefined && !XenError.is(error, 'CLOSED')) throw error
    }
  }

  /**
   * Does several operations as one: all of them take effect, or none. `body` is called again when somebody else
   * interfered; when it throws, nothing takes effect and the error is passed on.
   */
  async transaction<T>(body: (transaction: ClientOperations) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      const id = Number(firstString(await this.request({ op: 'transaction-start' })))
      let result: T
      try {
        result = await body(new ClientOperations(this, id))
      } catch (error) {
        await this.request({ op: 'transaction-end', outcome: 'abort' }, id)
        throw error
      }
      try {
        await this.request({ op: 'transaction-end', outcome: 'commit' }, id)
        return result
      } catch (error) {
        if (storeErrorName(error) !== 'EAGAIN' || attempt >= ATTEMPTS) throw error
      }
    }
  }

  /** A command for the server itself; its answer as text. Privileged. */
  async control(...words: readonly string[]): Promise<string> {
    return firstString(await this.request({ op: 'control', words }))
  }
}

/** What no server can be sent: it would end the connection over it, or take it for something else. */
function whyUnfit(request: StoreRequest, length: number): StoreErrorName | undefined {
  if (length > XENSTORE.PAYLOAD_MAX) return 'E2BIG'
  return requestStrings(request).some((word) => /[\0\u0100-\uffff]/.test(String(word))) ? 'EINVAL' : undefined
}

const firstString = (value: Uint8Array): string => replyStrings(value)[0] ?? ''
