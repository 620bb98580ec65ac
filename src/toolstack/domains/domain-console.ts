/**
 * A domain's console as a two-way stream: the console back-end's stream, with waiting for text on top. The output is
 * kept (a megabyte of it), so that nothing is missed between creating a domain and reading its console. Text is in lines
 * that end with a line feed alone, whatever carriage returns the guest's terminal adds; bytes are as the guest wrote them.
 */
import type { ConsoleEvent, ConsoleOutputOptions, ConsoleStream } from '../../drivers/index.ts'
import {
  abortSignal, anything, checkArgument, checkOptions, flag, shown, timeLimit, whole, XenError, type Check, type DomId, type EventSource,
} from '../../util/index.ts'
import { crashError, type DomainCrash } from '../crash/domain-crash.ts'
import { alternativesOf, alternativesText, findLine, type Alternatives, type FoundLine, type LineMatch, type LinePatterns } from './console-expectation.ts'
import { ConsoleText } from './console-text.ts'
import { abortedError } from '../run/operation.ts'
import type { HostInput, Inputs } from '../run/inputs.ts'
import type { RunLoop, UntilOptions } from '../run/run-loop.ts'

/** How text is awaited. */
export interface WaitForOptions extends UntilOptions {
  /** Looks at the text from this character on; default: behind the last match. */
  readonly from?: number | undefined
  /** Looks at the output with its carriage returns. Default false: lines end with `\n`. */
  readonly raw?: boolean | undefined
}

/** How a line is awaited. */
export interface ExpectOptions extends UntilOptions {
  /** Lines that must not come before: one of them rejects at once with INVALID_STATE. */
  readonly unless?: LinePatterns | undefined
}

/** How text is asked for. */
export interface ConsoleTextOptions {
  /** With the guest's carriage returns. Default false. */
  readonly raw?: boolean | undefined
}

/** Where its output comes from, and what is typed goes to. */
export type ConsoleSource = Pick<ConsoleStream, 'domid' | 'events' | 'rewound' | 'history' | 'output'> & {
  /** Name of the channel that it is of; undefined for a domain's own console. */
  readonly channel?: string | undefined
  write(data: Uint8Array): Promise<void>
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
const EXPECT_CHECKS = { signal: abortSignal, timeout: timeLimit, unless: anything }

/** What is waited for, so that it stands out in a sentence. */
const quoted = (wanted: string | RegExp): string => (typeof wanted === 'string' ? JSON.stringify(wanted) : String(wanted))

/** What is waited for: as it stands in a sentence, and as it was given. */
interface Sought {
  readonly text: string
  readonly pattern: string
}

/** Makes the console of a domain out of the back-end's stream; not published. */
export let openConsole: (stream: ConsoleSource, host: ConsoleHost) => DomainConsole
/** The character, in lines, behind the last match: where `waitFor` goes on. For saved hosts; not published. */
export let consolePlace: { of(console: DomainConsole): number; move(console: DomainConsole, place: number): void; reread(console: DomainConsole): void }

/** One domain's console. */
export class DomainConsole implements AsyncIterable<Uint8Array> {
  private readonly stream: ConsoleSource
  private readonly host: ConsoleHost
  private decoder = new TextDecoder()
  private seen = new ConsoleText()
  private rewound: number
  private over = false

  static {
    openConsole = (stream, host) => new DomainConsole(stream, host)
    consolePlace = { of: ({ seen }) => seen.from, move: ({ seen }, place) => seen.moveTo(place, false), reread: (console) => console.reread() }
  }

  private constructor(stream: ConsoleSource, host: ConsoleHost) {
    this.stream = stream
    this.host = host
    this.rewound = stream.rewound
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

  /** Number of the domain. */
  get domid(): DomId {
    return this.stream.domid
  }

  /** Name of the channel that it is; undefined for the domain's own console. */
  get channel(): string | undefined {
    return this.stream.channel
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
    const written = this.host.inputs.enter(() => this.typedInput(bytes), () => this.stream.write(bytes))
    this.host.loop.kick()
    await written
  }

  /** What is typed, as it comes in by the host's door. */
  private typedInput(bytes: Uint8Array): HostInput {
    const { domid, channel } = this.stream
    return { source: 'console', domid, bytes, ...(channel === undefined ? {} : { channel }) }
  }

  /** What it is called in messages. */
  private get title(): string {
    const { domid, channel } = this.stream
    return `${channel === undefined ? 'console' : `channel ${channel}`} of domain ${domid}`
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
    if (signal?.aborted === true) throw abortedError(`waiting for ${quoted(wanted)}`, signal)
    const found = await this.find({ text: quoted(wanted), pattern: String(wanted) }, () => this.seen.find(wanted, raw), { signal, timeout })
    this.seen.moveBehind(found, raw)
    return found
  }

  /**
   * Waits for the next line that matches one of the alternatives, and goes on behind it. A line is one that has ended, or the
   * unfinished one at the end, such as a prompt. Rejects as `waitFor` does, and with INVALID_STATE when a line of `unless` comes first;
   * the error has the transcript since the last match.
   *
   * @example
   * const { which, line } = await domain.console.expect({ shell: '/ # ', panic: /Kernel panic/ }, { timeout: '30s' })
   */
  async expect(patterns: LinePatterns, options: ExpectOptions = {}): Promise<FoundLine> {
    checkOptions('console.expect', options, EXPECT_CHECKS)
    const wanted = alternativesOf(patterns, 'the pattern of console.expect')
    const unwanted: Alternatives = options.unless === undefined ? [] : alternativesOf(options.unless, 'console.expect: unless')
    const { signal, timeout } = options
    const text = alternativesText(wanted)
    const sought: Sought = { text, pattern: text }
    if (signal?.aborted === true) throw abortedError(`waiting for ${text}`, signal)
    const look = (): LineMatch | undefined => {
      const { lines, from } = this.seen
      const found = findLine(lines, from, wanted)
      const bad = findLine(lines, from, unwanted)
      if (bad === undefined || (found !== undefined && found.end <= bad.end)) return found
      throw this.failure('INVALID_STATE', `showed ${JSON.stringify(bad.line)} before`, sought)
    }
    const { end, ...found } = await this.find(sought, look, { signal, timeout })
    this.seen.moveTo(end, false)
    return found
  }

  /** Waits until something is found in the text; looks only when the guest has spoken. */
  private async find<T>(sought: Sought, look: () => T | undefined, { signal, timeout }: UntilOptions): Promise<T> {
    let looked = this.seen.revision
    let found = look()
    if (found !== undefined) return found
    this.host.loop.present()
    await this.host.loop.until(`${sought.text} on the ${this.title}`, () => {
      // The loop asks far more often than the guest speaks.
      if (looked !== this.seen.revision) {
        looked = this.seen.revision
        found = look()
      }
      if (found === undefined) this.checkAlive(sought)
      return found !== undefined
    }, { signal, timeout }).catch((error: unknown) => {
      throw XenError.is(error, 'TIMED_OUT') ? this.failure('TIMED_OUT', 'did not show in time', sought) : error
    })
    return found!
  }

  /** Throws when nothing more will come. */
  private checkAlive(sought: Sought): void {
    const crash = this.host.crash()
    if (crash !== undefined) {
      const tail = this.seen.lines.slice(-500)
      const what = `the ${this.title} will not show ${sought.text} (its last words: ${JSON.stringify(tail)})`
      throw crashError(crash, what, { pattern: sought.pattern, tail, transcript: this.transcript() })
    }
    if (this.over) throw this.failure('CLOSED', 'ended before it showed', sought)
  }

  /** What was shown behind the last match. */
  private transcript(): string {
    return this.seen.lines.slice(this.seen.from)
  }

  /** The error of waiting in vain, with the last that was shown. */
  private failure(code: 'CLOSED' | 'TIMED_OUT' | 'INVALID_STATE', what: string, sought: Sought): XenError {
    const tail = this.seen.lines.slice(-500)
    return new XenError(code, `the ${this.title} ${what} ${sought.text}; its last words: ${JSON.stringify(tail)}`, {
      details: { domid: this.stream.domid, pattern: sought.pattern, tail, transcript: this.transcript() },
    })
  }

  /** Begins anew where the stream's output was taken back. */
  private reread(): void {
    const { stream } = this
    if (this.rewound === stream.rewound) return
    this.rewound = stream.rewound
    this.decoder = new TextDecoder()
    this.seen = new ConsoleText()
    this.take(stream.history())
  }

  private take(bytes: Uint8Array): void {
    this.seen.add(this.decoder.decode(bytes, { stream: true }))
  }
}
