/**
 * A XenStore server with clients that speak raw messages, for tests that read like a transcript: who asks what, and
 * what is answered. In bodies and answers `|` stands for the terminator of a string; errors are written `!ENOENT`.
 */
import { PAGE_SIZE, XS } from '../abi/index.ts'
import { ManualClock, XenError } from '../util/index.ts'
import {
  MemoryTransport, PacketParser, XenStore, XenStoreServer, type StoreTransport, type XenStoreOptions,
} from '../xenstore/index.ts'

/** Operations by the name that Xen's headers use, and the newer ones. */
export const STORE_OPS = { ...XS, GET_FEATURE: 23, SET_FEATURE: 24, GET_QUOTA: 25, SET_QUOTA: 26 } as const

/** Name of an operation. */
export type StoreOp = keyof typeof STORE_OPS

/** Bytes of a message's header. */
const HEADER = 16

/** One message as bytes: a body's characters are its bytes. */
export function storePacket(type: number, body: string | Uint8Array, header: { id?: number; tx?: number } = {}): Uint8Array {
  const content = typeof body === 'string' ? Uint8Array.from(body, (c) => c.charCodeAt(0)) : body
  const bytes = new Uint8Array(HEADER + content.length)
  const view = new DataView(bytes.buffer)
  const words = [type, header.id ?? 0, header.tx ?? 0, content.length]
  words.forEach((word, i) => view.setUint32(i * 4, word, true))
  bytes.set(content, HEADER)
  return bytes
}

/** A message as it was received. */
export interface ReceivedMessage {
  readonly type: number
  readonly id: number
  readonly tx: number
  readonly text: string
}

/** A client that sends and receives raw messages. */
export class RawStoreClient {
  readonly transport: StoreTransport
  /** What has arrived and nobody has asked for, oldest first. */
  readonly received: ReceivedMessage[] = []
  private readonly parser = new PacketParser()
  private readonly pump: () => void
  private lastId = 0

  /** `pump` lets the server work. */
  constructor(transport: StoreTransport, pump: () => void) {
    this.transport = transport
    this.pump = pump
  }

  /** Sends bytes, and lets the server work. */
  send(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      const sent = this.transport.send(bytes.subarray(at))
      at += sent
      this.pump()
      if (sent === 0) return
    }
  }

  /** Takes what has arrived into `received`. */
  collect(): ReceivedMessage[] {
    for (;;) {
      const found = this.parser.next()
      if (found === 'invalid') throw new XenError('INVALID_STATE', 'the server sent what is no message')
      if (found === 'more') {
        const chunk = this.transport.receive()
        if (chunk === undefined) return this.received
        this.parser.feed(chunk)
        continue
      }
      const { type, requestId, transaction, body, start, end } = this.parser
      this.received.push({ type, id: requestId, tx: transaction, text: String.fromCharCode(...body.subarray(start, end)) })
    }
  }

  /** Asks and gives the answer to this very request; undefined when there is none. */
  ask(op: StoreOp | number, body: string | Uint8Array, tx = 0): string | undefined {
    this.lastId += 1
    const type = typeof op === 'number' ? op : STORE_OPS[op]
    const content = typeof body === 'string' ? body.replaceAll('|', '\0') : body
    this.send(storePacket(type, content, { id: this.lastId, tx }))
    const place = this.collect().findIndex(({ id, type: kind }) => id === this.lastId && kind !== STORE_OPS.WATCH_EVENT)
    if (place < 0) return undefined
    const [reply] = this.received.splice(place, 1)
    const text = reply!.text.replaceAll('\0', '|')
    return reply!.type === STORE_OPS.ERROR ? `!${text.slice(0, -1)}` : text
  }

  /** The watch events that have arrived since the last call, as `path token`. */
  events(): string[] {
    // A message may come in pieces: go on as long as there is progress.
    const progress = (): string => `${this.received.length} ${this.parser.pending}`
    for (let known = ''; known !== progress();) {
      known = progress()
      this.pump()
      this.collect()
    }
    return this.takeEvents()
  }

  /** The watch events among what has arrived. */
  takeEvents(): string[] {
    const all = this.collect()
    if (all.length === 0) return []
    const events = all.filter(({ type }) => type === STORE_OPS.WATCH_EVENT)
    this.received.splice(0, all.length, ...all.filter(({ type }) => type !== STORE_OPS.WATCH_EVENT))
    return events.map(({ text }) => text.slice(0, -1).replace('\0', ' '))
  }
}

/** How a store with clients is made. */
export interface StoreHarnessOptions extends XenStoreOptions {
  /** Any domain that a client introduces has a page of its own. Default false. */
  readonly pages?: boolean
}

/** A store, its server, and clients of any domain. Its time stands still until a test moves it. */
export class StoreHarness {
  readonly clock = new ManualClock()
  readonly store: XenStore
  readonly server: XenStoreServer

  constructor({ pages = false, ...options }: StoreHarnessOptions = {}) {
    this.store = new XenStore({ clock: this.clock, ...options })
    const page = { view: new DataView(new ArrayBuffer(PAGE_SIZE)), base: 0, notify: () => undefined }
    this.server = new XenStoreServer({ store: this.store, ...(pages && { connectDomain: () => page }) })
  }

  /** Connects a domain by a page of its own. */
  introduce(domid: number, notify: () => void = () => undefined): { view: DataView; base: number } {
    const page = { view: new DataView(new ArrayBuffer(3 * PAGE_SIZE)), base: PAGE_SIZE }
    this.server.introduceDomain(domid, { ...page, notify })
    return page
  }

  /** A new client of a domain. */
  client(domid = 0): RawStoreClient {
    const [mine, servers] = MemoryTransport.pair()
    this.server.addConnection(servers, { domid })
    return new RawStoreClient(mine, () => this.server.process())
  }
}

/** One line of a transcript: who, what, and the answer. */
export type TranscriptLine = readonly [who: RawStoreClient, op: StoreOp, body: string, answer: string, tx?: number]

/**
 * Plays a transcript; the differences between expected and given answers, none when all is well.
 *
 * @example
 * const harness = new StoreHarness()
 * const [tools, guest] = [harness.client(), harness.client(1)]
 * expect(transcriptDifferences([
 *   [tools, 'WRITE', '/local/domain/1/name|web', 'OK|'],
 *   [guest, 'READ', '/local/domain/1/name|', '!EACCES'],
 * ])).toEqual([])
 */
export function transcriptDifferences(lines: readonly TranscriptLine[]): string[] {
  return lines.flatMap(([who, op, body, answer, tx], i) => {
    const given = who.ask(op, body, tx)
    return given === answer ? [] : [`line ${i + 1}: ${op} ${body}: expected ${answer}, got ${given}`]
  })
}
