/** What xl can do: each command with its words and the calls of the library that carry it out. */
import { createReadStream } from 'node:fs'
import { access, readFile } from 'node:fs/promises'
import { XenError } from '../../util/index.ts'
import { fileSink } from '../file-sink.ts'
import { connectMigration } from '../migration-socket.ts'
import { CPU_VERBS } from './cpus-verbs.ts'
import { DEVICE_VERBS } from './devices-verbs.ts'
import { HOST_VERBS } from './host-verbs.ts'
import { list } from './list-verb.ts'
import { printDryRun } from './long-list.ts'
import { amount, find, memory, options, reference, worded, type Session, type Verb, type Verbs } from './session.ts'

/** The port that xend listens on for domains unless told otherwise. */
const RELOCATION_PORT = '8002'

/** `extra=4 single` as a line of a description file; what is neither number, list nor quoted is a text. */
function setting(word: string): string {
  const [, key, value] = /^(\w+)=(.*)$/.exec(word) ?? []
  if (key === undefined || value === undefined) throw new XenError('INVALID_ARGUMENT', `${word} is not KEY=VALUE`)
  return /^(\d+$|["'[])/.test(value) ? word : `${key}="${value}"`
}

/** What the system says of a file that cannot be read, as C's strerror has it. */
const reason = ({ code, message }: NodeJS.ErrnoException): string =>
  ({ ENOENT: 'No such file or directory', EACCES: 'Permission denied', EISDIR: 'Is a directory' })[code ?? ''] ?? message

/** The text of a description file. */
const configText = (path: Session['path'], file: string): Promise<string> => readFile(path(file), 'utf8').catch((error: NodeJS.ErrnoException) => {
  throw worded(`Failed to read config file: ${file}: ${reason(error)}`, 3)
})

/** Ends a domain; dom0 is not among those that can be. */
async function destroy(session: Session, ...words: string[]): Promise<void> {
  const { rest: [name = ''] } = options(words, '')
  if (name === '0' || name === 'Domain-0') {
    throw worded('Not destroying domain 0; use -f to force.\nThis can only be done when using a disaggregated hardware domain and toolstack.\n')
  }
  await (await find(session, name)).destroy()
}

/** Saves a domain, which goes on behind that with `-c` and stays paused with `-p`. */
async function save(session: Session, ...words: string[]): Promise<void> {
  const { given, rest: [name = '', file = ''] } = options(words, '')
  const afterwards = given.has('c') ? 'resume' : given.has('p') ? 'pause' : 'destroy'
  await (await find(session, name)).save(fileSink(session.path(file)), { signal: session.signal, afterwards })
}

/** Whoever restores a file stands for it, with the disks that it names. */
async function restore({ host, path, signal }: Session, ...words: string[]): Promise<void> {
  const { given, rest: [file = ''] } = options(words, '')
  await access(path(file)).catch((error: NodeJS.ErrnoException) => {
    throw worded(`Can't open restore file: ${reason(error)}`)
  })
  await host.restore(createReadStream(path(file)), { signal, trust: 'all', paused: given.has('p') })
}

async function create(session: Session, ...words: string[]): Promise<void> {
  const { host, path, print, signal, tool } = session
  const { given, rest: [file = '', ...settings] } = options(words, '')
  if (file === '') throw worded('Config file not specified and none in save file', 6)
  const text = [await configText(path, file), ...settings.map(setting)].join('\n')
  if (given.has('n')) return printDryRun(session, text, file)
  // xl says what it reads, xm what it has started.
  const isXl = tool.endsWith('xl')
  if (isXl) print(`Parsing config from ${file}\n`)
  const domain = await host.createDomain(text, { source: file, signal, paused: given.has('p') }).catch((error: unknown) => { throw wordedConfig(error, text) })
  if (!isXl) print(`Started domain ${domain.name}, id=${domain.id}\n`)
}

/** What xl says of a description that is wrong in what it words itself. */
function wordedConfig(error: unknown, text: string): unknown {
  if (!XenError.is(error, 'INVALID_CONFIG')) return error
  const { key } = error.details
  if (key === 'name' && error.message.endsWith('a domain needs a name')) return worded('Domain name must be specified.')
  const [, type] = (key === 'type' && /^\s*type\s*=\s*["']([^"']*)["']/m.exec(text)) || []
  return type === undefined ? error : worded(`Invalid domain type ${type}.`)
}

/** Looks for a domain by its name or number, in the words of `domid` and `domname`. */
async function looked(session: Session, word: string, what: string): Promise<{ readonly id: number; readonly name: string }> {
  const found = (await session.host.listDomains()).find(({ id, name }) => name === word || String(id) === word)
  if (found === undefined) throw worded(`Can't get ${what} '${word}', maybe this domain does not exist.`)
  return found
}

async function migrate(session: Session, name: string, to: string): Promise<void> {
  const { signal } = session
  const [host = '', port = RELOCATION_PORT] = to.split(':')
  const domain = await find(session, name)
  const transport = await connectMigration({ host, port: amount(port), signal })
  const { pages, finalPages } = await domain.migrate(transport, { signal })
  session.print(`${name} has gone to ${to}: ${pages} pages, ${finalPages} of them while it stood still\n`)
}

async function connect(session: Session, name: string): Promise<void> {
  const { console } = await find(session, name)
  const type = async (): Promise<void> => {
    for await (const bytes of session.typed) await console.write(bytes)
  }
  // A guest that has gone takes nothing any more.
  void type().catch(() => undefined)
  for await (const bytes of console.output({ signal: session.signal })) session.printBytes(bytes)
}

/** Commands about the life of domains. */
const DOMAIN_VERBS: Verbs = {
  'create': { words: '[-n] [-p] [FILE] [KEY=VALUE ...]', run: create },
  'list': { words: '[-l] [-v] [-Z] [-c] [-n] [DOMAIN ...]', run: list },
  'console': { words: 'DOMAIN', run: (session, name = '') => connect(session, name) },
  'pause': { words: 'DOMAIN', run: async (session, name = '') => (await find(session, name)).pause() },
  'unpause': { words: 'DOMAIN', run: async (session, name = '') => (await find(session, name)).unpause() },
  'rename': { words: 'DOMAIN NAME', run: async (session, name = '', other = '') => (await find(session, name)).rename(other) },
  'shutdown': { words: 'DOMAIN', run: async (session, name = '') => (await find(session, name)).shutdown({ signal: session.signal }) },
  'reboot': { words: 'DOMAIN', run: async (session, name = '') => (await find(session, name)).reboot({ signal: session.signal }) },
  'destroy': { words: '[-f] DOMAIN', run: destroy },
  'domid': { words: 'NAME', run: async (session, name = '') => session.print(`${(await looked(session, name, 'domid of domain name')).id}\n`) },
  'domname': { words: 'ID', run: async (session, id = '') => session.print(`${(await looked(session, id, 'domain name of domain id')).name}\n`) },
  'trigger': { words: 'DOMAIN TRIGGER [VCPU]', run: async (session, name = '', trigger = '', vcpu = '0') =>
    (await find(session, name)).trigger(trigger as 'nmi', { vcpu: amount(vcpu) }) },
  'sysrq': { words: 'DOMAIN LETTER', run: async (session, name = '', letter = '') => (await find(session, name)).sysrq(letter) },
  'dump-core': { words: 'DOMAIN FILE', run: async (session, name = '', file = '') =>
    (await find(session, name)).dumpCore(fileSink(session.path(file)), { signal: session.signal }) },
  'config-update': { words: 'DOMAIN FILE', run: async (session, name = '', file = '') =>
    (await find(session, name)).updateConfig(await configText(session.path, file)) },
  'mem-set': { words: 'DOMAIN MIB', run: (session, name = '', mebibytes = '') =>
    session.host.setMemTarget(reference(name), memory(mebibytes), { signal: session.signal }) },
  'mem-max': { words: 'DOMAIN MIB', run: (session, name = '', mebibytes = '') =>
    session.host.setMaxMem(reference(name), memory(mebibytes), { signal: session.signal }) },
  'vcpu-set': { words: 'DOMAIN COUNT', run: async (session, name = '', count = '') =>
    (await find(session, name)).setVcpus(amount(count), { signal: session.signal }) },
  'save': { words: '[-c] [-p] DOMAIN FILE', run: save },
  'restore': { words: '[-p] FILE', run: restore },
  'migrate': { words: 'DOMAIN HOST[:PORT]', run: (session, name = '', to = '') => migrate(session, name, to) },
}

/** Every command. */
export const VERBS: Verbs = {
  ...DOMAIN_VERBS, ...CPU_VERBS, ...DEVICE_VERBS, ...HOST_VERBS,
  'help': { words: '', run: ({ print, tool }) => print(`${verbLines(tool).join('\n')}\n`) },
}

/** All commands with their words, a line each. */
export const verbLines = (tool: string): readonly string[] => Object.entries(VERBS).map(([name, { words }]) => `${tool} ${name} ${words}`.trimEnd())

/** How many words a command takes: those in brackets may be left out, dots stand for more. */
function wordCount({ words }: Verb): { readonly least: number; readonly most: number } {
  const all = words.replace(/\[[^\]]*\]/g, (group) => (/\.\.\.|=/.test(group) ? ' ...' : group.replace(/ /g, '_'))).split(' ').filter((word) => word !== '')
  const least = all.filter((word) => !word.startsWith('[') && word !== '...').length
  const optional = words.match(/\[[^\]]*\]/g) ?? []
  const most = words.includes('...') ? Infinity : least + optional.reduce((sum, group) => sum + group.split(' ').length, 0)
  return { least, most }
}

/** Carries out a command. Throws INVALID_ARGUMENT for one that there is not, and for too few or too many words. */
export async function runVerb(session: Session, name: string, words: string[]): Promise<void> {
  const verb = Object.hasOwn(VERBS, name) ? VERBS[name] : undefined
  if (verb === undefined) throw new XenError('INVALID_ARGUMENT', `there is no command ${name}; ${session.tool} help lists them`)
  const { least, most } = wordCount(verb)
  if (words.length < least) {
    throw worded(`'${session.tool} ${name}' requires at least ${least} argument${least === 1 ? '' : 's'}.\n\nUsage: ${`${session.tool} ${name} ${verb.words}`.trimEnd()}`, 2)
  }
  if (words.length > most) {
    throw new XenError('INVALID_ARGUMENT', `usage: ${session.tool} ${name} ${verb.words}`.trimEnd())
  }
  await verb.run(session, ...words)
}
