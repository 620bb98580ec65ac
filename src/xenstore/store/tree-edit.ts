/**
 * The tree while a transaction's changes become the store's: each node that changes is made anew once, however many of those below it
 * do. In a directory of thousands of domains that is what a domain's creation costs.
 */
import { NO_CHILDREN, type Children, type StoreNode } from '../tree/node.ts'
import { baseName, parentPath } from '../tree/path.ts'
import type { Access } from './transaction.ts'

/** One node with changes at or below its children. */
class NodeEdit {
  private readonly node: StoreNode
  private children: Children
  /** Changes when it gains or loses a child. */
  private generation: number
  private below: Map<string, NodeEdit> | undefined

  constructor(node: StoreNode) {
    this.node = node
    this.children = node.children
    this.generation = node.generation
  }

  /** A child, below which there are changes; undefined when there is none of this name. To be asked for when no child changes any more. */
  child(name: string): NodeEdit | undefined {
    const node = this.children.get(name)
    if (node === undefined) return undefined
    const edit = new NodeEdit(node)
    this.below ??= new Map()
    this.below.set(name, edit)
    return edit
  }

  /** Makes a change of one child. The store has it as the transaction met it, or there was a conflict. */
  apply({ path, current, made }: Access, generation: number): void {
    const name = baseName(path)
    let live = this.children.get(name)
    if (live !== undefined && (made > 0 || current === undefined)) {
      // Made again after its removal with all below it, it comes last among its siblings.
      this.children = this.children.delete(name)
      this.generation = generation
      live = undefined
    }
    if (current === undefined) return
    if (live === undefined) this.generation = generation
    this.children = this.children.set(name, current.with({ children: live?.children ?? NO_CHILDREN, generation }))
  }

  /** The node with all changes at and below its children. */
  changed(): StoreNode {
    let { children } = this
    if (this.below !== undefined) for (const [name, edit] of this.below) children = children.set(name, edit.changed())
    return this.node.with({ children, generation: this.generation })
  }
}

/** Changes of one tree, to be given parents before their children. */
export class TreeEdit {
  private readonly root: NodeEdit
  private readonly parents = new Map<string, NodeEdit>()
  /** The parent of the last change: siblings mostly come one after the other. */
  private recent: { readonly path: string; readonly edit: NodeEdit | undefined } | undefined

  constructor(root: StoreNode) {
    this.root = new NodeEdit(root)
  }

  /** Makes a change, where the node above it is there. */
  apply(change: Access, generation: number): void {
    if (this.recent?.path !== change.above) this.recent = { path: change.above, edit: this.find(change.above) }
    this.recent.edit?.apply(change, generation)
  }

  /** The tree with all changes. */
  changed(): StoreNode {
    return this.root.changed()
  }

  private find(path: string): NodeEdit | undefined {
    if (path === '/') return this.root
    const known = this.parents.get(path)
    if (known !== undefined) return known
    const found = this.find(parentPath(path))?.child(baseName(path))
    if (found !== undefined) this.parents.set(path, found)
    return found
  }
}
