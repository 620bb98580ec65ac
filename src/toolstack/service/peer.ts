/**
 * One end of a connection: frames out and in, and streams in both directions with credit, so that whoever reads slowly slows whoever
 * writes. What calls mean is the business of the two ends.
 */
import { checkArgument, record, XenError } from '../../util/index.ts'
import { byteInput, byteOutput, openOutput, type ByteInput, type ByteOutput, type ByteSink } from '../stream/index.ts'
import { bytesFrame, FrameReader, messageFrame, type Frame } from './frames.ts'
import { errorFromWire, errorToWire, fromWire, toWire, type Tag, type TagMaker, type TagReader } from './values.ts'

/** A way for bytes in both directions: a socket's two halves, a message port. */
export interface ServiceTransport {
  readonly readable: ByteInput
  readonly writable: ByteOutput
}

/** Looks at a transport that the call `call` was given. Throws INVALID_ARGUMENT for what is none. */
export function checkTransport(call: string, transport: ServiceTransport): void {
  checkArgument(`the transport of ${call}`, transport, record)
  checkArgument(`readable of the transport of ${call}`, transport.readable, byteInput)
  checkArgument(`writable of the transport of ${call}`, transport.writable, byteOutput)
}

/** Any message: what it is stands in its one or first key. */
export type Message = Readonly<Record<string, unknown>>

/** How many items a writer is ahead of its reader. */
const CREDIT = 16
/** Streams of one connection at a time. */
const MOST_STREAMS = 256
/** Bytes that wait to be written before whoever writes streams is held. */
const MOST_QUEUED = 4 << 20
/** Bytes of a stream that go in one frame. */
const LONGEST_PIECE = 256 << 10

/** Bytes in pieces that any reader takes. */
function* piecesOf(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += LONGEST_PIECE) yield bytes.subarray(at, at + LONGEST_PIECE)
}

const closedError = (cause?: unknown): XenError => new XenError('CLOSED', 'the connection to the host is closed', { cause })

/** A stream that goes out. */
interface Outgoing {
  credit: number
  wake: (() => void) | undefined
  stopped: XenError | undefined
  /** Its end has been said. */
  ended: boolean
  /** Settles when the other end has taken the end of it. */
  readonly done: { resolve(): void; reject(error: unknown): void; readonly promise: Promise<void> }
}

/** A stream that comes in. */
interface Incoming {
  readonly items: unknown[]
  wake: (() => void) | undefined
  ended: boolean
  error: unknown
  taken: number
}

function deferred(): Outgoing['done'] {
  let [resolve, reject] = [(): void => undefined, (_error: unknown): void => undefined]
  const promise = new Promise<void>((yes, no) => { [resolve, reject] = [yes, no] })
  promise.catch(() => undefined)
  return { resolve, reject, promise }
}

/** One end. */
export class Peer {
  private readonly output: ReturnType<typeof openOutput>
  private readonly limit: number
  private readonly reader: FrameReader
  private readonly onMessage: (message: Message) => void
  private readonly outgoing = new Map<number, Outgoing>()
  private readonly incoming = new Map<number, Incoming>()
  private queue: Uint8Array[] = []
  private queued = 0
  private isWriting = false
  private nextStream: number
  /** Why it is closed. */
  private over: XenError | undefined
  private readonly ends: ((why: XenError) => void)[] = []

  /** `first`: the number of the first stream that it opens; the other end has the others. `limit`: bytes of a frame. */
  constructor(transport: ServiceTransport, { first, limit, onMessage }: { readonly first: 0 | 1; readonly limit: number; readonly onMessage: (message: Message) => void }) {
    this.output = openOutput(transport.writable)
    this.limit = limit
    this.reader = new FrameReader(limit)
    this.nextStream = first
    this.onMessage = onMessage
    void this.read(transport.readable)
  }

  /** Calls `ended` when the connection is over; at once where it is. */
  onEnd(ended: (why: XenError) => void): void {
    if (this.over === undefined) this.ends.push(ended)
    else ended(this.over)
  }

  /** True while more waits to be written than should: what may be left out is left out. */
  get isBehind(): boolean {
    return this.queued > MOST_QUEUED
  }

  get isOver(): boolean {
    return this.over !== undefined
  }

  /** Sends a message; several of one turn go out together. Throws OUT_OF_RESOURCES for one that is longer than this end would take. */
  send(message: Message): void {
    const frame = messageFrame(message)
    if (frame.length - 4 > this.limit) {
      throw new XenError('OUT_OF_RESOURCES', `a message of ${frame.length} bytes is more than the service takes at once: ${this.limit}`, {
        details: { bytes: frame.length, limit: this.limit },
      })
    }
    this.write(frame)
  }

  /** Ends the connection; `last` is said first. */
  close(why: XenError = closedError(), last?: Message): void {
    if (this.over !== undefined) return
    if (last !== undefined) this.send(last)
    this.over = why
    for (const { done, wake } of this.outgoing.values()) {
      done.reject(why)
      wake?.()
    }
    for (const stream of this.incoming.values()) {
      stream.ended = true
      stream.error = why
      stream.wake?.()
    }
    void this.flush().then(() => this.output.close()).catch(() => undefined)
    for (const ended of this.ends.splice(0)) ended(why)
  }

  // Streams out

  /** Sends what an iterable gives as a stream; the tag that names it. */
  stream(items: AsyncIterable<unknown>, tagOf?: TagMaker): Tag {
    const id = this.open()
    void this.pump(id, items, tagOf)
    return { $: 'stream', id }
  }

  /** A sink whose bytes the other end takes; the tag that names it is for that end. */
  sink(id: number): ByteSink {
    const stream = this.newOutgoing(id)
    return {
      keepsNothing: true,
      write: async (chunk) => {
        for (const piece of piecesOf(chunk)) {
          await this.credit(stream)
          this.write(bytesFrame(id, piece))
        }
        await this.drain()
      },
      close: () => {
        stream.ended = true
        this.send({ end: id })
        return stream.done.promise
      },
      abort: (reason) => {
        stream.ended = true
        this.send({ end: id, error: errorToWire(reason) })
        this.outgoing.delete(id)
      },
    }
  }

  /** Gives up a stream that this end has opened: the call that it was for has failed. */
  abandon(id: number, why: XenError): void {
    const [out, into] = [this.outgoing.get(id), this.incoming.get(id)]
    if (out !== undefined) {
      this.outgoing.delete(id)
      out.stopped = why
      out.done.reject(why)
      out.wake?.()
    }
    if (into !== undefined) {
      into.ended = true
      into.error ??= why
      into.wake?.()
    }
  }

  /** Lets a stream or sink of the other end go that nobody here has ended or will read any more. */
  release(id: number): void {
    const sink = this.outgoing.get(id)
    if (sink?.ended === false) {
      this.outgoing.delete(id)
      this.send({ end: id, error: errorToWire(new XenError('ABORTED', 'the call that it was for is over')) })
    }
    if (this.incoming.delete(id)) this.send({ stop: id })
  }

  private open(): number {
    if (this.outgoing.size >= MOST_STREAMS) throw new XenError('OUT_OF_RESOURCES', `a connection has at most ${MOST_STREAMS} streams`, { details: { limit: MOST_STREAMS } })
    const id = this.nextStream
    this.nextStream += 2
    this.newOutgoing(id)
    return id
  }

  private newOutgoing(id: number): Outgoing {
    if (this.outgoing.has(id)) throw new XenError('INVALID_STREAM', `there are two streams ${id}`, { details: { id } })
    const stream: Outgoing = { credit: CREDIT, wake: undefined, stopped: undefined, ended: false, done: deferred() }
    this.outgoing.set(id, stream)
    return stream
  }

  private async credit(stream: Outgoing): Promise<void> {
    while (stream.credit === 0 && stream.stopped === undefined && this.over === undefined) await new Promise<void>((resolve) => { stream.wake = resolve })
    const why = stream.stopped ?? this.over
    if (why !== undefined) throw why
    stream.credit -= 1
  }

  private async pump(id: number, items: AsyncIterable<unknown>, tagOf: TagMaker | undefined): Promise<void> {
    const stream = this.outgoing.get(id)!
    const iterator = items[Symbol.asyncIterator]()
    const stop = (): void => void Promise.resolve(iterator.return?.()).catch(() => undefined)
    try {
      for (;;) {
        await this.credit(stream)
        const next = await Promise.race([iterator.next(), stream.done.promise.then(() => undefined)])
        if (next === undefined || next.done === true) break
        if (next.value instanceof Uint8Array) await this.sendBytes(id, stream, next.value)
        else this.send({ item: id, value: toWire(next.value, tagOf) })
        await this.drain()
      }
      this.send({ end: id })
    } catch (error) {
      if (stream.stopped === undefined) this.send({ end: id, error: errorToWire(error) })
    }
    stop()
  }

  /** Sends an item of bytes, for whose first piece there is credit already. */
  private async sendBytes(id: number, stream: Outgoing, bytes: Uint8Array): Promise<void> {
    if (bytes.length === 0) this.write(bytesFrame(id, bytes))
    let isFirst = true
    for (const piece of piecesOf(bytes)) {
      if (!isFirst) await this.credit(stream)
      isFirst = false
      this.write(bytesFrame(id, piece))
    }
  }

  // Streams in

  /** What comes by a stream of the other end; whoever stops reading stops it. */
  take(id: unknown): AsyncIterable<unknown> {
    const stream = this.newIncoming(id)
    const peer = this
    return {
      async* [Symbol.asyncIterator]() {
        let isOver = false
        try {
          for (;;) {
            while (stream.items.length === 0 && !stream.ended) await new Promise<void>((resolve) => { stream.wake = resolve })
            if (stream.items.length === 0) break
            yield stream.items.shift()
            peer.taken(id as number, stream)
          }
          isOver = true
          if (stream.error !== undefined) throw stream.error
        } finally {
          peer.incoming.delete(id as number)
          peer.send(isOver ? { done: id } : { stop: id })
        }
      },
    }
  }

  /** Takes a sink's bytes into a target of this end, and says when all of it is there. */
  fill(target: ByteOutput): Tag {
    const id = this.nextStream
    this.nextStream += 2
    const stream = this.newIncoming(id)
    void this.fillFrom(id, stream, openOutput(target))
    return { $: 'sink', id }
  }

  private async fillFrom(id: number, stream: Incoming, output: ReturnType<typeof openOutput>): Promise<void> {
    try {
      for (;;) {
        while (stream.items.length === 0 && !stream.ended) await new Promise<void>((resolve) => { stream.wake = resolve })
        if (stream.items.length === 0) break
        await output.write(stream.items.shift() as Uint8Array)
        this.taken(id, stream)
      }
      if (stream.error === undefined) await output.close()
      else await output.abort(stream.error).catch(() => undefined)
      this.send({ done: id })
    } catch (error) {
      this.send({ stop: id, error: errorToWire(error) })
    } finally {
      this.incoming.delete(id)
    }
  }

  private newIncoming(id: unknown): Incoming {
    if (typeof id !== 'number' || this.incoming.has(id) || this.incoming.size >= MOST_STREAMS) {
      throw new XenError('INVALID_STREAM', 'the service\'s other end opens a stream that it cannot have', { details: { id } })
    }
    const stream: Incoming = { items: [], wake: undefined, ended: this.over !== undefined, error: this.over, taken: 0 }
    this.incoming.set(id, stream)
    return stream
  }

  private taken(id: number, stream: Incoming): void {
    stream.taken += 1
    if (stream.taken < CREDIT / 2) return
    this.send({ credit: id, count: stream.taken })
    stream.taken = 0
  }

  // Bytes

  private async read(input: ByteInput): Promise<void> {
    try {
      for await (const piece of asIterable(input)) {
        for (const frame of this.reader.push(piece)) this.handle(frame)
        if (this.over !== undefined) return
      }
      this.close()
    } catch (error) {
      this.close(XenError.is(error) ? error : closedError(error))
    }
  }

  private handle(frame: Frame): void {
    if (frame.kind === 'bytes') return this.arrive(frame.stream, frame.bytes)
    const { message } = frame
    if (typeof message !== 'object' || message === null || Array.isArray(message)) throw new XenError('INVALID_STREAM', 'a message of the service is no object', { details: {} })
    const fields = message as Message
    if ('item' in fields) return this.arrive(fields['item'], fromWire(fields['value'], this.readTag))
    if ('end' in fields) return this.endIncoming(fields)
    if ('credit' in fields || 'stop' in fields || 'done' in fields) return this.answerOutgoing(fields)
    this.onMessage(fields)
  }

  /** What tags in items stand for; set by whoever has handles. */
  readTag: TagReader = () => undefined

  private arrive(id: unknown, item: unknown): void {
    const stream = this.incoming.get(id as number)
    // It was stopped meanwhile.
    if (stream === undefined) return
    if (stream.items.length > CREDIT * 2) throw new XenError('INVALID_STREAM', 'the service\'s other end sends more than it may', { details: { id } })
    stream.items.push(item)
    stream.wake?.()
  }

  private endIncoming({ end, error }: Message): void {
    const stream = this.incoming.get(end as number)
    if (stream === undefined) return
    stream.ended = true
    if (error !== undefined) stream.error = errorFromWire(error as Tag)
    stream.wake?.()
  }

  private answerOutgoing({ credit, count, stop, done, error }: Message): void {
    const id = credit ?? stop ?? done
    const stream = this.outgoing.get(id as number)
    if (stream === undefined) return
    if (credit !== undefined) {
      if (!Number.isInteger(count) || (count as number) < 1 || stream.credit + (count as number) > CREDIT) {
        throw new XenError('INVALID_STREAM', 'the service\'s other end gives more credit than there is', { details: { id, count } })
      }
      stream.credit += count as number
    } else {
      this.outgoing.delete(id as number)
      if (stop !== undefined) {
        stream.stopped = error === undefined ? new XenError('ABORTED', 'the other end has stopped reading') : errorFromWire(error as Tag) as XenError
        stream.done.reject(stream.stopped)
      } else {
        stream.done.resolve()
      }
    }
    stream.wake?.()
  }

  private write(frame: Uint8Array): void {
    if (this.over !== undefined) return
    this.queue.push(frame)
    this.queued += frame.length
    if (this.isWriting) return
    this.isWriting = true
    queueMicrotask(() => void this.flush())
  }

  private drained: (() => void)[] = []

  /** Resolves when the other end is not too far behind. */
  private async drain(): Promise<void> {
    if (this.queued > MOST_QUEUED) await new Promise<void>((resolve) => this.drained.push(resolve))
  }

  private async flush(): Promise<void> {
    this.isWriting = true
    try {
      while (this.queue.length > 0) {
        const frames = this.queue
        this.queue = []
        const length = frames.reduce((sum, frame) => sum + frame.length, 0)
        const all = frames.length === 1 ? frames[0]! : joined(frames, length)
        await this.output.write(all)
        this.queued -= length
        if (this.queued <= MOST_QUEUED) for (const go of this.drained.splice(0)) go()
      }
    } catch (error) {
      this.queue = []
      this.close(closedError(error))
    } finally {
      this.isWriting = false
      for (const go of this.drained.splice(0)) go()
    }
  }
}

function joined(frames: readonly Uint8Array[], length: number): Uint8Array {
  const all = new Uint8Array(length)
  let at = 0
  for (const frame of frames) {
    all.set(frame, at)
    at += frame.length
  }
  return all
}

/** Any source of bytes as an iterable. */
async function* asIterable(input: ByteInput): AsyncGenerator<Uint8Array, void> {
  if (input instanceof Uint8Array) return yield input
  if (!('getReader' in input)) return yield* input
  const reader = input.getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      yield value
    }
  } finally {
    reader.releaseLock()
  }
}
