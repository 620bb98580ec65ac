/**
 * The pipe between two hosts: bytes in both directions, whatever carries them. A pair within one process is made here;
 * TCP is in `paravirt/node`.
 */
import { XenError } from '../../util/index.ts'
import type { ByteInput, ByteOutput, ByteSink, LendingChunks } from '../stream/index.ts'

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

interface Parcel {
  readonly chunk: Uint8Array
  taken(): void
  lost(): void
}

/** One direction. A write is done when the reader has taken the chunk, so a cut never leaves a doubt about it. */
class Lane implements ByteSink {
  readonly keepsLast = true
  private readonly queue: Parcel[] = []
  private closed = false
  private broken = false
  private wakeReader: () => void = () => undefined

  async write(chunk: Uint8Array): Promise<void> {
    // Made for a failure only: an error knows who has called, which costs more than the write.
    const gone = (): XenError => new XenError('CLOSED', 'the pipe to the other host is closed')
    if (this.broken || this.closed) throw gone()
    await new Promise<void>((taken, reject) => {
      this.queue.push({ chunk, taken, lost: () => reject(gone()) })
      this.wakeReader()
    })
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
    for (const parcel of this.queue.splice(0)) parcel.lost()
    this.wakeReader()
  }

  /** Its bytes: copies of what was written, or for a reader that says so the writer's own memory. */
  readonly chunks: LendingChunks = {
    [Symbol.asyncIterator]: () => this.iterate((chunk) => chunk.slice()),
    lent: { [Symbol.asyncIterator]: () => this.iterate((chunk) => chunk) },
  }

  private iterate(hand: (chunk: Uint8Array) => Uint8Array): AsyncIterator<Uint8Array> {
    return {
      next: async () => {
        while (this.queue.length === 0 && !this.closed && !this.broken)
          await new Promise<void>((resolve) => {
            this.wakeReader = resolve
          })
        const parcel = this.queue.shift()
        if (parcel === undefined) return { done: true, value: undefined }
        const value = hand(parcel.chunk)
        parcel.taken()
        return { done: false, value }
      },
      return: async () => {
        this.break()
        return { done: true, value: undefined }
      },
    }
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
