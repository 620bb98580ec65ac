/** What may come between clients and the store, so that tests see what they do when it does not do what they ask. */
import type { StoreRequest } from '../protocol/messages.ts'
import { isStoreErrorName, type StoreErrorName } from '../protocol/store-error.ts'

/** A request that is about to be carried out. */
export interface StoreRequestFacts {
  /** Whose client asks. */
  readonly domid: number
  /** As the protocol has it: `write`, `transaction-end`, ... */
  readonly op: string
  /** The path, as the client has written it; undefined for a request without one. */
  readonly path: string | undefined
  /** What is to be written. */
  readonly value: Uint8Array | undefined
  /** The transaction; 0 for none. */
  readonly transaction: number
  /** Whether a transaction is to be committed. */
  readonly commits: boolean
}

/**
 * What becomes of a request: an error; nothing, though it is answered as if it had been carried out; another value that is written;
 * undefined: it is carried out.
 */
export type StoreIntervention = StoreErrorName | { readonly ignored: true } | { readonly value: Uint8Array } | undefined

/** What comes between; what is absent interferes with nothing. */
export interface StoreInterference {
  /** What becomes of a request before it is carried out. */
  request?(facts: StoreRequestFacts): StoreIntervention
  /** Milliseconds for which the next message of a domain's client waits before it is looked at. */
  wait?(domid: number): number
}

/** What is carried out in a request's place, the error that it is refused with, or undefined for one that is only answered. */
export function interfered(
  interference: StoreInterference, request: StoreRequest, { domid, transaction }: { readonly domid: number; readonly transaction: number },
): StoreRequest | StoreErrorName | undefined {
  const { path, value } = request as { readonly path?: string; readonly value?: Uint8Array }
  const commits = request.op === 'transaction-end' && request.outcome === 'commit'
  const verdict = interference.request?.({ domid, op: request.op, path, value, transaction, commits })
  if (verdict === undefined) return request
  if (isStoreErrorName(verdict)) return verdict
  return 'value' in verdict && request.op === 'write' ? { ...request, value: verdict.value } : undefined
}
