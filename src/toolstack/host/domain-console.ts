/**
 * A domain's console as a two-way stream: the console back-end's stream, with waiting for text on top. The output is
 * kept (a megabyte of it), so that nothing is missed between creating a domain and reading its console.
 */
import type { ConsoleEvent, ConsoleOutputOptions, ConsoleStream } from '../../drivers/index.ts'
import { XenError, type EventSource } from '../../util/index.ts'
import { abortedError } from './operation.ts'
import type { RunLoop, UntilOptions } from './run-loop.ts'

/** How text is awaited. */
export interface WaitForOptions extends UntilOptions {
  /** Looks at the output from this character on; default: behind the last match. */
  readonly from?: number
}

/** Characters of output that are kept for patterns to be found in. */
const TEXT_LIMIT = 1 << 20

/** One domain's console. */
export class DomainConsole implements AsyncIterable<Uint8Array> {
  private readonly stream: ConsoleStream
  private readonly loop: RunLoop
  private readonly turn: () => void
  private readonly decoder = new TextDecoder()
  private seen = ''
  private waiting = 0
  private place = 0
  private over = false

  /** `turn` gives JavaScript a turn soon. @internal */
  constructor(stream: ConsoleStream, loop: RunLoop, turn: () => void) {
    this.stream = stream
    this.loop = loop
    this.turn = turn
    stream.events.on('output', ({ bytes }) => this.take(bytes))
    stream.events.on('closed', () => { this.over = true })
    this.take(stream.history())
  }

  /** What happens on the console. */
  get events(): EventSource<ConsoleEvent> {
    return this.stream.events
  }

  /** True once the domain is gone; nothing more will come. */
  get closed(): boolean {
    return this.over
  }

  /** What the guest has written, as text; of very long output the last megabyte. */
  text(): string {
    return this.seen
  }

  /** The last megabyte of what the guest has written. */
  history(): Uint8Array {
    return this.stream.history()
  }

  /** Types into the console; resolves when the guest's ring has taken all of it. */
  async write(data: string | Uint8Array): Promise<void> {
    const written = this.stream.write(data)
    this.loop.kick()
    await written
  }

  /** The output as it comes, for `for await`, from the oldest that is kept; ends when the domain is gone. */
  output(options?: ConsoleOutputOptions): AsyncIterable<Uint8Array> {
    return this.stream.output(options)
  }

  /** The same as `output()`. */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return this.output()[Symbol.asyncIterator]()
  }

  /**
   * Waits until the output behind the last match holds `pattern`, and moves the place behind it. Rejects with CLOSED
   * when the domain ends before, with TIMED_OUT or ABORTED as told.
   *
   * @example
   * await domain.console.waitFor('grub>')
   * await domain.console.write('echo hello\r')
   * const [, word] = await domain.console.waitFor(/echo hello\s+(\w+)/)
   */
  async waitFor(pattern: string | RegExp, options: WaitForOptions = {}): Promise<RegExpExecArray> {
    if (options.from !== undefined) this.place = options.from
    const match = (): RegExpExecArray | undefined => this.find(pattern)
    let found = match()
    if (options.signal?.aborted === true) throw abortedError(`waiting for ${String(pattern)}`, options.signal)
    if (found === undefined) {
      this.waiting += 1
      await this.loop.until(`${String(pattern)} on the console`, () => {
        found = match()
        if (found === undefined && this.over) throw this.failure('CLOSED', 'ended before it showed', pattern)
        return found !== undefined
      }, options).catch((error: unknown) => {
        throw XenError.is(error, 'TIMED_OUT') ? this.failure('TIMED_OUT', 'did not show in time', pattern) : error
      }).finally(() => { this.waiting -= 1 })
    }
    this.place = found!.index + found![0].length
    return found!
  }

  /** The error of waiting in vain, with the last that was shown. */
  private failure(code: 'CLOSED' | 'TIMED_OUT', what: string, pattern: string | RegExp): XenError {
    const tail = this.seen.slice(-500)
    return new XenError(
      code,
      `the console of domain ${this.stream.domain} ${what} ${String(pattern)}; its last words: ${JSON.stringify(tail)}`,
      {
        details: { domain: this.stream.domain, pattern: String(pattern), tail },
      },
    )
  }

  private find(pattern: string | RegExp): RegExpExecArray | undefined {
    const source = typeof pattern === 'string' ? pattern.replace(/[.*+?^${}()|[\]\\]/g, '\\$&') : pattern.source
    const flags = typeof pattern === 'string' ? 'g' : `${pattern.flags.replace(/[gy]/g, '')}g`
    const expression = new RegExp(source, flags)
    expression.lastIndex = this.place
    return expression.exec(this.seen) ?? undefined
  }

  private take(bytes: Uint8Array): void {
    this.seen += this.decoder.decode(bytes, { stream: true })
    if (this.seen.length > 2 * TEXT_LIMIT) {
      const cut = this.seen.length - TEXT_LIMIT
      this.seen = this.seen.slice(cut)
      this.place = Math.max(0, this.place - cut)
    }
    if (this.waiting > 0) this.turn()
  }
}
