/**
 * What a saved store and its server consist of, as shapes, and what no shape can tell: which paths are names, whether
 * every node has a parent. What is read back may come from another version or from somebody hostile.
 *
 * Left out on purpose: handles of code in the same process. Whoever holds one asks the new store for another.
 */
import { badState, shape, type StateOf } from '../../util/index.ts'
import { StoreNode, nodeAt, withNode, NO_CHILDREN, type Children } from '../tree/node.ts'
import { canonicalPath, parentPath } from '../tree/path.ts'
import type { Permissions } from '../tree/permissions.ts'
import { DEFAULT_QUOTA, type QuotaLimits } from './quota.ts'

/** Most bytes of a value, a path or messages that wait: what code in the same process may write, and a backlog. */
const MOST_BYTES = 2 ** 26

const bytes = /* @__PURE__ */ shape.array(Uint8Array, 0, MOST_BYTES)
const path = /* @__PURE__ */ shape.text(4096)
const domid = /* @__PURE__ */ shape.whole(0, 0xffff)
const number = /* @__PURE__ */ shape.real(-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)

const permissions = /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({
  domid, access: /* @__PURE__ */ shape.whole(0, 3), ignored: /* @__PURE__ */ shape.optional(shape.flag),
}), 4096, 1)

/** One node without its children. */
const nodeState = /* @__PURE__ */ shape.record({ path, value: bytes, permissions, generation: shape.time })

/** A node as a transaction knows it: of its children the names. */
const copyState = /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.record({
  value: bytes, permissions, generation: shape.time, children: /* @__PURE__ */ shape.list(path),
}))

const limit = shape.word
const limits = /* @__PURE__ */ shape.record<QuotaLimits>({
  nodes: limit, watches: limit, outstanding: limit, memory: limit, softMemory: limit, transactions: limit,
  transactionNodes: limit, nodePermissions: limit, pathMax: limit, nodeSize: limit,
})

/** One domain. What it uses is counted anew; the paths are in the order in which they came to it. */
const domainState = /* @__PURE__ */ shape.record({
  id: domid,
  introduced: shape.flag,
  shutdown: shape.flag,
  features: /* @__PURE__ */ shape.whole(0, 0xff),
  target: /* @__PURE__ */ shape.optional(domid),
  limits,
  credit: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.record({ credit: number, timestamp: number })),
  owned: /* @__PURE__ */ shape.list(path),
  named: /* @__PURE__ */ shape.list(path),
})

/** A store without its connections. Every parent stands before its children, which are in order. */
export const storeState = /* @__PURE__ */ shape.record({
  generation: shape.time,
  lastSession: shape.time,
  nodes: /* @__PURE__ */ shape.list(nodeState),
  special: /* @__PURE__ */ shape.list(nodeState, 16),
  domains: /* @__PURE__ */ shape.list(domainState, 2 ** 16),
  limits,
  rate: /* @__PURE__ */ shape.record({ reserve: number, domains: /* @__PURE__ */ shape.whole(0, 2 ** 16) }),
})

/** One open transaction: the nodes that it has touched, and what it does with them. */
const transactionState = /* @__PURE__ */ shape.record({
  id: /* @__PURE__ */ shape.whole(1, 0xffff_ffff),
  poisoned: shape.flag,
  overflowed: shape.flag,
  conflicted: shape.flag,
  accesses: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({
    path, before: copyState, current: copyState, modified: shape.flag,
    /** Which watches fire at the commit. */
    fire: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.oneOf(0, 1, 2, 3)),
    /** When it was created, counted within the transaction; 0 when it was not. */
    made: shape.time,
  })),
})

/** One connection's rights and doings. */
const sessionState = /* @__PURE__ */ shape.record({
  id: shape.time,
  domid,
  nextTransaction: shape.word,
  /** Each with its place among all watches of connections. */
  watches: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({
    path, token: /* @__PURE__ */ shape.text(4096), depth: /* @__PURE__ */ shape.whole(-1, 0xffff_ffff), place: shape.time,
  })),
  transactions: /* @__PURE__ */ shape.list(transactionState),
})

/** One connection of the server: what was received and not served, what is to be sent, and what hangs on it. */
const storeConnectionState = /* @__PURE__ */ shape.record({
  session: sessionState,
  /** Whether it is a domain's over its page; otherwise a stream. */
  page: shape.flag,
  ignored: shape.flag,
  /** What the server is about to do with it. */
  ready: shape.flag, dirty: shape.flag, stalled: shape.flag,
  input: bytes,
  output: bytes,
  /** Messages that wait to be taken: where they end in the output, what they are booked with, the text of an event. */
  markers: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({
    end: shape.time, bytes: /* @__PURE__ */ shape.whole(0, 65536), event: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.text(8192)),
    /** Place of the request that caused it in the list of causes. */
    cause: /* @__PURE__ */ shape.optional(shape.time),
    deadline: /* @__PURE__ */ shape.real(0, Infinity),
  })),
})

/** A server's connections. */
export const connectionsState = /* @__PURE__ */ shape.record({
  connections: /* @__PURE__ */ shape.list(storeConnectionState),
  /** Requests whose reply or events are not all taken, by the number of their connection. */
  causes: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({ connection: shape.time, pending: shape.time, answered: shape.flag })),
  eventDeadline: /* @__PURE__ */ shape.real(0, Infinity),
})

/** Saved connections. */
export type ConnectionsState = StateOf<typeof connectionsState>
/** Saved store. */
export type StoreState = StateOf<typeof storeState>
/** Saved domain. */
export type DomainState = StateOf<typeof domainState>
/** Saved connection. */
export type SavedConnection = StateOf<typeof storeConnectionState>
/** Saved rights and doings of a connection. */
export type SessionState = StateOf<typeof sessionState>
/** Saved transaction. */
export type TransactionState = StateOf<typeof transactionState>
/** Saved node. */
export type NodeState = StateOf<typeof nodeState>
/** Saved node as a transaction knows it. */
export type CopyState = StateOf<typeof copyState>

/** Throws INVALID_STATE unless `holds`. */
export function expectSaved(holds: boolean, what: string): asserts holds {
  if (!holds) throw badState(what)
}

/** A node without children, checked. */
export function readNode(saved: Omit<NodeState, 'path'>, newest: number, children: Children = NO_CHILDREN): StoreNode {
  expectSaved(saved.generation <= newest, 'a node from the future')
  // The shape has seen to it that there is one.
  const permissions = saved.permissions.map(({ ignored, ...entry }) => (ignored === true ? { ...entry, ignored } : entry)) as unknown as Permissions
  return new StoreNode({ value: saved.value.slice(), permissions, generation: saved.generation, children })
}

/** True for the absolute path of a node, or the name of a special one where that may be. */
export const isNodePath = (given: string, special: boolean): boolean =>
  given !== '' && canonicalPath(given, { implicit: '', pathMax: 0, special }) === given

/** The tree, checked. */
export function readTree(nodes: readonly NodeState[], newest: number): StoreNode {
  const [first, ...rest] = nodes
  expectSaved(first?.path === '/', 'no root')
  let tree = readNode(first, newest)
  for (const saved of rest) {
    expectSaved(isNodePath(saved.path, false) && saved.path.length > 1, `a node named ${saved.path}`)
    const parent = nodeAt(tree, parentPath(saved.path))
    expectSaved(parent !== undefined, `${saved.path} without a parent`)
    expectSaved(nodeAt(tree, saved.path) === undefined, `${saved.path} twice`)
    tree = withNode(tree, saved.path, { node: readNode(saved, newest), generation: parent.generation })
  }
  return tree
}

const savePermissions = (list: Permissions): StateOf<typeof permissions> =>
  list.map((entry) => ({ domid: entry.domid, access: entry.access, ignored: entry.ignored }))

/** A node as data. */
export const saveNode = (at: string, node: StoreNode): NodeState => ({
  path: at, value: node.value.slice(), permissions: savePermissions(node.permissions),
  generation: node.generation,
})

/** The tree as data, parents first. */
export function saveTree(root: string, node: StoreNode, into: NodeState[] = []): NodeState[] {
  const stack: (readonly [string, StoreNode])[] = [[root, node]]
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    const [at, each] = top
    into.push(saveNode(at, each))
    for (const [name, child] of each.children.entries().slice().reverse()) {
      stack.push([at === '/' ? `/${name}` : `${at}/${name}`, child])
    }
  }
  return into
}

/** A transaction's copy of a node as data. */
export const saveCopy = (node: StoreNode | undefined): CopyState => node === undefined ? undefined : {
  value: node.value.slice(), permissions: savePermissions(node.permissions),
  generation: node.generation, children: [...node.children.names()],
}

/** A transaction's copy of a node, checked. Its children are there by name only, which is all that counts. */
export function readCopy(saved: CopyState, newest: number): StoreNode | undefined {
  if (saved === undefined) return undefined
  const bare = readNode(saved, newest)
  let children = NO_CHILDREN
  for (const name of saved.children) {
    expectSaved(/^[A-Za-z0-9\-_@]+$/.test(name), 'a child without a name')
    children = children.set(name, bare)
  }
  return bare.with({ children })
}

/** The paths that a domain has, in the saved order: the same ones that were counted. */
export function reorder(paths: Set<string>, saved: readonly string[], what: string): void {
  const same = paths.size === saved.length && saved.every((each) => paths.has(each)) && new Set(saved).size === saved.length
  expectSaved(same, `other nodes ${what} than there are`)
  paths.clear()
  for (const each of saved) paths.add(each)
}

/** Saved limits, as an object of their own. */
export const readLimits = (saved: QuotaLimits): QuotaLimits => ({ ...DEFAULT_QUOTA, ...saved })
