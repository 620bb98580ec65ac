/**
 * The console of a guest: the front-end of the console ring that every domain has from the start. Output goes into the
 * shared page as it fits and waits in the guest otherwise; input comes as bytes or as lines. It is no XenBus device:
 * page and port stand in the boot information.
 *
 * Reference: public/io/console.h.
 */
import { BytePipe, CONSOLE_PIPE } from '../rings/index.ts'
import { type EventPort, type Quiescible, type Stateful, sameState } from '../util/index.ts'
import { shape, XenError } from '../util/index.ts'
import type { Page } from './pages.ts'

const encoder = /* @__PURE__ */ new TextEncoder()
const decoder = /* @__PURE__ */ new TextDecoder()

/** Bytes of output that may wait for the back-end; more is dropped and counted. */
export const CONSOLE_OUTPUT_LIMIT = 1 << 20
/** Bytes of input that may wait for a reader; beyond, input stays in the ring and the back-end has to wait. */
export const CONSOLE_INPUT_LIMIT = 1 << 16

/** A saved console: one that nobody waits for. */
export interface ConsoleState {
  readonly dropped: number
  /** What is not in the page yet. */
  readonly output: Uint8Array
  /** What was taken out of the page and not given to anybody. */
  readonly input: Uint8Array
  /** Whether input goes to a handler. */
  readonly handled: boolean
  /** Whether the page's indexes were impossible. */
  readonly broken: boolean
  readonly afterReturn: boolean
}

/** What it must look like. */
export const consoleState = /* @__PURE__ */ shape.record<ConsoleState>({
  dropped: shape.time,
  output: /* @__PURE__ */ shape.array(Uint8Array, 0, CONSOLE_OUTPUT_LIMIT),
  input: /* @__PURE__ */ shape.array(Uint8Array, 0, CONSOLE_INPUT_LIMIT),
  handled: shape.flag, broken: shape.flag, afterReturn: shape.flag,
})

/** What the console needs of its guest. */
export interface ConsoleServices {
  /** Hears a port; returns it. */
  listen(port: EventPort, handler: () => void): EventPort
  /** Wakes the back-end; a negative error number when the port is not open. */
  notify(port: EventPort): number
  /** A promise was resolved: JavaScript is to have a turn. */
  turn(): void
}

const NEWLINE = 10
const CARRIAGE_RETURN = 13

/** The guest's end of its console. */
export class GuestConsole implements Stateful<ConsoleState>, Quiescible {
  /** Output bytes that were dropped because too many waited. */
  dropped = 0
  private readonly pipe: BytePipe
  private readonly port: EventPort
  private readonly services: ConsoleServices
  private output: Uint8Array[] = []
  private waitingOutput = 0
  private input: Uint8Array = new Uint8Array(0)
  private handler: ((bytes: Uint8Array) => void) | undefined
  /** Input went to a handler when the console was saved, and nobody has given it one since. */
  private wantsHandler = false
  private readonly readers: ((line: string) => void)[] = []
  private readonly flushers: (() => void)[] = []
  private broken = false
  /** The last line ended with CR, so that an LF that follows belongs to it. */
  private afterReturn = false

  constructor(page: Page, port: EventPort, services: ConsoleServices) {
    this.pipe = new BytePipe(page.view, page.base, CONSOLE_PIPE)
    this.port = port
    this.services = services
    services.listen(port, () => this.onEvent())
  }

  /** Writes text or bytes; never waits. */
  write(data: string | Uint8Array): void {
    const bytes = typeof data === 'string' ? encoder.encode(data) : data.slice()
    if (this.broken || this.waitingOutput + bytes.length > CONSOLE_OUTPUT_LIMIT) {
      this.dropped += bytes.length
      return
    }
    this.output.push(bytes)
    this.waitingOutput += bytes.length
    if (this.drain()) this.services.notify(this.port)
  }

  /** Writes a line. */
  log(line: string): void {
    this.write(`${line}\r\n`)
  }

  /** Resolves when everything written so far is in the ring. */
  flush(): Promise<void> {
    if (this.waitingOutput === 0) return Promise.resolve()
    return new Promise((resolve) => this.flushers.push(resolve))
  }

  /** Hands all input to `handler` as it comes, instead of collecting lines. */
  onInput(handler: (bytes: Uint8Array) => void): void {
    if (this.handler !== undefined) throw new XenError('INVALID_STATE', 'the console has an input handler already')
    this.handler = handler
    // One that was there before has had what there was; looking again would be more than going on.
    if (!this.wantsHandler) this.onEvent()
    this.wantsHandler = false
  }

  /** The next line of input without its end; lines end with CR, LF or both. */
  readLine(): Promise<string> {
    if (this.handler !== undefined) {
      return Promise.reject(new XenError('INVALID_STATE', 'console input goes to a handler'))
    }
    return new Promise((resolve) => {
      this.readers.push(resolve)
      this.giveLines()
      this.onEvent()
    })
  }

  /** Lines of input, without end. */
  async *lines(): AsyncGenerator<string, never> {
    for (;;) yield await this.readLine()
  }

  /** Bytes of output that are not yet in the ring. */
  get pendingOutput(): number {
    return this.waitingOutput
  }

  // State

  /** Code that waits for input or for room; undefined when none does. */
  underWay(): string | undefined {
    if (this.readers.length > 0) return 'a wait for a line of its console'
    return this.flushers.length > 0 ? 'a wait for its console to take output' : undefined
  }

  save(): ConsoleState {
    const output = new Uint8Array(this.waitingOutput)
    let at = 0
    for (const piece of this.output) {
      output.set(piece, at)
      at += piece.length
    }
    const { dropped, broken, afterReturn } = this
    return { dropped, output, input: this.input.slice(), handled: this.handler !== undefined || this.wantsHandler, broken, afterReturn }
  }

  /** Told at once where no output waits. */
  isAsSaved({ dropped, output, input, handled, broken, afterReturn }: ConsoleState): boolean {
    return this.waitingOutput === 0 && output.length === 0 && dropped === this.dropped && broken === this.broken && afterReturn === this.afterReturn
      && handled === (this.handler !== undefined || this.wantsHandler) && sameState(this.input, input)
  }

  load({ dropped, output, input, handled, broken, afterReturn }: ConsoleState): void {
    Object.assign(this, { dropped, broken, afterReturn, input: input.slice(), wantsHandler: handled })
    this.output = output.length === 0 ? [] : [output.slice()]
    this.waitingOutput = output.length
  }

  /** Whether input went to a handler before a load, and goes to none now. */
  get unattached(): boolean {
    return this.wantsHandler
  }

  private onEvent(): void {
    const wrote = this.drain()
    const read = this.collect()
    if (wrote || read) this.services.notify(this.port)
  }

  /** Moves waiting output into the ring; true when some was moved. */
  private drain(): boolean {
    let moved = false
    while (this.output.length > 0) {
      const first = this.output[0]!
      const count = this.pipe.output.write(first)
      if (count === undefined) return this.breakDown()
      if (count === 0) break
      moved = true
      this.waitingOutput -= count
      if (count < first.length) this.output[0] = first.subarray(count)
      else this.output.shift()
    }
    if (this.waitingOutput === 0 && this.flushers.length > 0) {
      this.services.turn()
      for (const resolve of this.flushers.splice(0)) resolve()
    }
    return moved
  }

  /** Takes input out of the ring; true when some was taken. */
  private collect(): boolean {
    let taken = false
    const room = (): number => CONSOLE_INPUT_LIMIT - (this.handler === undefined ? this.input.length : 0)
    for (;;) {
      const chunk = new Uint8Array(Math.min(this.pipe.input.size, room()))
      const count = this.pipe.input.read(chunk)
      if (count === undefined) return this.breakDown()
      if (count === 0) break
      taken = true
      this.accept(chunk.subarray(0, count))
    }
    return taken
  }

  private accept(bytes: Uint8Array): void {
    if (this.handler !== undefined) {
      this.handler(bytes)
      return
    }
    const joined = new Uint8Array(this.input.length + bytes.length)
    joined.set(this.input)
    joined.set(bytes, this.input.length)
    this.input = joined
    this.giveLines()
  }

  private giveLines(): void {
    while (this.readers.length > 0) {
      if (this.afterReturn && this.input[0] === NEWLINE) this.input = this.input.slice(1)
      if (this.input.length > 0) this.afterReturn = false
      const found = this.input.findIndex((byte) => byte === NEWLINE || byte === CARRIAGE_RETURN)
      // A line that fills the buffer is given as it is: its end would never fit.
      if (found < 0 && this.input.length < CONSOLE_INPUT_LIMIT) return
      const end = found < 0 ? this.input.length : found
      const line = decoder.decode(this.input.subarray(0, end))
      this.afterReturn = this.input[end] === CARRIAGE_RETURN
      this.input = this.input.slice(end + 1)
      this.services.turn()
      this.readers.shift()!(line)
    }
  }

  /** The back-end wrote impossible indexes: the console is dead, the guest lives on. */
  private breakDown(): false {
    this.broken = true
    this.dropped += this.waitingOutput
    this.output = []
    this.waitingOutput = 0
    return false
  }
}
