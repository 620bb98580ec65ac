/** `paravirt xl`: manages a host in a process of its own, as Xen's tool does. */
import { verbLines } from '../xl/verbs.ts'
import { xl, XEND_WORDS } from '../xl/terminal.ts'
import type { Command } from './command.ts'

const TOOL = 'paravirt xl'

/** The command. */
export const xlCommand: Command = {
  name: 'xl', usage: 'COMMAND [WORD ...]', summary: "manages a host in a process of its own, as Xen's tool does", takes: [1, Infinity], options: {}, hasOwnOptions: true,
  run: ({ args }) => xl(args, { tool: TOOL }),
  help: [
    `${TOOL} xend ${XEND_WORDS} starts a host and serves it at`,
    'a socket ($XEND_SOCKET, or .xend.sock in $XDG_RUNTIME_DIR or at home) that is this user\'s alone, until it is interrupted; files that',
    'descriptions name count from where it runs. Every other command connects to it:', '',
    ...verbLines(TOOL).map((line) => `  ${line}`),
  ],
}
