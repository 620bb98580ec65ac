/**
 * XenStore as a guest's code sees it. The interface is the kit's own, small on purpose; the client of the xenstore
 * layer stands behind it, over the ring that the domain was given at boot.
 *
 * Reference: docs/misc/xenstore.txt.
 */
import { XenError, type Quiescible, type Savable, type Stateful } from '../util/index.ts'
import type { ClientState, PermissionsLike } from '../xenstore/index.ts'

/** What can be done with nodes, inside a transaction or without. Relative paths lie under the guest's own directory. */
export interface StoreAccess {
  /** The value of a node; rejects with XENSTORE and `details.error` 'ENOENT' when there is none. */
  read(path: string): Promise<string>
  /** Sets a node's value, making it and its missing parents. */
  write(path: string, value: string): Promise<void>
  /** Names of a node's children. */
  directory(path: string): Promise<readonly string[]>
  /** Removes a node and all below it; a missing node is no error unless its parent is missing, too. */
  remove(path: string): Promise<void>
  /** A node's permissions, as xenstore-ls -p shows them: first its owner with what everybody else may, then who may what. */
  getPermissions(path: string): Promise<readonly string[]>
  /**
   * Says who may read and write a node: `['n1', 'r2']` keeps it domain 1's own and lets domain 2 read. Rejects with XENSTORE where the
   * node is not the guest's (`EACCES`), or for what is no permission (`EINVAL`).
   */
  setPermissions(path: string, permissions: PermissionsLike): Promise<void>
}

/** How a watch is set. */
export interface StoreWatchOptions {
  /** Whoever sets it attaches its handler again, by the path, after a load. Default: nobody does, and it cannot be saved. */
  readonly kept?: true
}

/** A connection to XenStore. */
export interface GuestStore extends StoreAccess {
  /**
   * Calls `handler` once at once and then at each change at or below `path`; resolves with the function that ends
   * it.
   */
  watch(path: string, handler: (path: string) => void, options?: StoreWatchOptions): Promise<() => Promise<void>>
  /** Runs `body` in a transaction, again and again while the store answers EAGAIN. */
  transaction<T>(body: (transaction: StoreAccess) => Promise<T>): Promise<T>
}

/** A connection that can be saved with its guest. */
export interface StatefulStore extends GuestStore, Stateful<ClientState>, Quiescible, Savable {
  isAsSaved(state: ClientState): boolean
  /** Gives a watch that was loaded its handler again; the function ends the watch. */
  attach(path: string, handler: (path: string) => void): () => Promise<void>
  /** Paths of watches that were loaded and that nobody has attached. */
  unattached(): readonly string[]
  /** Watches of services, which take them up again in a loaded kernel. */
  keptWatches(): number
}

/** The connection, when it can be saved. */
export const statefulStore = (store: GuestStore | undefined): StatefulStore | undefined =>
  // All of a stateful connection's functions come together.
  (store !== undefined && 'attach' in store ? store as StatefulStore : undefined)

/** The value of a node, or undefined when there is none or it may not be read. */
export async function readOptional(store: StoreAccess, path: string): Promise<string | undefined> {
  try {
    return await store.read(path)
  } catch (error) {
    if (XenError.is(error, 'XENSTORE')) return undefined
    throw error
  }
}
