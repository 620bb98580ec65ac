/**
 * xm: manages a host as Xen's tool of 2005 did. `xm xend` starts a host and serves it; every other command
 * connects to it, over a socket at $XEND_SOCKET (default: .xend.sock in $XDG_RUNTIME_DIR, or at home), and has the host's own calls
 * there. Files that descriptions name count from where xend runs. It is `npx paravirt xl` under its older name.
 *
 *   npx tsx examples/xm.ts xend [--memory SIZE] [--relocation PORT [--trust-senders]]
 *   npx tsx examples/xm.ts create examples/xen/fc4 kernel=examples/guests/mini/mini.elf 'disk=[]'
 *   npx tsx examples/xm.ts list
 *   npx tsx examples/xm.ts console fc4          Ctrl-] leaves it
 *   npx tsx examples/xm.ts help                 lists the commands
 */
import { xl } from 'paravirt/node'

const USAGE = 'usage: xm xend [--memory SIZE] [--relocation PORT [--trust-senders]] | xm COMMAND [WORD ...]; xm help lists the commands\n'

const words = process.argv.slice(2)
try {
  if (words.length > 0) process.exitCode = await xl(words, { tool: 'xm' })
  else {
    process.stderr.write(USAGE)
    process.exitCode = 2
  }
} catch (error) {
  process.stderr.write(`Error: ${(error as Error).message}\n`)
  process.exitCode = 1
}
