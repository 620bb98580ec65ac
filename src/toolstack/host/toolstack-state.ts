/**
 * What the toolstack knows beside the hypervisor and XenStore: the handles of domains with what they were created from,
 * the kernels' symbols, restarts that are counted, and its source of chance.
 */
import { LAST_DOMID } from '../../abi/index.ts'
import type { GuestProgram } from '../../guest/index.ts'
import { badState, randomShape, sameState, shape, type SeededRandom, XenError, type DomId, type Shape, type Stateful, type StateOf } from '../../util/index.ts'
import { resolveDomainOptions, type DomainConfig, type DomainOptions } from '../config/domain-config.ts'
import type { StreamTrust } from '../config/stream-trust.ts'
import type { CrashBook } from '../crash/crash-book.ts'
import { SymbolTable, symbolTableState } from '../symbols/symbol-table.ts'
import type { DeviceKinds } from '../device-kinds/device-kinds.ts'
import { consolePlace, type DomainConsole } from '../domains/domain-console.ts'
import { kernelName, type KernelSource } from '../domains/kernel-source.ts'
import type { ShutdownRequests } from '../domains/shutdown-requests.ts'
import type { DomainFate } from './domain-fate.ts'
import type { Domain } from './domain.ts'
import type { ShutdownReasonName } from '../domains/shutdown-reason.ts'
import type { Lifecycle } from './lifecycle.ts'

/** Anything that is plain data; what it must be is looked at when it is taken for something. */
const plain: Shape<unknown> = (value) => (isPlain(value, 8) ? undefined : ' must be plain data')

function isPlain(value: unknown, depth: number): boolean {
  if (typeof value === 'function' || typeof value === 'symbol' || depth === 0) return false
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return true
  if (Array.isArray(value)) return value.every((each) => isPlain(each, depth - 1))
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) return false
  return Object.values(value).every((each) => isPlain(each, depth - 1))
}

const requestName = /* @__PURE__ */ shape.oneOf('poweroff', 'reboot', 'suspend')
const domainState = /* @__PURE__ */ shape.record({
  domid: /* @__PURE__ */ shape.whole(1, LAST_DOMID),
  name: /* @__PURE__ */ shape.text(256),
  uuid: /* @__PURE__ */ shape.text(64),
  config: plain,
  end: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.oneOf<ShutdownReasonName>(
    'poweroff', 'reboot', 'suspend', 'crash', 'watchdog', 'soft-reset')),
  /** Where waiting for text on its console goes on. */
  place: shape.time,
  life: /* @__PURE__ */ shape.record({ born: shape.time, handled: shape.flag }),
  requests: /* @__PURE__ */ shape.record({ standing: /* @__PURE__ */ shape.list(requestName), reboot: shape.flag }),
  symbols: /* @__PURE__ */ shape.optional(symbolTableState),
})

/** The toolstack's state. */
export const toolstackState = /* @__PURE__ */ shape.record({
  /** The number of its connection to XenStore. */
  connection: shape.time,
  random: randomShape,
  domains: /* @__PURE__ */ shape.list(domainState, 2 ** 15),
  shortLives: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({ name: /* @__PURE__ */ shape.text(256), count: shape.word }), 2 ** 16),
})

/** A saved toolstack. */
export type ToolstackState = StateOf<typeof toolstackState>

/** What a domain's handle is made of. */
export interface KnownDomain {
  readonly id: DomId
  readonly name: string
  readonly uuid: string
  readonly config: DomainConfig<KernelSource>
}

/** What it is saved from, and loaded into. */
export interface ToolstackParts {
  readonly kinds: DeviceKinds
  readonly random: SeededRandom
  readonly connection: number
  readonly crashes: CrashBook
  readonly lifecycle: Lifecycle
  readonly requests: ShutdownRequests
  domains(): readonly Domain[]
  /** The program that a domain was given when it was loaded: what stands in its configuration is a name. */
  programOf(domid: DomId): GuestProgram | undefined
  /** Makes the handle of a domain that is there. */
  handle(domain: KnownDomain): Domain
  fate(domid: DomId): DomainFate | undefined
}

/** Configurations as they were saved: they never change, and a kernel may be some ten megabytes. */
const savedAs = /* @__PURE__ */ new WeakMap<DomainConfig<KernelSource>, DomainConfig<KernelSource>>()
/** What such a one was saved from; it need not be looked at again. */
const savedFrom = /* @__PURE__ */ new WeakMap<object, DomainConfig<KernelSource>>()

/** A configuration as it is saved: a program is named, as it is in a stream. */
const plainConfig = (config: DomainConfig<KernelSource>): DomainConfig<KernelSource> =>
  (typeof config.kernel === 'function' ? { ...config, kernel: kernelName(config.kernel) } : { ...config })

/** The same, copied once. */
function savedConfig(config: DomainConfig<KernelSource>): DomainConfig<KernelSource> {
  const known = savedAs.get(config)
  if (known !== undefined) return known
  const copy = structuredClone(plainConfig(config))
  remember(config, copy)
  return copy
}

function remember(config: DomainConfig<KernelSource>, state: DomainConfig<KernelSource>): void {
  savedAs.set(config, state)
  savedFrom.set(state, config)
}

/** What keeps a domain from being saved with the toolstack; undefined when nothing does. */
export function domainUnderWay({ id, config }: Domain): string | undefined {
  return savedAs.has(config) || isPlain(plainConfig(config), 8) ? undefined : `domain ${id}, which was created from what is no plain data`
}

/** How a domain that is still there has ended: by itself. */
function endOf(fate: DomainFate | undefined): ShutdownReasonName | undefined {
  const end = fate?.ended
  return end === 'destroyed' || end === 'saved' || end === 'migrated' ? undefined : end
}

function readConfig(saved: unknown, kinds: DeviceKinds): DomainConfig<KernelSource> {
  if (typeof saved !== 'object' || saved === null) throw badState('a configuration that is none')
  const known = savedFrom.get(saved)
  if (known !== undefined) return known
  const state = saved as DomainConfig<KernelSource>
  const { type: _, trust, ...options } = state
  try {
    const resolved = resolveDomainOptions(options as DomainOptions<KernelSource>, 'xl', kinds)
    // What may be named was decided when the stream came in; a saved list can only allow what it says.
    const config = trust === undefined ? resolved : { ...resolved, trust: trust as StreamTrust }
    remember(config, state)
    return config
  } catch (error) {
    throw XenError.is(error) ? badState(`a configuration is refused: ${error.message}`) : error
  }
}

/** The toolstack as a stateful part. */
export function statefulToolstack(parts: ToolstackParts): Stateful<ToolstackState> {
  const { lifecycle, requests, crashes, random, kinds } = parts
  const isAsSaved = (domain: Domain, saved: ToolstackState['domains'][number]): boolean => {
    const { id } = domain
    return saved.domid === id && saved.name === domain.name && saved.uuid === domain.uuid && saved.config === savedAs.get(domain.config)
      && saved.end === endOf(parts.fate(id)) && saved.place === consolePlace.of(domain.console) && sameState(lifecycle.saveDomain(id), saved.life)
      && sameState(requests.save(id), saved.requests) && sameState(crashes.symbolsOf(id)?.save(), saved.symbols)
  }
  return {
    isAsSaved: ({ connection, random: position, domains, shortLives }) => {
      const own = parts.domains()
      return connection === parts.connection && random.isAsSaved(position) && own.length === domains.length
        && own.every((domain, i) => isAsSaved(domain, domains[i]!)) && sameState(lifecycle.rule.save(), shortLives)
    },
    save: () => ({
      connection: parts.connection,
      random: random.save(),
      domains: parts.domains().map((domain) => ({
        domid: domain.id, name: domain.name, uuid: domain.uuid, config: savedConfig(domain.config), end: endOf(parts.fate(domain.id)),
        place: consolePlace.of(domain.console), life: lifecycle.saveDomain(domain.id), requests: requests.save(domain.id),
        symbols: crashes.symbolsOf(domain.id)?.save(),
      })),
      shortLives: lifecycle.rule.save(),
    }),
    load: (state) => {
      random.load(state.random)
      for (const saved of state.domains) {
        const id = saved.domid as DomId
        crashes.know(id, saved.symbols && SymbolTable.from(saved.symbols))
        crashes.recall(id)
        const { name, uuid } = saved
        const program = parts.programOf(id)
        const found = readConfig(saved.config, kinds)
        const config = program === undefined ? found : { ...found, kernel: program }
        const domain = parts.handle({ id, name, uuid, config })
        consolePlace.move(domain.console, saved.place)
        const fate = parts.fate(id)
        if (fate !== undefined) Object.assign(fate, { ended: saved.end, crash: crashes.of(id) })
        lifecycle.loadDomain(id, saved.life)
        requests.load(id, saved.requests)
      }
      lifecycle.rule.load(state.shortLives)
    },
    rewind: (state, now) => {
      const others = ({ random: _, domains, ...rest }: ToolstackState): unknown => [rest, domains.map(({ place: __, ...facts }) => facts)]
      return sameState(others(state), others(now)) ? () => random.load(state.random) : undefined
    },
  }
}

/** The consoles show what they had shown when this was saved. */
export function rewindConsoles({ domains }: ToolstackState, consoleOf: (domid: DomId) => DomainConsole | undefined): void {
  for (const { domid, place } of domains) {
    const console = consoleOf(domid as DomId)
    if (console === undefined) continue
    consolePlace.reread(console)
    if (consolePlace.of(console) !== place) consolePlace.move(console, place)
  }
}
