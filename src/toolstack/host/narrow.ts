/**
 * Handles for code that is not to have all: a host or domain of which only some calls are there, of one domain or of all, or only
 * those that look. Whoever holds one gets no other out of it. Not here: what the hypervisor's own policy refuses.
 */
import { checkOptions, flag, shown, XenError, type Check, type EventFilter, type EventSource, type EventStamp } from '../../util/index.ts'
import type { CpuPool, CpuPoolOptions, CpuPoolReference, CpuPools } from '../control/cpu-pools.ts'
import { DOMAIN_CALLS, type CallStanding } from '../run/activities.ts'
import type { Screen } from './screen.ts'
import type { DomainConsole } from '../domains/domain-console.ts'
import { Domain } from './domain.ts'
import { Host, type DomainReference } from './host.ts'
import type { HostEvent } from './host-events.ts'

/** What a narrowed handle is for. */
export interface Narrowing {
  /** This domain alone, under whatever name; by default all. A domain that is restarted is another one. */
  readonly domain?: DomainReference | undefined
  /** Calls that look, and none that changes anything. */
  readonly readOnly?: boolean | undefined
}

const isReference: Check = (value) => (typeof value === 'number' || typeof value === 'string' || value instanceof Domain
  ? undefined : `must be a number, a name or a handle, got ${shown(value)}`)

/** How a property of a handle stands: a call or fact that is always there, one that changes something, or none of anybody's. */
type Standing = 'look' | 'change' | 'closed'

/** Calls and facts of hosts that a narrowed handle has; the rest is the whole host's, and closed. */
const HOST_CALLS: Readonly<Record<string, Standing>> = {
  events: 'look', domains: 'look', domain: 'look', listDomains: 'look', capabilities: 'look', now: 'look', settled: 'look', until: 'look', info: 'look',
  vcpus: 'look', scheduling: 'look', memory: 'look', toJSON: 'look', warnings: 'look', setAffinity: 'change', setScheduling: 'change',
  setMemTarget: 'change', setMaxMem: 'change',
}
/** Calls of a whole host that are there where no domain is named. */
const WHOLE_HOST: Readonly<Record<string, Standing>> = { createDomain: 'change', restore: 'change', receiveMigration: 'change', claims: 'look', statistics: 'look', watchStatistics: 'look', cpupools: 'look', dmesg: 'look', debugKeys: 'change' }
/** Facts of a domain's handle beside its calls. */
const DOMAIN_FACTS: Readonly<Record<string, Standing>> = { id: 'look', uuid: 'look', config: 'look', name: 'look', exists: 'look', crash: 'look', pool: 'closed', console: 'look' }
/** Calls of a console. */
const CONSOLE_CALLS: Readonly<Record<string, Standing>> = { text: 'look', history: 'look', output: 'look', waitFor: 'look', expect: 'look', domid: 'look', channel: 'look', closed: 'look', write: 'change' }
/** Calls and facts of a screen. */
const SCREEN_CALLS: Readonly<Record<string, Standing>> = {
  domid: 'look', id: 'look', connected: 'look', size: 'look', events: 'look', statistics: 'look', picture: 'look', png: 'look',
  input: 'change', press: 'change', type: 'change', point: 'change', click: 'change',
}
/** Calls and facts of all pools of CPUs, and of one. */
const POOLS_CALLS: Readonly<Record<string, Standing>> = { list: 'look', find: 'look', freeCpus: 'look', create: 'change' }
const POOL_CALLS: Readonly<Record<string, Standing>> = {
  id: 'look', name: 'look', scheduler: 'look', cpus: 'look', domains: 'look', parameters: 'look', toJSON: 'look',
  setParameters: 'change', rename: 'change', addCpus: 'change', removeCpus: 'change', destroy: 'change',
}
/** What the language asks of every object. */
const OF_ALL: ReadonlySet<PropertyKey> = new Set([Symbol.toStringTag, Symbol.asyncIterator, Symbol.for('nodejs.util.inspect.custom'), 'then', 'constructor'])

const standingOf = (call: CallStanding): Standing => (call === 'look' ? 'look' : 'change')

/** Checks what is asked of a handle. Throws PERMISSION_DENIED. */
function checkAllowed(what: string, name: PropertyKey, standing: Standing | undefined, { readOnly }: Narrowing): void {
  if (standing === 'look' || (standing === 'change' && readOnly !== true)) return
  const why = standing === 'change' ? 'it is for looking only' : 'it is not for that'
  throw new XenError('PERMISSION_DENIED', `${String(name)} of this handle of ${what}: ${why}`, { details: { call: String(name), readOnly: readOnly === true } })
}

/** An object of which only what `standings` allow is there; `instead` answers some of it. */
function narrowed<T extends object>(
  target: T, facts: { readonly what: string; readonly standings: Readonly<Record<string, Standing>>; readonly narrowing: Narrowing; readonly instead?: Readonly<Record<string, unknown>> },
): T {
  const { what, standings, narrowing, instead = {} } = facts
  return new Proxy(target, {
    get(whole, name) {
      if (typeof name === 'symbol' || OF_ALL.has(name)) return OF_ALL.has(name) ? bound(whole, Reflect.get(whole, name)) : undefined
      checkAllowed(what, name, Object.hasOwn(standings, name) ? standings[name] : undefined, narrowing)
      return Object.hasOwn(instead, name) ? instead[name] : bound(whole, Reflect.get(whole, name))
    },
    set: (_whole, name) => {
      checkAllowed(what, name, undefined, narrowing)
      return false
    },
    // What is not asked for by name is not shown.
    ownKeys: () => [], getPrototypeOf: (whole) => Object.getPrototypeOf(whole) as object, getOwnPropertyDescriptor: () => undefined,
    defineProperty: () => false, deleteProperty: () => false, setPrototypeOf: () => false,
  })
}

const bound = (whole: object, value: unknown): unknown => (typeof value === 'function' ? (value as (...given: unknown[]) => unknown).bind(whole) : value)

function narrowDomain(domain: Domain, narrowing: Narrowing): Domain {
  // A trace may stop what it watches.
  const standings = { ...DOMAIN_FACTS, ...Object.fromEntries(Object.entries(DOMAIN_CALLS).map(([name, call]) => [name, standingOf(call)])), trace: 'change' as const }
  const narrowConsole = (console: DomainConsole): DomainConsole => narrowed(console, { what: 'a console', standings: CONSOLE_CALLS, narrowing })
  const narrowScreen = (screen: Screen): Screen => narrowed(screen, { what: 'a screen', standings: SCREEN_CALLS, narrowing })
  return narrowed(domain, { what: `domain ${domain.id}`, standings, narrowing, instead: { console: narrowConsole(domain.console), channel: (name: string) => narrowConsole(domain.channel(name)), screen: (number?: number) => narrowScreen(domain.screen(number)) } })
}

const narrowPool = (pool: CpuPool, narrowing: Narrowing): CpuPool => narrowed(pool, { what: `pool ${pool.id}`, standings: POOL_CALLS, narrowing })

function narrowPools(pools: CpuPools, narrowing: Narrowing): CpuPools {
  return narrowed(pools, { what: 'the pools of CPUs', standings: POOLS_CALLS, narrowing, instead: {
    list: () => pools.list().map((pool) => narrowPool(pool, narrowing)),
    find: (reference: CpuPoolReference) => narrowPool(pools.find(reference), narrowing),
    create: (options?: CpuPoolOptions) => narrowPool(pools.create(options), narrowing),
  } })
}

/** What the hypervisor's console holds; who only looks does not empty it. */
const narrowDmesg = (host: Host, narrowing: Narrowing): Host['dmesg'] => (options = {}) => {
  if (options?.clear === true) checkAllowed('a host', 'dmesg', 'change', narrowing)
  return host.dmesg(options)
}

/** Events as a handle of one domain has them. */
function narrowEvents(events: EventSource<HostEvent>, domid: number): EventSource<HostEvent> {
  const isOwn = (event: HostEvent): boolean => (event as { readonly domid?: number }).domid === domid
  return {
    get last() { return events.last },
    on: (type, listener) => events.on(type, (event) => { if (isOwn(event as HostEvent)) listener(event) }),
    onAny: (listener) => events.onAny((event) => { if (isOwn(event)) listener(event) }),
    once: (type, accept = () => true, options) => events.once(type, (event) => isOwn(event as HostEvent) && accept(event), options),
    stream: (options = {}) => events.stream({ ...options, domid }),
    recent: (filter: EventFilter<HostEvent> = {}): readonly (HostEvent & EventStamp)[] => events.recent({ ...filter, domid }),
  }
}

function narrowHost(host: Host, narrowing: Narrowing): Host {
  const { domain: wanted } = narrowing
  const only = wanted === undefined ? undefined : host.domain(wanted).id
  const isOwn = (id: number): boolean => only === undefined || id === only
  const standings = only === undefined ? { ...HOST_CALLS, ...WHOLE_HOST } : HOST_CALLS
  const find = (reference: DomainReference): Domain => {
    const found = host.domain(reference)
    if (isOwn(found.id)) return found
    throw new XenError('PERMISSION_DENIED', `this handle is for domain ${only} alone`, { details: { domid: only, asked: found.id } })
  }
  /** A call whose first argument names a domain. */
  const ofDomain = (name: 'setAffinity' | 'setScheduling' | 'setMemTarget' | 'setMaxMem' | 'vcpus' | 'scheduling' | 'memory') =>
    (reference?: DomainReference, ...rest: unknown[]): unknown => {
      const given = only === undefined ? reference : find(reference ?? only).id
      return (host[name] as (...all: unknown[]) => unknown).call(host, given, ...rest)
    }
  const created = async (making: Promise<Domain>): Promise<Domain> => narrowDomain(await making, narrowing)
  const making = (name: 'createDomain' | 'restore' | 'receiveMigration') => (...given: unknown[]): unknown => {
    const operation = (host[name] as (...all: unknown[]) => Promise<Domain> & { readonly progress: unknown }).call(host, ...given)
    return Object.assign(created(operation), { progress: operation.progress })
  }
  return narrowed(host, {
    what: 'a host', standings, narrowing,
    instead: {
      domains: () => host.domains().filter(({ id }) => isOwn(id)).map((domain) => narrowDomain(domain, narrowing)),
      domain: (reference: DomainReference) => narrowDomain(find(reference), narrowing),
      cpupools: narrowPools(host.cpupools, narrowing), dmesg: narrowDmesg(host, narrowing),
      listDomains: () => host.listDomains().filter(({ id }) => isOwn(id)), toJSON: () => host.listDomains().filter(({ id }) => isOwn(id)),
      ...(only === undefined ? {} : { events: narrowEvents(host.events, only) }), warnings: [...host.warnings],
      ...Object.fromEntries((['setAffinity', 'setScheduling', 'setMemTarget', 'setMaxMem', 'vcpus', 'scheduling', 'memory'] as const).map((name) => [name, ofDomain(name)])),
      ...Object.fromEntries((['createDomain', 'restore', 'receiveMigration'] as const).map((name) => [name, making(name)])),
    },
  })
}

/**
 * A handle of the same host or domain with less power, to be given to other code: of one domain, or for looking only. What it has not
 * throws PERMISSION_DENIED; the store, the hypervisor and dom0 are never in it, and it gives out no handle with more.
 *
 * @example
 * plugin.start(narrow(host, { domain: 'web', readOnly: true }))
 */
export function narrow<H extends Host | Domain>(handle: H, narrowing: Narrowing): H {
  checkOptions('narrow', narrowing, { domain: isReference, readOnly: flag })
  if (handle instanceof Host) return narrowHost(handle, narrowing) as H
  if (!(handle instanceof Domain)) throw new XenError('INVALID_ARGUMENT', 'what is narrowed must be a host or a domain', { details: { narrowing } })
  return narrowDomain(handle, narrowing) as H
}
