/**
 * Statistics as text that monitoring systems scrape: OpenMetrics 1.0, or the older text format of Prometheus.
 * Reference: OpenMetrics specification, "Text format"; Prometheus, "Exposition formats".
 */
import { checkArgument, checkOptions, list, oneOf, record, type Check } from '../../util/index.ts'
import type { DomainStatistics, HostStatistics } from './statistics.ts'

const isDate: Check = (value) => (value instanceof Date && !Number.isNaN(value.getTime()) ? undefined : 'must be a Date that is one')

/** How the text is written. */
export interface OpenMetricsOptions {
  /** `openmetrics` (default), or `prometheus` for the text format of version 0.0.4. */
  readonly format?: 'openmetrics' | 'prometheus' | undefined
  /** When the sample was taken, written behind each value; without it a scraper takes its own time. */
  readonly timestamp?: Date | undefined
}

type Labels = Readonly<Record<string, string | number>>

interface Sample {
  readonly labels: Labels
  readonly value: number
}

/** A family of metrics: its name without `_total`, its type, what it is, and its samples. */
interface Family {
  readonly name: string
  readonly type: 'gauge' | 'counter'
  readonly help: string
  readonly unit?: string
  readonly samples: readonly Sample[]
}

const PREFIX = 'paravirt'
const MEBIBYTE = 2 ** 20
const STATES = ['running', 'blocked', 'paused', 'shutdown', 'crashed', 'dying'] as const

const escaped = (text: string | number): string => String(text).replace(/[\\"\n]/g, (character) => (character === '\n' ? '\\n' : `\\${character}`))

const labelText = (labels: Labels): string => {
  const entries = Object.entries(labels)
  return entries.length === 0 ? '' : `{${entries.map(([name, value]) => `${name}="${escaped(value)}"`).join(',')}}`
}

/** `sectorsRead` as `sectors_read`. */
const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`).replace(/[^a-zA-Z0-9_]/g, '_')

const labelsOf = ({ id, name }: DomainStatistics): Labels => ({ domid: id, domain: name })

/** A gauge or counter with one sample for each domain. */
const perDomain = (
  facts: Omit<Family, 'samples'>, domains: readonly DomainStatistics[], value: (domain: DomainStatistics) => number,
): Family => ({ ...facts, samples: domains.map((domain) => ({ labels: labelsOf(domain), value: value(domain) })) })

function hostFamilies({ time, cpus, freeCpus, totalMemory, freeMemory, claimedMemory, scheduler, hypercalls }: HostStatistics): Family[] {
  const memory = [['total', totalMemory], ['free', freeMemory], ['claimed', claimedMemory]] as const
  return [
    { name: 'host_time_seconds', type: 'counter', unit: 'seconds', help: 'Host time since boot.', samples: [{ labels: {}, value: time / 1e9 }] },
    { name: 'host_cpus', type: 'gauge', help: 'Physical CPUs, and those in no pool.', samples: [
      { labels: { state: 'all' }, value: cpus }, { labels: { state: 'free' }, value: freeCpus },
    ] },
    { name: 'host_scheduler', type: 'gauge', help: 'Scheduler of the first pool of CPUs.', samples: [{ labels: { scheduler }, value: 1 }] },
    { name: 'host_memory_bytes', type: 'gauge', unit: 'bytes', help: 'Memory of the host: all, free, claimed.',
      samples: memory.map(([state, mebibytes]) => ({ labels: { state }, value: mebibytes * MEBIBYTE })) },
    { name: 'hypercalls', type: 'counter', help: 'Hypercalls that binary guests made.',
      samples: Object.entries(hypercalls).map(([hypercall, value]) => ({ labels: { hypercall }, value })) },
  ]
}

function domainFamilies(domains: readonly DomainStatistics[]): Family[] {
  return [
    { name: 'domain_state', type: 'gauge', help: 'Whether the domain is in a state: 1 or 0.', samples: domains.flatMap((domain) =>
      STATES.map((state, i) => ({ labels: { ...labelsOf(domain), state }, value: domain.state[i] === '-' ? 0 : 1 }))) },
    perDomain({ name: 'domain_cpu_seconds', type: 'counter', unit: 'seconds', help: 'CPU time of all vCPUs of the domain.' }, domains, ({ cpuTime }) => cpuTime / 1e9),
    perDomain({ name: 'domain_memory_bytes', type: 'gauge', unit: 'bytes', help: 'Memory that the domain has.' }, domains, ({ memory }) => memory * MEBIBYTE),
    perDomain({ name: 'domain_memory_maximum_bytes', type: 'gauge', unit: 'bytes', help: 'Memory that the hypervisor lets the domain have.' }, domains, ({ maxMemory }) => maxMemory * MEBIBYTE),
    perDomain({ name: 'domain_memory_claimed_bytes', type: 'gauge', unit: 'bytes', help: 'Memory that is kept aside for the domain.' }, domains, ({ claimed }) => claimed * MEBIBYTE),
    perDomain({ name: 'domain_vcpus', type: 'gauge', help: 'vCPUs of the domain that are online.' }, domains, ({ vcpus }) => vcpus.filter(({ online }) => online).length),
    { name: 'vcpu_cpu_seconds', type: 'counter', unit: 'seconds', help: 'CPU time of a vCPU.', samples: domains.flatMap((domain) =>
      domain.vcpus.map(({ vcpu, cpuTime }) => ({ labels: { ...labelsOf(domain), vcpu }, value: cpuTime / 1e9 }))) },
    { name: 'domain_exits', type: 'counter', help: 'Times at which vCPUs came back to the hypervisor, by why.', samples: domains.flatMap((domain) =>
      Object.entries(domain.exits ?? {}).map(([reason, value]) => ({ labels: { ...labelsOf(domain), reason }, value }))) },
  ]
}

/** What of a device goes up and down: how many there are now. */
const NOW: ReadonlySet<string> = new Set(['openFiles'])

/** A counter for each thing that is counted of a kind of device, and a gauge for what there is of it now. */
function deviceFamilies(domains: readonly DomainStatistics[]): Family[] {
  const families = new Map<string, Sample[]>()
  const gauges = new Set<string>()
  for (const domain of domains) {
    for (const { kind, device, name, counters } of domain.devices) {
      for (const [counter, value] of Object.entries(counters)) {
        const family = `${snake(kind)}_${snake(counter)}`
        if (NOW.has(counter)) gauges.add(family)
        const samples = families.get(family) ?? []
        samples.push({ labels: { ...labelsOf(domain), device, name }, value })
        families.set(family, samples)
      }
    }
  }
  return [...families].map(([name, samples]) => ({ name, type: gauges.has(name) ? 'gauge' : 'counter', help: `What ${name.replaceAll('_', ' ')} of a device come to.`, samples }))
}

/**
 * Statistics as text to be scraped.
 *
 * @example
 * createServer((_, answer) => answer.end(openMetrics(host.statistics()))).listen(9100)
 */
export function openMetrics(statistics: HostStatistics, options: OpenMetricsOptions = {}): string {
  checkArgument('the statistics', statistics, (value) => record(value) ?? list((value as HostStatistics).domains))
  checkOptions('openMetrics', options, { format: oneOf('openmetrics', 'prometheus'), timestamp: isDate })
  const { format = 'openmetrics', timestamp } = options
  const isOpen = format === 'openmetrics'
  const when = timestamp === undefined ? '' : ` ${isOpen ? timestamp.getTime() / 1000 : timestamp.getTime()}`
  const families = [...hostFamilies(statistics), ...domainFamilies(statistics.domains), ...deviceFamilies(statistics.domains)]
  const lines = families.filter(({ samples }) => samples.length > 0).flatMap(({ name: own, type, help, unit, samples }) => {
    const name = `${PREFIX}_${own}`
    const sampleName = type === 'counter' ? `${name}_total` : name
    const family = isOpen ? name : sampleName
    return [
      `# TYPE ${family} ${type}`, ...(isOpen && unit !== undefined ? [`# UNIT ${family} ${unit}`] : []), `# HELP ${family} ${help}`,
      ...samples.map(({ labels, value }) => `${sampleName}${labelText(labels)} ${value}${when}`),
    ]
  })
  return [...lines, ...(isOpen ? ['# EOF'] : []), ''].join('\n')
}
