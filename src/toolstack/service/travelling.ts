/**
 * What of the API travels to another process, by name, and what stays where the host is, each with its reason. The tables are complete
 * by their types: a public member of a class that is in neither list does not compile.
 */
import type { Catalogue } from '../catalogue/catalogue.ts'
import type { CpuPool, CpuPools } from '../control/cpu-pools.ts'
import type { DomainConsole } from '../domains/domain-console.ts'
import type { Domain } from '../host/domain.ts'
import type { Host } from '../host/host.ts'
import type { Moment } from '../moments/moment.ts'

/** The public members of a class by name. */
export type Members<T> = keyof T & string

/** What of one class travels, and why the rest stays. */
export interface Travelling<T, N extends readonly Members<T>[]> {
  readonly travels: N
  readonly stays: { readonly [name in Exclude<Members<T>, N[number]>]: string }
}

/** Completes a table: every member that does not travel has its reason. */
const travelling = <T>() => <const N extends readonly Members<T>[]>(travels: N, stays: Travelling<T, N>['stays']): Travelling<T, N> => ({ travels, stays })

const HANDLE = 'a fact of the handle itself, which has it when it comes'
const THERE = 'an object of the other end, with calls of its own'
const PRINTING = 'what a process shows of its own objects'
const CODE = 'takes functions, and code does not travel'

/** Hosts. */
const HOST = /* @__PURE__ */ travelling<Host>()([
  'warnings', 'bootDescription', 'capabilities', 'info', 'dmesg', 'debugKeys', 'statistics', 'watchStatistics', 'now', 'symbolAt', 'domains', 'domain',
  'listDomains', 'vcpus', 'setAffinity', 'scheduling', 'setScheduling', 'createDomain', 'restore', 'receiveMigration', 'memory', 'claims', 'setMemTarget',
  'setMaxMem', 'settled', 'checkpoint', 'reset', 'stateHash', 'profile', 'shutdown',
], {
  events: THERE, cpupools: THERE,
  hypervisor: 'the privileged interface of the process that has the host; tools have these calls',
  hypervisorEvents: 'each hypercall and switch: more than a connection carries. `statistics` counts them',
  xenstore: 'the store itself; clients have XenStore\'s own protocol, over its own socket',
  store: 'dom0\'s handle on XenStore; clients have XenStore\'s own protocol, over its own socket',
  dom0: 'the kernel of dom0 in the host\'s process',
  console: THERE,
  until: CODE, standBy: 'its arbiter and its stores are code in the host\'s process', bridge: 'its ports and taps are code in the host\'s process',
  network: 'its outside is code in the host\'s process',
  hold: 'keeps the whole host still for one process, which could go without letting go',
  expectInput: 'a host that is served is expected to hear from outside as long as it is',
  toJSON: PRINTING,
})

/** Domains. */
const DOMAIN = /* @__PURE__ */ travelling<Domain>()([
  'config', 'currentConfig', 'updateConfig', 'exists', 'crash', 'info', 'summary', 'devices', 'disk', 'nic', 'channel', 'memory', 'uptime', 'vcpus', 'scheduling', 'pool', 'profile',
  'waitForShutdown', 'pause', 'unpause', 'rename', 'setAffinity', 'setScheduling', 'moveToPool', 'claimMemory', 'setNicRate', 'setNicLink', 'setDiskLimits', 'trigger',
  'sysrq', 'dumpCore', 'save', 'migrate', 'resume', 'softReset', 'attachDisk', 'attachNic', 'attachDevice', 'detachDisk', 'detachNic', 'detachDevice', 'insertMedium', 'ejectMedium', 'resizeDisk', 'setMemTarget',
  'setMaxMem', 'setVcpus', 'shutdown', 'reboot', 'destroy',
], { id: HANDLE, uuid: HANDLE, name: HANDLE, console: THERE, trace: CODE, protect: 'its arbiter is code in the host\'s process', screen: 'its pictures are read where the memory is; viewers elsewhere have VNC', toJSON: PRINTING })

/** Consoles. */
const CONSOLE = /* @__PURE__ */ travelling<DomainConsole>()(['text', 'history', 'write', 'output', 'waitFor', 'expect', 'closed'], {
  events: '`output` has what they tell', domid: HANDLE, channel: HANDLE,
})

/** The pools of a host's CPUs. */
const CPU_POOLS = /* @__PURE__ */ travelling<CpuPools>()(['list', 'find', 'create', 'freeCpus'], {})

/** One pool. */
const CPU_POOL = /* @__PURE__ */ travelling<CpuPool>()(['parameters', 'setParameters', 'rename', 'addCpus', 'removeCpus', 'destroy'], {
  id: HANDLE, name: HANDLE, scheduler: HANDLE, cpus: HANDLE, domains: HANDLE, toJSON: PRINTING,
})

/** Moments. A connection that ends lets its moments go. */
const MOMENT = /* @__PURE__ */ travelling<Moment<Host>>()(['exists', 'hashes', 'differences', 'save', 'dispose'], {
  label: HANDLE, time: HANDLE, newPages: HANDLE, toJSON: PRINTING, written: 'frames of a machine that callers elsewhere do not have',
  parent: 'may be another connection\'s', tree: 'may hold moments of other connections', isOf: 'asks for an object of the host\'s process',
  branch: 'makes a host in the serving process, which nobody there would own: save it, and load it where the branch is wanted',
  prepare: 'is for branches',
})

/** The catalogue that a host is served with. */
const CATALOGUE = /* @__PURE__ */ travelling<Catalogue>()(['list', 'get', 'define', 'update', 'undefine', 'setAutostart', 'watch'], {
  start: 'of the service\'s own: the host is the one that is served', startAll: 'of the service\'s own: the host is the one that is served',
})

/** All of it, by what it is called on. */
export const TRAVELLING = { host: HOST, domain: DOMAIN, console: CONSOLE, cpupools: CPU_POOLS, cpupool: CPU_POOL, moment: MOMENT, catalogue: CATALOGUE }

/** What calls are made on. */
export type ServedSubject = keyof typeof TRAVELLING | 'events'

/** Names that travel, of one of them. */
export type Travels<S extends keyof typeof TRAVELLING> = (typeof TRAVELLING)[S]['travels'][number]

/** Calls of the service itself, beside those of the classes. */
export const OWN_CALLS: Readonly<Partial<Record<ServedSubject, readonly string[]>>> = { events: ['stream', 'recent'], catalogue: ['start', 'startAll'] }

/** Where the options with a `signal` stand among a call's parameters; never for a call that has none. */
type OptionsAt<A, At extends 0[] = []> = A extends readonly [] ? never
  : A extends readonly unknown[] ? number extends A['length'] ? never
    : A extends readonly [first?: infer First, ...rest: infer Rest] ? HasSignal<NonNullable<First>> extends true ? At['length'] : OptionsAt<Rest, [...At, 0]> : never : never
type HasSignal<T> = string extends keyof T ? false : 'signal' extends keyof T ? true : false
/** The same of all calls of a class that travel and have some. */
type AllOptionsAt<T, N extends keyof T> = {
  readonly [name in N as T[name] extends (...given: infer A) => unknown ? ([OptionsAt<A>] extends [never] ? never : name) : never]:
    T[name] extends (...given: infer A) => unknown ? OptionsAt<A> : never
}

/** Which argument of a call has its options with a `signal`: the service's own, which fires when its caller gives up or is gone. */
export const OPTIONS_AT = {
  host: { createDomain: 1, restore: 1, receiveMigration: 1, setMemTarget: 2, setMaxMem: 2, watchStatistics: 0, checkpoint: 0 } satisfies AllOptionsAt<Host, Travels<'host'>>,
  domain: {
    shutdown: 0, reboot: 0, waitForShutdown: 0, setMemTarget: 1, setMaxMem: 1, setVcpus: 1, softReset: 0, dumpCore: 1, save: 1, migrate: 1, attachDisk: 1, attachNic: 1,
    attachDevice: 2, detachDisk: 1, detachNic: 1, detachDevice: 2, insertMedium: 2, ejectMedium: 1, resizeDisk: 2,
  } satisfies AllOptionsAt<Domain, Travels<'domain'>>,
  console: { waitFor: 1, output: 0, expect: 1 } satisfies AllOptionsAt<DomainConsole, Travels<'console'>>,
  cpupools: {} satisfies AllOptionsAt<CpuPools, Travels<'cpupools'>>, cpupool: {} satisfies AllOptionsAt<CpuPool, Travels<'cpupool'>>,
  moment: {} satisfies AllOptionsAt<Moment<Host>, Travels<'moment'>>, catalogue: { watch: 0 } satisfies AllOptionsAt<Catalogue, Travels<'catalogue'>>,
  events: { stream: 0 },
} as const
