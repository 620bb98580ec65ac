/** The children of one node while a transaction's changes of several of them become the store's: the node is made anew once for all. */
import { NO_CHILDREN, type Children, type StoreNode } from '../tree/node.ts'
import type { Access } from './transaction.ts'

/** Changes of one node's children. */
export class ChildrenEdit {
  /** Generation of the node itself, which changes when it gains or loses a child. */
  generation: number
  private readonly parent: StoreNode
  private children: Children

  constructor(parent: StoreNode) {
    this.parent = parent
    this.children = parent.children
    this.generation = parent.generation
  }

  /** Makes a transaction's change of one child. The store has it as the transaction met it, or there was a conflict. */
  apply({ names, current, made }: Access, generation: number): void {
    const name = names[names.length - 1]!
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

  /** The node with its children as they are now. */
  node(): StoreNode {
    return this.parent.with({ children: this.children, generation: this.generation })
  }
}
