/**
 * The whole state of a store and its server as plain data, for a live update: what is written here is read back by
 * another instance, maybe of another version, so everything is checked again before it is believed.
 *
 * Left out on purpose: handles of code in the same process (whoever holds one asks the new store for another), and
 * which request caused which event that still waits (a domain is merely served a little earlier for that).
 */
import { XenError } from '../../util/index.ts'
import { StoreNode, nodeAt, withNode, NO_CHILDREN, type Children } from '../tree/node.ts'
import { canonicalPath, parentPath } from '../tree/path.ts'
import type { Permission, Permissions } from '../tree/permissions.ts'
import type { QuotaLimits } from './quota.ts'
import type { Match } from './watches.ts'

/** Version of the format. */
export const SAVED_VERSION = 1

/** One node without its children. */
export interface SavedNode {
  readonly path: string
  readonly value: Uint8Array
  readonly permissions: readonly Permission[]
  readonly generation: number
}

/** A node as a transaction knows it: of its children the names. */
export interface SavedCopy extends Omit<SavedNode, 'path'> {
  readonly children: readonly string[]
}

/** One domain. What it uses is counted anew. */
export interface SavedDomain {
  readonly id: number
  readonly introduced: boolean
  readonly shutdown: boolean
  readonly features: number
  readonly target: number | undefined
  readonly limits: QuotaLimits
  readonly credit: { readonly credit: number; readonly timestamp: number } | undefined
}

/** One watch. */
export interface SavedWatch {
  /** As the client gave it. */
  readonly path: string
  readonly token: string
  readonly depth: number
  /** Place among all watches. */
  readonly sequence: number
}

/** One node that a transaction has touched. */
export interface SavedAccess {
  readonly path: string
  readonly before: SavedCopy | undefined
  readonly current: SavedCopy | undefined
  readonly modified: boolean
  /** Which watches fire at the commit. */
  readonly fire: Match | undefined
  /** When it was created, counted within the transaction; 0 when it was not. */
  readonly made: number
}

/** One open transaction. */
export interface SavedTransaction {
  readonly id: number
  readonly poisoned: boolean
  readonly conflicted: boolean
  readonly accesses: readonly SavedAccess[]
}

/** One connection's rights and doings. */
export interface SavedSession {
  readonly id: number
  readonly domain: number
  readonly nextTransaction: number
  readonly watches: readonly SavedWatch[]
  readonly transactions: readonly SavedTransaction[]
}

/** A message that waits to be taken. */
export interface SavedMarker {
  /** Bytes of the output up to its end. */
  readonly end: number
  readonly bytes: number
  readonly event: string | undefined
}

/** One connection of the server. */
export interface SavedConnection {
  readonly session: SavedSession
  /** Whether it is a domain's over its page; otherwise a stream. */
  readonly page: boolean
  readonly ignored: boolean
  /** Received, and not served yet. */
  readonly input: Uint8Array
  /** To be sent. */
  readonly output: Uint8Array
  readonly markers: readonly SavedMarker[]
}

/** The store without its connections. */
export interface SavedStore {
  readonly generation: number
  /** Every parent before its children, which are in order. */
  readonly nodes: readonly SavedNode[]
  readonly special: readonly SavedNode[]
  readonly domains: readonly SavedDomain[]
  readonly limits: QuotaLimits
  readonly rate: { readonly reserve: number; readonly domains: number }
}

/** Everything. */
export interface SavedServer {
  readonly version: number
  readonly store: SavedStore
  readonly connections: readonly SavedConnection[]
}

const refuse = (what: string): XenError =>
  new XenError('INVALID_STREAM', `saved XenStore: ${what}`, { details: { what } })

/** Throws INVALID_STREAM unless `holds`. */
export function expectSaved(holds: boolean, what: string): asserts holds {
  if (!holds) throw refuse(what)
}

/** True for a whole number from 0 to `limit`. */
export const isCount = (value: unknown, limit = Number.MAX_SAFE_INTEGER): value is number =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= limit

/** Permissions, checked. */
export function readPermissions(list: readonly Permission[]): Permissions {
  expectSaved(Array.isArray(list) && list.length > 0, 'a node without permissions')
  for (const { domain, access } of list) {
    expectSaved(isCount(domain, 0xffff) && isCount(access, 3), 'a permission that is none')
  }
  return list as unknown as Permissions
}

/** A node without children, checked. */
export function readNode(saved: Omit<SavedNode, 'path'>, newest: number, children: Children = NO_CHILDREN): StoreNode {
  expectSaved(saved.value instanceof Uint8Array, 'a node without a value')
  expectSaved(isCount(saved.generation, newest), 'a node from the future')
  const permissions = readPermissions(saved.permissions)
  return new StoreNode({ value: saved.value.slice(), permissions, generation: saved.generation, children })
}

/** True for the absolute path of a node, or the name of a special one where that may be. */
export const isNodePath = (path: unknown, special: boolean): path is string =>
  typeof path === 'string' && path !== '' && canonicalPath(path, { implicit: '', pathMax: 0, special }) === path

/** The tree, checked. */
export function readTree(nodes: readonly SavedNode[], newest: number): StoreNode {
  const [first, ...rest] = nodes
  expectSaved(first?.path === '/', 'no root')
  let tree = readNode(first, newest)
  for (const saved of rest) {
    const { path } = saved
    expectSaved(isNodePath(path, false) && path.length > 1, `a node named ${String(path)}`)
    const parent = nodeAt(tree, parentPath(path))
    expectSaved(parent !== undefined, `${path} without a parent`)
    expectSaved(nodeAt(tree, path) === undefined, `${path} twice`)
    tree = withNode(tree, path, { node: readNode(saved, newest), generation: parent.generation })
  }
  return tree
}

/** A node as data. */
export const saveNode = (path: string, node: StoreNode): SavedNode => ({
  path, value: node.value.slice(), permissions: node.permissions.map((entry) => ({ ...entry })),
  generation: node.generation,
})

/** The tree as data, parents first. */
export function saveTree(path: string, node: StoreNode, into: SavedNode[] = []): SavedNode[] {
  const stack: (readonly [string, StoreNode])[] = [[path, node]]
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
export const saveCopy = (node: StoreNode | undefined): SavedCopy | undefined => node === undefined ? undefined : {
  value: node.value.slice(), permissions: node.permissions.map((entry) => ({ ...entry })),
  generation: node.generation, children: [...node.children.names()],
}

/** A transaction's copy of a node, checked. Its children are there by name only, which is all that counts. */
export function readCopy(saved: SavedCopy | undefined, newest: number): StoreNode | undefined {
  if (saved === undefined) return undefined
  expectSaved(Array.isArray(saved.children), 'a copy without a list of children')
  const bare = readNode(saved, newest)
  let children = NO_CHILDREN
  for (const name of saved.children) {
    expectSaved(typeof name === 'string' && /^[A-Za-z0-9\-_@]+$/.test(name), 'a child without a name')
    children = children.set(name, bare)
  }
  return bare.with({ children })
}
