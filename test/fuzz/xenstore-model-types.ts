/** What the model of XenStore is made of: plain records, and nothing that the real store has. */

/** One node, as a record of its own. */
export interface Node {
  value: string
  perms: string[]
  version: number
  /** Names of the children, in order. */
  children: string[]
}

/** What a transaction knows of a node. */
export interface Touched {
  seen: Node | undefined
  now: Node | undefined
  changed: boolean
  fire: 'exact' | 'subtree' | undefined
}

/** An open transaction. */
export interface Transaction {
  nodes: Map<string, Touched>
  spoiled: boolean
}

/** A watch. */
export interface Watch {
  path: string
  token: string
  depth: number
  cut: number
}

/** A client of the model. */
export interface ModelClient {
  readonly domid: number
  readonly transactions: Map<number, Transaction>
  readonly watches: Watch[]
  events: string[]
  next: number
}
