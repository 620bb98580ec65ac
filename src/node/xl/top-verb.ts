/** `xl top`: what xentop prints in its batch mode. Reference: tools/xentop/xentop.c; a capture of Xen 4.17's. */
import type { DeviceCounters, DomainStatistics, HostStatistics } from '../../toolstack/index.ts'
import { options, type Session } from './session.ts'

const devicesOf = ({ devices }: DomainStatistics, kind: string): readonly DeviceCounters[] => devices.filter((device) => device.kind === kind)

/** What devices of a kind come to, together. */
const sum = (domain: DomainStatistics, kind: string, name: string): number =>
  devicesOf(domain, kind).reduce((all, { counters }) => all + (counters[name] ?? 0), 0)

/** xentop's letters for a state: their order is its own. */
function stateOf(state: string): string {
  const [r, b, p, s, c, d] = state
  return [d, s, b, c, p, r].map((letter) => letter ?? '-').join('')
}

const HEAD = '      NAME  STATE   CPU(sec) CPU(%)     MEM(k) MEM(%)  MAXMEM(k) MAXMEM(%) VCPUS NETS NETTX(k) NETRX(k) VBDS   VBD_OO   VBD_RD   VBD_WR  VBD_RSECT  VBD_WSECT SSID\n'
/** Characters of a name that are shown, unless all of it is asked for. */
const SHORT_NAME = 10

function domainLine(domain: DomainStatistics, name: string, { totalMemory }: HostStatistics): string {
  const count = (kind: string): number => devicesOf(domain, kind).length
  const cells: readonly (readonly [string | number, number])[] = [
    [name, 10], [stateOf(domain.state), 6], [Math.floor(domain.cpuTime / 1e9), 10], [(domain.cpuPercent ?? 0).toFixed(1), 6],
    [domain.memory * 1024, 10], [(domain.memory / totalMemory * 100).toFixed(1), 6], [Math.round(domain.maxMemory * 1024), 10],
    [(domain.maxMemory / totalMemory * 100).toFixed(1), 9], [domain.vcpus.filter(({ online }) => online).length, 5], [count('vif'), 4],
    [Math.floor(sum(domain, 'vif', 'bytesIn') / 1024), 8], [Math.floor(sum(domain, 'vif', 'bytesOut') / 1024), 8], [count('vbd'), 4], [0, 8],
    [sum(domain, 'vbd', 'reads'), 8], [sum(domain, 'vbd', 'writes'), 8], [sum(domain, 'vbd', 'sectorsRead'), 10], [sum(domain, 'vbd', 'sectorsWritten'), 10], [0, 4],
  ]
  return `${cells.map(([cell, width]) => String(cell).padStart(width)).join(' ')}\n`
}

const cell = (value: number | undefined, width: number): string => String(value ?? 0).padStart(width)

const vcpuLine = ({ vcpus }: DomainStatistics): string =>
  `VCPUs(sec): ${vcpus.map(({ vcpu, cpuTime }) => ` ${cell(vcpu, 2)}: ${cell(Math.floor(cpuTime / 1e9), 10)}s`).join('')}\n`

/** What the back-end has sent is what the guest has received. */
const netLine = ({ device, counters: { bytesIn, bytesOut, framesIn, framesOut, errors, dropped } }: DeviceCounters): string =>
  `Net${device} RX: ${cell(bytesOut, 8)}bytes ${cell(framesOut, 8)}pkts ${cell(0, 8)}err ${cell(dropped, 8)}drop  TX: ${
    cell(bytesIn, 8)}bytes ${cell(framesIn, 8)}pkts ${cell(errors, 8)}err ${cell(0, 8)}drop\n`

const diskLine = ({ device, counters: { reads, writes, sectorsRead, sectorsWritten } }: DeviceCounters): string =>
  `VBD BlkBack ${device} [${(device >> 8).toString(16).padStart(2)}:${(device & 0xff).toString(16).padStart(2)}]  OO: ${cell(0, 8)}   RD: ${
    cell(reads, 8)}   WR: ${cell(writes, 8)}   RSECT: ${cell(sectorsRead, 10)}   WSECT: ${cell(sectorsWritten, 10)}\n`

function linesOf(domain: DomainStatistics, host: HostStatistics, given: ReadonlyMap<string, string>): string {
  return [
    domainLine(domain, given.has('f') ? domain.name : domain.name.slice(0, SHORT_NAME), host),
    ...(given.has('v') ? [vcpuLine(domain)] : []),
    ...(given.has('n') ? devicesOf(domain, 'vif').map(netLine) : []),
    ...(given.has('x') ? devicesOf(domain, 'vbd').map(diskLine) : []),
  ].join('')
}

/** Prints statistics as they come: `-d` seconds apart, `-i` times; `-v`, `-n`, `-x` add vCPUs, interfaces and disks, `-f` whole names. */
export async function top({ host, print, signal }: Session, ...words: string[]): Promise<void> {
  const { given } = options(words, 'id')
  let left = given.has('i') ? Number(given.get('i')) : Infinity
  for await (const sample of host.watchStatistics({ interval: { seconds: Number(given.get('d') ?? 3) }, signal })) {
    print(HEAD + sample.domains.map((domain) => linesOf(domain, sample, given)).join(''))
    left -= 1
    if (left <= 0) return
  }
}
