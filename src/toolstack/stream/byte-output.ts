/**
 * Where a stream may be written to: a web WritableStream, a Node Writable, or anything with `write`. Each write waits
 * until the target has taken the bytes, so that a slow target slows the writer.
 */
import { having, thrownMessage, XenError, type Check } from '../../util/index.ts'

/** Where the bytes go; a promise holds the writer back until it resolves. */
export interface ByteSink {
  /**
   * True when nothing of a chunk is kept once `write` is done with it: its memory is then used again, which is several
   * times as fast as fresh memory. Not for sinks that collect chunks.
   */
  readonly keepsNothing?: boolean
  /** True when a chunk is looked at until the next `write` is done and no longer, as in a pipe within one process. */
  readonly keepsLast?: boolean
  /** Takes the next bytes of the stream; the next call comes when the promise has resolved. */
  write(chunk: Uint8Array): Promise<void> | void
  /** Called when everything has been written; resolves when it is safe. */
  close?(): Promise<void> | void
  /** Called instead of `close` when writing failed; what was written is worthless. */
  abort?(reason: unknown): Promise<void> | void
}

/** What is used of a Node Writable. */
export interface NodeWritable {
  /** Hands over bytes. What it is given behind them is not named: as it stands, `{ write: (chunk) => ... }` has a type for `chunk`. */
  write(chunk: Uint8Array): boolean
  /** Ends the stream; `done` is called when all has been flushed. */
  end(done: () => void): unknown
  /** Ends the stream at once; what is buffered is lost. */
  destroy(error?: Error): unknown
  /** Calls `listener` at the next event only. */
  once(event: 'error' | 'close', listener: (error?: Error) => void): unknown
  /** Forgets a listener. */
  off(event: 'error' | 'close', listener: (error?: Error) => void): unknown
  /** Calls `listener` at each event. */
  on(event: 'error', listener: (error: Error) => void): unknown
  readonly destroyed: boolean
}

/** What a stream may be written to. */
export type ByteOutput = ByteSink | WritableStream<Uint8Array> | NodeWritable

/** A {@link ByteSink} with all its methods. */
export interface OpenOutput extends ByteSink {
  readonly keepsNothing: boolean
  readonly keepsLast: boolean
  write(chunk: Uint8Array): Promise<void>
  close(): Promise<void>
  abort(reason: unknown): Promise<void>
}

const failure = (cause: unknown): XenError => {
  if (XenError.is(cause)) return cause
  const why = cause === undefined ? 'it is closed' : thrownMessage(cause)
  return new XenError('IO', `the target does not take the bytes: ${why}`, { cause })
}

const asError = (reason: unknown): Error => (reason instanceof Error ? reason : new Error(thrownMessage(reason)))

function fromWebStream(stream: WritableStream<Uint8Array>): OpenOutput {
  const writer = stream.getWriter()
  // The writer's own promise; failures are reported by the calls below.
  writer.closed.catch(() => undefined)
  return {
    keepsNothing: false,
    keepsLast: false,
    write: (chunk) => writer.write(chunk),
    close: () => writer.close(),
    // It would wait for a write that may never be done.
    abort: async (reason) => void writer.abort(reason).catch(() => undefined),
  }
}

/** Of a Node Writable: `done` is called when the bytes have been taken, with the error when they were not. */
interface WriteWithCallback {
  write(chunk: Uint8Array, done: (error?: Error | null) => void): boolean
}

function fromNodeStream(stream: NodeWritable): OpenOutput {
  /** Runs one step; an error or an early end of the stream ends it, too. */
  const step = (start: (done: (error?: Error | null) => void) => void): Promise<void> =>
    new Promise((resolve, reject) => {
      const finish = (error?: Error | null): void => {
        stream.off('error', finish)
        stream.off('close', onClose)
        if (error === undefined || error === null) resolve()
        else reject(error)
      }
      const onClose = (): void => finish(new Error('it was closed'))
      stream.once('error', finish)
      stream.once('close', onClose)
      start(finish)
    })
  // An error that arrives between two steps is found by the next one.
  stream.on('error', () => undefined)
  return {
    keepsNothing: false,
    keepsLast: false,
    write: async (chunk) => {
      if (stream.destroyed) throw new XenError('CLOSED', 'the target is closed')
      await step((done) => void (stream as WriteWithCallback).write(chunk, done))
    },
    close: () => step((done) => void stream.end(() => done())),
    abort: async (reason) => void stream.destroy(asError(reason)),
  }
}

function fromSink(sink: ByteSink): OpenOutput {
  return {
    keepsNothing: sink.keepsNothing === true,
    keepsLast: sink.keepsLast === true,
    write: async (chunk) => sink.write(chunk),
    close: async () => sink.close?.(),
    abort: async (reason) => sink.abort?.(reason),
  }
}

const sink = /* @__PURE__ */ having('write')
const webStream = /* @__PURE__ */ having('getWriter')

/** What a stream can be written to: a sink, a web stream or one of Node's. */
export const byteOutput: Check = (value) => (webStream(value) === undefined ? undefined : sink(value))

const isWebStream = (output: ByteOutput): output is WritableStream<Uint8Array> => 'getWriter' in output
const isNodeStream = (output: ByteOutput): output is NodeWritable =>
  'end' in output && 'destroy' in output && 'once' in output

/** Opens an output for writing. Its failures are XenErrors: IO, or CLOSED when it took nothing of a chunk. */
export function openOutput(output: ByteOutput): OpenOutput {
  const inner = isWebStream(output)
    ? fromWebStream(output)
    : isNodeStream(output)
      ? fromNodeStream(output)
      : fromSink(output)
  const named = async (work: Promise<void>): Promise<void> => {
    try {
      await work
    } catch (error) {
      throw failure(error)
    }
  }
  return {
    keepsNothing: inner.keepsNothing,
    keepsLast: inner.keepsLast,
    write: (chunk) => named(inner.write(chunk)),
    close: () => named(inner.close()),
    abort: (reason) => named(inner.abort(reason)),
  }
}
