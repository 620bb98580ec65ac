/**
 * One connection's rights and doings: every operation of the protocol on the store, in or out of a transaction, with
 * permissions and limits. It knows no bytes: server connections and local handles both stand on it.
 *
 * A result is a value, or an error's name; nothing is changed by an operation that is refused.
 *
 * Reference: xen/docs/misc/xenstore.txt; behaviour of tools/xenstored/core.c.
 */
import { EMPTY_VALUE, NO_CHILDREN, StoreNode, nodeSize } from '../tree/node.ts'
import { baseName, isRelative, parentPath } from '../tree/path.ts'
import { ACCESS, DOMAIN_ANY, type Permission, type Permissions } from '../tree/permissions.ts'
import { expectSaved, type SessionState } from './saved-state.ts'
import { SessionRights, type View } from './session-rights.ts'
import { isStoreErrorName, type StoreErrorName } from '../protocol/store-error.ts'
import type { StoreCore } from './store-core.ts'
import { StoreTransaction, type PlacedNode, type TransactionBase } from './transaction.ts'
import { MATCH, type EventCause, type Watch } from './watches.ts'

/** Where a connection's watch events go. */
export type EventSink = (path: string, token: string, cause: EventCause | undefined) => void

/** How a connection is opened. */
export interface SessionOptions {
  readonly domid: number
  readonly sink: EventSink
  /** What to do when the store ends the connection. */
  readonly onClose?: (reason: string) => void
  /** A number to go on with after a live update. */
  readonly id?: number
}

/** Permissions of a new node that a domain owns. */
function ownedBy(domid: number, [owner, ...others]: Permissions): Permissions {
  return [{ ...owner, domid }, ...others]
}

/** One connection. */
export class StoreSession extends SessionRights {
  readonly watches = new Map<string, Watch>()
  /** The number that the next transaction tries first. */
  nextTransaction = 1
  /** False once the connection is closed. */
  open = true
  private readonly sink: EventSink
  private readonly onClose: (reason: string) => void
  private readonly base: TransactionBase

  constructor(store: StoreCore, options: SessionOptions & { readonly id: number }) {
    super(store, options.id, options.domid)
    this.sink = options.sink
    this.onClose = options.onClose ?? (() => undefined)
    this.base = {
      get: (path) => store.get(path),
      changes: () => store.changes,
      tooLarge: (nodes) => this.exceeds('transactionNodes', nodes),
    }
  }

  // Reading

  /** The value of a node. */
  read(transaction: number, path: string): Uint8Array | StoreErrorName {
    const node = this.readable(transaction, path)
    return this.done('read', transaction, path, isStoreErrorName(node) ? node : node.value)
  }

  /** The node itself, for its children's names and its generation. */
  directory(transaction: number, path: string): StoreNode | StoreErrorName {
    return this.done('directory', transaction, path, this.readable(transaction, path))
  }

  /** The permissions of a node, or of a special one. */
  getPermissions(transaction: number, path: string): Permissions | StoreErrorName {
    const node = this.readable(transaction, path, true)
    return this.done('get-permissions', transaction, path, isStoreErrorName(node) ? node : node.permissions)
  }

  private readable(transaction: number, given: string, special = false): StoreNode | StoreErrorName {
    const view = this.view(transaction)
    if (view === undefined) return 'ENOENT'
    const path = this.canonical(given, special)
    if (path === undefined) return 'EINVAL'
    return this.permitted(view, path, ACCESS.READ)
  }

  // Writing

  /** Gives a node a value; creates it, and what is missing above it. */
  write(transaction: number, path: string, value: Uint8Array): StoreErrorName | undefined {
    return this.done('write', transaction, path, this.put(transaction, path, value))
  }

  /** Creates a node, and what is missing above it; nothing happens when it exists. */
  mkdir(transaction: number, path: string): StoreErrorName | undefined {
    return this.done('mkdir', transaction, path, this.put(transaction, path, undefined))
  }

  private put(transaction: number, given: string, value: Uint8Array | undefined): StoreErrorName | undefined {
    const view = this.view(transaction)
    if (view === undefined) return 'ENOENT'
    const path = this.canonical(given)
    if (path === undefined) return 'EINVAL'
    const node = this.permitted(view, path, ACCESS.WRITE)
    if (node === 'ENOENT') return this.create(view, path, value ?? EMPTY_VALUE)
    if (isStoreErrorName(node)) return node
    if (value === undefined) return undefined
    const { permissions, children } = node
    const next = new StoreNode({ value, permissions, generation: this.store.nextGeneration(), children })
    return this.update(view, node, { path, node: next })
  }

  /** Removes a node and all below it. A missing node is fine when its parent exists. */
  rm(transaction: number, path: string): StoreErrorName | undefined {
    return this.done('rm', transaction, path, this.remove(transaction, path))
  }

  private remove(transaction: number, given: string): StoreErrorName | undefined {
    const view = this.view(transaction)
    if (view === undefined) return 'ENOENT'
    const path = this.canonical(given)
    if (path === undefined) return 'EINVAL'
    const node = this.permitted(view, path, ACCESS.WRITE)
    if (node === 'ENOENT') {
      if (view.get(parentPath(path)) !== undefined) return undefined
      return this.overflowed(view) ? 'ENOSPC' : 'ENOENT'
    }
    if (isStoreErrorName(node)) return node
    if (path === '/') return 'EINVAL'
    // Within a transaction the parent may have gone since the node was first seen.
    if (view.get(parentPath(path)) === undefined) return this.overflowed(view) ? 'ENOSPC' : 'EINVAL'
    if (view instanceof StoreTransaction) {
      view.remove(path, this.store.nextGeneration())
      return view.overflowed ? this.overflow(view) : undefined
    }
    this.charge(view.remove(path) + 1)
    return undefined
  }

  /** Replaces the permissions of a node that this connection's domain owns. */
  setPermissions(transaction: number, path: string, permissions: Permissions): StoreErrorName | undefined {
    return this.done('set-permissions', transaction, path, this.changePermissions(transaction, path, permissions))
  }

  private changePermissions(transaction: number, given: string, wanted: Permissions): StoreErrorName | undefined {
    const view = this.view(transaction)
    if (view === undefined) return 'ENOENT'
    if (this.exceeds('nodePermissions', wanted.length)) return 'ENOSPC'
    const permissions = this.known(wanted)
    if (permissions === undefined) return 'ENOENT'
    const path = this.canonical(given, true)
    if (path === undefined) return 'EINVAL'
    const node = this.permitted(view, path, ACCESS.WRITE | ACCESS.OWNER)
    if (isStoreErrorName(node)) return node
    if (!this.privileged && permissions[0].domid !== node.permissions[0].domid) return 'EPERM'
    const next = node.with({ permissions, generation: this.store.nextGeneration() })
    return this.update(view, node, { path, node: next })
  }

  /** Marks the entries of domains that do not exist; undefined when that is the owner's. */
  private known(wanted: Permissions): Permissions | undefined {
    const exists = ({ domid }: Permission): boolean => (domid === DOMAIN_ANY
      ? this.store.offers(this.record, 'DOMID_ANY')
      : this.store.domains.find(domid) !== undefined)
    // Nodes of one domain share a list that their maker gave for all of them.
    if (wanted.every((permission) => permission.ignored !== true && exists(permission))) return wanted
    const marked = wanted.map((permission) => (exists(permission) ? permission : { ...permission, ignored: true }))
    return marked[0]!.ignored === true ? undefined : (marked as unknown as Permissions)
  }

  /** Puts the next version of a node in its place. */
  private update(view: View, node: StoreNode, { path, node: next }: PlacedNode): StoreErrorName | undefined {
    const refused = this.tooLarge(next, nodeSize(next) - nodeSize(node))
    if (refused !== undefined) return this.poison(view, refused)
    if (view instanceof StoreTransaction) {
      view.put(path, next)
      view.noteFire(path, MATCH.SUBTREE)
      return undefined
    }
    view.replace(path, next, node)
    this.charge(1)
    const old = next.permissions === node.permissions ? undefined : node.permissions
    view.fire({ path, match: MATCH.SUBTREE, node: next, root: view.root, old })
    return undefined
  }

  private create(view: View, path: string, value: Uint8Array): StoreErrorName | undefined {
    const missing = [path]
    let above = parentPath(path)
    let parent = view.get(above)
    while (parent === undefined) {
      if (this.overflowed(view)) return 'ENOSPC'
      missing.push(above)
      above = parentPath(above)
      parent = view.get(above)
    }
    const chain = this.chain(missing, parent.permissions, value)
    const refused = this.tooMany(view, chain, parent)
    if (refused !== undefined) return refused
    const generation = this.store.nextGeneration()
    view.insert(chain, generation)
    if (view instanceof StoreTransaction) {
      view.noteFire(path, MATCH.SUBTREE)
      return undefined
    }
    this.charge(chain.length + 1)
    view.fire({ path, match: MATCH.SUBTREE, node: chain[0]!.node, root: view.root })
    return undefined
  }

  /** New nodes, the deepest first, each holding the one before it. They inherit; unprivileged domains own theirs. */
  private chain(missing: readonly string[], inherited: Permissions, value: Uint8Array): readonly PlacedNode[] {
    const permissions = this.privileged ? inherited : ownedBy(this.domid, inherited)
    const chain: PlacedNode[] = []
    for (const path of missing) {
      const below = chain[chain.length - 1]
      const children = below === undefined ? NO_CHILDREN : NO_CHILDREN.set(baseName(below.path), below.node)
      const generation = this.store.nextGeneration()
      const own = below === undefined ? value : EMPTY_VALUE
      chain.push({ path, node: new StoreNode({ value: own, permissions, generation, children }) })
    }
    return chain
  }

  /** Limits on new nodes. Within a transaction a failure after the first node leaves it unfit to be committed. */
  private tooMany(view: View, chain: readonly PlacedNode[], parent: StoreNode): StoreErrorName | undefined {
    if (this.privileged) return undefined
    const added = view instanceof StoreTransaction ? (view.added?.get(this.domid) ?? 0) : 0
    const nodes = this.record!.usage.nodes + added
    for (let i = 0; i < chain.length; i += 1) {
      if (this.exceeds('nodes', nodes + i + 1)) return i === 0 ? 'ENOSPC' : this.poison(view, 'ENOSPC')
      const { node, path } = chain[i]!
      const refused = this.tooLarge(node, nodeSize(node) + path.length)
      if (refused !== undefined) return this.poison(view, refused)
    }
    const top = baseName(chain[chain.length - 1]!.path)
    const size = nodeSize(parent) + top.length + 1
    return this.exceeds('nodeSize', size) ? this.poison(view, 'ENOSPC') : undefined
  }

  private tooLarge(node: StoreNode, growth: number): StoreErrorName | undefined {
    if (this.privileged) return undefined
    if (this.exceeds('nodeSize', nodeSize(node))) return 'ENOSPC'
    return growth > 0 && this.exceeds('memory', this.record!.usage.memory + growth) ? 'ENOMEM' : undefined
  }

  // Watches

  /**
   * Sets a watch. The caller answers first and then calls {@link StoreSession.deliver} once with the watch's own
   * path: clients rely on that order.
   */
  watch(given: string, token: string, depth = -1): Watch | StoreErrorName {
    return this.done('watch', 0, given, this.addWatch(given, token, depth))
  }

  /** Sets a watch without asking for limits: a live update brings it back. */
  addWatch(given: string, token: string, depth: number, checked = true): Watch | StoreErrorName {
    const path = this.canonical(given, true)
    if (path === undefined || depth < -1 || !Number.isInteger(depth)) return 'EINVAL'
    const key = `${path}\0${token}`
    if (this.watches.has(key)) return 'EEXIST'
    const bytes = path.length + token.length
    if (checked && this.exceeds('watches', this.watches.size + 1)) return 'ENOSPC'
    if (checked && this.exceeds('memory', (this.record?.usage.memory ?? 0) + bytes)) return 'ENOMEM'
    const watch: Watch = {
      session: this, path, token, depth,
      prefixLength: isRelative(given) ? this.implicit.length + 1 : 0,
      sequence: this.store.watches.nextSequence(),
    }
    this.watches.set(key, watch)
    this.store.watches.add(watch)
    this.use('watches', 1)
    this.use('memory', bytes)
    return watch
  }

  /** Ends a watch, named by exactly what it was set with. */
  unwatch(given: string, token: string): StoreErrorName | undefined {
    const path = this.canonical(given, true)
    const watch = path === undefined ? undefined : this.watches.get(`${path}\0${token}`)
    if (watch !== undefined) this.dropWatch(watch)
    return this.done('unwatch', 0, given, watch === undefined ? 'ENOENT' : undefined)
  }

  private dropWatch(watch: Watch): void {
    this.watches.delete(`${watch.path}\0${watch.token}`)
    this.store.watches.delete(watch)
    this.use('watches', -1)
    this.use('memory', -(watch.path.length + watch.token.length))
  }

  /** Ends all watches and gives up all transactions. */
  resetWatches(): void {
    for (const watch of [...this.watches.values()]) this.dropWatch(watch)
    for (const transaction of [...this.transactions.values()]) this.forget(transaction)
    this.done('reset-watches', 0, '', undefined)
  }

  /** Hands out what was put off. */
  settle(): void {
    this.store.settle()
  }

  /** Sends a watch's event for a changed path. */
  deliver(watch: Watch, path: string, cause: EventCause | undefined): void {
    const shown = watch.prefixLength === 0 ? path : path.slice(watch.prefixLength)
    this.sink(shown, watch.token, cause)
    if (!this.store.hub.wants('watch-fired')) return
    this.store.hub.emit({
      type: 'watch-fired', connection: this.id, domid: this.domid, path: shown, token: watch.token,
    })
  }

  // Transactions

  /** Opens a transaction and says its number. */
  transactionStart(current: number): { readonly id: number } | StoreErrorName {
    const refused = this.mayStart(current)
    if (refused !== undefined) return this.done('transaction-start', current, '', refused)
    this.store.nextGeneration()
    while (this.nextTransaction === 0 || this.transactions.has(this.nextTransaction)) this.advanceTransaction()
    const id = this.nextTransaction
    this.advanceTransaction()
    this.hold(new StoreTransaction(id, this.base))
    if (this.store.hub.wants('transaction-started')) {
      this.store.hub.emit({ type: 'transaction-started', connection: this.id, domid: this.domid, transaction: id })
    }
    return this.done('transaction-start', id, '', { id })
  }

  private hold(transaction: StoreTransaction): void {
    this.transactions.set(transaction.id, transaction)
    this.use('transactions', 1)
    this.store.openTransactions += 1
  }

  private advanceTransaction(): void {
    this.nextTransaction = (this.nextTransaction + 1) >>> 0
  }

  private mayStart(current: number): StoreErrorName | undefined {
    if (current !== 0) return this.transactions.has(current) ? 'EBUSY' : 'ENOENT'
    return this.exceeds('transactions', this.transactions.size + 1) ? 'ENOSPC' : undefined
  }

  /** Ends a transaction: it takes effect as a whole or, refused or given up, not at all. */
  transactionEnd(id: number, outcome: 'commit' | 'abort'): StoreErrorName | undefined {
    const transaction = this.transactions.get(id)
    if (transaction === undefined) return this.done('transaction-end', id, '', 'ENOENT')
    const result = outcome === 'commit' ? this.commit(transaction) : undefined
    const actor = { connection: this.id, domid: this.domid, transaction: id }
    if (result !== undefined) this.store.hub.emit({ type: 'transaction-conflicted', ...actor, error: result })
    else if (outcome === 'abort') {
      this.forget(transaction)
      this.store.hub.emit({ type: 'transaction-aborted', ...actor })
    }
    return this.done('transaction-end', id, '', result)
  }

  private commit(transaction: StoreTransaction): StoreErrorName | undefined {
    const refused = this.mayCommit(transaction)
    this.forget(transaction)
    if (refused !== undefined) return refused
    const changes = this.store.apply(transaction)
    // The commit can only hurt others, so it costs only while there are any.
    if (this.store.openTransactions > 0) this.store.chargeWrites(this, 1)
    this.store.hub.emit({
      type: 'transaction-committed', connection: this.id, domid: this.domid, transaction: transaction.id, changes,
    })
    return undefined
  }

  private mayCommit(transaction: StoreTransaction): StoreErrorName | undefined {
    if (transaction.poisoned) return 'ENOMEM'
    if (!this.privileged) {
      for (const [owner, added] of transaction.added ?? []) {
        const domain = this.store.domains.get(owner)
        if (added > 0 && domain !== undefined && domain.exceeds('nodes', domain.usage.nodes + added)) return 'ENOSPC'
      }
    }
    return transaction.conflicts() ? 'EAGAIN' : undefined
  }

  private forget(transaction: StoreTransaction): void {
    if (!this.transactions.delete(transaction.id)) return
    this.use('transactions', -1)
    this.store.openTransactions -= 1
  }

  // State

  /** The connection; `placeOf` says which place a watch has among those of all connections. */
  save(placeOf: (watch: Watch) => number): SessionState {
    const watches = [...this.watches.values()].map((watch) => {
      const { path, token, depth, prefixLength } = watch
      return { path: path.slice(prefixLength), token, depth, place: placeOf(watch) }
    })
    const transactions = [...this.transactions.values()].map((transaction) => transaction.save())
    return { id: this.id, domid: this.domid, nextTransaction: this.nextTransaction, watches, transactions }
  }

  /** Whether it is what was saved, without transactions; `seen` hears of each watch, and in which place of all connections' it was. */
  isAsSaved(saved: SessionState, seen: (place: number, watch: Watch) => void): boolean {
    if (saved.id !== this.id || saved.domid !== this.domid || saved.nextTransaction !== this.nextTransaction) return false
    if (this.transactions.size > 0 || saved.transactions.length > 0 || saved.watches.length !== this.watches.size) return false
    let at = 0
    for (const watch of this.watches.values()) {
      const { path, token, depth, place } = saved.watches[at++]!
      const isSame = watch.token === token && watch.depth === depth && watch.path.length - watch.prefixLength === path.length && watch.path.endsWith(path)
      if (!isSame) return false
      seen(place, watch)
    }
    return true
  }

  /** Takes saved transactions over; the watches of all connections are set by their common order. */
  load(saved: SessionState): void {
    this.nextTransaction = saved.nextTransaction
    for (const each of saved.transactions) {
      expectSaved(!this.transactions.has(each.id), 'a transaction twice')
      const transaction = new StoreTransaction(each.id, this.base)
      transaction.load(each, this.store.generation)
      this.hold(transaction)
    }
  }

  // Common

  /** Ends the connection: its watches and transactions go, and nothing is delivered to it any more. */
  close(reason: string): void {
    if (!this.open) return
    this.open = false
    this.resetWatches()
    this.store.leave(this.id, this)
    this.onClose(reason)
    this.store.hub.emit({ type: 'connection-closed', connection: this.id, domid: this.domid, reason })
  }
}

/** Opens a connection without a transport. */
export function openSession(store: StoreCore, options: SessionOptions): StoreSession {
  const session = new StoreSession(store, Object.assign({}, options, { id: store.nextSession(options.id) }))
  store.enter(session.id, session)
  return session
}
