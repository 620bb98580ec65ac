/** What `monitor WORD` of GDB answers: facts of the host that a debugger of a machine does not know, and ways through a recorded run. */
import type { Domain, Host } from '../../toolstack/index.ts'
import { XenError, type Mfn } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import type { Ground } from '../inferior/ground.ts'
import { linux } from '../linux/linux-view.ts'
import { attempt } from '../memory/virtual-memory.ts'

/** Whom it is about. */
export interface MonitorSubject {
  readonly ground: Ground
  /** The domain that is looked at, where it is there. */
  readonly domain: Domain | undefined
  readonly vcpu: number
  /** All that the debugger has was brought elsewhere. */
  moved(): void
}

interface Question extends MonitorSubject {
  readonly host: Host
  readonly domain: Domain
  readonly word: string
  /** What follows it. */
  readonly more: string
}

interface Command {
  readonly usage: string
  readonly says: string
  readonly answer: (question: Question) => string | Promise<string>
}

/** Names of places, by the run that they lie in. */
const places = new WeakMap<Ground, Map<string, number>>()

/** A node and all below it. */
function tree(host: Host, path: string): string[] {
  const children = host.store.list(path).flatMap((name) => tree(host, `${path === '/' ? '' : path}/${name}`))
  return [`${path} = "${host.store.read(path)}"`, ...children]
}

const seconds = (nanoseconds: number): string => `${(nanoseconds / 1e9).toFixed(9)} s`

function historyOf(ground: Ground): NonNullable<Ground['history']> {
  if (ground.history === undefined) throw new XenError('INVALID_STATE', 'nothing is recorded: debug a recorded run')
  return ground.history
}

const placesOf = (ground: Ground): Map<string, number> => {
  const known = places.get(ground) ?? new Map<string, number>()
  places.set(ground, known)
  return known
}

function now({ ground: { history }, host, domain }: Question): string {
  const place = history === undefined ? '' : `, instruction ${history.instruction} of ${history.end}`
  return `${seconds(host.now())}, up ${Math.floor(domain.uptime())} s${place}`
}

function checkpoint({ ground, word }: Question): string {
  const { instruction } = historyOf(ground)
  const known = placesOf(ground)
  const name = word === '' ? `place-${known.size + 1}` : word
  known.set(name, instruction)
  return `${name} is instruction ${instruction}; monitor goto ${name} leads here`
}

async function goTo({ ground, word, moved }: Question): Promise<string> {
  const history = historyOf(ground)
  const known = placesOf(ground)
  const place = known.get(word) ?? (/^\d{1,15}$/.test(word) ? Number(word) : undefined)
  if (place === undefined) return `there is no place ${word}; there are ${[...known].map(([name, at]) => `${name} (${at})`).join(', ') || 'none'}, and instructions by number`
  await history.goTo(place)
  moved()
  return `at instruction ${history.instruction} of ${history.end}; maintenance flush register-cache has gdb look anew`
}

function faults({ host, domain }: Question): string {
  const counts = domain.vcpus().flatMap(({ vcpu }) => Object.entries(domain.profile({ vcpu }).exits).map(([cause, times]) => `vCPU ${vcpu} left for ${cause} ${times} times`))
  return [domain.crash?.text ?? 'it has not crashed', ...counts, ...host.hypervisor.checkInvariants().map((one) => JSON.stringify(one))].join('\n')
}

function tlb({ host, domain, vcpu }: Question): string {
  const { translations } = host.hypervisor.inspectVcpu(domain.id, vcpu)
  const rights = ({ read, write, execute }: (typeof translations)[number]): string => `${read ? 'r' : '-'}${write ? 'w' : '-'}${execute ? 'x' : '-'}`
  return translations.map((one) => `0x${BigInt.asUintN(64, BigInt(one.address)).toString(16).padStart(16, '0')} frame 0x${one.frame.toString(16)} ${rights(one)}`).join('\n') || 'none is remembered'
}

/** Bytes of physical memory at most, and those of a line. */
const MOST_PHYSICAL = 1024
const LINE = 16

/** Memory by the addresses that page tables hold: of a PV guest the machine's, of any other its own. */
function physical({ host: { hypervisor }, domain, word, more }: Question): string {
  const isNumber = (text: string): boolean => /^(0x[0-9a-f]{1,13}|\d{1,15})$/i.test(text)
  if (!isNumber(word) || (more !== '' && !isNumber(more))) return 'physical wants an address, and how many bytes'
  const start = Number(word)
  const bytes: number[] = []
  for (let at = start, end = start + Math.min(more === '' ? LINE : Number(more), MOST_PHYSICAL); at < end; at += 1) {
    const frame = Math.floor(at / PAGE_SIZE)
    const own = domain.info().translated ? attempt(() => hypervisor.frameOfGfn(domain.id, frame)) : frame as Mfn
    const page = own === undefined ? undefined : attempt(() => hypervisor.frameBytes(domain.id, own))
    if (page === undefined) break
    bytes.push(page[at % PAGE_SIZE]!)
  }
  const lines = Array.from({ length: Math.ceil(bytes.length / LINE) }, (_, i) => `0x${(start + i * LINE).toString(16)}: ${bytes.slice(i * LINE, (i + 1) * LINE).map((byte) => byte.toString(16).padStart(2, '0')).join(' ')}`)
  return lines.join('\n') || `0x${start.toString(16)} is not the domain's`
}

/** What ps would show: number, parent, state, processor, name; kernel threads in brackets. */
function tasks({ host, domain }: Question): string {
  const view = linux(host, domain)
  if (view === undefined) return 'no Linux that carries its types and symbols with it'
  return view.tasks().map(({ pid, parent, state, vcpu, name, isKernel }) =>
    `${String(pid).padStart(6)} ${String(parent).padStart(6)} ${state} ${vcpu === undefined ? ' -' : String(vcpu).padStart(2)} ${isKernel ? `[${name}]` : name}`).join('\n')
}

const COMMANDS: Readonly<Record<string, Command>> = {
  now: { usage: 'now', says: 'host time, how long the domain has run, and which instruction of a recorded run comes next', answer: now },
  domains: { usage: 'domains', says: 'the domains of the host', answer: ({ host }) => host.listDomains().map(({ id, name, state }) => `${id} ${name} ${state}`).join('\n') },
  vcpus: { usage: 'vcpus', says: "the domain's vCPUs", answer: ({ domain }) => domain.vcpus().map(({ vcpu, state }) => `vCPU ${vcpu} ${state}`).join('\n') },
  console: { usage: 'console', says: 'the last lines of its console', answer: ({ domain }) => domain.console.text().split('\n').slice(-20).join('\n') },
  xenstore: { usage: 'xenstore [PATH]', says: 'nodes of XenStore', answer: ({ host, domain, word }) => tree(host, word === '' ? `/local/domain/${domain.id}` : word).join('\n') },
  dmesg: { usage: 'dmesg', says: "the hypervisor's console", answer: ({ host }) => host.dmesg() },
  crash: { usage: 'crash', says: 'the report of its crash', answer: ({ domain }) => domain.crash?.text ?? 'it has not crashed' },
  faults: { usage: 'faults', says: 'its crash, how often its vCPUs left it and why, and what of the host does not add up', answer: faults },
  info: { usage: 'info tlb', says: 'translations that the vCPU remembers', answer: (question) => (question.word === 'tlb' ? tlb(question) : 'info tlb is all that there is') },
  physical: { usage: 'physical ADDRESS [N]', says: 'bytes of physical memory, by the addresses that page tables hold', answer: physical },
  tasks: { usage: 'tasks', says: 'the processes of a Linux: number, parent, state, processor, name', answer: tasks },
  checkpoint: { usage: 'checkpoint [NAME]', says: 'names the present place of a recorded run', answer: checkpoint },
  goto: { usage: 'goto NAME|NUMBER', says: 'goes to a place of a recorded run, by its name or its instruction', answer: goTo },
}

const help = (): string => Object.values(COMMANDS).map(({ usage, says }) => `${usage.padEnd(24)}${says}`).join('\n')

/** The answer to a line, which ends in a new line. What is no command is told so. */
export async function monitor(subject: MonitorSubject, line: string): Promise<string> {
  const [name = '', word = '', more = ''] = line.trim().split(/\s+/)
  if (name === 'help' || name === '') return `${help()}\n`
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (command === undefined) return `there is no ${name}; monitor help lists what there is\n`
  const { domain } = subject
  if (domain === undefined) return 'the domain is gone\n'
  try {
    return `${await command.answer({ ...subject, host: subject.ground.host, domain, word, more })}\n`
  } catch (error) {
    if (XenError.is(error)) return `${error.message}\n`
    throw error
  }
}
