/**
 * A 9P client over the rings of a front-end: requests by tag, answers as they come. The back-end is trusted with the files and with nothing else: lengths,
 * tags and types of its answers are checked, and rings that contradict themselves end the connection.
 */
import type { HypercallPort } from '../../guest/index.ts'
import { ScatteredConsumer, ScatteredProducer, flexRing, type FlexPlace } from '../../rings/index.ts'
import { XenError } from '../../util/index.ts'
import { FILE_ERRORS, type FileErrorName } from './file-errors.ts'
import { fileError } from './file-store.ts'
import { MessageReader, MessageWriter } from './message.ts'
import { DIALECT, HEADER, MAX_MESSAGE, MESSAGE, MIN_MESSAGE } from './protocol.ts'
import { headerOf } from './session.ts'

/** What the client works with. */
export interface FileClientOptions {
  readonly memory: HypercallPort['memory']
  readonly rings: readonly FlexPlace[]
  /** Tells the back-end that a ring, by its number from 0, has changed. */
  notify(ring: number): void
  /** Asks for a turn of JavaScript: promises were resolved. */
  turn(): void
  /** The back-end has broken the protocol. */
  failed(): void
}

/** Requests that may be under way, at most; further ones wait. */
const MOST_TAGS = 64
/** The tag of a version's request. */
const NO_TAG = 0xffff

interface Waiting {
  readonly type: number
  resolve(reply: MessageReader): void
  reject(error: XenError): void
}

interface ClientRing {
  readonly requests: ScatteredProducer
  readonly answers: ScatteredConsumer
  /** Messages that have no room yet. */
  readonly queue: Uint8Array[]
}

const NAMES: ReadonlyMap<number, FileErrorName> = /* @__PURE__ */ new Map(/* @__PURE__ */ Object.entries(FILE_ERRORS).map(([name, number]) => [number as number, name as FileErrorName] as const))

const closed = (): XenError => new XenError('CLOSED', 'the folder is not connected')

/** The client of one front-end. */
export class FileClient {
  private readonly options: FileClientOptions
  private readonly rings: readonly ClientRing[]
  private readonly waiting = new Map<number, Waiting>()
  private readonly free: number[] = []
  private readonly forTag: ((tag: number) => void)[] = []
  private size = 0
  private ended = false

  constructor(options: FileClientOptions) {
    this.options = options
    this.rings = options.rings.map((place) => ({ requests: new ScatteredProducer(flexRing(place, 'out')), answers: new ScatteredConsumer(flexRing(place, 'in')), queue: [] }))
    for (let tag = MOST_TAGS - 1; tag >= 0; tag -= 1) this.free.push(tag)
  }

  /** Longest message that was agreed on; 0 before. */
  get messageSize(): number {
    return this.size
  }

  /** Agrees on the version and the size of messages. Rejects with NOT_SUPPORTED where the back-end does not speak it. */
  async begin(): Promise<void> {
    const size = Math.min(MAX_MESSAGE, ...this.rings.map(({ requests }) => requests.size / 2))
    const reply = await this.send(NO_TAG, MESSAGE.VERSION, (message) => message.u32(size).text(DIALECT))
    const [agreed, dialect] = [reply.u32(), reply.text()]
    if (dialect !== DIALECT || agreed < MIN_MESSAGE || agreed > size) throw new XenError('NOT_SUPPORTED', `the back-end speaks ${dialect} in messages of ${agreed} bytes`)
    this.size = agreed
  }

  /** Sends a request; resolves with the answer's fields. Rejects with IO and the error number's name, with CLOSED when the folder goes. */
  async request(type: number, write: (message: MessageWriter) => void): Promise<MessageReader> {
    const tag = this.free.pop() ?? await new Promise<number>((resolve) => this.forTag.push(resolve))
    try {
      return await this.send(tag, type, write)
    } finally {
      const next = this.forTag.shift()
      if (next === undefined) this.free.push(tag)
      else next(tag)
    }
  }

  private send(tag: number, type: number, write: (message: MessageWriter) => void): Promise<MessageReader> {
    if (this.ended) return Promise.reject(closed())
    const message = new MessageWriter()
    write(message)
    return new Promise((resolve, reject) => {
      this.waiting.set(tag, { type, resolve, reject })
      const at = tag % this.rings.length
      this.rings[at]!.queue.push(message.message(type, tag))
      this.push(at)
    })
  }

  private push(at: number): void {
    const ring = this.rings[at]!
    let isNew = false
    for (let message = ring.queue[0]; message !== undefined; message = ring.queue[0]) {
      const isWritten = ring.requests.write(message)
      if (isWritten === undefined) return this.fail()
      if (!isWritten) break
      ring.queue.shift()
      isNew = true
    }
    if (isNew) this.options.notify(at)
  }

  /** To be called for each event of a ring. */
  onEvent(at: number): void {
    if (this.ended) return
    let answers = 0
    while (this.takeOne(this.rings[at]!)) answers += 1
    if (this.ended) return
    if (answers > 0) {
      this.options.notify(at)
      this.options.turn()
    }
    this.push(at)
  }

  private takeOne({ answers }: ClientRing): boolean {
    const queued = answers.queued()
    if (queued === undefined) return this.broken()
    if (queued < HEADER) return false
    const header = new Uint8Array(HEADER)
    answers.peek(header)
    const length = headerOf(header)
    // An answer is published whole.
    if (length < HEADER || length > Math.max(this.size, MIN_MESSAGE) || length > queued) return this.broken()
    const bytes = new Uint8Array(length)
    answers.peek(bytes)
    bytes.set(header)
    answers.advance(length)
    return this.take(new MessageReader(bytes))
  }

  private take(reply: MessageReader): boolean {
    const waiting = this.waiting.get(reply.tag)
    if (waiting === undefined || (reply.type !== waiting.type + 1 && reply.type !== MESSAGE.LERROR + 1)) return this.broken()
    this.waiting.delete(reply.tag)
    if (reply.type === MESSAGE.LERROR + 1) waiting.reject(fileError(errnoName(reply)))
    else waiting.resolve(reply)
    return true
  }

  private broken(): false {
    this.fail()
    return false
  }

  private fail(): void {
    if (this.ended) return
    this.end()
    this.options.failed()
  }

  /** The folder is gone: whoever waits is told. */
  end(): void {
    this.ended = true
    const all = [...this.waiting.values()]
    this.waiting.clear()
    if (all.length > 0) this.options.turn()
    for (const { reject } of all) reject(closed())
  }
}

function errnoName(reply: MessageReader): FileErrorName {
  try {
    return NAMES.get(reply.u32()) ?? 'EIO'
  } catch {
    return 'EIO'
  }
}
