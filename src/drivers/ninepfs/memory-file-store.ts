/**
 * A folder in memory: all of it is plain data, so it is saved with its host, and every moment and branch has its own. What a guest can have it grow to is
 * bounded in bytes and in files; more is ENOSPC.
 */
import { badState, checkOptions, flag, shape, whole, type StateOf } from '../../util/index.ts'
import { fileError, type FileChanges, type FilePath, type FileSpace, type FileStat, type FileStore, type FileTime, type ListedFile, type NewFile, type OpenFile, type OpenHow } from './file-store.ts'
import { rootOf, type FileTree, type TreeNode } from './file-tree.ts'
import { makeNode, memoryNodeState, nodesFrom, NO_TIME, plant, savedNode, type MemoryNode } from './memory-nodes.ts'

/** A saved folder in memory. */
export const memoryFilesState = /* @__PURE__ */ shape.record({
  readOnly: shape.flag, capacity: shape.time, mostFiles: shape.time, next: shape.time,
  nodes: /* @__PURE__ */ shape.list(memoryNodeState, 2 ** 24),
})
/** The same. */
export type MemoryFilesState = StateOf<typeof memoryFilesState>

/** How a folder in memory is made. */
export interface MemoryFilesOptions {
  readonly readOnly?: boolean | undefined
  /** Bytes that its files may have together. Default 64 MiB. */
  readonly capacity?: number | undefined
  /** Files, folders and links that it may have. Default 65,536. */
  readonly mostFiles?: number | undefined
}

const ROOT = 1
const BLOCK = 4096
const OWNER: NewFile = { mode: 0o755, uid: 0, gid: 0 }
const PERMISSIONS = 0o7777

/** A file in memory that is open. */
class OpenMemoryFile implements OpenFile {
  readonly node: MemoryNode
  private readonly store: MemoryFileStore
  private readonly how: OpenHow
  private isOpen = true

  constructor(store: MemoryFileStore, node: MemoryNode, how: OpenHow) {
    this.store = store
    this.node = node
    this.how = how
    node.open += 1
  }

  stat(): FileStat {
    return statOf(this.node)
  }

  read(offset: number, length: number): Uint8Array {
    const { bytes, size } = this.node
    return bytes.subarray(Math.min(offset, size), Math.min(offset + length, size))
  }

  write(offset: number, source: Uint8Array): number {
    this.store.write(this.node, this.how.append ? this.node.size : offset, source)
    return source.length
  }

  change(changes: FileChanges): void {
    this.store.changeNode(this.node, changes)
  }

  sync(): void {
    // Memory is as durable as it will ever be.
  }

  close(): void {
    if (!this.isOpen) return
    this.isOpen = false
    this.node.open -= 1
    this.store.forgetUnused(this.node)
  }
}

const statOf = ({ kind, mode, uid, gid, links, size, identity, accessed, modified, changed, children }: MemoryNode): FileStat => ({
  kind, mode, uid, gid, identity, accessed, modified, changed,
  links: kind === 'folder' ? 2 + [...children.values()].filter((child) => child.kind === 'folder').length : links,
  size: kind === 'folder' ? BLOCK : size,
})

/**
 * A folder in memory, for `openFolder` and for fixtures.
 *
 * @example
 * const shared = new MemoryFileStore({ 'etc/motd': 'hello\n', bin: { run: { contents: '#!/bin/sh\n', mode: 0o755 } } })
 * const host = await Host.boot({ openFolder: () => shared })
 */
export class MemoryFileStore implements FileStore {
  readonly readOnly: boolean
  readonly capacity: number
  readonly mostFiles: number
  private nodes = new Map<number, MemoryNode>()
  private next = ROOT + 1
  private used = 0
  /** Changes so far, and as of when it was saved last. */
  private changes = 0
  private lastSaved: { readonly state: MemoryFilesState; readonly changes: number } | undefined
  private now: () => FileTime = () => NO_TIME

  /** A folder with these files. Throws INVALID_ARGUMENT for names and contents that are none, and for more than fits. */
  constructor(tree: FileTree = {}, options: MemoryFilesOptions = {}) {
    checkOptions('MemoryFileStore', options, { readOnly: flag, capacity: whole(0, Number.MAX_SAFE_INTEGER), mostFiles: whole(1, 2 ** 24) })
    this.readOnly = options.readOnly === true
    this.capacity = options.capacity ?? 64 << 20
    this.mostFiles = options.mostFiles ?? 65536
    const root = makeNode('folder', ROOT, { now: NO_TIME, facts: OWNER })
    this.nodes.set(ROOT, root)
    plant(root, rootOf(tree), (folder, name, node) => this.plant(folder, name, node))
  }

  /** A folder that was saved. Throws INVALID_STATE. */
  static from({ readOnly, capacity, mostFiles, next, nodes }: MemoryFilesState): MemoryFileStore {
    const store = new MemoryFileStore({}, { readOnly, capacity, mostFiles: Math.max(1, mostFiles) })
    store.nodes = nodesFrom(nodes, ROOT)
    if (nodes.some(({ identity }) => identity >= next)) throw badState('a file has a number that is still to be given')
    store.next = next
    for (const { size } of store.nodes.values()) store.used += size
    return store
  }

  /** All of it as plain data; what has not changed since it was saved last is the same object. */
  save(): MemoryFilesState {
    if (this.lastSaved?.changes !== this.changes) {
      const { readOnly, capacity, mostFiles, next } = this
      this.lastSaved = { state: { readOnly, capacity, mostFiles, next, nodes: [...this.nodes.values()].map(savedNode) }, changes: this.changes }
    }
    return this.lastSaved!.state
  }

  /** Whether it is what it has saved, told by its count of changes. */
  isAsSaved(state: MemoryFilesState): boolean {
    return this.lastSaved?.state === state && this.lastSaved.changes === this.changes
  }

  useClock(now: () => FileTime): void {
    this.now = now
  }

  private plant(folder: MemoryNode, name: string, node: TreeNode): MemoryNode {
    const facts = { ...OWNER, mode: node.kind === 'folder' ? 0o755 : node.kind === 'link' ? 0o777 : node.mode }
    const made = this.add(folder, name, node.kind === 'link' ? { kind: 'link', facts, target: node.target } : { kind: node.kind, facts })
    if (node.kind === 'file') this.write(made, 0, node.contents)
    return made
  }

  // Finding

  /** Throws ENOENT, ENOTDIR. */
  private find(path: FilePath): MemoryNode {
    let at = this.nodes.get(ROOT)!
    for (const name of path) {
      if (at.kind !== 'folder') throw fileError('ENOTDIR')
      const next = at.children.get(name)
      if (next === undefined) throw fileError('ENOENT')
      at = next
    }
    return at
  }

  private parentOf(path: FilePath): { readonly folder: MemoryNode; readonly name: string } {
    const name = path.at(-1)
    if (name === undefined) throw fileError('EBUSY', 'the root has no name')
    const folder = this.find(path.slice(0, -1))
    if (folder.kind !== 'folder') throw fileError('ENOTDIR')
    return { folder, name }
  }

  stat(path: FilePath): FileStat {
    return statOf(this.find(path))
  }

  list(path: FilePath): ListedFile[] {
    const folder = this.find(path)
    if (folder.kind !== 'folder') throw fileError('ENOTDIR')
    return [...folder.children].map(([name, { kind, identity }]) => ({ name, kind, identity }))
  }

  readLink(path: FilePath): string {
    const node = this.find(path)
    if (node.kind !== 'link') throw fileError('EINVAL', 'it is no link')
    return node.target
  }

  /** The contents of a file, which are its own: a copy. Throws as the guest's calls do. */
  contents(path: FilePath): Uint8Array {
    const node = this.find(path)
    if (node.kind !== 'file') throw fileError(node.kind === 'folder' ? 'EISDIR' : 'ELOOP')
    return node.bytes.slice(0, node.size)
  }

  // Opening and making

  open(path: FilePath, how: OpenHow): OpenFile {
    const node = this.find(path)
    if (node.kind !== 'file') throw fileError(node.kind === 'folder' ? 'EISDIR' : 'ELOOP')
    if (how.truncate) this.resize(node, 0)
    return new OpenMemoryFile(this, node, how)
  }

  /** Opens what was open when it was saved, by its number. Throws INVALID_STATE. */
  openAgain(identity: number, how: OpenHow): OpenFile {
    const node = this.nodes.get(identity)
    if (node?.kind !== 'file') throw badState(`there is no file ${identity}`)
    return new OpenMemoryFile(this, node, how)
  }

  /** The number of a file that it has opened. */
  identityOf(file: OpenFile): number {
    return (file as OpenMemoryFile).node.identity
  }

  create(path: FilePath, how: OpenHow, facts: NewFile): OpenFile {
    const { folder, name } = this.parentOf(path)
    return new OpenMemoryFile(this, this.add(folder, name, { kind: 'file', facts }), how)
  }

  makeFolder(path: FilePath, facts: NewFile): void {
    const { folder, name } = this.parentOf(path)
    this.add(folder, name, { kind: 'folder', facts })
  }

  symlink(path: FilePath, target: string, facts: NewFile): void {
    const { folder, name } = this.parentOf(path)
    this.add(folder, name, { kind: 'link', facts, target })
  }

  private add(folder: MemoryNode, name: string, { kind, facts, target = '' }: { readonly kind: MemoryNode['kind']; readonly facts: NewFile; readonly target?: string }): MemoryNode {
    if (folder.children.has(name)) throw fileError('EEXIST')
    // A folder that was removed while somebody stood in it.
    if (folder.links === 0) throw fileError('ENOENT')
    if (this.nodes.size >= this.mostFiles) throw fileError('ENOSPC', `there are ${this.mostFiles} files`)
    const node = makeNode(kind, this.next, { now: this.now(), facts, target })
    if (node.size > this.capacity - this.used) throw fileError('ENOSPC')
    this.used += node.size
    this.next += 1
    this.nodes.set(node.identity, node)
    folder.children.set(name, node)
    this.touch(folder)
    return node
  }

  link(existing: FilePath, path: FilePath): void {
    const node = this.find(existing)
    const { folder, name } = this.parentOf(path)
    if (node.kind === 'folder') throw fileError('EPERM', 'a folder has one name')
    if (folder.children.has(name)) throw fileError('EEXIST')
    node.links += 1
    folder.children.set(name, node)
    this.touch(folder)
    this.alter(node)
  }

  // Changing

  rename(from: FilePath, to: FilePath): void {
    const [source, target] = [this.parentOf(from), this.parentOf(to)]
    const node = source.folder.children.get(source.name)
    if (node === undefined) throw fileError('ENOENT')
    const there = target.folder.children.get(target.name)
    if (there === node) return
    if (from.length < to.length && from.every((name, at) => name === to[at])) throw fileError('EINVAL', 'a folder cannot be put into itself')
    if (there !== undefined) {
      if (node.kind === 'folder' && there.kind !== 'folder') throw fileError('ENOTDIR')
      if (node.kind !== 'folder' && there.kind === 'folder') throw fileError('EISDIR')
      this.unlink(target.folder, target.name, there)
    }
    source.folder.children.delete(source.name)
    target.folder.children.set(target.name, node)
    this.touch(source.folder)
    this.touch(target.folder)
    this.alter(node)
  }

  remove(path: FilePath, kind: 'file' | 'folder'): void {
    const { folder, name } = this.parentOf(path)
    const node = folder.children.get(name)
    if (node === undefined) throw fileError('ENOENT')
    if (kind === 'folder' && node.kind !== 'folder') throw fileError('ENOTDIR')
    if (kind === 'file' && node.kind === 'folder') throw fileError('EISDIR')
    this.unlink(folder, name, node)
    this.touch(folder)
  }

  private unlink(folder: MemoryNode, name: string, node: MemoryNode): void {
    if (node.children.size > 0) throw fileError('ENOTEMPTY')
    folder.children.delete(name)
    node.links -= 1
    this.alter(node)
    this.forgetUnused(node)
  }

  /** Lets go of what has no name and is not open. */
  forgetUnused(node: MemoryNode): void {
    if (node.links > 0 || node.open > 0 || !this.nodes.delete(node.identity)) return
    this.used -= node.size
    this.changes += 1
  }

  change(path: FilePath, changes: FileChanges): void {
    this.changeNode(this.find(path), changes)
  }

  /** Gives a node other attributes, or another size. */
  changeNode(node: MemoryNode, { mode, uid, gid, size, accessed, modified }: FileChanges): void {
    if (size !== undefined) {
      if (node.kind !== 'file') throw fileError(node.kind === 'folder' ? 'EISDIR' : 'EINVAL')
      this.resize(node, size)
    }
    const timeOf = (wanted: FileTime | 'now'): FileTime => (wanted === 'now' ? this.now() : wanted)
    if (mode !== undefined) node.mode = mode & PERMISSIONS
    if (uid !== undefined) node.uid = uid
    if (gid !== undefined) node.gid = gid
    if (accessed !== undefined) node.accessed = timeOf(accessed)
    if (modified !== undefined) node.modified = timeOf(modified)
    this.alter(node)
  }

  /** Stores bytes in a file. */
  write(node: MemoryNode, offset: number, source: Uint8Array): void {
    const end = offset + source.length
    if (end > node.size && source.length > 0) this.grow(node, end)
    node.bytes.set(source, source.length > 0 ? offset : 0)
    this.touch(node)
  }

  private resize(node: MemoryNode, size: number): void {
    if (size > node.size) this.grow(node, size)
    else {
      this.used -= node.size - size
      // What comes back when it grows again is zeros.
      node.bytes.fill(0, size, node.size)
      node.size = size
      if (size === 0) node.bytes = new Uint8Array()
    }
    this.touch(node)
  }

  private grow(node: MemoryNode, size: number): void {
    const more = size - node.size
    if (more > this.capacity - this.used) throw fileError('ENOSPC', `${more} bytes do not fit`)
    if (size > node.bytes.length) {
      // Never more room than all files together may have.
      const bytes = new Uint8Array(Math.min(Math.max(size, 2 * node.bytes.length), Math.max(size, this.capacity)))
      bytes.set(node.bytes.subarray(0, node.size))
      node.bytes = bytes
    }
    this.used += more
    node.size = size
  }

  /** Its contents have changed. */
  private touch(node: MemoryNode): void {
    node.modified = this.now()
    this.alter(node)
  }

  /** Something of it has changed. */
  private alter(node: MemoryNode): void {
    node.changed = this.now()
    node.saved = undefined
    this.changes += 1
  }

  space(): FileSpace {
    return {
      blockSize: BLOCK, blocks: Math.floor(this.capacity / BLOCK), freeBlocks: Math.floor((this.capacity - this.used) / BLOCK),
      files: this.mostFiles, freeFiles: this.mostFiles - this.nodes.size,
    }
  }

  close(): void {
    // Nothing is held.
  }
}
