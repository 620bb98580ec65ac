/**
 * What a fleet keeps its records in: keys with revisions, transactions that compare before they write, leases that end by themselves, and
 * watches that go on from a revision. The model is etcd's; every implementation passes one contract suite.
 * Reference: etcd's API, rpc.proto of 3.4 and 3.5 (KV, Lease, Watch).
 */
import type { Duration } from '../../util/index.ts'

/** A key as it stands at a revision. */
export interface StoreEntry {
  readonly key: string
  readonly value: string
  /** Revisions at which it was made, and written last. */
  readonly created: number
  readonly modified: number
  /** How often it was written since it was made. */
  readonly version: number
  /** The lease with which it goes; undefined for one that stays. */
  readonly lease: string | undefined
}

/** What must hold of a key. One that is not there has version, created and modified 0. */
export type StoreComparison =
  | { readonly key: string; readonly target: 'version' | 'created' | 'modified'; readonly result: 'equal' | 'not-equal' | 'less' | 'greater'; readonly value: number }
  | { readonly key: string; readonly target: 'value'; readonly result: 'equal' | 'not-equal'; readonly value: string }

/** What is done to a key. */
export type StoreOperation =
  | { readonly type: 'put'; readonly key: string; readonly value: string; readonly lease?: string | undefined }
  | { readonly type: 'delete'; readonly key: string }

/** What a transaction came to. */
export interface StoreTransaction {
  /** Every comparison held, and `then` was done. */
  readonly succeeded: boolean
  /** The store's revision behind it. */
  readonly revision: number
}

/** A part of the store at one revision. */
export interface StoreRange {
  /** In the order of their keys. */
  readonly entries: readonly StoreEntry[]
  readonly revision: number
}

/** A lease: keys that were written with it go when it ends. */
export interface StoreLease {
  readonly id: string
  /** Seconds that the store gives it from each renewal on. */
  readonly ttl: number
  /**
   * Renews it; resolves with a revision that the store has reached, which may be behind its newest. Rejects with LEASE_LOST when it has ended, IO when the
   * store cannot be reached.
   */
  keepAlive(): Promise<number>
  /** Ends it at once. */
  revoke(): Promise<void>
}

/** A change of a key. */
export type StoreChange =
  | { readonly type: 'put'; readonly entry: StoreEntry }
  | { readonly type: 'delete'; readonly key: string; readonly modified: number }

/** Changes of one revision. */
export interface StoreBatch {
  readonly revision: number
  readonly changes: readonly StoreChange[]
}

/** How a part of the store is watched. */
export interface StoreWatchOptions {
  /** The first revision of interest. Default: the next one. */
  readonly from?: number | undefined
  readonly signal?: AbortSignal | undefined
}

/** A store of a fleet's records. Everything rejects with IO where the store cannot be reached; then nobody knows whether a write was done. */
export interface ClusterStore {
  /** A key; undefined where there is none. */
  get(key: string): Promise<StoreEntry | undefined>
  /** All keys with a prefix, at one revision. */
  range(prefix: string): Promise<StoreRange>
  /** Does `then` where every comparison holds, else `otherwise`: all of it at one revision, or nothing. */
  txn(compare: readonly StoreComparison[], then: readonly StoreOperation[], otherwise?: readonly StoreOperation[]): Promise<StoreTransaction>
  /** A new lease. */
  lease(ttl: Duration): Promise<StoreLease>
  /**
   * Changes of all keys with a prefix, revision by revision, from one on. Rejects with COMPACTED where that one is not kept any more, IO when the store
   * is lost: whoever watches reads the range anew and goes on behind it. Ends when its signal fires.
   */
  watch(prefix: string, options?: StoreWatchOptions): AsyncIterable<StoreBatch>
  /** Lets go of what it has open. */
  close(): void
}
