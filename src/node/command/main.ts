/** The command `paravirt`: a table of commands, their arguments by node:util, and help that teaches. */
import { createReadStream } from 'node:fs'
import { parseArgs } from 'node:util'
import { verifyMomentFile } from '../../toolstack/index.ts'
import { nodeCompressions } from '../compressions.ts'
import { nearestWord, thrownMessage, XenError } from '../../util/index.ts'
import { fetchDebianGuests } from '../debian-guests.ts'
import { parseable, type Command, type OptionValues, type Terminal } from './command.ts'
import { dapCommand } from './dap.ts'
import { debugCommand } from './debug.ts'
import { exploreCommand } from './explore.ts'
import { fleetCommand } from './fleet.ts'
import { replayCommand } from './replay.ts'
import { runCommand } from './run.ts'
import { packageVersion } from './version.ts'
import { xlCommand } from './xl.ts'

const guestsCommand: Command = {
  name: 'guests', usage: '[dom0] [FOLDER]', summary: "fetches Debian's kernel and BusyBox", takes: [0, 2], options: {},
  help: [
    'Into FOLDER, or .guests, from which debianGuests() of paravirt/node takes them. It needs apt-get and dpkg-deb, and no root.',
    "With dom0 also Xen's tools and their libraries, of which debianDom0() makes a dom0 for Host.boot.",
  ],
  run: async ({ args }, terminal) => {
    const isDom0 = args[0] === 'dom0'
    const folders = isDom0 ? args.slice(1) : args
    if (folders.length > 1) throw new XenError('INVALID_ARGUMENT', `it takes one folder, got ${folders.join(', ')}`)
    fetchDebianGuests((line) => terminal.out(line), folders[0], isDom0 ? 'dom0' : 'guest')
    return 0
  },
}

const verifyCommand: Command = {
  name: 'verify', usage: 'FILE [--json]', summary: "looks at all of a moment's file", takes: [1, 1],
  options: { json: { type: 'boolean', help: 'what is found as JSON' } },
  help: ['Every record is read and every part checked; a hash, its path and its version are printed for each.'],
  run: async ({ args: [file], values }, terminal) => {
    const found = await verifyMomentFile(createReadStream(file!), { compression: nodeCompressions() })
    const { label, time, pages, parts } = found
    if (values['json'] === true) terminal.out(JSON.stringify(found))
    else {
      for (const { path, version, hash } of parts) terminal.out(`${hash} ${path} ${version}`)
      terminal.out(`${label ?? '(no label)'}, at ${time} ns: ${pages} pages, ${parts.length} parts`)
    }
    return 0
  },
}

const COMMANDS: readonly Command[] = [runCommand, debugCommand, dapCommand, exploreCommand, replayCommand, guestsCommand, verifyCommand, xlCommand, fleetCommand]

function usage(): string {
  const width = Math.max(...COMMANDS.map(({ name, usage: rest }) => name.length + rest.length)) + 1
  return [
    'usage: paravirt COMMAND ...', '', ...COMMANDS.map(({ name, usage: rest, summary }) => `  ${`${name} ${rest}`.padEnd(width)}  ${summary}`), '',
    'paravirt help COMMAND tells more of one, paravirt --version which this is.',
  ].join('\n')
}

function helpOf({ name, usage: rest, summary, help, options }: Command): string {
  const rows = Object.entries(options).map(([option, { value, help: text }]) => [`--${option}${value === undefined ? '' : ` ${value}`}`, text] as const)
  const width = Math.max(0, ...rows.map(([left]) => left.length))
  return [
    `usage: paravirt ${name} ${rest}`, '', `${summary[0]!.toUpperCase()}${summary.slice(1)}.`, '', ...help,
    ...(rows.length === 0 ? [] : ['', ...rows.map(([left, text]) => `  ${left.padEnd(width)}  ${text}`)]),
  ].join('\n')
}

/** What was written behind a command, as its options and its arguments. Throws what node:util throws. */
function parsed({ hasOwnOptions, options }: Command, words: readonly string[]): { readonly values: OptionValues; readonly positionals: readonly string[] } {
  if (hasOwnOptions === true) return { values: { help: words[0] === '--help' || words[0] === '-h' }, positionals: words }
  return parseArgs({ args: [...words], options: { ...parseable(options), help: { type: 'boolean', short: 'h' } }, allowPositionals: true, strict: true })
}

/** Calls a command with what was written behind its name. Throws INVALID_ARGUMENT for what it does not take. */
async function call(command: Command, words: readonly string[], terminal: Terminal): Promise<number> {
  const { values, positionals } = parsed(command, words)
  if (values['help'] === true) {
    terminal.out(helpOf(command))
    return 0
  }
  const [least, most] = command.takes
  if (positionals.length < least || positionals.length > most) {
    terminal.error(`paravirt ${command.name}: it takes ${command.usage}\n\n${helpOf(command)}`)
    return 2
  }
  return command.run({ args: positionals, values }, terminal)
}

const isMisuse = (error: unknown): boolean =>
  XenError.is(error, 'INVALID_ARGUMENT') || String((error as { readonly code?: unknown } | null)?.code).startsWith('ERR_PARSE_ARGS')

/** Does what was written behind `paravirt`; the status to exit with: 2 where it was not called rightly. */
export async function main(words: readonly string[], terminal: Terminal): Promise<number> {
  const [name = 'help', ...rest] = words
  const isHelp = name === 'help' || name === '--help' || name === '-h'
  const wanted = isHelp ? rest[0] : name
  if (wanted === '--version') {
    terminal.out(packageVersion())
    return 0
  }
  const command = COMMANDS.find((one) => one.name === wanted)
  if (command === undefined) {
    const nearest = wanted === undefined ? undefined : nearestWord(wanted, COMMANDS.map((one) => one.name))
    if (wanted !== undefined) terminal.error(`paravirt has no command ${wanted}${nearest === undefined ? '' : `; did you mean ${nearest}?`}`)
    if (isHelp && wanted === undefined && words.length > 0) terminal.out(usage())
    else terminal.error(usage())
    return isHelp && wanted === undefined && words.length > 0 ? 0 : 2
  }
  if (isHelp) {
    terminal.out(helpOf(command))
    return 0
  }
  try {
    return await call(command, rest, terminal)
  } catch (error) {
    terminal.error(`paravirt ${name}: ${thrownMessage(error)}`)
    return isMisuse(error) ? 2 : 1
  }
}
