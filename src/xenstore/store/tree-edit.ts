/**
 * The tree while a transaction's changes become the store's: each node that changes is made anew once, however many of those below it
 * do. In a directory of thousands of domains that is what a domain's creation costs.
 */
import { NO_CHILDREN, type Children, type StoreNode } from '../tree/node.ts'
import { baseName } from '../tree/path.ts'
import type { Access } from './transaction.ts'

/** One node with changes at or below its children. */
class NodeEdit {
  readonly name: string
  private readonly node: StoreNode
  private children: Children
  /** Changes when it gains or loses a child. */
  private generation: number
  /** The first child below which there are changes: most nodes have no second one. */
  private first: NodeEdit | undefined
  private others: Map<string, NodeEdit> | undefined

  constructor(name: string, node: StoreNode) {
    this.name = name
    this.node = node
    this.children = node.children
    this.generation = node.generation
  }

  /** A child, below which there are changes; undefined when there is none of this name. To be asked for when no child changes any more. */
  child(name: string): NodeEdit | undefined {
    if (this.first?.name === name) return this.first
    const known = this.others?.get(name)
    if (known !== undefined) return known
    const node = this.children.get(name)
    if (node === undefined) return undefined
    const edit = new NodeEdit(name, node)
    if (this.first === undefined) this.first = edit
    else (this.others ??= new Map()).set(name, edit)
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
    const { node, first, generation } = this
    let { children } = this
    if (first !== undefined) children = children.set(first.name, first.changed())
    if (this.others !== undefined) for (const [name, edit] of this.others) children = children.set(name, edit.changed())
    return generation === node.generation ? node.withChildren(children) : node.with({ children, generation })
  }
}

/** Changes of one tree, to be given parents before their children. */
export class TreeEdit {
  private readonly root: NodeEdit
  /** The parent of the last change: siblings mostly come one after the other. */
  private recent: { readonly path: string; readonly edit: NodeEdit | undefined } | undefined

  constructor(root: StoreNode) {
    this.root = new NodeEdit('', root)
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
    let edit: NodeEdit | undefined = this.root
    for (let start = 1; start < path.length && edit !== undefined;) {
      const slash = path.indexOf('/', start)
      const end = slash < 0 ? path.length : slash
      edit = edit.child(path.slice(start, end))
      start = end + 1
    }
    return edit
  }
}
