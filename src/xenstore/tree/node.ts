/**
 * The tree: immutable nodes, each holding its children. A change makes new nodes along one path and shares the rest,
 * so whoever holds a root holds that version of the whole store.
 *
 * Every node carries the generation at which it was written itself (adding or removing a child writes the parent);
 * transactions compare them.
 */
import { namesAtHand, pathNames } from './known-paths.ts'
import { OrderedMap } from './ordered-map.ts'
import type { Permissions } from './permissions.ts'

/** The children of a node by name. */
export type Children = OrderedMap<StoreNode>

/** What a node consists of. */
export interface NodeParts {
  readonly value: Uint8Array
  readonly permissions: Permissions
  readonly generation: number
  readonly children: Children
}

/** One version of one node. */
export class StoreNode implements NodeParts {
  readonly value: Uint8Array
  readonly permissions: Permissions
  readonly generation: number
  readonly children: Children

  constructor(parts: NodeParts) {
    this.value = parts.value
    this.permissions = parts.permissions
    this.generation = parts.generation
    this.children = parts.children
  }

  /** A version with other children; its own generation stays. */
  withChildren(children: Children): StoreNode {
    return new StoreNode({
      value: this.value, permissions: this.permissions, generation: this.generation, children,
    })
  }

  /** A version with some parts replaced. */
  with(parts: Partial<NodeParts>): StoreNode {
    return new StoreNode({
      value: parts.value ?? this.value,
      permissions: parts.permissions ?? this.permissions,
      generation: parts.generation ?? this.generation,
      children: parts.children ?? this.children,
    })
  }
}

/** The value of a node that was only made. */
export const EMPTY_VALUE: Uint8Array = /* @__PURE__ */ new Uint8Array(0)
/** No children. */
export const NO_CHILDREN: Children = /* @__PURE__ */ OrderedMap.empty<StoreNode>()

/** Bytes of the header that xenstored keeps per node. Reference: tools/xenstored/core.h, struct node_hdr. */
const HEADER_BYTES = 16
const PERMISSION_BYTES = 8

/** Bytes that a node counts as: what the quota on a node's size looks at. */
export const nodeSize = (node: NodeParts): number =>
  HEADER_BYTES + PERMISSION_BYTES * node.permissions.length + node.value.length + node.children.nameBytes

/** The node that the names lead to; undefined when there is none. */
function nodeAlong(root: StoreNode, names: readonly string[]): StoreNode | undefined {
  let node: StoreNode | undefined = root
  for (let i = 0; i < names.length; i += 1) {
    node = node.children.get(names[i]!)
    if (node === undefined) return undefined
  }
  return node
}

/** The node at a well-formed `path` below the tree's root; undefined when there is none. */
export function nodeAt(root: StoreNode, path: string): StoreNode | undefined {
  const names = namesAtHand(path)
  return names === undefined ? nodeBelow(root, path) : nodeAlong(root, names)
}

/** As {@link nodeAt}, for a path that is looked up once and need not be taken apart. */
function nodeBelow(root: StoreNode, path: string): StoreNode | undefined {
  let node: StoreNode | undefined = root
  if (path.length === 1) return node
  for (let start = 1; start <= path.length;) {
    const slash = path.indexOf('/', start)
    const end = slash < 0 ? path.length : slash
    node = node.children.get(path.slice(start, end))
    if (node === undefined) return undefined
    start = end + 1
  }
  return node
}

/** Where and how a tree is changed. */
interface Change {
  readonly names: readonly string[]
  /** How many of the names lead to the node. */
  readonly levels: number
  /** The new node; undefined removes it. */
  readonly node: StoreNode | undefined
  /** Generation of the parent when it gains or loses a child. */
  readonly generation: number
}

function changed(node: StoreNode, change: Change, level: number): StoreNode {
  const name = change.names[level]!
  const below = level + 1
  if (below < change.levels) {
    const child = node.children.get(name)!
    return node.withChildren(node.children.set(name, changed(child, change, below)))
  }
  if (change.node === undefined) {
    return node.with({ children: node.children.delete(name), generation: change.generation })
  }
  const children = node.children.set(name, change.node)
  if (children.size === node.children.size) return node.withChildren(children)
  return node.with({ children, generation: change.generation })
}

/** A node for a tree. */
export interface NewNode {
  readonly node: StoreNode
  /** Generation of a parent that gains a child by it; one that had it before keeps its own. */
  readonly generation: number
}

/** The tree with a node at `path`; its parent exists. */
export function withNode(root: StoreNode, path: string, { node, generation }: NewNode): StoreNode {
  const names = pathNames(path)
  return names.length === 0 ? node : changed(root, { names, levels: names.length, node, generation }, 0)
}

/** The tree without the existing node at `path` and all below it. */
export function withoutNode(root: StoreNode, path: string, generation: number): StoreNode {
  const names = pathNames(path)
  return changed(root, { names, levels: names.length, node: undefined, generation }, 0)
}

/** Calls `visit` for a node and all below it, children before their parent. */
export function walkUp(path: string, node: StoreNode, visit: (path: string, node: StoreNode) => void): void {
  // An explicit stack: a path of 1500 components is legal, and must not cost the host its own stack.
  const stack: { path: string; node: StoreNode; rest: (readonly [string, StoreNode])[] }[] = []
  const enter = (at: string, entered: StoreNode): void => {
    stack.push({ path: at, node: entered, rest: entered.children.entries().slice().reverse() })
  }
  enter(path, node)
  for (;;) {
    const top = stack[stack.length - 1]
    if (top === undefined) return
    const next = top.rest.pop()
    if (next !== undefined) enter(top.path === '/' ? `/${next[0]}` : `${top.path}/${next[0]}`, next[1])
    else {
      visit(top.path, top.node)
      stack.pop()
    }
  }
}
