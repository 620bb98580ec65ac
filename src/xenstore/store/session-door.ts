/**
 * A session whose changes pass a door: whoever keeps it hears of each change before it takes effect, of a transaction's
 * as one at its end. What only reads does not pass it.
 */
import { isStoreErrorName, type StoreErrorName } from '../protocol/store-error.ts'
import { formatPermission, type Permissions } from '../tree/permissions.ts'
import type { StoreSession } from './session.ts'

/** A change of one node, as plain data. */
export type NodeChange =
  | { readonly operation: 'write'; readonly path: string; readonly value: Uint8Array }
  | { readonly operation: 'mkdir' | 'rm'; readonly path: string }
  | { readonly operation: 'set-permissions'; readonly path: string; readonly permissions: readonly string[] }

/** Changes that come at once: one of its own, or those of a transaction that is committed or given up. */
export interface StoreChanges {
  readonly transaction: 'none' | 'commit' | 'abort'
  readonly changes: readonly NodeChange[]
}

/** What changes pass. hot path: two calls around each, with nothing made for it while nobody hears of it; one call with closures took a tenth of a write. */
export interface StoreDoor {
  /** Whether somebody hears of what passes: only then need be said what it is. */
  readonly isHeard: boolean
  /** Changes are about to take effect. Throws, and they do not, where nothing may pass; otherwise gives what {@link StoreDoor.left} is given. */
  entered(changes: (() => StoreChanges) | undefined): unknown
  /** They have, or were refused. */
  left(before: unknown): void
}

/** What a handle asks of its session for operations on nodes. */
export type NodeSession = Pick<StoreSession,
  'read' | 'directory' | 'getPermissions' | 'write' | 'mkdir' | 'rm' | 'setPermissions' | 'transactionStart' | 'transactionEnd'>

type Refusal = StoreErrorName | undefined

/** The session behind a door. */
export class SessionDoor implements NodeSession {
  private readonly session: NodeSession
  private readonly door: StoreDoor
  /** What open transactions have changed. */
  private readonly open = new Map<number, (() => NodeChange)[]>()

  constructor(session: NodeSession, door: StoreDoor) {
    this.session = session
    this.door = door
  }

  read(transaction: number, path: string): ReturnType<StoreSession['read']> {
    return this.session.read(transaction, path)
  }

  directory(transaction: number, path: string): ReturnType<StoreSession['directory']> {
    return this.session.directory(transaction, path)
  }

  getPermissions(transaction: number, path: string): ReturnType<StoreSession['getPermissions']> {
    return this.session.getPermissions(transaction, path)
  }

  write(transaction: number, path: string, value: Uint8Array): Refusal {
    const { session, door } = this
    if (transaction !== 0 || door.isHeard) return this.writeNoted(transaction, path, value)
    const before = door.entered(undefined)
    try {
      return session.write(0, path, value)
    } finally {
      door.left(before)
    }
  }

  /** By itself: what closures hold is made when a function is entered. */
  private writeNoted(transaction: number, path: string, value: Uint8Array): Refusal {
    return this.change(transaction, () => ({ operation: 'write', path, value: value.slice() }), () => this.session.write(transaction, path, value))
  }

  mkdir(transaction: number, path: string): Refusal {
    return this.change(transaction, () => ({ operation: 'mkdir', path }), () => this.session.mkdir(transaction, path))
  }

  rm(transaction: number, path: string): Refusal {
    return this.change(transaction, () => ({ operation: 'rm', path }), () => this.session.rm(transaction, path))
  }

  setPermissions(transaction: number, path: string, permissions: Permissions): Refusal {
    const change = (): NodeChange => ({ operation: 'set-permissions', path, permissions: permissions.map(formatPermission) })
    return this.change(transaction, change, () => this.session.setPermissions(transaction, path, permissions))
  }

  transactionStart(parent: number): ReturnType<StoreSession['transactionStart']> {
    const started = this.session.transactionStart(parent)
    if (!isStoreErrorName(started)) this.open.set(started.id, [])
    return started
  }

  transactionEnd(id: number, how: Parameters<StoreSession['transactionEnd']>[1]): ReturnType<StoreSession['transactionEnd']> {
    const changes = this.open.get(id) ?? []
    this.open.delete(id)
    return this.pass(() => ({ transaction: how, changes: changes.map((change) => change()) }), () => this.session.transactionEnd(id, how))
  }

  private change(transaction: number, change: () => NodeChange, act: () => Refusal): Refusal {
    return transaction === 0 ? this.pass(() => single(change()), act) : this.noted(transaction, change, act())
  }

  /** What a transaction has changed is told at its end. */
  private noted(transaction: number, change: () => NodeChange, refused: Refusal): Refusal {
    if (refused === undefined) this.open.get(transaction)?.push(change)
    return refused
  }

  private pass<T>(changes: () => StoreChanges, act: () => T): T {
    const { door } = this
    const before = door.entered(changes)
    try {
      return act()
    } finally {
      door.left(before)
    }
  }
}

/** A change of its own. */
const single = (change: NodeChange): StoreChanges => ({ transaction: 'none', changes: [change] })
