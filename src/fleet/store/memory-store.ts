/**
 * A store in this process: the embedded default of a fleet, and one whose faults a test can ask for. It keeps a history of revisions, so that watches
 * go on from any that is kept.
 */
import { parseDuration, XenError, type Duration } from '../../util/index.ts'
import { WALL, type FleetClock } from '../clock.ts'
import type {
  ClusterStore, StoreBatch, StoreChange, StoreComparison, StoreEntry, StoreLease, StoreOperation, StoreRange, StoreTransaction, StoreWatchOptions,
} from './cluster-store.ts'

/** How a store in memory is made. */
export interface MemoryStoreOptions {
  /** Default: the process's. */
  readonly clock?: FleetClock | undefined
  /** Revisions that are kept for watches. Default 10,000. */
  readonly history?: number | undefined
}

/** A connection to a store in memory: a store of its own to whoever has it, whose faults are its alone. */
export interface MemoryConnection extends ClusterStore {
  /** Cuts it off: calls reject with IO, watches end so. The returned function heals it. */
  partition(): () => void
  /** Has what it watches come so many milliseconds later. */
  slowWatch(milliseconds: number): void
}

/** The store itself. */
export interface MemoryStore extends MemoryConnection {
  /** Another connection, with faults of its own. */
  connect(): MemoryConnection
  /** Ends a lease before its time, as a store that has lost it does. */
  loseLease(id: string): void
  /** Forgets the history up to a revision. */
  compact(revision: number): void
  readonly revision: number
}

interface HeldLease {
  readonly id: string
  readonly ttl: number
  readonly keys: Set<string>
  callOff: () => void
}

interface Watcher {
  readonly prefix: string
  /** The first revision that it has not been given. */
  next: number
  wake(): void
}

const HISTORY = 10_000
const MOST_OPERATIONS = 128

/** What is kept, and what happens to it. */
class Core {
  revision = 1
  compacted = 0
  readonly entries = new Map<string, StoreEntry>()
  readonly leases = new Map<string, HeldLease>()
  readonly watchers = new Set<Watcher>()
  history: StoreBatch[] = []
  readonly clock: FleetClock
  private readonly keep: number
  private lastLease = 0

  constructor({ clock = WALL, history = HISTORY }: MemoryStoreOptions) {
    this.clock = clock
    this.keep = history
  }

  holds({ key, target, result, value }: StoreComparison): boolean {
    const entry = this.entries.get(key)
    if (target === 'value') return entry !== undefined && (result === 'equal') === (entry.value === value)
    const own = entry?.[target] ?? 0
    switch (result) {
      case 'equal': return own === value
      case 'not-equal': return own !== value
      case 'less': return own < value
      case 'greater': return own > value
    }
  }

  /** Does operations at one new revision. Throws LEASE_LOST, INVALID_ARGUMENT before anything is done. */
  apply(operations: readonly StoreOperation[]): void {
    if (operations.length > MOST_OPERATIONS) throw new XenError('INVALID_ARGUMENT', `a transaction of ${operations.length} operations, ${MOST_OPERATIONS} are allowed`)
    if (new Set(operations.map(({ key }) => key)).size < operations.length) throw new XenError('INVALID_ARGUMENT', 'a transaction writes a key twice')
    for (const operation of operations) if (operation.type === 'put') this.checkLease(operation.lease)
    const revision = this.revision + 1
    const changes = operations.flatMap((operation) => this.change(operation, revision))
    if (changes.length === 0) return
    this.revision = revision
    this.history.push({ revision, changes })
    if (this.history.length > this.keep) this.compact(this.history[0]!.revision)
    for (const watcher of [...this.watchers]) watcher.wake()
  }

  private checkLease(id: string | undefined): void {
    if (id !== undefined && !this.leases.has(id)) throw leaseLost(id)
  }

  private change(operation: StoreOperation, revision: number): StoreChange[] {
    const { key } = operation
    const before = this.entries.get(key)
    if (before?.lease !== undefined) this.leases.get(before.lease)?.keys.delete(key)
    if (operation.type === 'delete') {
      return this.entries.delete(key) ? [{ type: 'delete', key, modified: revision }] : []
    }
    const entry: StoreEntry = {
      key, value: operation.value, created: before?.created ?? revision, modified: revision, version: (before?.version ?? 0) + 1, lease: operation.lease,
    }
    this.entries.set(key, entry)
    if (entry.lease !== undefined) this.leases.get(entry.lease)!.keys.add(key)
    return [{ type: 'put', entry }]
  }

  compact(revision: number): void {
    this.compacted = Math.max(this.compacted, revision)
    this.history = this.history.filter((batch) => batch.revision > this.compacted)
    for (const watcher of [...this.watchers]) watcher.wake()
  }

  grant(ttl: number): HeldLease {
    this.lastLease += 1
    const lease: HeldLease = { id: String(this.lastLease), ttl, keys: new Set(), callOff: () => undefined }
    this.leases.set(lease.id, lease)
    this.renew(lease.id)
    return lease
  }

  /** The revision. Throws LEASE_LOST. */
  renew(id: string): number {
    const lease = this.leases.get(id)
    if (lease === undefined) throw leaseLost(id)
    lease.callOff()
    lease.callOff = this.clock.after(lease.ttl * 1000, () => this.end(id))
    return this.revision
  }

  end(id: string): void {
    const lease = this.leases.get(id)
    if (lease === undefined) return
    lease.callOff()
    this.leases.delete(id)
    this.apply([...lease.keys].map((key): StoreOperation => ({ type: 'delete', key })))
  }
}

const leaseLost = (id: string): XenError => new XenError('LEASE_LOST', `lease ${id} has ended`, { details: { lease: id } })
const unreachable = (): XenError => new XenError('IO', 'the store cannot be reached')

/** One connection. */
class Connection implements MemoryConnection {
  protected readonly core: Core
  private cuts = 0
  private delay = 0
  private readonly onCut = new Set<() => void>()

  constructor(core: Core) {
    this.core = core
  }

  partition(): () => void {
    this.cuts += 1
    for (const cut of [...this.onCut]) cut()
    let isCut = true
    return () => {
      if (isCut) this.cuts -= 1
      isCut = false
    }
  }

  slowWatch(milliseconds: number): void {
    this.delay = milliseconds
  }

  get(key: string): Promise<StoreEntry | undefined> {
    return this.ask(() => this.core.entries.get(key))
  }

  range(prefix: string): Promise<StoreRange> {
    return this.ask(() => ({
      entries: [...this.core.entries.values()].filter(({ key }) => key.startsWith(prefix)).sort((a, b) => (a.key < b.key ? -1 : 1)), revision: this.core.revision,
    }))
  }

  txn(compare: readonly StoreComparison[], then: readonly StoreOperation[], otherwise: readonly StoreOperation[] = []): Promise<StoreTransaction> {
    return this.ask(() => {
      const succeeded = compare.every((comparison) => this.core.holds(comparison))
      this.core.apply(succeeded ? then : otherwise)
      return { succeeded, revision: this.core.revision }
    })
  }

  async lease(ttl: Duration): Promise<StoreLease> {
    // Whole seconds, as etcd's.
    const seconds = Math.ceil(parseDuration(ttl, 'the time of a lease', { least: 1e6 }) / 1e9)
    const { id } = await this.ask(() => this.core.grant(seconds))
    return { id, ttl: seconds, keepAlive: () => this.ask(() => this.core.renew(id)), revoke: () => this.ask(() => this.core.end(id)) }
  }

  async *watch(prefix: string, { from, signal }: StoreWatchOptions = {}): AsyncGenerator<StoreBatch, void> {
    const { core } = this
    this.check()
    let wake: () => void = () => undefined
    let isCut = false
    const watcher: Watcher = { prefix, next: from ?? core.revision + 1, wake: () => wake() }
    const cut = (): void => {
      isCut = true
      wake()
    }
    const stop = (): void => wake()
    signal?.addEventListener('abort', stop)
    this.onCut.add(cut)
    core.watchers.add(watcher)
    try {
      while (signal?.aborted !== true) {
        if (isCut) throw unreachable()
        if (watcher.next <= core.compacted) throw new XenError('COMPACTED', `revision ${watcher.next} is not kept any more`, { details: { revision: watcher.next, compacted: core.compacted } })
        // Revisions follow each other.
        const batch = core.history[Math.max(0, watcher.next - (core.history[0]?.revision ?? 0))]
        if (batch === undefined) {
          await new Promise<void>((resolve) => { wake = resolve })
          continue
        }
        watcher.next = batch.revision + 1
        const changes = batch.changes.filter((change) => (change.type === 'put' ? change.entry.key : change.key).startsWith(prefix))
        if (changes.length === 0) continue
        if (this.delay > 0) await new Promise<void>((resolve) => void core.clock.after(this.delay, resolve))
        yield { revision: batch.revision, changes }
      }
    } finally {
      core.watchers.delete(watcher)
      this.onCut.delete(cut)
      signal?.removeEventListener('abort', stop)
    }
  }

  close(): void {
    for (const cut of [...this.onCut]) cut()
  }

  private check(): void {
    if (this.cuts > 0) throw unreachable()
  }

  /** Asks the store: the answer is on its way for a turn, as of any other. */
  private async ask<T>(act: () => T): Promise<T> {
    this.check()
    const answer = act()
    await Promise.resolve()
    this.check()
    return answer
  }
}

/** The store and its first connection. */
class Store extends Connection implements MemoryStore {
  get revision(): number {
    return this.core.revision
  }

  connect(): MemoryConnection {
    return new Connection(this.core)
  }

  loseLease(id: string): void {
    this.core.end(id)
  }

  compact(revision: number): void {
    this.core.compact(Math.min(revision, this.core.revision))
  }
}

/**
 * A store in this process, for fleets in one, and for tests.
 *
 * @example
 * const store = memoryStore()
 * await store.txn([{ key: 'a', target: 'version', result: 'equal', value: 0 }], [{ type: 'put', key: 'a', value: '1' }])
 */
export const memoryStore = (options: MemoryStoreOptions = {}): MemoryStore => new Store(new Core(options))
