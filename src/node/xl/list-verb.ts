/** `xl list`: domains, a line each, with the columns that its options add. Reference: tools/xl/xl_list.c. */
import { formatDomainList, type DomainSummary } from '../../toolstack/index.ts'
import { listLong } from './long-list.ts'
import { find, options, type Session } from './session.ts'

/** A column behind the usual ones: its head, and its cell of a domain. */
interface Column {
  readonly head: string
  cell(session: Session, domain: DomainSummary): string | Promise<string>
}

const NO_UUID = '00000000-0000-0000-0000-000000000000'
/** Domains have no labels here, as where no security module is in force. */
const label: Column['cell'] = () => ` ${'-'.padStart(16)}`

async function identity({ host }: Session, { id }: DomainSummary): Promise<string> {
  if (id === 0) return ` ${NO_UUID} ${'-'.padStart(8)}`
  const domain = await host.domain(id)
  const { shutdownReason } = await domain.info()
  return ` ${domain.uuid} ${(shutdownReason === undefined ? '-' : shutdownReason.toString(16)).padStart(8)}`
}

/** Columns by the letter that asks for them, in the order in which they stand. */
const COLUMNS: Readonly<Record<string, readonly Column[]>> = {
  v: [{ head: '   UUID                            Reason-Code', cell: identity }, { head: '\tSecurity Label', cell: label }],
  Z: [{ head: '   Security Label', cell: label }],
  c: [{
    head: '         Cpupool',
    cell: async ({ host }, { id }) => ((await host.cpupools.list()).find(({ domains }) => domains.includes(id))?.name ?? '-').padStart(16),
  }],
  // A host has one node.
  n: [{ head: ' NODE Affinity', cell: () => ' all' }],
}

/** Lists all domains, or some. */
export async function list(session: Session, ...words: string[]): Promise<void> {
  const { given, rest: names } = options(words, '')
  if (given.has('l')) return listLong(session, names)
  const all = await session.host.listDomains()
  const wanted = names.length === 0 ? all : await Promise.all(names.map(async (name) =>
    all.find(({ id, name: known }) => known === name || String(id) === name) ?? (await find(session, name)).summary()))
  const columns = Object.entries(COLUMNS).flatMap(([letter, own]) => (given.has(letter) && !(letter === 'Z' && given.has('v')) ? own : []))
  const [head = '', ...lines] = formatDomainList(wanted).split('\n')
  session.print(`${head}${columns.map((column) => column.head).join('')}\n`)
  for (const [at, domain] of wanted.entries()) {
    const cells = await Promise.all(columns.map((column) => column.cell(session, domain)))
    session.print(`${lines[at]!}${cells.join('')}\n`)
  }
}
