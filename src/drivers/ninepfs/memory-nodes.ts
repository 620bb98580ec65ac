/** What a folder in memory consists of: files, folders and links by number, each with a saved form that is made again only where it has changed. */
import { badState, shape, type StateOf } from '../../util/index.ts'
import type { FileTime, NewFile } from './file-store.ts'
import type { FolderNode } from './file-tree.ts'
import { textBytes } from './message.ts'

const time = /* @__PURE__ */ shape.record<FileTime>({ seconds: /* @__PURE__ */ shape.whole(-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER), nanoseconds: /* @__PURE__ */ shape.whole(0, 999_999_999) })

/** One thing of a saved folder. */
export const memoryNodeState = /* @__PURE__ */ shape.record({
  identity: shape.time, kind: /* @__PURE__ */ shape.oneOf('file', 'folder', 'link'),
  mode: /* @__PURE__ */ shape.whole(0, 0o7777), uid: shape.word, gid: shape.word, accessed: time, modified: time, changed: time,
  /** Of a file. */
  bytes: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.array(Uint8Array, 0, Number.MAX_SAFE_INTEGER)),
  /** Of a link. */
  target: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.text(4096)),
  /** Of a folder: names and numbers, in the order in which they came. */
  children: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({ name: /* @__PURE__ */ shape.text(255), identity: shape.time }), 2 ** 24)),
})
/** The same. */
export type MemoryNodeState = StateOf<typeof memoryNodeState>

/** A file, folder or link. */
export interface MemoryNode {
  readonly identity: number
  readonly kind: 'file' | 'folder' | 'link'
  mode: number
  uid: number
  gid: number
  accessed: FileTime
  modified: FileTime
  changed: FileTime
  /** Names that it has; a folder's own is one. */
  links: number
  /** Fids that have it open. */
  open: number
  /** Room of a file, of which `size` bytes count; a link's size is that of its text. */
  bytes: Uint8Array
  size: number
  readonly target: string
  readonly children: Map<string, MemoryNode>
  /** Its saved form, while it has not changed. */
  saved: MemoryNodeState | undefined
}

/** The beginning of time, where nobody has a clock. */
export const NO_TIME: FileTime = /* @__PURE__ */ Object.freeze({ seconds: 0, nanoseconds: 0 })

/** A new one. */
export function makeNode(kind: MemoryNode['kind'], identity: number, { now, facts, target = '' }: { readonly now: FileTime; readonly facts: NewFile; readonly target?: string }): MemoryNode {
  return {
    identity, kind, mode: facts.mode, uid: facts.uid, gid: facts.gid, accessed: now, modified: now, changed: now, links: 1, open: 0,
    bytes: new Uint8Array(), size: textBytes(target).length, target, children: new Map(), saved: undefined,
  }
}

/** Its saved form. */
export function savedNode(node: MemoryNode): MemoryNodeState {
  const { identity, kind, mode, uid, gid, accessed, modified, changed } = node
  node.saved ??= {
    identity, kind, mode, uid, gid, accessed, modified, changed,
    bytes: kind === 'file' ? node.bytes.slice(0, node.size) : undefined, target: kind === 'link' ? node.target : undefined,
    children: kind === 'folder' ? [...node.children].map(([name, child]) => ({ name, identity: child.identity })) : undefined,
  }
  return node.saved
}

/** Nodes out of their saved forms, by number. Throws INVALID_STATE for what is no tree. */
export function nodesFrom(saved: readonly MemoryNodeState[], root: number): Map<number, MemoryNode> {
  const nodes = new Map<number, MemoryNode>()
  for (const { identity, kind, mode, uid, gid, accessed, modified, changed, bytes = new Uint8Array(), target = '' } of saved) {
    if (nodes.has(identity)) throw badState(`two files have the number ${identity}`)
    nodes.set(identity, { identity, kind, mode, uid, gid, accessed, modified, changed, links: 0, open: 0, bytes: bytes.slice(), size: kind === 'link' ? textBytes(target).length : bytes.length, target, children: new Map(), saved: undefined })
  }
  for (const { identity, children = [] } of saved) {
    const folder = nodes.get(identity)!
    for (const { name, identity: number } of children) {
      const child = nodes.get(number)
      if (child === undefined || folder.kind !== 'folder' || name === '' || name === '.' || name === '..' || name.includes('/')) throw badState(`folder ${identity} has what it cannot have`)
      if (child.kind === 'folder' && (child.links > 0 || number === root)) throw badState(`folder ${number} is in two places`)
      child.links += 1
      folder.children.set(name, child)
    }
  }
  const top = nodes.get(root)
  if (top?.kind !== 'folder') throw badState('there is no root')
  top.links = 1
  return nodes
}

/** Adds what a tree of files as tests write it holds, below a folder. */
export function plant(into: MemoryNode, from: FolderNode, add: (folder: MemoryNode, name: string, node: FolderNode['children'] extends Map<string, infer N> ? N : never) => MemoryNode): void {
  for (const child of from.children.values()) {
    const node = add(into, child.name, child)
    if (child.kind === 'folder') plant(node, child, add)
  }
}
