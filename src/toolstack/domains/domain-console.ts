/**
 * A domain's console as a two-way stream: the console back-end's stream, with waiting for text on top. The output is
 * kept (a megabyte of it), so that nothing is missed between creating a domain and reading its console. Text is in lines
 * that end with a line feed alone, whatever carriage returns the guest's terminal adds; bytes are as the guest wrote them.
 */
import type { ConsoleEvent, ConsoleOutputOptions, ConsoleStream } from '../../drivers/index.ts'
import {
  abortSignal, checkArgument, checkOptions, flag, shown, timeLimit, whole, XenError, type Check, type EventSource,
} from '../../util/index.ts'
import { crashError, type DomainCrash } from '../crash/domain-crash.ts'
import { ConsoleText } from './console-text.ts'
import { abortedError } from '../run/operation.ts'
import type { Inputs } from '../run/inputs.ts'
import type { RunLoop, UntilOptions } from '../run/run-loop.ts'

/** How text is awaited. */
export interface WaitForOptions extends UntilOptions {
  /** Looks at the text from this character on; default: behind the last match. */
  readonly from?: number | undefined
  /** Looks at the output with its carriage returns. Default false: lines end with `\n`. */
  readonly raw?: boolean | undefined
}

/** How text is asked for. */
export interface ConsoleTextOptions {
  /** With the guest's carriage returns. Default false. */
  readonly raw?: boolean | undefined
}

/** What a console needs of its host. */
export interface ConsoleHost {
  readonly loop: RunLoop
  readonly inputs: Inputs
  /** Gives JavaScript a turn soon. */
  turn(): void
  /** How the domain has crashed; undefined while it has not. */
  crash(): DomainCrash | undefined
}

const pattern: Check = (value) =>
  (typeof value === 'string' && value !== '') || value instanceof RegExp ? undefined : 'must be a text that is not empty, or a RegExp'
const typed: Check = (value) =>
  typeof value === 'string' || value instanceof Uint8Array ? undefined : `must be a text or bytes, got ${shown(value)}`
const WAIT_CHECKS = {
  signal: abortSignal, timeout: timeLimit, from: /* @__PURE__ */ whole(0, Number.MAX_SAFE_INTEGER), raw: flag,
}

/** What is waited for, so that it stands out in a sentence. */
const quoted = (wanted: string | RegExp): string => (typeof wanted === 'string' ? JSON.stringify(wanted) : String(wanted))

/** Makes the console of a domain out of the back-end's stream; not published. */
export let openConsole: (stream: ConsoleStream, host: ConsoleHost) => DomainConsole
/** The character, in lines, behind the last match: where `waitFor` goes on. For saved hosts; not published. */
export let consolePlace: { of(console: DomainConsole): number; move(console: DomainConsole, place: number): void }

/** One domain's console. */
export class DomainConsole implements AsyncIterable<Uint8Array> {
  private readonly stream: ConsoleStream
  private readonly host: ConsoleHost
  private readonly decoder = new TextDecoder()
  private readonly seen = new ConsoleText()
  private over = false

  static {
    openConsole = (stream, host) => new DomainConsole(stream, host)
    consolePlace = { of: ({ seen }) => seen.from, move: ({ seen }, place) => seen.moveTo(place, false) }
  }

  private constructor(stream: ConsoleStream, host: ConsoleHost) {
    this.stream = stream
    this.host = host
    stream.events.on('output', ({ bytes }) => {
      this.take(bytes)
      // Whether somebody listens makes no difference to how far a run goes.
      host.turn()
    })
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

  /** What the guest has written, as lines of text; of very long output the last megabyte. */
  text(options: ConsoleTextOptions = {}): string {
    checkOptions('console.text', options, { raw: flag })
    return options.raw === true ? this.seen.raw : this.seen.lines
  }

  /** The last megabyte of what the guest has written. */
  history(): Uint8Array {
    return this.stream.history()
  }

  /** Types into the console; resolves when the guest's ring has taken all of it. */
  async write(data: string | Uint8Array): Promise<void> {
    checkArgument('the data of console.write', data, typed)
    const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data.slice()
    const written = this.host.inputs.enter(() => ({ source: 'console', domid: this.stream.domid, bytes }), () => this.stream.write(bytes))
    this.host.loop.kick()
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
   * Waits until the text behind the last match holds `pattern`, and moves the place behind it. Lines end with `\n`, and a
   * RegExp's `^` and `$` stand for the ends of lines. Rejects with DOMAIN_CRASHED or CLOSED when the domain ends before,
   * with TIMED_OUT or ABORTED as told, with IDLE when nothing can happen any more.
   *
   * @example
   * await domain.console.waitFor('grub>')
   * await domain.console.write('echo hello\r')
   * const [, word] = await domain.console.waitFor(/^(hel\w+)$/)
   */
  async waitFor(wanted: string | RegExp, options: WaitForOptions = {}): Promise<RegExpExecArray> {
    checkArgument('the pattern of console.waitFor', wanted, pattern)
    checkOptions('console.waitFor', options, WAIT_CHECKS)
    const { from, signal, timeout, raw = false } = options
    if (from !== undefined) this.seen.moveTo(from, raw)
    const match = (): RegExpExecArray | undefined => this.seen.find(wanted, raw)
    let looked = this.seen.revision
    let found = match()
    if (signal?.aborted === true) throw abortedError(`waiting for ${quoted(wanted)}`, signal)
    if (found === undefined) {
      this.host.loop.present()
      await this.host.loop.until(`${quoted(wanted)} on the console of domain ${this.stream.domid}`, () => {
        // The loop asks far more often than the guest speaks.
        if (looked !== this.seen.revision) {
          looked = this.seen.revision
          found = match()
        }
        if (found === undefined) this.checkAlive(wanted)
        return found !== undefined
      }, { signal, timeout }).catch((error: unknown) => {
        throw XenError.is(error, 'TIMED_OUT') ? this.failure('TIMED_OUT', 'did not show in time', wanted) : error
      })
    }
    this.seen.moveBehind(found!, raw)
    return found!
  }

  /** Throws when nothing more will come. */
  private checkAlive(wanted: string | RegExp): void {
    const crash = this.host.crash()
    if (crash !== undefined) {
      const tail = this.seen.lines.slice(-500)
      const what = `the console of domain ${crash.id} will not show ${quoted(wanted)} (its last words: ${JSON.stringify(tail)})`
      throw crashError(crash, what, { pattern: String(wanted), tail })
    }
    if (this.over) throw this.failure('CLOSED', 'ended before it showed', wanted)
  }

  /** The error of waiting in vain, with the last that was shown. */
  private failure(code: 'CLOSED' | 'TIMED_OUT', what: string, wanted: string | RegExp): XenError {
    const tail = this.seen.lines.slice(-500)
    return new XenError(
      code,
      `the console of domain ${this.stream.domid} ${what} ${quoted(wanted)}; its last words: ${JSON.stringify(tail)}`,
      {
        details: { domid: this.stream.domid, pattern: String(wanted), tail },
      },
    )
  }

  private take(bytes: Uint8Array): void {
    this.seen.add(this.decoder.decode(bytes, { stream: true }))
  }
}
