/** Where a fleet's records lie in its store, and a fleet's state out of them: all at once, and as they change. */
import type { ClusterStore, StoreBatch, StoreComparison, StoreEntry, StoreRange } from './store/cluster-store.ts'
import { readRecord, type FleetDomain, type FleetHost, type FleetState, type Ownership } from './plan/fleet-state.ts'

/** Keys. */
export const KEY = {
  host: (name: string): string => `hosts/${name}`,
  draining: (name: string): string => `draining/${name}`,
  load: (name: string): string => `loads/${name}`,
  domain: (name: string): string => `domains/${name}`,
  owner: (name: string): string => `owners/${name}`,
  /** Who looks after domains that have no living host. */
  keeper: 'keeper',
} as const

/** A fleet as its store has it. */
export interface FleetView extends FleetState {
  readonly revision: number
  readonly entries: ReadonlyMap<string, StoreEntry>
  /** Keys of records that are none of this version: nobody touches them. */
  readonly unreadable: readonly string[]
}

/** Kind and name of what a key stands for. */
const partsOf = (key: string): readonly [kind: string, name: string] => {
  const at = key.indexOf('/')
  return [key.slice(0, at), key.slice(at + 1)]
}

const NOBODY: ReadonlySet<string> = new Set()

/** A fleet's records as somebody knows them, who hears of changes: as of `revision`, and behind it by what is still on its way. */
export class FleetMirror implements FleetView {
  readonly entries = new Map<string, StoreEntry>()
  readonly hosts = new Map<string, FleetHost>()
  readonly domains = new Map<string, FleetDomain>()
  readonly owners = new Map<string, Ownership>()
  private known: number
  private readonly residents = new Map<string, Set<string>>()
  private readonly unread = new Set<string>()

  constructor({ entries, revision }: StoreRange) {
    for (const entry of entries) this.put(entry)
    this.known = revision
  }

  get revision(): number {
    return this.known
  }

  get unreadable(): readonly string[] {
    return [...this.unread]
  }

  /** Domains whose owner is a host. */
  ownedBy(host: string): ReadonlySet<string> {
    return this.residents.get(host) ?? NOBODY
  }

  /** Hosts that own something and are not there. */
  missingHosts(): string[] {
    return [...this.residents.keys()].filter((host) => !this.hosts.has(host))
  }

  /** Takes in what has changed at a revision. */
  apply({ revision, changes }: StoreBatch): void {
    for (const change of changes) {
      if (change.type === 'put') this.put(change.entry)
      else this.drop(change.key)
    }
    this.known = Math.max(this.known, revision)
  }

  private put(entry: StoreEntry): void {
    const { key, value } = entry
    const [kind, name] = partsOf(key)
    this.entries.set(key, entry)
    if (kind === 'draining' || kind === 'loads') this.noteBeside(name)
    if (kind !== 'hosts' && kind !== 'domains' && kind !== 'owners') return
    this.forget(kind, name)
    if (!this.take(kind, name, value)) this.unread.add(key)
  }

  /** True where the record is one. */
  private take(kind: 'hosts' | 'domains' | 'owners', name: string, value: string): boolean {
    if (kind === 'hosts') {
      const record = readRecord('host', value)
      if (record !== undefined) this.hosts.set(name, { ...record, name, ...this.beside(name) })
      return record !== undefined
    }
    if (kind === 'domains') {
      const record = readRecord('domain', value)
      if (record !== undefined) this.domains.set(name, { ...record, name })
      return record !== undefined
    }
    const record = readRecord('owner', value)
    if (record === undefined) return false
    this.owners.set(name, record)
    this.residents.set(record.host, (this.residents.get(record.host) ?? new Set()).add(name))
    return true
  }

  private drop(key: string): void {
    const [kind, name] = partsOf(key)
    this.entries.delete(key)
    if (kind === 'draining' || kind === 'loads') this.noteBeside(name)
    this.forget(kind, name)
  }

  private forget(kind: string, name: string): void {
    this.unread.delete(`${kind}/${name}`)
    if (kind === 'hosts') this.hosts.delete(name)
    if (kind === 'domains') this.domains.delete(name)
    const before = kind === 'owners' ? this.owners.get(name) : undefined
    if (before === undefined) return
    this.owners.delete(name)
    const others = this.residents.get(before.host)!
    others.delete(name)
    if (others.size === 0) this.residents.delete(before.host)
  }

  /** What other records than its own say of a host. A load that is none of this version is as good as none: it decides nothing. */
  private beside(name: string): Pick<FleetHost, 'isDraining' | 'load'> {
    const load = this.entries.get(KEY.load(name))
    return { isDraining: this.entries.has(KEY.draining(name)), load: load && readRecord('load', load.value) }
  }

  private noteBeside(name: string): void {
    const host = this.hosts.get(name)
    if (host !== undefined) this.hosts.set(name, { ...host, ...this.beside(name) })
  }
}

/** Reads all of a fleet, at one revision. */
export const readFleet = async (store: Pick<ClusterStore, 'range'>): Promise<FleetMirror> => new FleetMirror(await store.range(''))

/** A key is as it was in a view. */
export const unchanged = ({ entries }: Pick<FleetView, 'entries'>, key: string): StoreComparison =>
  ({ key, target: 'modified', result: 'equal', value: entries.get(key)?.modified ?? 0 })
/** A key is not there. */
export const absent = (key: string): StoreComparison => ({ key, target: 'version', result: 'equal', value: 0 })
/** A key was made at a revision. */
export const madeAt = (key: string, created: number): StoreComparison => ({ key, target: 'created', result: 'equal', value: created })
/**
 * An epoch that is newer than every one that a domain ever had, whether or not its record is still there: an epoch is never beyond the
 * revision at which it was written.
 */
export const nextEpoch = ({ revision }: Pick<FleetView, 'revision'>, owner: Ownership | undefined): number => Math.max(owner?.epoch ?? 0, revision) + 1
