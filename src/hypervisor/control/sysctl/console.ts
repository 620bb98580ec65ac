/**
 * Operations of sysctl on the hypervisor's console: reading it, and keys that it answers by words on it.
 * Reference: xen/drivers/char/console.c, read_console_ring; xen/common/keyhandler.c, handle_keypress.
 */
import { ERRNO, SysctlDebugKeys, SysctlReadconsole } from '../../../abi/index.ts'
import type { Domain } from '../../domains/domain.ts'
import { WORK } from '../../time/work-meter.ts'
import { partial } from '../../domains/hypercall-rows.ts'
import { answering, silent } from '../binary/control-call.ts'
import { SYSCTL_ARGUMENT, type SysctlCall, type SysctlParts } from './sysctl-call.ts'

/** readconsole: from the beginning of what is kept, or from where the caller has stopped. */
function readConsole({ console, meter }: SysctlParts, call: SysctlCall): number {
  const { view } = call
  const op = SysctlReadconsole
  const most = op.count.get(view, SYSCTL_ARGUMENT)
  const from = op.incremental.get(view, SYSCTL_ARGUMENT) !== 0 ? op.index.get(view, SYSCTL_ARGUMENT) : undefined
  // What is read is dropped only once the caller has it.
  const { text, index } = console.readFrom(from, { most, clear: false })
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0))
  if (call.write(call.address(op.buffer, SYSCTL_ARGUMENT), bytes) < 0) return -ERRNO.EFAULT
  if (op.clear.get(view, SYSCTL_ARGUMENT) !== 0) console.readFrom(from, { most, clear: true })
  meter.charge(bytes.length)
  op.count.set(view, SYSCTL_ARGUMENT, bytes.length)
  op.index.set(view, SYSCTL_ARGUMENT, index)
  return 0
}

/** What the key 'q' tells of a domain. */
const domainLines = (domain: Domain, now: number): string[] => [
  `General information for domain ${domain.id}:`,
  `    dying=${Number(domain.dying)} pause_count=${domain.pauseCount}`,
  `    nr_pages=${domain.totalPages} shared_pages=${domain.sharedPages} max_pages=${domain.maxPages}`,
  `    handle=${uuidOf(domain.handle)} vm_assist=${(domain.assists >>> 0).toString(16).padStart(8, '0')}`,
  `VCPU information and callbacks for domain ${domain.id}:`,
  ...domain.vcpus.map((vcpu) => `    VCPU${vcpu.vcpu}: CPU${vcpu.lastCpu} [has=${vcpu.runningOn >= 0 ? 'T' : 'F'}] poll=${vcpu.polling ? (vcpu.polledPorts?.[0] ?? 0) : 0} pause_count=${vcpu.pauseCount} cpu_time=${Math.floor(vcpu.runstate.cpuTime(now))}`),
]

const uuidOf = (handle: Uint8Array): string =>
  [...handle].map((byte, i) => `${[4, 6, 8, 10].includes(i) ? '-' : ''}${byte.toString(16).padStart(2, '0')}`).join('')

/** A key that is answered. */
interface Key {
  readonly what: string
  readonly lines?: (parts: SysctlParts) => readonly string[]
}

const KEYS: Readonly<Record<string, Key>> = {
  h: { what: 'show this message' },
  q: { what: 'dump domain (and guest debug) info', lines: ({ domains, clock }) => domains.all().flatMap((domain) => domainLines(domain, clock.now())) },
  r: {
    what: 'dump run queues',
    lines: ({ scheduler }) => scheduler.all().flatMap((pool) => [
      `Cpupool ${pool.id}:`, `Cpus: ${pool.scheduler.cpus.join(',')}`, `Scheduler: ${pool.scheduler.name}`, `Domains: ${scheduler.domainsOf(pool).join(',')}`,
    ]),
  },
  t: { what: 'display multi-cpu clock info', lines: ({ clock, tsc }) => [`NOW=${Math.floor(clock.now())}`, `TSC ${tsc.kilohertz} kHz`] },
}

/** debug_keys: what each key stands for appears on the console. Keys that stand for nothing are passed over. */
function pressKeys(parts: SysctlParts, call: SysctlCall): number {
  const op = SysctlDebugKeys
  const key = new Uint8Array(1)
  const address = call.address(op.keys, SYSCTL_ARGUMENT)
  const count = op.nrKeys.get(call.view, SYSCTL_ARGUMENT)
  for (let i = 0; i < count; i += 1) {
    if (call.read(address + i, key) < 0) return -ERRNO.EFAULT
    const name = String.fromCharCode(key[0]!)
    const known = Object.hasOwn(KEYS, name) ? KEYS[name] : undefined
    if (known === undefined) continue
    const lines = name === 'h' ? Object.entries(KEYS).map(([letter, { what }]) => ` key '${letter}' (ascii '${letter.charCodeAt(0).toString(16)}') => ${what}`) : known.lines?.(parts) ?? []
    parts.console.log([`'${name}' pressed -> ${name === 'h' ? 'showing installed handlers' : known.what}`, ...lines])
    parts.meter.charge(lines.reduce((sum, { length }) => sum + length, 0) * WORK.character)
  }
  return 0
}

/** The operations, by the names of their numbers. */
export function consoleOperations(parts: SysctlParts) {
  return {
    readconsole: answering((call: SysctlCall) => readConsole(parts, call)),
    debug_keys: silent((call: SysctlCall) => pressKeys(parts, call), partial('the keys h, q, r and t are answered')),
  }
}
