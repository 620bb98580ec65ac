/**
 * xm: manages a host as Xen's tool of 2005 did. `xm xend` starts a host and serves it; every other command is sent
 * there, over a socket at $XEND_SOCKET (default: .xend.sock in $XDG_RUNTIME_DIR, or at home). Files that descriptions
 * name count from where xend runs.
 *
 *   npx tsx examples/xm.ts xend [--memory SIZE] [--relocation PORT [--trust-senders]]
 *   npx tsx examples/xm.ts create examples/xen/fc4 kernel=examples/guests/mini/mini.elf 'disk=[]'
 *   npx tsx examples/xm.ts list
 *   npx tsx examples/xm.ts console fc4          Ctrl-] leaves it
 *   npx tsx examples/xm.ts help                 lists the commands
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { parseArgs } from 'node:util'
import { receive, send, socketPath, type Answer } from './xm/wire.ts'

const USAGE = 'usage: xm xend [--memory SIZE] [--relocation PORT [--trust-senders]] | xm COMMAND [WORD ...]; xm help lists the commands\n'
/** Ctrl-] leaves the console. */
const LEAVE = 0x1d

/** Starts a host. The library is loaded here alone: commands are quick. */
async function startXend(args: string[]): Promise<number> {
  const { values } = parseArgs({ args, options: {
    memory: { type: 'string', default: '1G' }, relocation: { type: 'string' },
    'trust-senders': { type: 'boolean', default: false },
  } })
  const { xend } = await import('./xm/xend.ts')
  const { memory, relocation, 'trust-senders': trustSenders } = values
  await xend({ memory, relocationPort: relocation === undefined ? undefined : Number(relocation), trustSenders })
  return 0
}

/** Sends a command; its exit status. */
async function command(words: readonly string[]): Promise<number> {
  const { stdin, stdout, stderr } = process
  const socket = connect(socketPath())
  await once(socket, 'connect')
  // An error is followed by the end of what comes.
  socket.on('error', () => undefined)
  send(socket, { words, folder: process.cwd() })
  let status: number | undefined
  const leave = (): void => {
    status = 0
    socket.end()
  }
  if (words[0] === 'console') {
    if (stdin.isTTY) stdin.setRawMode(true)
    stdin.on('data', (bytes: Buffer) => {
      if (bytes.includes(LEAVE)) leave()
      else send(socket, { typed: bytes.toString('latin1') })
    })
  }
  try {
    for await (const answer of receive<Answer>(socket)) {
      if ('out' in answer) stdout.write(Buffer.from(answer.out, 'latin1'))
      else if ('err' in answer) stderr.write(answer.err)
      else status = answer.status
    }
  } finally {
    if (stdin.isTTY) stdin.setRawMode(false)
    stdin.pause()
  }
  if (status === undefined) throw new Error('xend has ended')
  return status
}

const words = process.argv.slice(2)
try {
  if (words[0] === 'xend') process.exitCode = await startXend(words.slice(1))
  else if (words.length > 0) process.exitCode = await command(words)
  else {
    process.stderr.write(USAGE)
    process.exitCode = 2
  }
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException
  const nobody = code === 'ENOENT' || code === 'ECONNREFUSED'
  const reason = nobody ? `no xend listens at ${socketPath()}: start one by \`xm xend\`` : message
  process.stderr.write(`Error: ${reason}\n`)
  process.exitCode = 1
}
