/**
 * What a block ring's server asks of its store: bytes moved straight to or from the guest's memory, what was written made
 * durable, sectors discarded. A store may answer at once or later, and may throw or reject: whatever it was, it is the
 * request's failure and no more. hot path: a transfer that is done at once allocates only the views of its runs.
 */
import { PAGE_SIZE } from '../../abi/index.ts'
import type { HypercallPort } from '../../guest/index.ts'
import type { BlockStore } from './block-store.ts'
import { SECTOR_SIZE } from './block-store.ts'

/** Bytes that are discarded without a pause: a store may have to write zeros. */
const DISCARD_PIECE = 4 << 20

/** Whether it went well: at once, or when the store has answered. */
export type Outcome = boolean | Promise<boolean>

/** Runs of bytes in host memory: start and length, in pairs, of which `count` count. */
export interface ByteRuns {
  readonly at: Uint32Array
  count: number
}

/** What the work needs of the server's surroundings. */
export interface StoreWorkOptions {
  readonly store: BlockStore
  readonly memory: HypercallPort['memory']
  /** Lets everybody else have a turn, behind a part of a long discard. */
  pause(): Promise<void> | undefined
  /** The store has thrown or rejected. */
  onStoreFailed(error: unknown): void
}

/** A store at work for one ring. */
export class StoreWork {
  /** What the store said when it failed last. */
  lastError: unknown
  private readonly options: StoreWorkOptions
  private lastDiscard: Promise<void> = Promise.resolve()
  private stopped = false

  constructor(options: StoreWorkOptions) {
    this.options = options
  }

  /** Sectors of the store, which may grow and shrink. */
  get sectors(): number {
    return this.options.store.size / SECTOR_SIZE
  }

  /** Long discards go no further. */
  stop(): void {
    this.stopped = true
  }

  /** Moves runs of memory to or from the store, from an offset in bytes on. */
  move(direction: 'read' | 'write', start: number, { at, count }: ByteRuns): Outcome {
    let waiting: Promise<void>[] | undefined
    let offset = start
    try {
      for (let index = 0; index < 2 * count; index += 2) {
        const length = at[index + 1]!
        const done = direction === 'write' ? this.write(offset, at[index]!, length) : this.read(offset, at[index]!, length)
        if (done !== undefined) (waiting ??= []).push(done)
        offset += length
      }
    } catch (error) {
      this.noteError(error)
      // Runs that were begun still use their pages: the request ends when they have.
      return waiting === undefined ? false : Promise.allSettled(waiting).then(() => false)
    }
    if (waiting === undefined) return true
    return Promise.allSettled(waiting).then((runs) => {
      const failed = runs.find((run) => run.status === 'rejected')
      return failed === undefined || this.noteError(failed.reason)
    })
  }

  /** Makes what was written durable. */
  flush(): Outcome {
    return this.attempt(() => this.options.store.flush())
  }

  /** Makes what was written durable once something else has gone well. */
  flushBehind(done: Outcome): Outcome {
    if (typeof done === 'boolean') return done && this.flush()
    return done.then((okay) => okay && this.flush())
  }

  /** Discards bytes of a store that can. */
  discard(start: number, length: number): Outcome {
    const { store } = this.options
    return this.attempt(() => (length <= DISCARD_PIECE ? store.discard?.(start, length) : this.discardInPieces(start, length)))
  }

  private write(offset: number, from: number, length: number): void | Promise<void> {
    const { store, memory } = this.options
    return store.write(offset, memory.bytes.subarray(from, from + length))
  }

  private read(offset: number, from: number, length: number): void | Promise<void> {
    const { store, memory } = this.options
    const done = store.read(offset, memory.bytes.subarray(from, from + length))
    if (done !== undefined) return Promise.resolve(done).then(() => markWritten(memory, from, length))
    markWritten(memory, from, length)
    return undefined
  }

  /** Long discards follow one another: however many the ring holds, a turn carries out one piece of one of them. */
  private discardInPieces(start: number, length: number): Promise<void> {
    const work = this.lastDiscard.then(async () => {
      for (let done = 0; done < length && !this.stopped; done += DISCARD_PIECE) {
        await this.options.store.discard?.(start + done, Math.min(DISCARD_PIECE, length - done))
        await this.options.pause()
      }
    })
    this.lastDiscard = work.catch(() => undefined)
    return work
  }

  /** Calls the store; an exception is an error that came at once. */
  private attempt(call: () => void | Promise<void>): Outcome {
    try {
      const done = call()
      // A store of a user's may answer what is no promise.
      return done === undefined ? true : Promise.resolve(done).then(() => true, (error: unknown) => this.noteError(error))
    } catch (error) {
      return this.noteError(error)
    }
  }

  private noteError(error: unknown): false {
    this.lastError = error
    this.options.onStoreFailed(error)
    return false
  }
}

/** Notes that a store has written into these bytes of host memory. */
export function markWritten(memory: HypercallPort['memory'], from: number, length: number): void {
  const last = Math.floor((from + length - 1) / PAGE_SIZE)
  for (let frame = Math.floor(from / PAGE_SIZE); frame <= last; frame += 1) memory.markWritten(frame)
}
