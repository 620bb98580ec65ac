/** Where a fleet's records lie in its store, and a fleet's state out of them. */
import type { ClusterStore, StoreComparison, StoreEntry } from './store/cluster-store.ts'
import { readRecord, type FleetDomain, type FleetHost, type FleetRecords, type FleetState, type Ownership } from './plan/fleet-state.ts'

/** Keys. */
export const KEY = {
  host: (name: string): string => `hosts/${name}`,
  draining: (name: string): string => `draining/${name}`,
  domain: (name: string): string => `domains/${name}`,
  owner: (name: string): string => `owners/${name}`,
  /** Who looks after domains that have no living host. */
  keeper: 'keeper',
} as const

/** A record with the revisions of its key. */
export interface Revised<T> {
  readonly record: T
  readonly entry: StoreEntry
}

/** A fleet as its store has it. */
export interface FleetView extends FleetState {
  readonly revision: number
  readonly entries: ReadonlyMap<string, StoreEntry>
  /** Keys of records that are none of this version: nobody touches them. */
  readonly unreadable: readonly string[]
}

/** The name in a key; undefined for another kind's. */
const nameIn = (key: string, kind: string): string | undefined => (key.startsWith(`${kind}/`) ? key.slice(kind.length + 1) : undefined)

/** Reads all of a fleet, at one revision. */
export async function readFleet(store: Pick<ClusterStore, 'range'>): Promise<FleetView> {
  const { entries, revision } = await store.range('')
  const view = {
    revision, entries: new Map(entries.map((entry) => [entry.key, entry])), unreadable: [] as string[],
    hosts: new Map<string, FleetHost>(), domains: new Map<string, FleetDomain>(), owners: new Map<string, Ownership>(),
  }
  const take = <K extends keyof FleetRecords>(kind: K, { key, value }: StoreEntry, put: (record: FleetRecords[K]) => void): void => {
    const record = readRecord(kind, value)
    if (record === undefined) view.unreadable.push(key)
    else put(record)
  }
  for (const entry of entries) {
    const { key } = entry
    const [host, domain, owner] = [nameIn(key, 'hosts'), nameIn(key, 'domains'), nameIn(key, 'owners')]
    if (host !== undefined) take('host', entry, (record) => void view.hosts.set(host, { ...record, name: host, isDraining: view.entries.has(KEY.draining(host)) }))
    else if (domain !== undefined) take('domain', entry, (record) => void view.domains.set(domain, { ...record, name: domain }))
    else if (owner !== undefined) take('owner', entry, (record) => void view.owners.set(owner, record))
  }
  return view
}

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
