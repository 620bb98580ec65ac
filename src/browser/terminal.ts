/** A console at a terminal: xterm.js, or whatever has its two calls. */
import { checkArgument, having } from '../util/index.ts'

/** What ends a listener. */
export interface Disposer {
  /** Ends it. */
  dispose(): void
}

/** What is used of a terminal; `@xterm/xterm`'s has it. */
export interface TerminalLike {
  /** Shows bytes; calls `then` when they are shown. */
  write(data: Uint8Array, then?: () => void): void
  /** Calls `listener` with what is typed, until it is disposed of. */
  onData(listener: (data: string) => void): Disposer
}

/** What is used of a console, of this process or of another one. */
export interface ConsoleLike {
  /** What was said and is said, as it comes. */
  output(): AsyncIterable<Uint8Array>
  /** Types. */
  write(data: string): Promise<unknown>
}

/** A console at a terminal. */
export interface TerminalConnection {
  /** Takes the terminal off; the domain goes on. */
  close(): void
  /** Resolves when the domain is gone, or the terminal was taken off. Rejects with what reading or writing rejects with. */
  readonly closed: Promise<void>
}

/**
 * Shows what a console says, from what is kept of before, and types what is typed. Output is read no faster than the terminal shows
 * it; keys are typed in their order.
 *
 * @example
 * const terminal = new Terminal()
 * terminal.open(document.body)
 * const connection = connectTerminal((await host.domain('linux')).console, terminal)
 */
export function connectTerminal(console: ConsoleLike, terminal: TerminalLike): TerminalConnection {
  checkArgument('the console', console, having('output', 'write'))
  checkArgument('the terminal', terminal, having('write', 'onData'))
  let fail: (error: unknown) => void = () => undefined
  let end: () => void = () => undefined
  const ended = new Promise<undefined>((resolve, reject) => {
    end = () => resolve(undefined)
    fail = reject
  })
  let typing: Promise<unknown> = Promise.resolve()
  const keys = terminal.onData((data) => { typing = typing.then(() => console.write(data)).catch(fail) })
  const show = async (): Promise<void> => {
    const output = console.output()[Symbol.asyncIterator]()
    try {
      for (;;) {
        const next = await Promise.race([output.next(), ended])
        if (next === undefined || next.done === true) return
        await Promise.race([new Promise<void>((resolve) => terminal.write(next.value, resolve)), ended])
      }
    } finally {
      keys.dispose()
      // Nobody waits for an output that says nothing more.
      void Promise.resolve(output.return?.()).catch(() => undefined)
    }
  }
  const closed = show()
  // Whoever does not look at it hears of nothing.
  closed.catch(() => undefined)
  return { close: end, closed }
}
