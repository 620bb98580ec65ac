/**
 * Debug keys: what Xen writes on its console when it is asked for a look at itself. Lines are worded as Xen's where there is such a
 * thing here; keys about hardware that a host has not are not there.
 * Reference: xen/common/keyhandler.c; xen/common/event_channel.c, domain_dump_evtchn_info; xen/common/grant_table.c, gnttab_usage_print; xen/common/sched/core.c, schedule_dump; xen/common/perfc.c, perfc_printall; xen/arch/x86/time.c, dump_softtsc.
 */
import type { ControlInterface, DomainInfo, GrantRecord, PortRecord } from '../../hypervisor/index.ts'

/** What the keys look at. */
export interface DebugSource {
  readonly control: ControlInterface
}

interface DebugKey {
  readonly about: string
  lines(source: DebugSource): string[]
}

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
const uuid = (handle: Uint8Array): string => hex(handle).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
const set = (cpus: readonly number[]): string => {
  const parts: string[] = []
  for (let i = 0; i < cpus.length; i += 1) {
    const first = cpus[i]!
    while (cpus[i + 1] === cpus[i]! + 1) i += 1
    parts.push(cpus[i] === first ? String(first) : `${first}-${cpus[i]}`)
  }
  return `{${parts.join(',')}}`
}
const flag = (is: boolean): string => (is ? 'T' : 'F')

function domainLines(control: ControlInterface, info: DomainInfo): string[] {
  const { domid, dying, paused, totalPages, maxPages, handle, maxVcpu, privileged } = info
  const general = [
    `General information for domain ${domid}:`,
    `    dying=${Number(dying)} pause_count=${Number(paused)}`,
    `    nr_pages=${totalPages} xenheap_pages=1 outstanding_pages=${info.outstandingPages} max_pages=${maxPages}`,
    `    handle=${uuid(handle)}${privileged ? ' privileged' : ''} kind=${info.kind}`,
    `VCPU information and callbacks for domain ${domid}:`,
  ]
  const vcpus = Array.from({ length: maxVcpu + 1 }, (_, vcpu) => {
    const { cpu, running, online, blocked, polling } = control.vcpuInfo(domid, vcpu)
    const { hard, soft } = control.affinity(domid, vcpu)
    return [
      `    VCPU${vcpu}: CPU${cpu} [has=${flag(running)}] poll=${polling === undefined ? 0 : polling.length} online=${flag(online)} blocked=${flag(blocked)}`,
      `    cpu_hard_affinity=${set(hard)} cpu_soft_affinity=${set(soft)}`,
    ]
  })
  return [...general, ...vcpus.flat()]
}

function schedulerLines({ control }: DebugSource): string[] {
  const { physicalCpus, time } = control.hostInfo()
  const pools = control.cpuPools().flatMap(({ id, cpus, scheduler, domains }) => [
    `Cpupool ${id}:`, `Cpus: ${set(cpus)}`, `Scheduler: ${scheduler}`,
    ...Object.entries(control.poolParameters(id)).map(([name, value]) => `    ${name} = ${value}`),
    ...domains.map((domid) => `    Domain: ${domid} ${Object.entries(control.schedulerParameters(domid)).map(([name, value]) => `${name} ${value}`).join(' ')} v ${control.domainInfo(domid).maxVcpu + 1}`),
  ])
  return [`NOW=${time}`, `Online Cpus: ${set(Array.from({ length: physicalCpus }, (_, cpu) => cpu))}`, ...pools]
}

function softTscLines({ control }: DebugSource): string[] {
  const { time } = control.hostInfo()
  const domains = control.listDomains().filter(({ privileged }) => !privileged).map(({ domid, translated }) => {
    const { mode, kilohertz, nanoseconds, incarnation } = control.getTscInfo(domid)
    const offset = BigInt(Math.floor(time)) - nanoseconds
    const facts = [`mode=${mode}`, ...(offset > 0n && mode !== 2 ? [`ofs=0x${offset.toString(16)}`] : []), ...(kilohertz === 0 ? [] : [`khz=${kilohertz}`]), `inc=${incarnation}`]
    return `dom${domid}${translated ? '(hvm)' : ''}: ${facts.join(',')}`
  })
  return ['TSC marked as reliable, warp = 0 (count=0)', ...(domains.length === 0 ? ['No domains have emulated TSC'] : domains)]
}

/** Numbers of ports' states, as Xen has them. */
const STATES = { reserved: 1, unbound: 2, interdomain: 3, virq: 5, ipi: 6 } as const satisfies Record<PortRecord['state'], number>

/** A port: pending and masked, its state, the vCPU that is told, and whom or what it is for. */
function portLine({ port, state, vcpu, remote, remotePort, virq, isPending, isMasked }: PortRecord): string {
  const facts = [['d', remote], ['p', remotePort], ['v', virq]].flatMap(([name, value]) => (value === undefined ? [] : [` ${name}=${value}`]))
  return `    ${String(port).padStart(4)} [${Number(isPending)}/${Number(isMasked)}]: s=${STATES[state]} n=${vcpu}${facts.join('')}`
}

const portLines = ({ control }: DebugSource): string[] => control.listDomains().flatMap(({ domid, maxVcpu }) => {
  const polling = Array.from({ length: maxVcpu + 1 }, (_, vcpu) => vcpu).filter((vcpu) => control.vcpuInfo(domid, vcpu).polling !== undefined)
  return [`Event channel information for domain ${domid}:`, `Polling vCPUs: ${set(polling)}`, '    port [p/m]', ...control.listPorts(domid).map(portLine)]
})

const grantLine = ({ ref, remote, kind, frame, mappings, isReadOnly, isMappedWritable }: GrantRecord): string =>
  `[0x${ref.toString(16).padStart(3, '0')}]  d${remote} frame=${frame === undefined ? 'none' : `0x${frame.toString(16)}`} ${kind}${isReadOnly ? ' read-only' : ''} mapped=${mappings}${isMappedWritable ? ' writable' : ''}`

/** Entries that somebody has mapped, as Xen shows them. */
const grantLines = ({ control }: DebugSource): string[] => control.listDomains().flatMap(({ domid }) => {
  const active = control.listGrants(domid).filter(({ mappings }) => mappings > 0)
  return [`grant-table for remote d${domid}`, ...(active.length === 0 ? ['no active grant table entries'] : active.map(grantLine))]
})

const KEYS: Readonly<Record<string, DebugKey>> = {
  '*': { about: 'print all diagnostics', lines: (source) => ['e', 'g', 'm', 'p', 'q', 'r', 's'].flatMap((key) => pressed(key, source)) },
  e: { about: 'dump evtchn info', lines: portLines },
  g: { about: 'print grant table usage', lines: (source) => ["gnttab_usage_print_all [ key 'g' pressed", ...grantLines(source), 'gnttab_usage_print_all ] done'] },
  h: { about: 'show this message', lines: () => Object.entries(KEYS).map(([key, { about }]) => ` key '${key}' (ascii '${key.charCodeAt(0).toString(16)}') => ${about}`) },
  m: { about: 'memory info', lines: ({ control }) => {
    const { freeFrames, outstandingFrames } = control.hostInfo()
    return ['Physical memory information:', `    Dom heap: ${freeFrames * 4}kB free`, `    Claimed: ${outstandingFrames * 4}kB`]
  } },
  p: { about: 'print performance counters', lines: ({ control }) => [
    `Xen performance counters SHOW  (now = ${control.hostInfo().time})`,
    ...Object.entries(control.hypercallCounts()).map(([name, count]) => `${`hypercall ${name}`.padEnd(32)}  TOTAL[${String(count).padStart(12)}]`),
  ] },
  q: { about: 'dump domain (and guest debug) info', lines: ({ control }) => control.listDomains().flatMap((info) => domainLines(control, info)) },
  r: { about: 'dump run queues', lines: schedulerLines },
  s: { about: 'dump softtsc stats', lines: softTscLines },
}

const SAID: Readonly<Record<string, string>> = {
  e: 'dumping event-channel info',
  h: 'showing installed handlers', m: 'dumping memory info', q: 'dumping domain info', r: 'dumping run queues', '*': 'firing all diagnostic keyhandlers',
}

/** What is written when a key is pressed; nothing for one that does nothing, as Xen has it. */
function pressed(key: string, source: DebugSource): string[] {
  const known = Object.hasOwn(KEYS, key) ? KEYS[key] : undefined
  if (known === undefined) return []
  const when = key === 'q' ? ` (now = ${source.control.hostInfo().time})` : ''
  // Some say at once what they have to say.
  const head = SAID[key] === undefined ? [] : [`'${key}' pressed -> ${SAID[key]}${when}`]
  return [...head, ...known.lines(source)]
}

/** Presses keys, one behind the other: what they have to say goes to the hypervisor's console. */
export function pressDebugKeys(source: DebugSource, keys: string): void {
  for (const key of keys) {
    const lines = pressed(key, source)
    if (lines.length > 0) source.control.log(lines)
  }
}
