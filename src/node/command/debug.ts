/** `paravirt debug`: a domain of a description file, which stands before its first instruction until gdb comes. */
import { writeFile } from 'node:fs/promises'
import { kernelSymbols, recordRun, type DebugOptions } from '../../debug/index.ts'
import { thrownMessage, XenError } from '../../util/index.ts'
import { listenGdb } from '../gdb-socket.ts'
import { textOf, type Command } from './command.ts'
import { runDomain } from './run.ts'
import type { Domain, Host } from '../../toolstack/index.ts'

/** The port that is asked for. Throws INVALID_ARGUMENT. */
function portOf(text: string | undefined): number {
  if (text !== undefined && !/^\d{1,5}$/.test(text)) throw new XenError('INVALID_ARGUMENT', `${text} is no port`, { details: { port: text } })
  return Number(text ?? 0)
}

/** Writes the kernel's symbols as a file for gdb. Throws NOT_SUPPORTED where there are none, IO. */
async function writeSymbols(host: Host, domain: Domain, file: string): Promise<void> {
  const table = kernelSymbols(host, domain)
  if (table === undefined) throw new XenError('NOT_SUPPORTED', 'the kernel has no symbols in its memory: it is no Linux, or has no kallsyms', { details: { domid: domain.id } })
  await writeFile(file, table.toElf()).catch((cause: unknown) => {
    throw new XenError('IO', `${file} cannot be written: ${thrownMessage(cause)}`, { details: { file }, cause })
  })
}

/** Processes by names and numbers, with commas between them. */
function processesOf(text: string | undefined): DebugOptions['processes'] {
  if (text === undefined || text === 'all') return text
  return text.split(',').filter((word) => word !== '').map((word) => (/^\d{1,7}$/.test(word) ? Number(word) : word))
}

/** The command. */
export const debugCommand: Command = {
  name: 'debug', usage: 'FILE [OPTION ...]', summary: 'has a domain of a description file wait for gdb', takes: [1, 1],
  run: ({ args: [file], values }, terminal) => {
    const port = portOf(textOf(values, 'port'))
    const isRecorded = values['no-history'] !== true
    const before = async (host: Host, domain: Domain): Promise<void> => {
      const symbols = textOf(values, 'symbols')
      if (symbols !== undefined) await writeSymbols(host, domain, symbols)
      const run = isRecorded ? await recordRun(host) : undefined
      const processes = processesOf(textOf(values, 'processes'))
      const listener = await listenGdb(host, domain, { port, run, processes })
      const where = `gdb -ex 'target remote localhost:${listener.port}'`
      if (processes === undefined) return terminal.error(`waiting before the first instruction: ${where} ${symbols ?? 'KERNEL'}`)
      // There are none before the kernel has begun one.
      domain.unpause()
      terminal.error(`its processes, once they are there: ${where} PROGRAM`)
    }
    return runDomain(file!, values, { before, isRecorded })
  },
  help: [
    'FILE is a description file, as those of /etc/xen. The domain stands before its first instruction until a debugger lets it go on;',
    'its console is connected to this terminal, as run does it. What it does is recorded, so that gdb can go back: reverse-step,',
    'reverse-continue. docs/debugging.md tells what gdb can do there.',
  ],
  options: {
    port: { type: 'string', value: 'PORT', help: 'of the loopback address; any that is free unless said' },
    processes: { type: 'string', value: 'NAMES', help: "has gdb see a Linux' processes of these names and numbers, or all: the domain runs until gdb comes" },
    symbols: { type: 'string', value: 'FILE', help: "writes the symbols that Linux carries in its memory there, for gdb" },
    'no-history': { type: 'boolean', help: 'records nothing: gdb cannot go back, and the host goes on while the domain stands' },
    memory: { type: 'string', value: 'SIZE', help: "the host's (1G)" },
    until: { type: 'string', value: 'PATTERN', help: 'ends as soon as the console has shown it' },
  },
}
