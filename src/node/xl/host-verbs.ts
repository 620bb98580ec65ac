/** Commands about the host: facts, console, statistics, claims, laid out as xl's. */
import { openMetrics, type HostFacts } from '../../toolstack/index.ts'
import { top } from './top-verb.ts'
import { options, reference, type Session, type Verbs } from './session.ts'

/** Which CPU is where, and how much memory each node has: a host has one of them. */
const topology = ({ cpus, totalMemory, freeMemory }: HostFacts): string => [
  'cpu_topology           :', 'cpu:    core    socket     node',
  ...Array.from({ length: cpus }, (_, cpu) => `${String(cpu).padStart(3)}: ${String(cpu).padStart(7)} ${'0'.padStart(8)} ${'0'.padStart(8)}`),
  'device topology        :', 'device           node', 'No device topology data available',
  'numa_info              :', 'node:    memsize    memfree    distances', `   0: ${String(totalMemory).padStart(9)} ${String(freeMemory).padStart(10)}      10`, '',
].join('\n')

async function info({ host, print }: Session, option?: string): Promise<void> {
  const facts = await host.info()
  const words = facts.hardwareCapabilities.map((word) => word.toString(16).padStart(8, '0'))
  const rows: readonly (readonly [string, string | number])[] = [
    ['host', facts.host], ['release', facts.release], ['version', ''], ['machine', facts.machine], ['nr_cpus', facts.cpus],
    ['max_cpu_id', facts.cpus - 1], ['nr_nodes', facts.nodes], ['cores_per_socket', facts.coresPerSocket], ['threads_per_core', facts.threadsPerCore],
    ['cpu_mhz', facts.cpuMegahertz.toFixed(3)], ['hw_caps', words.join(':')], ['virt_caps', facts.virtualCapabilities.join(' ')],
    ['total_memory', facts.totalMemory], ['free_memory', facts.freeMemory], ['sharing_freed_memory', 0], ['sharing_used_memory', 0],
    ['outstanding_claims', facts.outstandingClaims], ['free_cpus', facts.freeCpus], ['xen_major', facts.xenMajor], ['xen_minor', facts.xenMinor],
    ['xen_extra', facts.xenExtra], ['xen_version', facts.xenVersion], ['xen_caps', `${facts.xenCapabilities.join(' ')} `],
    ['xen_scheduler', facts.xenScheduler], ['xen_pagesize', facts.xenPageSize], ['platform_params', facts.platformParameters],
    ['xen_changeset', facts.xenChangeset], ['xen_commandline', facts.xenCommandLine], ['xend_config_format', facts.configFormat],
  ]
  const line = ([name, value]: (typeof rows)[number]): string => `${name.padEnd(23)}: ${value}\n${name === 'free_cpus' && option === '-n' ? topology(facts) : ''}`
  print(rows.map(line).join(''))
}

async function claims({ host, print }: Session): Promise<void> {
  const lines: string[] = []
  for (const { name, id, memory, vcpus, state, time } of await host.listDomains()) {
    const { claimed } = await host.memory(id)
    lines.push(`${name.padEnd(40)} ${String(id).padStart(5)} ${String(memory).padStart(5)} ${String(vcpus).padStart(5)}     ${state}  ${time.toFixed(1).padStart(8)} ${String(claimed).padStart(5)}\n`)
  }
  print(`Name                                        ID   Mem VCPUs\tState\tTime(s)  Claimed\n${lines.join('')}`)
}

/** Seconds as xl shows an uptime. */
function clock(seconds: number): string {
  const whole = Math.floor(seconds)
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60]
  const two = (value: number): string => String(value).padStart(2, '0')
  return `${days > 0 ? `${days} day${days > 1 ? 's' : ''}, ` : ''}${String(hours).padStart(2)}:${two(minutes)}:${two(whole % 60)}`
}

async function uptime({ host, print }: Session, ...words: string[]): Promise<void> {
  const { given, rest: names } = options(words, '')
  const wanted = await Promise.all(names.map(async (name) => (await host.domain(reference(name))).id))
  const all = (await host.listDomains()).filter(({ id }) => names.length === 0 || wanted.includes(id))
  const lines: string[] = []
  for (const { name, id } of all) {
    const seconds = id === 0 ? await host.now() / 1e9 : await (await host.domain(id)).uptime()
    lines.push(given.has('s') ? ` ${new Date().toTimeString().slice(0, 8)} up ${clock(seconds).slice(0, -3)}, ${name} (${id})\n` : `${name.padEnd(32)} ${String(id).padStart(5)} ${clock(seconds)}\n`)
  }
  print(`${given.has('s') ? '' : 'Name                                ID Uptime\n'}${lines.join('')}`)
}

/** Commands about the host. */
export const HOST_VERBS: Verbs = {
  'info': { words: '[-n]', run: info },
  'getenforce': { words: '', run: async ({ host, print }) => print((await host.info()).access.enforcing ? 'Enforcing\n' : 'Disabled\n') },
  'dmesg': { words: '[-c]', run: async ({ host, print }, option) => print(await host.dmesg({ clear: option === '-c' })) },
  'debug-keys': { words: 'KEYS', run: ({ host }, keys = '') => host.debugKeys(keys) },
  'top': { words: '[-b] [-d SECONDS] [-i TIMES] [-n] [-x] [-v] [-f] ...', run: top },
  'claims': { words: '', run: claims },
  'uptime': { words: '[-s] [DOMAIN ...]', run: uptime },
  'metrics': { words: '', run: async ({ host, print }) => print(openMetrics(await host.statistics({ exits: true }))) },
}
