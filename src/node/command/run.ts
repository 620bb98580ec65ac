/** `paravirt run`: runs a domain that a description file describes, or the tests of a module once, plainly. */
import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { optionalDecompressor } from '../../decompress/index.ts'
import { explore } from '../../testing/index.ts'
import { Host, type Domain } from '../../toolstack/index.ts'
import { thrownMessage, XenError } from '../../util/index.ts'
import { nodeDisks } from '../disks.ts'
import { nodeFolders } from '../host-folder.ts'
import { nodeFiles } from '../files.ts'
import { textOf, type Command, type OptionValues, type Terminal } from './command.ts'
import { importFirst, isModule, scenariosOf } from './scenarios.ts'

/** Ctrl-] leaves the console, as it does with `xl console`. */
const LEAVE = 0x1d

async function runTests(file: string, values: OptionValues, terminal: Terminal): Promise<number> {
  await importFirst((values['import'] ?? []) as readonly string[])
  let status = 0
  for (const { scenario, exported } of await scenariosOf(file, textOf(values, 'only'))) {
    const found = await explore(scenario, { runs: 0, name: scenario.name ?? exported })
    if (!found.passed) status = 1
    terminal.out(values['json'] === true ? JSON.stringify(found.toJSON()) : found.text())
  }
  return status
}

/** Types what comes in on this terminal; false once Ctrl-] did. */
function connect(domain: Domain, leave: () => void): () => void {
  const { stdin } = process
  if (!stdin.isTTY) return () => undefined
  const type = (bytes: Buffer): void => {
    const at = bytes.indexOf(LEAVE)
    domain.console.write(new Uint8Array(at < 0 ? bytes : bytes.subarray(0, at))).catch(() => undefined)
    if (at >= 0) leave()
  }
  stdin.setRawMode(true)
  stdin.on('data', type)
  return () => {
    stdin.off('data', type)
    stdin.setRawMode(false)
    stdin.pause()
  }
}

/** How a domain has ended: 0 for a power-off, or what was awaited on its console. */
async function untilEnd(host: Host, domain: Domain, pattern: string | undefined): Promise<number> {
  const { id } = domain
  let status: number | undefined
  host.events.on('domain-shutdown', ({ domid, reason }) => { if (domid === id && reason !== 'reboot') status = reason === 'poweroff' ? 0 : 1 })
  const disconnect = connect(domain, () => { status = 0 })
  try {
    if (pattern !== undefined) {
      await domain.console.waitFor(new RegExp(pattern), { from: 0 })
      return 0
    }
    await host.until('the end of the domain', () => status !== undefined)
    return status ?? 0
  } finally {
    disconnect()
  }
}

/** What happens with a domain before it runs; without it, it runs. */
type Before = (host: Host, domain: Domain) => Promise<void>

/** How a description file's domain is started. */
export interface DescribedStart {
  /** The host's. Default 1G. */
  readonly memory: string | undefined
  readonly clock: 'realtime' | 'virtual'
  readonly paused: boolean
}

/** The domain of a description file on a host of its own, which the caller shuts down; kernels and disks are taken from where the file is. Rejects with IO, and as `host.createDomain`. */
export async function startDescribed(file: string, { memory = '1G', clock, paused }: DescribedStart): Promise<{ readonly host: Host; readonly domain: Domain }> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new XenError('IO', `${file} cannot be read: ${thrownMessage(error)}`, { cause: error })
  })
  const folder = dirname(file)
  const host = await Host.boot({ memory, clock, files: nodeFiles(folder), openDisk: nodeDisks(folder), openFolder: nodeFolders(folder), decompress: optionalDecompressor })
  try {
    host.events.on('warning', ({ warning }) => console.error(`warning: ${warning.message}`))
    return { host, domain: await host.createDomain(text, { paused }) }
  } catch (error) {
    await host.shutdown()
    throw error
  }
}

/** Runs the domain of a description file on a host of its own, with its console on this terminal. What was recorded cannot follow the wall's time. */
export async function runDomain(file: string, values: OptionValues, { before, isRecorded }: { readonly before?: Before; readonly isRecorded?: boolean } = {}): Promise<number> {
  const clock = process.stdin.isTTY && isRecorded !== true ? 'realtime' : 'virtual'
  const { host, domain } = await startDescribed(file, { memory: textOf(values, 'memory'), clock, paused: before !== undefined })
  try {
    domain.console.events.on('output', ({ bytes }) => { process.stdout.write(bytes) })
    process.stdout.write(domain.console.history())
    await before?.(host, domain)
    return await untilEnd(host, domain, textOf(values, 'until'))
  } finally {
    await host.shutdown()
  }
}

/** The command. */
export const runCommand: Command = {
  name: 'run', usage: 'FILE [OPTION ...]', summary: 'runs a domain of a description file, or the tests of a module once', takes: [1, 1],
  run: ({ args, values }, terminal) => (isModule(args[0]!) ? runTests(args[0]!, values, terminal) : runDomain(args[0]!, values)),
  help: [
    'FILE is a description file, as those of /etc/xen: the domain is created on a host of its own, and its console connected to this',
    'terminal until it ends (Ctrl-] leaves it); kernels and disks are taken from where FILE is. Or FILE is a module (.js, .mjs, .ts)',
    'that exports tests made by scenario of paravirt/testing: each is run once, as explore runs it first.',
    'Status 0: a power-off, or tests that passed; 1: any other end.',
  ],
  options: {
    until: { type: 'string', value: 'PATTERN', help: 'ends as soon as the console has shown it' },
    memory: { type: 'string', value: 'SIZE', help: "the host's (1G)" },
    only: { type: 'string', value: 'NAME', help: 'the one test of this name' },
    import: { type: 'string', value: 'MODULE', help: 'imported before the tests', multiple: true },
    json: { type: 'boolean', help: 'outcomes of tests as JSON' },
  },
}
