/**
 * A change as watches meet it, and who may hear of it: who may read the node, could read it before, or may read its parent.
 *
 * Reference: xen/docs/misc/xenstore.txt (WATCH); tools/xenstored.
 */
import { nodeAt, type StoreNode } from '../tree/node.ts'
import { isSpecial, parentPath } from '../tree/path.ts'
import { ACCESS, accessOf, type Permissions } from '../tree/permissions.ts'
import type { Match, WatchOwner } from './watches.ts'

/** One change that watches may see. */
export interface WatchedChange {
  readonly path: string
  readonly match: Match
  /** The node itself, where the caller has it. */
  readonly node: StoreNode | undefined
  /** The tree in which the node's parent is looked up. */
  readonly root: StoreNode
  /** Permissions before the change, which also give the right to see it. */
  readonly old?: Permissions | undefined
}

/** True when the owner of a watch may hear of a change. */
export function maySee(session: WatchOwner, change: WatchedChange): boolean {
  if (session.privileged) return true
  const asker = session.asker()
  const readable = (permissions: Permissions): boolean => (accessOf(permissions, asker) & ACCESS.READ) !== 0
  if (change.old !== undefined && readable(change.old)) return true
  if (change.node === undefined) return false
  if (readable(change.node.permissions)) return true
  // Special nodes have no parent that could allow it.
  if (isSpecial(change.path)) return false
  const parent = nodeAt(change.root, parentPath(change.path))
  return parent !== undefined && readable(parent.permissions)
}
