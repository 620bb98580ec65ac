/**
 * Limits per domain and what each domain uses. Limits hold for unprivileged domains only; use is counted for all.
 * Which error an exceeded limit gives is decided where it is checked.
 *
 * Reference: tools/xenstored/domain.c, table of quotas; xen/docs/misc/xenstore.txt, GET_QUOTA.
 */
import { whole, type OptionChecks } from '../../util/index.ts'

/** What is limited; 0 stands for no limit. */
export interface QuotaLimits {
  /** Nodes owned. */
  readonly nodes: number
  /** Watches set. */
  readonly watches: number
  /** Requests whose reply, or whose events to others, have not been taken yet. */
  readonly outstanding: number
  /** Bytes of nodes owned, watches, and messages not taken yet. */
  readonly memory: number
  /** Bytes from which on it is only reported. */
  readonly softMemory: number
  /** Transactions open. */
  readonly transactions: number
  /** Nodes touched in one transaction. */
  readonly transactionNodes: number
  /** Entries in one permission list. */
  readonly nodePermissions: number
  /** Length of a path behind `/local/domain/N/`. */
  readonly pathMax: number
  /** Bytes of one node: header, permissions, value, and names of the children. */
  readonly nodeSize: number
}

/** One of the limits. */
export type QuotaName = keyof QuotaLimits

/** The limits of xenstored. */
export const DEFAULT_QUOTA: QuotaLimits = /* @__PURE__ */ Object.freeze({
  nodes: 1000,
  watches: 128,
  outstanding: 20,
  memory: 2.5 * 1024 * 1024,
  softMemory: 2 * 1024 * 1024,
  transactions: 10,
  transactionNodes: 1024,
  nodePermissions: 5,
  pathMax: 2048,
  nodeSize: 2048,
})

/** The names of the limits on the wire, in the order in which the server lists them. */
export const QUOTA_WIRE_NAMES: readonly (readonly [string, QuotaName])[] = [
  ['nodes', 'nodes'],
  ['watches', 'watches'],
  ['outstanding', 'outstanding'],
  ['memory', 'memory'],
  ['soft-memory', 'softMemory'],
  ['transactions', 'transactions'],
  ['transaction-nodes', 'transactionNodes'],
  ['node-permissions', 'nodePermissions'],
  ['path-max', 'pathMax'],
  ['node-size', 'nodeSize'],
]

/** What a domain uses now. */
export interface QuotaUsage {
  nodes: number
  watches: number
  outstanding: number
  memory: number
  transactions: number
}

const limit = /* @__PURE__ */ whole(0, Number.MAX_SAFE_INTEGER)

/** What limits may be. */
export const LIMIT_CHECKS: OptionChecks<Partial<QuotaLimits>> = {
  nodes: limit, watches: limit, outstanding: limit, memory: limit, softMemory: limit, transactions: limit,
  transactionNodes: limit, nodePermissions: limit, pathMax: limit, nodeSize: limit,
}
