/**
 * The server's own commands (CONTROL, `xenstore-control`): a table from name to what it does. Only those of xenstored
 * that mean something here are offered: its log, its report of memory and its replacement by a new program are matters
 * of that one program; here they are the store's events, and `XenStoreServer.part`.
 *
 * Reference: xen/docs/misc/xenstore.txt, CONTROL; behaviour of tools/xenstored/control.c of 4.17.
 */
import type { QuotaName } from '../store/quota.ts'
import type { StoreErrorName } from '../protocol/store-error.ts'
import type { StoreCore } from '../store/store-core.ts'

/** Who gives a command to which store. */
export interface ControlCall {
  readonly store: StoreCore
  readonly connection: number
  readonly domid: number
}

/** The answer as text, or why there is none. */
export type ControlResult = { readonly text: string } | StoreErrorName

interface Command {
  readonly name: string
  /** What may follow, for `help`. */
  readonly usage: string
  readonly run: (call: ControlCall, words: readonly string[]) => ControlResult
}

/** One limit as the commands name it. */
type QuotaRow = readonly [name: string, key: QuotaName, description: string]

const QUOTAS: readonly QuotaRow[] = [
  ['nodes', 'nodes', 'nodes that a domain owns'],
  ['watches', 'watches', 'watches of a domain'],
  ['transactions', 'transactions', 'open transactions of a domain'],
  ['outstanding', 'outstanding', 'unanswered requests of a domain'],
  ['transaction-nodes', 'transactionNodes', 'nodes touched in one transaction'],
  ['memory', 'memory', 'bytes of a domain, enforced'],
  ['node-size', 'nodeSize', 'bytes of one node'],
  ['path-max', 'pathMax', 'characters of a path'],
  ['permissions', 'nodePermissions', 'entries of one permission list'],
]
const SOFT_QUOTAS: readonly QuotaRow[] = [['memory', 'softMemory', 'bytes of a domain, reported']]

const DONE: ControlResult = { text: 'OK' }

/** A whole number as C reads it: leading digits count, and text without any is 0. */
function leadingNumber(text: string): number {
  const digits = /^\s*[+-]?\d{1,10}/.exec(text)
  return digits === null ? 0 : Number(digits[0])
}

function listLimits({ store }: ControlCall, rows: readonly QuotaRow[]): ControlResult {
  const lines = rows.map(([name, key, description]) =>
    `${name.padEnd(17)}: ${String(store.domains.defaults[key]).padStart(8)} ${description}\n`)
  return { text: `Quota settings:\n${lines.join('')}` }
}

function listUsage({ store }: ControlCall, domid: number): ControlResult {
  const found = store.domains.get(domid)
  if (found === undefined) return 'ENOENT'
  const { nodes, watches, transactions, outstanding, memory } = found.usage
  const lines = Object.entries({ nodes, watches, transactions, outstanding, memory }).map(([name, value]) =>
    `${name.padEnd(16)}: ${String(value).padStart(8)}\n`)
  return { text: `Domain ${domid}:\n${lines.join('')}` }
}

/** Changes a limit for all domains at once, those that are there and those to come. */
function setLimit({ store }: ControlCall, rows: readonly QuotaRow[], words: readonly string[]): ControlResult {
  const [name, text] = words
  if (text === undefined || words.length !== 2) return 'EINVAL'
  const row = rows.find((each) => each[0] === name)
  const value = leadingNumber(text)
  if (row === undefined || value < 1 || value > 0x7fffffff) return 'EINVAL'
  store.setLimit(row[1], value)
  return DONE
}

function quota(call: ControlCall, words: readonly string[]): ControlResult {
  const [first, ...rest] = words
  if (first === undefined) return listLimits(call, QUOTAS)
  if (first === 'set') return setLimit(call, QUOTAS, rest)
  return rest.length > 0 ? 'EINVAL' : listUsage(call, leadingNumber(first))
}

function softQuota(call: ControlCall, words: readonly string[]): ControlResult {
  const [first, ...rest] = words
  if (first === undefined) return listLimits(call, SOFT_QUOTAS)
  return first === 'set' ? setLimit(call, SOFT_QUOTAS, rest) : 'EINVAL'
}

/** What xenstored writes to its log is an event here. */
function print({ store, connection, domid }: ControlCall, words: readonly string[]): ControlResult {
  const [text] = words
  if (text === undefined || words.length !== 1) return 'EINVAL'
  store.hub.emit({ type: 'printed', connection, domid, text })
  return DONE
}

const help = (): string => COMMANDS.map(({ name, usage }) => `${name}\t${usage}\n`).join('')

const COMMANDS: readonly Command[] = [
  { name: 'check', usage: '', run: (_, words) => (words.length === 0 ? DONE : 'EINVAL') },
  { name: 'print', usage: '<string>', run: print },
  { name: 'quota', usage: '[set <name> <val>|<domid>]', run: quota },
  { name: 'quota-soft', usage: '[set <name> <val>]', run: softQuota },
  { name: 'help', usage: '', run: (_, words) => (words.length === 0 ? { text: help() } : 'EINVAL') },
]

/** Carries a command out. */
export function runControl(call: ControlCall, words: readonly string[]): ControlResult {
  const [name, ...rest] = words
  return COMMANDS.find((each) => each.name === name)?.run(call, rest) ?? 'EINVAL'
}
