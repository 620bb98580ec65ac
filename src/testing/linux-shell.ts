/** Linux's shell on a console, as BusyBox's disk starts it: commands are typed into it and answered. */
import type { Domain, Host } from '../toolstack/index.ts'
import type { Duration } from '../util/index.ts'

/** The shell's prompt, at the end of what is shown. */
const PROMPT = /\/ # (?:\u001b\[6n)?$/

/** Makes the terminal wide. */
export const WIDE_TERMINAL = 'stty cols 2000'

/** How a command is run. */
export interface CommandOptions {
  /** The status that it is to end with. Default 0. */
  readonly status?: number
  /** Host time that it may take, as `'90s'` or in nanoseconds. Default ten minutes. */
  readonly timeout?: Duration
}

/** What is known of a shell. */
export interface ShellState {
  /** `'narrow'`, the default: the first command makes it wide, since a narrow terminal's shell breaks the lines that it echoes. */
  readonly terminal?: 'narrow' | 'wide' | undefined
}

/** What was shown between two matches: all that is left, where the first is no longer in the text. */
function between(first: RegExpExecArray, last: RegExpExecArray): string {
  const begin = first.index + first[0].length
  const isThere = last.input.slice(first.index, begin) === first[0]
  return last.input.slice(isThere ? begin : 0, last.index)
}

/** A running Linux, and its shell. */
export class LinuxShell {
  readonly host: Host
  readonly domain: Domain
  private isWide: boolean
  private asked = 0

  constructor(host: Host, domain: Domain, { terminal = 'narrow' }: ShellState = {}) {
    this.host = host
    this.domain = domain
    this.isWide = terminal === 'wide'
  }

  /** Waits for the shell that init starts. */
  async ready(): Promise<this> {
    await this.domain.console.waitFor('initramfs: ready')
    await this.domain.console.waitFor(PROMPT)
    return this
  }

  /**
   * Waits for the shell and has it run a command of each kind that there is: what Linux does for the first time then - pages of the shell, of the terminal, of a
   * process - it need not do in each host that begins behind it.
   */
  async warm(): Promise<this> {
    await this.ready()
    await this.run('cat /dev/null; echo $((6 * 7))')
    return this
  }

  /**
   * Types one command; resolves with what it printed, once it has ended. Rejects when its status is another. Lines that begin as the
   * kernel's do, with a time in brackets, are taken for what it says on the console meanwhile and left out: `dmesg | sed 's/^.[^]]*. //'`
   * prints its log without them.
   */
  async run(command: string, { status = 0, timeout = '10min' }: CommandOptions = {}): Promise<string> {
    const { console } = this.domain
    if (!this.isWide) {
      await console.write(`${WIDE_TERMINAL}\r`)
      await console.waitFor(/cols 2000\n/, { timeout })
      await console.waitFor(PROMPT, { timeout })
      this.isWide = true
    }
    const word = `end-${++this.asked}`
    // What is typed is echoed: the word is spelled differently there.
    await console.write(`${command}; echo "${word.slice(0, 1)}""${word.slice(1)}:$?"\r`)
    const echo = await console.waitFor(/\$\?"\n/, { timeout })
    // The word alone: an expression that took what is before it would go through all of that again from each of its letters, whenever the guest says something.
    const end = await console.waitFor(new RegExp(`${word}:(\\d+)\\n`), { timeout })
    const output = between(echo, end)
    await console.waitFor(PROMPT, { timeout })
    // The kernel speaks on the same console.
    const text = output.replace(/^\[ *\d+\.\d+\] .*\n/gm, '')
    if (Number(end[1]) !== status) throw new Error(`${command} ended with ${end[1]!}:\n${text}`)
    return text.trim()
  }

  /** Ends its host, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.host.shutdown()
  }
}
