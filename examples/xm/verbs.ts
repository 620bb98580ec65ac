/** What xm can do: each command with its words and the calls of the library that carry it out. */
import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { XenError, formatDomainList, type Domain, type Host } from '../../src/index.ts'
import { connectMigration, fileSink } from '../../src/node/index.ts'

/** One command under way. */
export interface Session {
  readonly host: Host
  /** Aborted when xm is interrupted: operations take it, and are undone then. */
  readonly signal: AbortSignal
  /** What is typed where xm runs. */
  readonly typed: AsyncIterable<Uint8Array>
  /** A file's name as seen from where xm runs. */
  path(name: string): string
  print(text: string): void
  printBytes(bytes: Uint8Array): void
}

interface Verb {
  /** Its words as shown; those in brackets may be left out, dots stand for more. */
  readonly words: string
  run(session: Session, first: string, second: string, ...rest: string[]): void | Promise<unknown>
}

/** The port that xend listens on for domains unless told otherwise. */
const RELOCATION_PORT = '8002'

const reference = (word: string): string | number => (/^\d+$/.test(word) ? Number(word) : word)
const find = ({ host }: Session, word: string): Domain => host.domain(reference(word))

function amount(word: string): number {
  if (/^\d+$/.test(word)) return Number(word)
  throw new XenError('INVALID_ARGUMENT', `${word} is not a number`)
}

/** `extra=4 single` as a line of a description file; what is neither number, list nor quoted is a text. */
function setting(word: string): string {
  const [, key, value] = /^(\w+)=(.*)$/.exec(word) ?? []
  if (key === undefined || value === undefined) throw new XenError('INVALID_ARGUMENT', `${word} is not KEY=VALUE`)
  return /^(\d+$|["'[])/.test(value) ? word : `${key}="${value}"`
}

async function create({ host, path, print, signal }: Session, file: string, ...settings: string[]): Promise<void> {
  const text = await readFile(path(file), 'utf8')
  const domain = await host.createDomain([text, ...settings.map(setting)].join('\n'), { source: file, signal })
  print(`Started domain ${domain.name}, id=${domain.id}\n`)
}

function list(session: Session, ...names: string[]): void {
  const named = names.map((name) => find(session, name).summary())
  session.print(formatDomainList(names.length === 0 ? session.host.listDomains() : named))
}

/** A disk as xm wrote it (`file:/u/fc4.img sda1 w`) or as xl does (`/u/fc4.img,raw,xvda,w`). */
function attachDisk(session: Session, name: string, ...words: string[]): Promise<void> {
  return find(session, name).attachDisk(words.join(','), { signal: session.signal })
}

function devices(session: Session, name: string, kind: 'vbd' | 'vif'): void {
  const rows = find(session, name).devices().filter((device) => device.kind === kind)
    .map(({ device, backend, backendState, frontendState }) => [device, backend, backendState, frontendState])
  const lines = [[kind === 'vbd' ? 'Vdev' : 'Idx', 'BE', 'BE-state', 'FE-state'], ...rows]
    .map((row) => row.map((cell) => String(cell ?? '-').padEnd(8)).join(' ').trimEnd())
  session.print(`${lines.join('\n')}\n`)
}

async function migrate(session: Session, name: string, to: string): Promise<void> {
  const { signal } = session
  const [host = '', port = RELOCATION_PORT] = to.split(':')
  const transport = await connectMigration({ host, port: amount(port), signal })
  const { pages, finalPages } = await find(session, name).migrate(transport, { signal })
  session.print(`${name} has gone to ${to}: ${pages} pages, ${finalPages} of them while it stood still\n`)
}

async function connect(session: Session, name: string): Promise<void> {
  const { console } = find(session, name)
  const type = async (): Promise<void> => {
    for await (const bytes of session.typed) await console.write(bytes)
  }
  // A guest that has gone takes nothing any more.
  void type().catch(() => undefined)
  for await (const bytes of console.output({ signal: session.signal })) session.printBytes(bytes)
}

/** Every command. */
export const VERBS: Readonly<Record<string, Verb>> = {
  'create': { words: 'FILE [KEY=VALUE ...]', run: create },
  'list': { words: '[DOMAIN ...]', run: list },
  'console': { words: 'DOMAIN', run: connect },
  'pause': { words: 'DOMAIN', run: (session, name) => find(session, name).pause() },
  'unpause': { words: 'DOMAIN', run: (session, name) => find(session, name).unpause() },
  'shutdown': { words: 'DOMAIN', run: (session, name) => find(session, name).shutdown({ signal: session.signal }) },
  'reboot': { words: 'DOMAIN', run: (session, name) => find(session, name).reboot({ signal: session.signal }) },
  'destroy': { words: 'DOMAIN', run: (session, name) => find(session, name).destroy() },
  'mem-set': { words: 'DOMAIN MIB', run: (session, name, mebibytes) =>
    session.host.setMemTarget(reference(name), amount(mebibytes), { signal: session.signal }) },
  'mem-max': { words: 'DOMAIN MIB', run: (session, name, mebibytes) =>
    session.host.setMaxMem(reference(name), amount(mebibytes), { signal: session.signal }) },
  'vcpu-set': { words: 'DOMAIN COUNT', run: (session, name, count) =>
    find(session, name).setVcpus(amount(count), { signal: session.signal }) },
  'block-attach': { words: 'DOMAIN DISK [VDEV MODE]', run: attachDisk },
  'block-detach': { words: 'DOMAIN VDEV', run: (session, name, vdev) => find(session, name).detachDisk(vdev, { signal: session.signal }) },
  'block-list': { words: 'DOMAIN', run: (session, name) => devices(session, name, 'vbd') },
  'network-attach': { words: 'DOMAIN [KEY=VALUE ...]', run: (session, name, ...words) =>
    find(session, name).attachNic(words.join(','), { signal: session.signal }) },
  'network-detach': { words: 'DOMAIN INDEX', run: (session, name, index) =>
    find(session, name).detachNic(amount(index), { signal: session.signal }) },
  'network-list': { words: 'DOMAIN', run: (session, name) => devices(session, name, 'vif') },
  'save': { words: 'DOMAIN FILE', run: (session, name, file) =>
    find(session, name).save(fileSink(session.path(file)), { signal: session.signal }) },
  // Whoever restores a file by xm stands for it, with the disks that it names.
  'restore': { words: 'FILE', run: ({ host, path, signal }, file) =>
    host.restore(createReadStream(path(file)), { signal, trust: 'all' }) },
  'migrate': { words: 'DOMAIN HOST[:PORT]', run: migrate },
  'help': { words: '', run: ({ print }) => print(
    Object.entries(VERBS).map(([name, { words }]) => `xm ${name} ${words}`.trimEnd()).join('\n') + '\n') },
}

/** Carries out a command. Throws INVALID_ARGUMENT for one that there is not, and for too few or too many words. */
export async function runVerb(session: Session, name: string, words: string[]): Promise<void> {
  const verb = Object.hasOwn(VERBS, name) ? VERBS[name] : undefined
  if (verb === undefined) throw new XenError('INVALID_ARGUMENT', `there is no command ${name}; xm help lists them`)
  const [required = ''] = verb.words.split(' [')
  const least = required === '' || required.startsWith('[') ? 0 : required.split(' ').length
  const most = verb.words.includes('...') ? Infinity : verb.words === '' ? 0 : verb.words.split(' ').length
  if (words.length < least || words.length > most) {
    throw new XenError('INVALID_ARGUMENT', `usage: xm ${name} ${verb.words}`)
  }
  // As many as the check above has let through.
  await verb.run(session, ...words as [string, string])
}
