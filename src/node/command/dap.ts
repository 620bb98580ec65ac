/** `paravirt dap`: a debug adapter on standard input and output, which an editor starts. */
import { isAbsolute, resolve } from 'node:path'
import { recordRun } from '../../debug/index.ts'
import type { Host } from '../../toolstack/index.ts'
import { XenError } from '../../util/index.ts'
import { serveDebugAdapter } from '../debug-adapter.ts'
import type { Command } from './command.ts'
import { startDescribed } from './run.ts'

/** What is taken of a launch configuration. */
interface LaunchConfiguration {
  readonly program: string
  readonly memory: string | undefined
  readonly history: boolean
}

function configurationOf(given: Readonly<Record<string, unknown>>): LaunchConfiguration {
  const { program, memory, history, cwd } = given
  if (typeof program !== 'string') throw new XenError('INVALID_ARGUMENT', 'the launch configuration needs "program": the description file of a domain')
  if (memory !== undefined && typeof memory !== 'string') throw new XenError('INVALID_ARGUMENT', '"memory" is the host\'s, as "1G"')
  return { program: isAbsolute(program) ? program : resolve(typeof cwd === 'string' ? cwd : '.', program), memory, history: history !== false }
}

/** The command. */
export const dapCommand: Command = {
  name: 'dap', usage: '', summary: 'is a debug adapter for editors, on standard input and output', takes: [0, 0],
  run: async () => {
    const hosts: Host[] = []
    const launch = async (given: Readonly<Record<string, unknown>>): Promise<{ readonly host: Host; readonly domain: number; readonly run?: Awaited<ReturnType<typeof recordRun>> }> => {
      const { program, memory, history } = configurationOf(given)
      const { host, domain } = await startDescribed(program, { memory, clock: 'virtual', paused: true })
      hosts.push(host)
      return { host, domain: domain.id, ...(history ? { run: await recordRun(host) } : {}) }
    }
    try {
      await serveDebugAdapter({ input: process.stdin, output: process.stdout, launch })
    } finally {
      for (const host of hosts) await host.shutdown()
    }
    return 0
  },
  help: [
    'An editor that speaks the Debug Adapter Protocol starts it, and launches "program", a description file, as those of /etc/xen: the domain stands',
    'before its first instruction. "memory" is the host\'s (1G); "history": false records nothing, so that there are no steps back; "stopOnEntry": false',
    'lets it run at once. It needs the package @vscode/debugadapter. docs/debugging.md has a launch configuration for VS Code.',
  ],
  options: {},
}
