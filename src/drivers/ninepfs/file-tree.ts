/** A tree of files as tests write it, and the same as a list in which folders come before what is in them. */
import { shown, XenError } from '../../util/index.ts'

/** A file with more than its contents. */
export interface FileEntry {
  readonly contents: string | Uint8Array
  /** Permissions. Default 0o644. */
  readonly mode?: number | undefined
}

/** A symbolic link. */
export interface LinkEntry {
  readonly link: string
}

/** Files and folders by name; a name with slashes makes the folders that it names. */
export interface FileTree {
  readonly [name: string]: string | Uint8Array | FileEntry | LinkEntry | FileTree
}

/** One thing of a tree; the root is a folder of its own, without a name. */
export type TreeNode =
  | { readonly kind: 'folder'; readonly name: string; readonly children: Map<string, TreeNode> }
  | { readonly kind: 'file'; readonly name: string; readonly contents: Uint8Array; readonly mode: number }
  | { readonly kind: 'link'; readonly name: string; readonly target: string }

/** A folder of a tree. */
export type FolderNode = Extract<TreeNode, { kind: 'folder' }>

/** Longest name that file systems have. */
const LONGEST_NAME = 255

const encoder = /* @__PURE__ */ new TextEncoder()

const bytesOf = (contents: string | Uint8Array): Uint8Array => (typeof contents === 'string' ? encoder.encode(contents) : contents)

const folder = (name: string): FolderNode => ({ kind: 'folder', name, children: new Map() })

const refuse = (path: string, why: string): never => {
  throw new XenError('INVALID_ARGUMENT', `a file of the tree: ${shown(path)} ${why}`, { details: { path } })
}

/** What stands under a name, as a node. */
function nodeOf(name: string, value: FileTree[string], path: string): TreeNode {
  if (typeof value === 'string' || value instanceof Uint8Array) return { kind: 'file', name, contents: bytesOf(value), mode: 0o644 }
  if (typeof value !== 'object' || value === null) return refuse(path, `is ${shown(value)}`)
  const { link } = value as Partial<LinkEntry>
  if (typeof link === 'string' && Object.keys(value).length === 1) return { kind: 'link', name, target: link }
  const { contents, mode = 0o644 } = value as Partial<FileEntry>
  const isFile = (typeof contents === 'string' || contents instanceof Uint8Array) && Object.keys(value).every((key) => key === 'contents' || key === 'mode')
  if (!isFile) return fill(folder(name), value as FileTree, `${path}/`)
  if (!Number.isInteger(mode) || mode < 0 || mode > 0o7777) return refuse(path, `has the mode ${shown(mode)}`)
  return { kind: 'file', name, contents: bytesOf(contents!), mode }
}

/** The folder for a path below another one; it is made where it is not there. */
function folderAt(top: FolderNode, parts: readonly string[], path: string): FolderNode {
  let at = top
  for (const part of parts) {
    const next = at.children.get(part) ?? folder(part)
    if (next.kind !== 'folder') return refuse(path, `lies below ${part}, which is no folder`)
    at.children.set(part, next)
    at = next
  }
  return at
}

/** Puts a node into a folder; two folders of one name become one. */
function add(parent: FolderNode, node: TreeNode, path: string): void {
  const known = parent.children.get(node.name)
  if (known === undefined) return void parent.children.set(node.name, node)
  if (known.kind !== 'folder' || node.kind !== 'folder') return refuse(path, 'stands there twice')
  for (const child of node.children.values()) add(known, child, `${path}/${child.name}`)
}

function fill(into: FolderNode, tree: FileTree, prefix: string): FolderNode {
  for (const [given, value] of Object.entries(tree)) {
    const path = `${prefix}${given}`
    const parts = given.split('/').filter((part) => part !== '')
    const name = parts.pop()
    const wrong = [...parts, name ?? ''].find((part) => part === '' || part === '.' || part === '..' || encoder.encode(part).length > LONGEST_NAME || part.includes('\0'))
    if (name === undefined || wrong !== undefined) return refuse(path, 'is no name')
    const parent = folderAt(into, parts, path)
    const node = nodeOf(name, value, path)
    add(parent, node, path)
  }
  return into
}

/** A tree's root. Throws INVALID_ARGUMENT for names and contents that are none. */
export function rootOf(tree: FileTree): FolderNode {
  if (typeof tree !== 'object' || tree === null || tree instanceof Uint8Array) throw new XenError('INVALID_ARGUMENT', `a tree of files must be an object, got ${shown(tree)}`)
  return fill(folder(''), tree, '')
}
