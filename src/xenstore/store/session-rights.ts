/**
 * What a connection may do: its domain, permissions, limits, and how paths are read on its behalf. The operations
 * stand on it, in session.ts.
 *
 * Reference: xen/docs/misc/xenstore.txt; behaviour of tools/xenstored/core.c.
 */
import { isUnprivileged, type DomainRecord } from './domains.ts'
import type { StoreNode } from '../tree/node.ts'
import { canonicalPath, parentPath } from '../tree/path.ts'
import { ACCESS, accessOf, type Asker } from '../tree/permissions.ts'
import type { QuotaName } from './quota.ts'
import { isStoreErrorName, type StoreErrorName } from '../protocol/store-error.ts'
import type { StoreOperation } from './store-events.ts'
import type { StoreCore } from './store-core.ts'
import { StoreTransaction } from './transaction.ts'

/** The nodes as an operation sees them: the store's, or those of a transaction. */
export type View = StoreCore | StoreTransaction

const ALL = ACCESS.BOTH | ACCESS.OWNER

/** A connection's rights. */
export class SessionRights {
  readonly id: number
  readonly domid: number
  /** The domain's limits and use; undefined while the store knows nothing of the privileged domain. */
  readonly record: DomainRecord | undefined
  readonly privileged: boolean
  readonly transactions = new Map<number, StoreTransaction>()
  protected readonly store: StoreCore
  protected readonly implicit: string

  constructor(store: StoreCore, id: number, domid: number) {
    this.store = store
    this.id = id
    this.domid = domid
    this.privileged = !isUnprivileged(domid) || domid === store.privilegedDomain
    this.record = isUnprivileged(domid) ? store.domains.create(domid) : store.domains.get(domid)
    this.implicit = `/local/domain/${domid}`
  }

  /** In whose name this connection asks. */
  asker(): Asker {
    return { domid: this.domid, target: this.record?.target }
  }

  /** The absolute form of a path, or undefined when it is not valid. */
  protected canonical(path: string, special = false): string | undefined {
    return canonicalPath(path, { implicit: this.implicit, special, pathMax: this.pathMax() })
  }

  protected pathMax(): number {
    return (this.record?.limits ?? this.store.domains.defaults).pathMax
  }

  protected view(transaction: number): View | undefined {
    return transaction === 0 ? this.store : this.transactions.get(transaction)
  }

  /** The node when this connection may do all of `access` with it. */
  protected permitted(view: View, path: string, access: number): StoreNode | StoreErrorName {
    const node = view.get(path)
    if (this.overflowed(view)) return 'ENOSPC'
    if (node !== undefined && (this.allowed(node) & access) === access) return node
    // Somebody who may not look here is not told whether the node exists, unless the nearest parent allows it.
    let above = path
    let parent: StoreNode | undefined
    do {
      above = parentPath(above)
      parent = view.get(above)
      if (this.overflowed(view)) return 'ENOSPC'
    } while (parent === undefined && above !== '/')
    if (parent === undefined || (this.allowed(parent) & access) === 0) return 'EACCES'
    return node === undefined ? 'ENOENT' : 'EACCES'
  }

  protected allowed(node: StoreNode): number {
    return this.privileged ? ALL : accessOf(node.permissions, this.asker())
  }

  protected overflowed(view: View): boolean {
    return view instanceof StoreTransaction && view.overflowed && this.overflow(view) !== undefined
  }

  /** Reports that a transaction touched too much, once per operation. */
  protected overflow(transaction: StoreTransaction): StoreErrorName {
    transaction.overflowed = false
    return 'ENOSPC'
  }

  protected poison(view: View, error: StoreErrorName): StoreErrorName {
    if (view instanceof StoreTransaction) view.poisoned = true
    return error
  }

  /** True, and reported, when the domain would use more than it may. */
  exceeds(what: QuotaName, value: number): boolean {
    if (this.record === undefined || !this.record.exceeds(what, value)) return false
    this.store.hub.emit({ type: 'quota-hit', domid: this.domid, quota: what, value })
    return true
  }

  /** Books what the connection uses on its domain. */
  use(what: 'watches' | 'transactions' | 'memory' | 'outstanding', amount: number): void {
    if (this.record !== undefined) this.record.usage[what] += amount
  }

  protected charge(writes: number): void {
    if (!this.privileged && this.store.openTransactions > 0) this.store.chargeWrites(this, writes)
  }

  protected done<T>(operation: StoreOperation, transaction: number, path: string, result: T): T {
    if (this.store.hub.wants('operation')) {
      this.store.hub.emit({
        type: 'operation', connection: this.id, domid: this.domid, operation, path, transaction,
        error: isStoreErrorName(result) ? result : undefined,
      })
    }
    this.store.settle()
    return result
  }
}
