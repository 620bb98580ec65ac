/**
 * The pipe between two hosts: bytes in both directions, whatever carries them. A pair within one process is made here;
 * TCP is in `paravirt/node`.
 */
import { XenError } from '../../util/index.ts'
import type { ByteChunks, ByteInput, ByteOutput, ByteSink } from '../stream/index.ts'

/**
 * One end of a two-way pipe. A write that rejects with CLOSED promises that nothing of the chunk has been delivered;
 * after any other failure nobody knows. A Node Duplex stands for both: `{ readable: socket, writable: socket }`.
 */
export interface MigrationTransport {
  readonly readable: ByteInput
  readonly writable: ByteOutput
}

/** Two ends that are connected with each other, and a pair of scissors. */
export interface TransportPair {
  readonly ends: readonly [MigrationTransport, MigrationTransport]
  /** Cuts the pipe: what is under way is lost, both ends notice. */
  cut(): void
}

/** Chunks under way at most before a writer has to wait. */
const CAPACITY = 4

/** One direction: a queue of chunks between a writer and a reader. */
class Lane implements ByteSink {
  private readonly queue: Uint8Array[] = []
  private closed = false
  private broken = false
  private wakeReader: () => void = () => undefined
  private wakeWriter: () => void = () => undefined

  async write(chunk: Uint8Array): Promise<void> {
    if (this.queue.length >= CAPACITY && !this.broken) await new Promise<void>((resolve) => { this.wakeWriter = resolve })
    if (this.broken || this.closed) throw new XenError('CLOSED', 'the pipe to the other host is closed')
    // A copy: the writer may use its buffer again.
    this.queue.push(chunk.slice())
    this.wakeReader()
  }

  close(): void {
    this.closed = true
    this.wakeReader()
  }

  abort(): void {
    this.break()
  }

  /** Loses everything that is under way. */
  break(): void {
    this.broken = true
    this.queue.length = 0
    this.wakeReader()
    this.wakeWriter()
  }

  readonly chunks: ByteChunks = {
    [Symbol.asyncIterator]: () => ({
      next: async () => {
        while (this.queue.length === 0 && !this.closed && !this.broken) await new Promise<void>((resolve) => { this.wakeReader = resolve })
        const value = this.queue.shift()
        if (value === undefined) return { done: true, value: undefined }
        this.wakeWriter()
        return { done: false, value }
      },
      return: async () => {
        this.break()
        return { done: true, value: undefined }
      },
    }),
  }
}

/** A pipe within one process, for hosts that live side by side. */
export function transportPair(): TransportPair {
  const there = new Lane()
  const back = new Lane()
  return {
    ends: [{ readable: back.chunks, writable: there }, { readable: there.chunks, writable: back }],
    cut: () => {
      there.break()
      back.break()
    },
  }
}
