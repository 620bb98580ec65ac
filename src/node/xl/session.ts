/** What a command of xl works with, how commands are told apart, and errors as xl words them. */
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { RemoteDomain, RemoteHost } from '../../toolstack/index.ts'
import { XenError } from '../../util/index.ts'

/** Where xend listens. */
export const socketPath = (): string =>
  process.env['XEND_SOCKET'] ?? join(process.env['XDG_RUNTIME_DIR'] ?? homedir(), '.xend.sock')

/** One command under way. */
export interface Session {
  /** What the tool is called by, in its texts. */
  readonly tool: string
  /** The host, which is xend's. */
  readonly host: RemoteHost
  /** Aborted when the tool is interrupted: operations take it, and are undone then. */
  readonly signal: AbortSignal
  /** What is typed where it runs. */
  readonly typed: AsyncIterable<Uint8Array>
  /** A file's name as seen from where it runs. */
  path(name: string): string
  print(text: string): void
  printBytes(bytes: Uint8Array): void
}

/** One command. */
export interface Verb {
  /** Its words as shown; those in brackets may be left out, dots stand for more. */
  readonly words: string
  run(session: Session, ...words: string[]): void | Promise<unknown>
}

/** Commands by name. */
export type Verbs = Readonly<Record<string, Verb>>

/** A domain's number, or its name. */
export const reference = (word: string): string | number => (/^\d+$/.test(word) ? Number(word) : word)

/** The guest of a name or number. */
export const find = ({ host }: Session, word: string): Promise<RemoteDomain> => host.domain(reference(word))

/** A whole number. */
export function amount(word: string): number {
  if (/^\d+$/.test(word)) return Number(word)
  throw new XenError('INVALID_ARGUMENT', `${word} is not a number`)
}

/** Words that are options (`-d DOMAIN`, `--flag`), taken out of the others; those in `valued` take the next word. */
export function options(words: readonly string[], valued: string): { readonly given: ReadonlyMap<string, string>; readonly rest: string[] } {
  const given = new Map<string, string>()
  const rest: string[] = []
  for (let i = 0; i < words.length; i += 1) {
    const [, name] = /^-([a-zA-Z])$/.exec(words[i]!) ?? []
    if (name === undefined) rest.push(words[i]!)
    else if (valued.includes(name)) given.set(name, words[i += 1] ?? '')
    else given.set(name, '')
  }
  return { given, rest }
}

/** Numbers of all domains, dom0 first. */
export const numbersOf = async ({ host }: Session): Promise<number[]> => (await host.listDomains()).map(({ id }) => id)

/** Name of a domain by its number. */
export async function nameOf({ host }: Session, id: number): Promise<string> {
  return (await host.listDomains()).find((domain) => domain.id === id)?.name ?? String(id)
}

/** An amount of memory as xl takes it. */
export function memory(word: string): string {
  if (/^[+-]?\d+[bkmgt]?$/i.test(word)) return word
  throw new XenError('INVALID_ARGUMENT', `invalid memory size: ${word}`)
}

/** An error that is printed as it stands, as xl words it, and the exit status that follows. */
export const worded = (message: string, status = 1): XenError => new XenError('INVALID_ARGUMENT', message, { details: { worded: true, status } })

/** The exit status that an error leads to. */
export function statusOf(error: unknown): number {
  const status = XenError.is(error) ? error.details['status'] : undefined
  return typeof status === 'number' ? status : 1
}

/** What xl says of a device that is not there. */
const NO_DEVICE: Readonly<Record<string, (name: string) => string>> = {
  vbd: (name) => `Error: Device ${name} not connected.\n`, vif: (name) => `Unknown device ${name}.\n`,
}

/** What is printed of an error: xl's words where it has some, with its own in front of others. */
export function errorText(error: unknown): string {
  if (XenError.is(error) && error.details['worded'] === true) return `${error.message}\n`
  if (XenError.is(error, 'DEVICE_NOT_FOUND')) {
    const { kind, name } = error.details
    const says = NO_DEVICE[String(kind)]
    if (says !== undefined) return says(String(name))
  }
  if (XenError.is(error, 'DOMAIN_NOT_FOUND') && error.details['domain'] !== undefined) {
    return `${String(error.details['domain'])} is an invalid domain identifier (rc=-6)\n`
  }
  if (XenError.is(error, 'POOL_NOT_FOUND')) return `unknown cpupool '${String(error.details['pool'])}'\n`
  const message = error instanceof Error ? error.message : String(error)
  return message.startsWith('invalid memory size') ? `${message}\n` : `Error: ${message}\n`
}
