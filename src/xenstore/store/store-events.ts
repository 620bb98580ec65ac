/** The events of the store, one discriminated union. They inform; nothing in the layer depends on anybody listening. */
import type { EventNames } from '../../util/index.ts'
import type { QuotaName } from './quota.ts'
import type { StoreErrorName } from '../protocol/store-error.ts'

/** Names of the operations, as the events and errors use them. */
export type StoreOperation =
  | 'read' | 'directory' | 'get-permissions' | 'write' | 'mkdir' | 'rm' | 'set-permissions' | 'watch' | 'unwatch'
  | 'transaction-start' | 'transaction-end' | 'reset-watches'

/** Who did it: a connection, and the domain at its other end. */
export interface StoreActor {
  readonly connection: number
  readonly domid: number
}

/** What a store tells its observers. */
export type StoreEvent =
  /** An operation was carried out or refused. */
  | (StoreActor & {
    readonly type: 'operation'
    readonly operation: StoreOperation
    readonly path: string
    /** The transaction that it belongs to; 0 for none. */
    readonly transaction: number
    readonly error: StoreErrorName | undefined
  })
  /** A watch event is on its way to a connection. */
  | (StoreActor & { readonly type: 'watch-fired'; readonly path: string; readonly token: string })
  /** A listener of a watch of this process has thrown or rejected; the watch goes on. */
  | { readonly type: 'listener-failed'; readonly path: string; readonly token: string; readonly error: unknown }
  /** A transaction was opened. */
  | (StoreActor & { readonly type: 'transaction-started'; readonly transaction: number })
  /** A transaction took effect. */
  | (StoreActor & { readonly type: 'transaction-committed'; readonly transaction: number; readonly changes: number })
  /** A transaction must be tried again (EAGAIN), or met another limit at its end. */
  | (StoreActor & {
    readonly type: 'transaction-conflicted'
    readonly transaction: number
    readonly error: StoreErrorName
  })
  /** A transaction was given up by its owner. */
  | (StoreActor & { readonly type: 'transaction-aborted'; readonly transaction: number })
  /** A domain met one of its limits. */
  | {
    readonly type: 'quota-hit'
    readonly domid: number
    readonly quota: QuotaName | 'writeRate'
    /** What the domain would use; for the write rate its credit in thousandths of a write. */
    readonly value: number
  }
  /** A client had something printed: `xenstore-control print`. */
  | (StoreActor & { readonly type: 'printed'; readonly text: string })
  /** A connection was opened. */
  | (StoreActor & { readonly type: 'connection-opened' })
  /** A connection is gone, with the reason. */
  | (StoreActor & { readonly type: 'connection-closed'; readonly reason: string })
  /** A domain was introduced. */
  | { readonly type: 'domain-introduced'; readonly domid: number }
  /** A domain was released, and what it owned is gone. */
  | { readonly type: 'domain-released'; readonly domid: number }

/** Names of the events of a store. */
export const STORE_EVENTS: EventNames<StoreEvent> = {
  operation: true, 'watch-fired': true, 'listener-failed': true, 'transaction-started': true,
  'transaction-committed': true, 'transaction-conflicted': true, 'transaction-aborted': true, 'quota-hit': true,
  printed: true, 'connection-opened': true, 'connection-closed': true, 'domain-introduced': true,
  'domain-released': true,
}
