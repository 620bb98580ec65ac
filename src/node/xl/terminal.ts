/** xl at a terminal: what is typed there, its interrupts, and `xend`, which starts the host that all other commands talk to. */
import { parseArgs } from 'node:util'
import { XenError } from '../../util/index.ts'
import { runXl } from './tool.ts'
import { xend } from './xend.ts'

/** Ctrl-] leaves the console. */
const LEAVE = 0x1d

/** Options of `xend`, for its usage. */
export const XEND_WORDS = '[--memory SIZE] [--relocation PORT [--trust-senders]]'

/** Starts a host and serves it until the process is told to end. Throws INVALID_ARGUMENT. */
async function startXend(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: {
    memory: { type: 'string', default: '1G' }, relocation: { type: 'string' }, 'trust-senders': { type: 'boolean', default: false },
  } })
  const { memory, relocation, 'trust-senders': trustSenders } = values
  if (relocation !== undefined && !/^\d{1,5}$/.test(relocation)) throw new XenError('INVALID_ARGUMENT', `--relocation must be a port, got ${relocation}`)
  await xend({ memory, relocationPort: relocation === undefined ? undefined : Number(relocation), trustSenders })
}

/** What is typed, until Ctrl-]. */
async function* typed(left: AbortController): AsyncGenerator<Uint8Array, void> {
  const { stdin } = process
  if (stdin.isTTY) stdin.setRawMode(true)
  try {
    for await (const bytes of stdin as AsyncIterable<Buffer>) {
      if (bytes.includes(LEAVE)) return left.abort()
      yield bytes
    }
  } finally {
    if (stdin.isTTY) stdin.setRawMode(false)
  }
}

/**
 * Carries a command of xl out in this process, `xend` among them; the status to exit with. An interrupt gives it up: it is undone. Throws what
 * `xend` is not started by.
 */
export async function xl(words: readonly string[], { tool = 'xl' }: { readonly tool?: string | undefined } = {}): Promise<number> {
  if (words[0] === 'xend') {
    await startXend(words.slice(1))
    return 0
  }
  const { stdin, stdout, stderr } = process
  const end = new AbortController()
  const stop = (): void => end.abort()
  process.once('SIGINT', stop).once('SIGTERM', stop)
  try {
    return await runXl(words, {
      tool, folder: process.cwd(), signal: end.signal, typed: typed(end), out: (bytes) => void stdout.write(bytes), err: (text) => void stderr.write(text),
    })
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop)
    stdin.destroy()
  }
}
