/**
 * What a console has shown: the last of it, and its readers, each at a place of its own, who wait for more. Where the bytes come from
 * is somebody else's.
 */
import { abortSignal, checkOptions, flag } from '../../util/index.ts'
import { ByteLog, type ByteLogState } from './byte-log.ts'

/** How output is read. */
export interface ConsoleOutputOptions {
  /** Ends the reading when aborted. */
  readonly signal?: AbortSignal
  /** Begins with the output from now on, not with the oldest that is kept. */
  readonly fromNow?: boolean
}

/** A log with readers. */
export class ConsoleLog {
  private readonly log: ByteLog
  private readonly readers = new Set<() => void>()
  private readonly turn: () => void
  private closed = false
  private rewinds = 0

  /** Keeps the last `limit` bytes; `turn` lets JavaScript have its turn soon, when readers were woken. */
  constructor(limit: number, turn: () => void) {
    this.log = new ByteLog(limit)
    this.turn = turn
  }

  /** How often it was taken back: what was read of it before is another. */
  get rewound(): number {
    return this.rewinds
  }

  /** Bytes that were shown in all, kept or not. */
  get total(): number {
    return this.log.end
  }

  /** The output that is kept, oldest first. */
  history(): Uint8Array {
    return this.log.since(0)
  }

  /** Adds what was shown. */
  append(bytes: Uint8Array): void {
    this.log.append(bytes)
    this.wake()
  }

  /** Changes how much is kept. */
  resize(limit: number): void {
    this.log.resize(limit)
  }

  /** The output as it comes; ends when the log has ended. A reader that is too slow misses what there was no room for. */
  output(options: ConsoleOutputOptions = {}): AsyncGenerator<Uint8Array, void> {
    checkOptions('console.output', options, { signal: abortSignal, fromNow: flag })
    return this.pieces(options)
  }

  /** Nothing more will come. */
  end(): void {
    this.closed = true
    this.wake()
  }

  /** What was written, as plain data. */
  save(): ByteLogState {
    return this.log.save()
  }

  /** Whether it is what a save of it said. */
  isAsSaved(state: ByteLogState): boolean {
    return this.log.isAsSaved(state)
  }

  /** What was saved. */
  load(state: ByteLogState): void {
    this.log.load(state)
  }

  /** Is what it was; readers go on with what comes. */
  takeBack(state: ByteLogState): void {
    this.log.load(state)
    this.rewinds += 1
    this.wake()
  }

  private async *pieces(options: ConsoleOutputOptions): AsyncGenerator<Uint8Array, void> {
    let place = options.fromNow === true ? this.log.end : 0
    let { rewinds } = this
    for (;;) {
      if (options.signal?.aborted === true) return
      if (rewinds !== this.rewinds) {
        rewinds = this.rewinds
        place = this.log.end
      }
      if (place < this.log.end) {
        const bytes = this.log.since(place)
        place = this.log.end
        yield bytes
      } else if (this.closed) {
        return
      } else {
        await this.more(options.signal)
      }
    }
  }

  private more(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.readers.delete(done)
        signal?.removeEventListener('abort', done)
        resolve()
      }
      this.readers.add(done)
      signal?.addEventListener('abort', done)
    })
  }

  private wake(): void {
    if (this.readers.size === 0) return
    this.turn()
    for (const wake of [...this.readers]) wake()
  }
}
