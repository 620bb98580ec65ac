/**
 * A handle on the store for code in the same process: the toolstack's. The same operations, rights and errors as over
 * a connection, as direct calls that answer at once; a refused one throws a XenError with code XENSTORE.
 */
import { XenError, abortSignal, callGuarded, callable, checkArgument, checkOptions } from '../../util/index.ts'
import { ChangeQueue } from './change-queue.ts'
import type { StoreNode } from '../tree/node.ts'
import { formatPermission, isFixed, parsePermissions, type Permissions } from '../tree/permissions.ts'
import type { EventSink, StoreSession } from './session.ts'
import { SessionDoor, type NodeSession, type StoreDoor } from './session-door.ts'
import { isStoreErrorName, storeError, storeErrorName, type StoreErrorName } from '../protocol/store-error.ts'
import { decodeText, encodeCommonText } from '../tree/text.ts'

/** Permissions as a caller may give them: `['n0', 'r5']`, or a parsed list. */
export type PermissionsLike = readonly string[] | Permissions

/** Reads what a caller gave as permissions; undefined when it is malformed. */
export function toPermissions(given: PermissionsLike): Permissions | undefined {
  if (typeof given[0] === 'string') return parsePermissions(given as readonly string[])
  if (given.length === 0) return undefined
  const list = given as Permissions
  // A list that its owner may change later is copied.
  return isFixed(list) ? list : (list.map((permission) => ({ ...permission })) as unknown as Permissions)
}

function check<T>(result: T | StoreErrorName, operation: string, path: string): T {
  if (isStoreErrorName(result)) throw storeError(result, operation, path)
  return result
}

/** A path as a caller gives it. Throws INVALID_ARGUMENT for what is no text. */
function checkPath(path: unknown): void {
  if (typeof path !== 'string') throw new XenError('INVALID_ARGUMENT', `a path of XenStore must be a text, not ${kindOf(path)}`, { details: { path: kindOf(path) } })
}

/** Reads permissions that anybody gave; undefined for what is none. */
function permissionsOf(given: unknown): Permissions | undefined {
  try {
    const isList = Array.isArray(given) && given.every((each: unknown) => typeof each === 'string' || isPermission(each))
    return isList ? toPermissions(given as PermissionsLike) : undefined
  } catch {
    // It has a trap or a getter that throws: whatever that says, it is no list of permissions.
    return undefined
  }
}

const isPermission = (value: unknown): boolean => {
  const { domid, access } = (value ?? {}) as { readonly domid?: unknown; readonly access?: unknown }
  return Number.isInteger(domid) && Number.isInteger(access) && (access as number) >= 0 && (access as number) <= 3
}

/** What a wrong argument is: whatever it is, telling of it asks nothing of it. */
const kindOf = (value: unknown): string => (value === null ? 'null' : typeof value)

/** Makes the operations of a transaction. */
let inTransaction: (session: NodeSession, id: number) => LocalOperations

/** How often a transaction is tried before its conflict is the caller's. */
const ATTEMPTS = 100

/** The operations on nodes over one session: direct ones, or those of the transaction of a number. */
class Operations {
  private readonly session: NodeSession
  private readonly id: number

  constructor(session: NodeSession, transaction: number) {
    this.session = session
    this.id = transaction
  }

  /** The value of a node as text. */
  read(path: string): string {
    return decodeText(this.readBytes(path))
  }

  /** The value of a node; shared with the store, not to be written to. */
  readBytes(path: string): Uint8Array {
    checkPath(path)
    return check(this.session.read(this.id, path), 'read', path)
  }

  /** The value of a node as text, or undefined when there is no such node. */
  tryRead(path: string): string | undefined {
    checkPath(path)
    const value = this.session.read(this.id, path)
    return value === 'ENOENT' ? undefined : decodeText(check(value, 'read', path))
  }

  /** True when the node exists. */
  exists(path: string): boolean {
    checkPath(path)
    const value = this.session.read(this.id, path)
    return value !== 'ENOENT' && check(value, 'read', path) !== undefined
  }

  /** The names of a node's children, in the order in which they were made. */
  list(path: string): readonly string[] {
    checkPath(path)
    return check<StoreNode>(this.session.directory(this.id, path), 'directory', path).children.names()
  }

  /** The names of a node's children, or none when there is no such node. */
  tryList(path: string): readonly string[] {
    checkPath(path)
    const node = this.session.directory(this.id, path)
    return node === 'ENOENT' ? [] : check<StoreNode>(node, 'directory', path).children.names()
  }

  /** How many children a node has. */
  countChildren(path: string): number {
    checkPath(path)
    return check<StoreNode>(this.session.directory(this.id, path), 'directory', path).children.size
  }

  /** Gives a node a value; creates it, and what is missing above it. */
  write(path: string, value: string | Uint8Array): void {
    checkPath(path)
    if (typeof value !== 'string' && !ArrayBuffer.isView(value)) {
      throw new XenError('INVALID_ARGUMENT', `the value of ${path} must be a text or bytes, not ${kindOf(value)}`, { details: { path, value: kindOf(value) } })
    }
    check(this.session.write(this.id, path, encodeCommonText(value)), 'write', path)
  }

  /** Creates a node, and what is missing above it. */
  mkdir(path: string): void {
    checkPath(path)
    check(this.session.mkdir(this.id, path), 'mkdir', path)
  }

  /** Removes a node and all below it. */
  rm(path: string): void {
    checkPath(path)
    check(this.session.rm(this.id, path), 'rm', path)
  }

  /** Removes a node and all below it, if it is there at all. */
  tryRm(path: string): void {
    checkPath(path)
    const error = this.session.rm(this.id, path)
    if (error !== 'ENOENT') check(error, 'rm', path)
  }

  /** The permissions of a node: `['n0', 'r5']`. */
  getPermissions(path: string): readonly string[] {
    checkPath(path)
    return check(this.session.getPermissions(this.id, path), 'get-permissions', path).map(formatPermission)
  }

  /** Replaces the permissions of a node. */
  setPermissions(path: string, permissions: PermissionsLike): void {
    checkPath(path)
    const list = permissionsOf(permissions)
    if (list === undefined) throw storeError('EINVAL', 'set-permissions', path)
    check(this.session.setPermissions(this.id, path, list), 'set-permissions', path)
  }
}

/** The operations on nodes, either direct or inside a transaction. */
export class LocalOperations extends Operations {
  static {
    inTransaction = (session, id) => new LocalOperations(session, id)
  }

  private constructor(session: NodeSession, id: number) {
    super(session, id)
  }
}

/** Called with the changed path, and the token that the watch was set with. */
export type WatchListener = (path: string, token: string) => void

/** The watches of a handle's connection. */
interface HandleWatches {
  readonly listeners: Map<string, WatchListener>
  lastToken: number
}

/** What a handle needs of its store. */
export interface LocalStoreHost {
  /** Puts off a call until the operation at work is done. */
  defer(call: () => void): void
  /** Tells of a listener that threw. */
  listenerFailed(path: string, token: string, error: unknown): void
}

/** Makes a store's handle, whose connection `open` opens; not published. */
export let openLocal: (store: LocalStoreHost, open: (sink: EventSink) => StoreSession) => LocalStore

/** The handle: operations, watches, transactions. {@link XenStore.local} gives one. */
export class LocalStore extends Operations {
  private readonly connected: StoreSession
  private readonly nodes: NodeSession
  private readonly watches: HandleWatches

  static {
    openLocal = (store, open) => {
      const watches: HandleWatches = { listeners: new Map(), lastToken: 0 }
      const session = open((path, token) => store.defer(() => callGuarded(() => watches.listeners.get(token)?.(path, token),
        (error) => store.listenerFailed(path, token, error))))
      return new LocalStore(session, watches, session)
    }
  }

  private constructor(session: StoreSession, watches: HandleWatches, nodes: NodeSession) {
    super(nodes, 0)
    this.connected = session
    this.watches = watches
    this.nodes = nodes
  }

  /** The same handle, with its connection and watches, whose changes of nodes pass a door. */
  through(door: StoreDoor): LocalStore {
    return new LocalStore(this.connected, this.watches, new SessionDoor(this.nodes, door))
  }

  /** The number of the handle's connection. */
  get connection(): number {
    return this.connected.id
  }

  /**
   * Calls `listener` for every change at or below `path`, and once now. Calls come after the operation that caused
   * them is complete, in order. Returns the function that ends the watch. A listener that throws harms nobody: the store
   * tells of it by its event `listener-failed`.
   */
  watch(path: string, listener: WatchListener, depth = -1): () => void {
    checkPath(path)
    checkArgument('the listener of a watch', listener, callable)
    this.watches.lastToken += 1
    const token = `w${this.watches.lastToken}`
    const watch = check(this.connected.watch(path, token, depth), 'watch', path)
    this.watches.listeners.set(token, listener)
    this.connected.deliver(watch, watch.path, undefined)
    this.connected.settle()
    return () => {
      this.watches.listeners.delete(token)
      this.connected.unwatch(path, token)
    }
  }

  /**
   * Watches as a stream of changed paths, beginning with `path` itself; it ends when `signal` fires. Equal changes that
   * were not taken yet are reported once; for a reader with {@link CHANGE_LIMIT} of them waiting `path` stands for all.
   */
  async *changes(path: string, options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<string, void> {
    checkPath(path)
    checkOptions('store.changes', options, { signal: abortSignal })
    const { signal } = options
    const waiting = new ChangeQueue(path)
    let wake = (): void => undefined
    const end = this.watch(path, (changed) => {
      waiting.push(changed)
      wake()
    })
    const abort = (): void => wake()
    signal?.addEventListener('abort', abort)
    try {
      while (signal?.aborted !== true) {
        const next = waiting.take()
        if (next !== undefined) yield next
        else await new Promise<void>((resolve) => { wake = resolve })
      }
    } finally {
      end()
      signal?.removeEventListener('abort', abort)
    }
  }

  /**
   * Does several operations as one: all of them take effect, or none. `body` is called again when somebody else
   * interfered; it throws to give up.
   */
  transaction<T>(body: (transaction: LocalOperations) => T): T {
    checkArgument('the body of a transaction', body, callable)
    for (let attempt = 1; ; attempt += 1) {
      const { id } = check(this.nodes.transactionStart(0), 'transaction-start', '')
      let result: T
      try {
        result = body(inTransaction(this.nodes, id))
      } catch (error) {
        this.nodes.transactionEnd(id, 'abort')
        throw error
      }
      const refused = this.nodes.transactionEnd(id, 'commit')
      if (refused === undefined) return result
      if (refused !== 'EAGAIN' || attempt >= ATTEMPTS) throw storeError(refused, 'transaction-end')
    }
  }

  /** Ends the handle and its watches. */
  close(): void {
    this.watches.listeners.clear()
    this.connected.close('closed by its owner')
  }
}

/** True for the error that tells that a node does not exist. */
export const isMissingNode = (error: unknown): boolean => storeErrorName(error) === 'ENOENT'
