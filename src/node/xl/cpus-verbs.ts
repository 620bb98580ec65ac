/** Commands about vCPUs, schedulers and pools of CPUs, laid out as xl's. */
import { formatCpuList, type VcpuSummary } from '../../toolstack/index.ts'
import { XenError } from '../../util/index.ts'
import { amount, nameOf, options, reference, type Session, type Verbs } from './session.ts'

async function listVcpus({ host, print }: Session, ...names: string[]): Promise<void> {
  const { cpus } = await host.info()
  const vcpus: VcpuSummary[] = []
  if (names.length === 0) vcpus.push(...await host.vcpus())
  for (const name of names) vcpus.push(...await host.vcpus(reference(name)))
  const lines = vcpus.map(({ name, domid, vcpu, cpu, state, time, hard, soft }) =>
    `${name.padEnd(32)} ${String(domid).padStart(5)} ${String(vcpu).padStart(5)} ${String(cpu ?? '-').padStart(4)}   ${state}  ${time.toFixed(1).padStart(8)}  ${
      formatCpuList(hard, cpus)} / ${formatCpuList(soft, cpus)}\n`)
  print(`Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)\n${lines.join('')}`)
}

/** `-` leaves an affinity as it is. */
const given = (word: string | undefined): string | undefined => (word === '-' ? undefined : word)

async function pin({ host }: Session, domain: string, vcpu: string, hard: string, soft?: string): Promise<void> {
  await host.setAffinity(reference(domain), vcpu === 'all' ? 'all' : amount(vcpu), { hard: given(hard), soft: given(soft) })
}

/** The columns of a scheduler's list. */
const COLUMNS: Readonly<Record<string, { readonly heads: readonly string[]; readonly names: readonly string[]; readonly whole: (values: Readonly<Record<string, number>>) => string }>> = {
  credit: { heads: ['Weight', ' Cap'], names: ['weight', 'cap'], whole: ({ tslice, ratelimit }) => `tslice=${tslice}ms ratelimit=${ratelimit}us migration-delay=0us` },
  credit2: { heads: ['Weight', ' Cap'], names: ['weight', 'cap'], whole: ({ ratelimit }) => `ratelimit=${ratelimit}us` },
  rtds: { heads: ['   Period', '   Budget', 'Extratime'], names: ['period', 'budget', 'extratime'], whole: () => 'sched=RTDS' },
}

/** Letters of options, by the parameter that they set. */
const LETTERS: Readonly<Record<string, string>> = { w: 'weight', c: 'cap', p: 'period', b: 'budget', e: 'extratime' }
const WHOLE_LETTERS: Readonly<Record<string, string>> = { r: 'ratelimit', t: 'tslice' }

const chosen = (set: ReadonlyMap<string, string>, letters: Readonly<Record<string, string>>): Record<string, number> =>
  Object.fromEntries(Object.entries(letters).flatMap(([letter, name]) => (set.has(letter) ? [[name, amount(set.get(letter)!)]] : [])))

/** Makes `sched-credit`, `sched-credit2` and `sched-rtds`. */
const scheduler = (kind: string) => async (session: Session, ...words: string[]): Promise<void> => {
  const { host, print } = session
  const { heads, names, whole } = COLUMNS[kind]!
  const { given: set } = options(words, kind === 'rtds' ? 'dpbe' : 'dwcprt')
  const domain = set.get('d')
  if (set.has('s')) {
    const pool = await host.cpupools.find(set.get('p') ?? 'Pool-0')
    const values = chosen(set, WHOLE_LETTERS)
    if (Object.keys(values).length > 0) return pool.setParameters(values)
    return print(`Cpupool ${pool.name}: ${whole(await pool.parameters())}\n`)
  }
  const values = chosen(set, LETTERS)
  if (domain !== undefined && Object.keys(values).length > 0) return host.setScheduling(reference(domain), values)
  const head = `${'Name'.padEnd(35)} ${'ID'} ${heads.join(' ')}\n`
  const line = async (id: number): Promise<string> => {
    const { parameters } = await host.scheduling(id)
    const cells = names.map((name, i) => String(parameters[name]).padStart(heads[i]!.length))
    return `${(await nameOf(session, id)).padEnd(33)} ${String(id).padStart(4)} ${cells.join(' ')}\n`
  }
  if (domain !== undefined) {
    const [first] = await host.vcpus(reference(domain))
    return print(head + await line(first!.domid))
  }
  for (const pool of await host.cpupools.list()) {
    if (pool.scheduler !== kind) continue
    print(`Cpupool ${pool.name}: ${whole(await pool.parameters())}\n${head}`)
    for (const id of pool.domains) print(await line(id))
  }
}

async function listPools({ host, print }: Session, ...words: string[]): Promise<void> {
  const { given: set, rest } = options(words, '')
  const pools = (await host.cpupools.list()).filter(({ name }) => rest.length === 0 || rest.includes(name))
  if (set.has('c')) {
    return print(`Name               CPU list\n${pools.map(({ name, cpus }) => `${name.padEnd(19)}${cpus.join(',')}\n`).join('')}`)
  }
  print(`Name               CPUs   Sched     Active   Domain count\n${pools.map(({ name, cpus, scheduler: sched, domains }) =>
    `${name.padEnd(19)}${String(cpus.length).padStart(3)}  ${sched.padStart(8)}       y       ${String(domains.length).padStart(4)}\n`).join('')}`)
}

/** `name="fast" cpus="2-3" sched="credit"` as the settings of a pool. */
function poolSettings(words: readonly string[]): Record<string, string> {
  return Object.fromEntries(words.map((word) => {
    const [, key, value] = /^(name|cpus|sched)=["']?(.*?)["']?$/.exec(word) ?? []
    if (key === undefined) throw new XenError('INVALID_ARGUMENT', `${word} is not name=, cpus= or sched=`)
    return [key, value!]
  }))
}

/** Commands about CPUs. */
export const CPU_VERBS: Verbs = {
  'vcpu-list': { words: '[DOMAIN ...]', run: listVcpus },
  'vcpu-pin': { words: 'DOMAIN VCPU HARD [SOFT]', run: (session, ...words) => pin(session, ...words as [string, string, string]) },
  'sched-credit': { words: '[-d DOMAIN] [-w WEIGHT] [-c CAP] [-s] [-p POOL] [-t MS] [-r US] ...', run: scheduler('credit') },
  'sched-credit2': { words: '[-d DOMAIN] [-w WEIGHT] [-c CAP] [-s] [-p POOL] [-r US] ...', run: scheduler('credit2') },
  'sched-rtds': { words: '[-d DOMAIN] [-p PERIOD] [-b BUDGET] [-e EXTRATIME] ...', run: scheduler('rtds') },
  'cpupool-list': { words: '[-c] [POOL ...]', run: listPools },
  'cpupool-create': { words: 'name=NAME [cpus=LIST] [sched=NAME] ...', run: async ({ host, print }, ...words) => {
    const { name, cpus, sched } = poolSettings(words)
    const pool = await host.cpupools.create({ name, cpus, scheduler: sched })
    print(`Using config file "command line"\ncpupool name:   ${pool.name}\nscheduler:      ${pool.scheduler}\nnumber of cpus: ${pool.cpus.length}\n`)
  } },
  'cpupool-destroy': { words: 'POOL', run: async ({ host }, pool = '') => (await host.cpupools.find(pool)).destroy() },
  'cpupool-rename': { words: 'POOL NAME', run: async ({ host }, pool = '', name = '') => (await host.cpupools.find(pool)).rename(name) },
  'cpupool-cpu-add': { words: 'POOL CPUS', run: async ({ host }, pool = '', cpus = '') => (await host.cpupools.find(pool)).addCpus(cpus) },
  'cpupool-cpu-remove': { words: 'POOL CPUS', run: async ({ host }, pool = '', cpus = '') => (await host.cpupools.find(pool)).removeCpus(cpus) },
  'cpupool-migrate': { words: 'DOMAIN POOL', run: async (session, domain = '', pool = '') => (await session.host.domain(reference(domain))).moveToPool(pool) },
}
