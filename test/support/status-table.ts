/** README's table of what a host offers, out of the library's own tables: capabilities of a host, hypercalls, options, kinds of devices, schedulers, faults, calls that travel, codes. */
import { SCHEDULER_NAMES } from '../../src/hypervisor/index.ts'
import { FAULTS } from '../../src/testing/index.ts'
import { Host } from '../../src/index.ts'
import { ACTION_OPTIONS, FILE_OPTIONS, INEFFECTIVE_OPTIONS, OPTIONS, REFUSED_OPTIONS } from '../../src/toolstack/config/option-table.ts'
import { DEVICE_KINDS } from '../../src/toolstack/device-kinds/device-kinds.ts'
import { TRAVELLING } from '../../src/toolstack/service/travelling.ts'
import { ERROR_CODES } from '../../src/util/index.ts'
import { hypercallTables } from './hypercall-table.ts'

/** Where the table stands in README. */
const [BEGIN, END] = ['<!-- offered: npx tsx test/support/update-documents.ts -->\n', '<!-- /offered -->\n']

const count = (value: object): number => Object.keys(value).length

/** Operations of all kinds of guests, each once, by how much there is of it. */
function hypercallCounts(): Readonly<Record<'hypercalls' | 'full' | 'partial' | 'refused', number>> {
  const found = new Map<string, 'full' | 'partial' | 'refused'>()
  const names = new Set<string>()
  for (const { name, support, operations = [] } of Object.values(hypercallTables()).flat()) {
    names.add(name)
    if (support !== undefined && !found.has(name)) found.set(name, support.level)
    for (const { prefix, rows } of operations) for (const row of rows) if (!found.has(`${name} ${prefix}${row.name}`)) found.set(`${name} ${prefix}${row.name}`, row.support.level)
  }
  const of = (level: string): number => [...found.values()].filter((each) => each === level).length
  return { hypercalls: names.size, full: of('full'), partial: of('partial'), refused: of('refused') }
}

/** The table, with the lines around it. */
export async function statusTable(): Promise<string> {
  const host = await Host.boot({ memory: 64, dom0Memory: 16 })
  const { xen, types, programs, devices } = host.capabilities()
  await host.shutdown()
  const { hypercalls, full, partial, refused } = hypercallCounts()
  const guests = Object.entries(types).map(([type, { kernelBits, maxVcpus, maxMemory }]) => `\`${type}\` (kernels of ${kernelBits.join(' and ')} bits, at most ${maxVcpus} vCPUs and ${maxMemory} MiB)`)
  const kinds = Object.entries(DEVICE_KINDS).filter(([, { name }]) => devices.includes(name)).map(([option]) => `\`${option}\``)
  const travelling = Object.values(TRAVELLING).reduce((sum, { travels }) => sum + travels.length, 0)
  const rows = [
    ['Xen\'s interface', `${xen}: ${hypercalls} hypercalls with ${full + partial + refused} operations, ${full} whole, ${partial} in part, ${refused} refused as Xen refuses them to such guests ([docs/hypercalls.md](docs/hypercalls.md))`],
    ['Guests', `${guests.join(', ')}${programs ? ', in TypeScript' : ''} ([docs/guest-kinds.md](docs/guest-kinds.md))`],
    ['Devices', kinds.join(', ')],
    ['Schedulers', SCHEDULER_NAMES.map((name) => `\`${name}\``).join(', ')],
    ['Options of a domain', `${count(OPTIONS) + count(ACTION_OPTIONS) + count(FILE_OPTIONS)} with effect, ${INEFFECTIVE_OPTIONS.length} of which a warning says that they have none, ${count(REFUSED_OPTIONS)} refused by name ([docs/options.md](docs/options.md))`],
    ['Faults for tests', `${FAULTS.length} ([docs/faults.md](docs/faults.md))`],
    ['Calls to another process', `${travelling} travel ([docs/service-calls.md](docs/service-calls.md))`],
    ['Error codes', `${count(ERROR_CODES)} ([docs/errors.md](docs/errors.md))`],
  ]
  return `${BEGIN}| offered | |\n| --- | --- |\n${rows.map(([name, words]) => `| ${name} | ${words} |`).join('\n')}\n${END}`
}

/** README's text with the table in its place. */
export function withStatusTable(readme: string, table: string): string {
  const [from, to] = [readme.indexOf(BEGIN), readme.indexOf(END)]
  if (from < 0 || to < from) throw new Error('README has no place for the table of what a host offers')
  return `${readme.slice(0, from)}${table}${readme.slice(to + END.length)}`
}
