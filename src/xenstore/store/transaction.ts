/**
 * One open transaction: its own view of the nodes that it has touched. The first access of a node notes the
 * generation that the store had then, and later ones see the transaction's own copy; at the end the store must still
 * have the noted generations. There is no snapshot of the whole store: a node that nobody touched here may change.
 *
 * Reference: tools/xenstored/transaction.c, head comment.
 */
import { nodeSize, type StoreNode } from '../tree/node.ts'
import { expectSaved, isNodePath, readCopy, saveCopy, type TransactionState } from './saved-state.ts'
import { baseName, childPath, isSpecial, parentPath } from '../tree/path.ts'
import { MATCH, type Match } from './watches.ts'

/** What a transaction has done with one node. */
export interface Access {
  readonly path: string
  /** The node as the store had it at the first access. */
  readonly before: StoreNode | undefined
  /** The node as the transaction sees it. Of its children only the names count. */
  current: StoreNode | undefined
  modified: boolean
  /** Which watches are to fire at the end; undefined for none. */
  fire: Match | undefined
  /** When it was created here, counted within the transaction; 0 when it was not. */
  made: number
  /** How many components the path has. */
  readonly depth: number
  /** The path above. */
  readonly above: string
}

/** Where a transaction reads what it has not touched yet, and how much it may touch. */
export interface TransactionBase {
  get(path: string): StoreNode | undefined
  /** How often the store has changed. */
  changes(): number
  /** True when a transaction of this many nodes is too large. */
  tooLarge(nodes: number): boolean
}

/** A node and where it goes. */
export interface PlacedNode {
  readonly path: string
  readonly node: StoreNode
}

/** An open transaction of one connection. */
export class StoreTransaction {
  readonly id: number
  /** Every node touched, in the order of first access. */
  readonly accesses = new Map<string, Access>()
  /** Set when something failed half-way: the transaction can only be given up. */
  poisoned = false
  /** Set when more nodes were touched than allowed; the operation at hand fails with ENOSPC. */
  overflowed = false
  /** Set when the store changed beneath it in a way that no generation shows. */
  conflicted = false
  /** Nodes that it would add to each domain, by owner; made when there is one. */
  added: Map<number, number> | undefined
  /** Bytes of the copies, which count against whoever opened it. */
  memory = 0
  private lastMade = 0
  /** How often the store had changed when the first node was touched. */
  private changesBefore = -1
  /** The node touched last: an operation comes to it several times. */
  private recent: Access | undefined
  private readonly base: TransactionBase

  constructor(id: number, base: TransactionBase) {
    this.id = id
    this.base = base
  }

  /** The node as this transaction sees it. Touches it. */
  get(path: string): StoreNode | undefined {
    return this.touch(path)?.current
  }

  private touch(path: string): Access | undefined {
    const known = this.known(path)
    if (known !== undefined) return known
    if (this.base.tooLarge(this.accesses.size + 1)) {
      this.overflowed = true
      this.poisoned = true
      return undefined
    }
    const above = parentPath(path)
    const before = this.look(path, above)
    if (this.accesses.size === 0) this.changesBefore = this.base.changes()
    const access = accessTo(path, above, before)
    this.accesses.set(path, access)
    this.recent = access
    this.memory += path.length + (before === undefined ? 0 : nodeSize(before))
    return access
  }

  /** The node as the store has it now: below one that was touched, where nothing has changed since, it is at hand. */
  private look(path: string, above: string): StoreNode | undefined {
    if (this.changesBefore !== this.base.changes() || path.length === 1 || isSpecial(path)) return this.base.get(path)
    const parent = this.accesses.get(above)
    return parent === undefined ? this.base.get(path) : parent.before?.children.get(baseName(path))
  }

  private known(path: string): Access | undefined {
    if (this.recent?.path === path) return this.recent
    const access = this.accesses.get(path)
    if (access !== undefined) this.recent = access
    return access
  }

  /** Gives a node, which was touched before, its next version; undefined removes it. */
  put(path: string, node: StoreNode | undefined): void {
    const access = this.touch(path)
    if (access === undefined) return
    const { current } = access
    if (current?.permissions[0].domid !== node?.permissions[0].domid) {
      if (current !== undefined) this.count(current, -1)
      if (node !== undefined) this.count(node, 1)
    }
    this.memory += (node === undefined ? 0 : nodeSize(node)) - (current === undefined ? 0 : nodeSize(current))
    if (current === undefined && node !== undefined) {
      this.lastMade += 1
      access.made = this.lastMade
    }
    access.current = node
    access.modified = true
  }

  private count(node: StoreNode, sign: 1 | -1): void {
    const owner = node.permissions[0].domid
    this.added ??= new Map()
    this.added.set(owner, (this.added.get(owner) ?? 0) + sign)
  }

  /** Adds a chain of new nodes, the topmost last, below an existing parent. */
  insert(chain: readonly PlacedNode[], generation: number): void {
    const top = chain[chain.length - 1]!
    for (const { path, node } of chain) this.put(path, node)
    const above = parentPath(top.path)
    const parent = this.get(above)
    if (parent === undefined) return
    this.put(above, parent.with({ children: parent.children.set(baseName(top.path), top.node), generation }))
  }

  /** Removes a node and all below it; the watches of each are noted. Nothing is removed when that touches too much. */
  remove(path: string, generation: number): void {
    const above = parentPath(path)
    const parent = this.get(above)
    const doomed = this.below(path)
    if (parent === undefined || this.overflowed) return
    for (const each of doomed) {
      this.put(each, undefined)
      this.noteFire(each, each === path ? MATCH.SUBTREE : MATCH.EXACT)
    }
    this.put(above, parent.with({ children: parent.children.delete(baseName(path)), generation }))
  }

  /** A node and all below it, children before their parents. Touches them. */
  private below(root: string): readonly string[] {
    const found: string[] = []
    const stack: { path: string; names: string[] }[] = []
    const enter = (path: string): void => {
      const node = this.get(path)
      if (node !== undefined) stack.push({ path, names: node.children.names().slice().reverse() })
    }
    enter(root)
    while (stack.length > 0 && !this.overflowed) {
      const top = stack[stack.length - 1]!
      const name = top.names.pop()
      if (name !== undefined) enter(childPath(top.path, name))
      else {
        stack.pop()
        found.push(top.path)
      }
    }
    return found
  }

  /** Notes that watches fire for a node at the end; the wider kind wins. */
  noteFire(path: string, match: Match): void {
    const access = this.known(path)
    if (access === undefined) return
    if (access.fire === undefined || match === MATCH.SUBTREE) access.fire = match
  }

  /** True when a node that was touched has another generation in the store now. */
  conflicts(): boolean {
    if (this.conflicted) return true
    // Where nobody has changed anything since, no node needs to be looked up again.
    if (this.changesBefore === this.base.changes()) return false
    for (const access of this.accesses.values()) {
      if (this.base.get(access.path)?.generation !== access.before?.generation) return true
    }
    return false
  }

  /** The transaction as plain data. */
  save(): TransactionState {
    const accesses = [...this.accesses.values()].map(({ path, before, current, modified, fire, made }) => ({
      path, before: saveCopy(before), current: saveCopy(current), modified, fire, made,
    }))
    return { id: this.id, poisoned: this.poisoned, overflowed: this.overflowed, conflicted: this.conflicted, accesses }
  }

  /** Goes on from a saved one, in a store whose newest generation is given. */
  load(saved: TransactionState, newest: number): void {
    for (const { path, before, current, modified, fire, made } of saved.accesses) {
      expectSaved(isNodePath(path, true), `a node named ${path}`)
      expectSaved(path !== '/' || (before !== undefined && current !== undefined), 'a transaction without a root')
      const known = readCopy(before, newest)
      const access = accessTo(path, parentPath(path), known)
      access.fire = fire
      this.accesses.set(path, access)
      this.memory += path.length + (access.before === undefined ? 0 : nodeSize(access.before))
      if (modified) this.put(path, readCopy(current, newest))
      access.made = made
      this.lastMade = Math.max(this.lastMade, made)
    }
    this.poisoned = saved.poisoned
    this.overflowed = saved.overflowed
    this.conflicted = saved.conflicted
  }

  /** The changed nodes, parents before their children, and new children in the order in which they were made. */
  changes(): readonly Access[] {
    const modified: Access[] = []
    for (const access of this.accesses.values()) if (access.modified) modified.push(access)
    if (modified.length < 2) return modified
    return modified.sort((a, b) => a.depth - b.depth || a.made - b.made)
  }
}

const accessTo = (path: string, above: string, before: StoreNode | undefined): Access => ({
  path, before, current: before, modified: false, fire: undefined, made: 0, depth: depthOf(path), above,
})

const SLASH = 0x2f

/** How many components a well-formed path has: none for the root and for special nodes. */
function depthOf(path: string): number {
  let depth = 0
  if (path.length > 1) for (let i = 0; i < path.length; i += 1) if (path.charCodeAt(i) === SLASH) depth += 1
  return depth
}
