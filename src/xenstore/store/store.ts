/**
 * The store as its users have it: handles for code in the same process, the domains that it serves, its events. What
 * connections and the server do with it is in store-core.ts and session.ts.
 *
 * Reference: xen/docs/misc/xenstore.txt; behaviour of tools/xenstored.
 */
import { part, type EventSource, type Part } from '../../util/index.ts'
import type { StoreDomain } from './domains.ts'
import { openLocal, type LocalStore } from './local-store.ts'
import { storeState } from './saved-state.ts'
import { openSession } from './session.ts'
import { StoreCore, type XenStoreOptions } from './store-core.ts'
import type { StoreEvent } from './store-events.ts'

/** What the server works on; not published. */
export let coreOf: (store: XenStore) => StoreCore

/**
 * A store with everything of it in process.
 *
 * @example
 * const store = new XenStore()
 * const tools = store.local()
 * tools.write('/local/domain/1/name', 'web')
 */
export class XenStore {
  /** Observers' side of the store's events. */
  readonly events: EventSource<StoreEvent>
  readonly #core: StoreCore

  constructor(options: XenStoreOptions = {}) {
    this.#core = new StoreCore(options)
    this.events = this.#core.hub
  }

  /** A handle for code in the same process; domain 0 by default. `id` is the number of one that it goes on for after a load. */
  local(domid = 0, id?: number): LocalStore {
    const core = this.#core
    return openLocal(core, (sink) => openSession(core, { domid, sink, ...(id === undefined ? {} : { id }) }))
  }

  /** What the store knows of a domain: whether it is introduced, what it may use and uses. */
  domain(id: number): StoreDomain | undefined {
    return this.#core.domains.get(id)
  }

  /** All domains that the store has heard of. */
  domains(): IterableIterator<StoreDomain> {
    return this.#core.domains.values()
  }

  /** Open connections, those of handles in this process included. */
  get connectionCount(): number {
    return this.#core.sessions.size
  }

  /** Watches of all connections. */
  get watchCount(): number {
    return this.#core.watches.size
  }

  /** Transactions open on all connections. */
  get transactionCount(): number {
    return this.#core.openTransactions
  }

  /** The store without its connections, to be saved, and to be loaded into a store that was just made. */
  part(): Part {
    return part({ name: 'store', version: 1, shape: storeState }, this.#core)
  }

  /** Tells the store that a domain is there: counts it in, and lets `@introduceDomain` fire. */
  introduceDomain(id: number): StoreDomain {
    return this.#core.introduceDomain(id)
  }

  /** Tells the store that a domain has shut down or crashed but is still there: `@releaseDomain` fires, once. */
  domainShutdown(id: number): void {
    this.#core.domainShutdown(id)
  }

  /** Tells the store that a suspended domain goes on: its next shutdown is news again. */
  domainResumed(id: number): void {
    this.#core.domainResumed(id)
  }

  /** Tells the store that a domain is gone: its connections end, its nodes and its name in permissions go with it. */
  releaseDomain(id: number): void {
    this.#core.releaseDomain(id)
  }

  static {
    coreOf = (store) => store.#core
  }
}
