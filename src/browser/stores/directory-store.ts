/**
 * A folder that a browser gives: one that its user has picked (`showDirectoryPicker`), or a private one (`navigator.storage.getDirectory`), for guests that
 * mount it by 9P. Its calls answer later, and virtual time stands still meanwhile.
 *
 * Browsers know files and folders and no more: modes and owners are the same for all, links of either kind are refused with EPERM, times are those of the
 * last change, and something is moved only where handles can (`move`): EXDEV elsewhere, upon which `mv` copies. A file is written through a copy that takes its
 * place when it is closed or synced; until then others see it as it was. The browser itself lets no name lead out of the folder.
 *
 * Reference: WHATWG, File System Standard.
 */
import { fileError, type FileChanges, type FileErrorName, type FilePath, type FileSpace, type FileStat, type FileStore, type FileTime, type ListedFile, type NewFile, type OpenFile, type OpenHow } from '../../drivers/index.ts'
import { checkOptions, flag, having, shown, XenError, type OwnBytes } from '../../util/index.ts'

/** What is used of some of a file's contents: a `Blob`. */
export interface FileSlice {
  /** Its bytes. */
  arrayBuffer(): Promise<ArrayBuffer>
}

/** What is used of a file's contents: a `File`. */
export interface FileSnapshot {
  readonly size: number
  /** Milliseconds since 1970. */
  readonly lastModified: number
  /** Some of its bytes. */
  slice(start: number, end: number): FileSlice
}

/** What is used of a `FileSystemWritableFileStream`. */
export interface FileWriter {
  /** Stores bytes at a place. */
  write(what: { readonly type: 'write'; readonly position: number; readonly data: OwnBytes }): Promise<void>
  /** Makes it so long. */
  truncate(size: number): Promise<void>
  /** Puts what was written in the file's place. */
  close(): Promise<void>
}

/** What is used of a `FileSystemFileHandle`. */
export interface FileHandleLike {
  readonly kind: 'file'
  readonly name: string
  /** Its contents as they are now. */
  getFile(): Promise<FileSnapshot>
  /** Opens it for writing, with or without what it holds. */
  createWritable(options: { readonly keepExistingData: boolean }): Promise<FileWriter>
  /** Gives it another folder and name; not every browser can. */
  move?(folder: DirectoryHandleLike, name: string): Promise<void>
}

/** What is used of a `FileSystemDirectoryHandle`. */
export interface DirectoryHandleLike {
  readonly kind: 'directory'
  readonly name: string
  /** A folder in it; made where asked for. */
  getDirectoryHandle(name: string, options?: { readonly create?: boolean }): Promise<DirectoryHandleLike>
  /** A file in it; made where asked for. */
  getFileHandle(name: string, options?: { readonly create?: boolean }): Promise<FileHandleLike>
  /** Takes a name away. */
  removeEntry(name: string): Promise<void>
  /** What it holds. */
  values(): AsyncIterable<FileHandleLike | DirectoryHandleLike>
}

/** How a folder is given to guests. */
export interface DirectoryStoreOptions {
  /** Nothing may be changed. Default false. */
  readonly readOnly?: boolean | undefined
}

const BLOCK = 4096
/** Blocks that a folder is said to have, all free: no browser tells. */
const BLOCKS = 2 ** 20

const ERRNOS: Readonly<Record<string, FileErrorName>> = {
  NotFoundError: 'ENOENT', TypeMismatchError: 'ENOTDIR', InvalidModificationError: 'ENOTEMPTY', NotAllowedError: 'EACCES', SecurityError: 'EACCES',
  NoModificationAllowedError: 'EBUSY', QuotaExceededError: 'ENOSPC', TypeError: 'EINVAL',
}

/** What a browser's exception says, as an error number. */
async function told<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    const errno = ERRNOS[String((error as { readonly name?: unknown } | null)?.name)]
    throw errno === undefined ? error : fileError(errno)
  }
}

const timeOf = (milliseconds: number): FileTime => ({ seconds: Math.floor(milliseconds / 1000), nanoseconds: Math.floor(milliseconds % 1000) * 1e6 })

/** The contents of a file that is open, once for all who have it open. */
class Contents {
  readonly handle: FileHandleLike
  /** How many have it open. */
  uses = 0
  private writer: FileWriter | undefined
  /** Bytes that it has with what is not in its place yet. */
  private written = 0

  constructor(handle: FileHandleLike) {
    this.handle = handle
  }

  async facts(): Promise<{ readonly size: number; readonly time: FileTime }> {
    const { size, lastModified } = await told(() => this.handle.getFile())
    return { size: this.writer === undefined ? size : this.written, time: timeOf(lastModified) }
  }

  /** What was written and is not in its place yet is put there first. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    await this.settle()
    const file = await told(() => this.handle.getFile())
    const start = Math.min(offset, file.size)
    return new Uint8Array(await told(() => file.slice(start, Math.min(offset + length, file.size)).arrayBuffer()))
  }

  private async open(): Promise<FileWriter> {
    if (this.writer !== undefined) return this.writer
    const { size } = await told(() => this.handle.getFile())
    this.writer = await told(() => this.handle.createWritable({ keepExistingData: true }))
    this.written = size
    return this.writer
  }

  /** Stores bytes at an offset, or at the end. */
  async write(offset: number | 'end', source: Uint8Array): Promise<void> {
    const writer = await this.open()
    const position = offset === 'end' ? this.written : offset
    // Writing behind the end leaves a hole, which not every browser makes.
    if (position > this.written) await told(() => writer.truncate(position))
    await told(() => writer.write({ type: 'write', position, data: source.slice() }))
    this.written = Math.max(this.written, position + source.length)
  }

  async resize(size: number): Promise<void> {
    const writer = await this.open()
    await told(() => writer.truncate(size))
    this.written = size
  }

  /** Puts what was written in its place. */
  async settle(): Promise<void> {
    const { writer } = this
    this.writer = undefined
    if (writer !== undefined) await told(() => writer.close())
  }
}

/** A file of a browser that is open. */
class OpenBrowserFile implements OpenFile {
  private readonly contents: Contents
  private readonly how: OpenHow
  private readonly identity: number
  private readonly closed: () => void
  private isOpen = true

  constructor(contents: Contents, how: OpenHow, { identity, closed }: { readonly identity: number; readonly closed: () => void }) {
    this.contents = contents
    this.how = how
    this.identity = identity
    this.closed = closed
    contents.uses += 1
  }

  async stat(): Promise<FileStat> {
    return statOf('file', this.identity, await this.contents.facts())
  }

  read(offset: number, length: number): Promise<Uint8Array> {
    return this.contents.read(offset, length)
  }

  async write(offset: number, source: Uint8Array): Promise<number> {
    await this.contents.write(this.how.append ? 'end' : offset, source)
    return source.length
  }

  async change({ size }: FileChanges): Promise<void> {
    if (size !== undefined) await this.contents.resize(size)
  }

  sync(): Promise<void> {
    return this.contents.settle()
  }

  async close(): Promise<void> {
    if (!this.isOpen) return
    this.isOpen = false
    this.contents.uses -= 1
    this.closed()
    await this.contents.settle()
  }
}

const statOf = (kind: 'file' | 'folder', identity: number, { size, time }: { readonly size: number; readonly time: FileTime }): FileStat => ({
  kind, identity, size, mode: kind === 'folder' ? 0o755 : 0o644, uid: 0, gid: 0, links: kind === 'folder' ? 2 : 1, accessed: time, modified: time, changed: time,
})

/**
 * A folder of a browser, for a host's `openFolder`.
 *
 * @example
 * const folder = new DirectoryFileStore(await showDirectoryPicker({ mode: 'readwrite' }))
 * const host = await Host.boot({ openFolder: () => folder })
 */
export class DirectoryFileStore implements FileStore {
  readonly readOnly: boolean
  private readonly root: DirectoryHandleLike
  /** Numbers of what was seen, by its path: browsers have none. */
  private readonly identities = new Map<string, number>()
  private next = 1
  /** Contents of files that are open, by their paths. */
  private readonly contents = new Map<string, Contents>()

  /** Throws INVALID_ARGUMENT for what is no handle of a folder. */
  constructor(root: DirectoryHandleLike, options: DirectoryStoreOptions = {}) {
    if (having('getDirectoryHandle')(root) !== undefined) throw new XenError('INVALID_ARGUMENT', `DirectoryFileStore: ${shown(root)} is no handle of a folder`)
    checkOptions('DirectoryFileStore', options, { readOnly: flag })
    this.root = root
    this.readOnly = options.readOnly === true
  }

  private identityOf(path: FilePath): number {
    const key = path.join('/')
    const known = this.identities.get(key)
    if (known !== undefined) return known
    this.identities.set(key, this.next)
    return this.next++
  }

  private async folder(path: FilePath): Promise<DirectoryHandleLike> {
    let at = this.root
    for (const name of path) at = await told(() => at.getDirectoryHandle(name))
    return at
  }

  /** The folder of a path, and the name in it. */
  private async parent(path: FilePath): Promise<{ readonly folder: DirectoryHandleLike; readonly name: string }> {
    const name = path.at(-1)
    if (name === undefined) throw fileError('EBUSY', 'the root has no name')
    return { folder: await this.folder(path.slice(0, -1)), name }
  }

  /** Throws ENOENT. */
  private async find(path: FilePath): Promise<FileHandleLike | DirectoryHandleLike> {
    if (path.length === 0) return this.root
    const { folder, name } = await this.parent(path)
    try {
      return await folder.getFileHandle(name)
    } catch (error) {
      if ((error as { readonly name?: unknown } | null)?.name !== 'TypeMismatchError') return told(() => Promise.reject(error as Error))
      return told(() => folder.getDirectoryHandle(name))
    }
  }

  private async isThere(path: FilePath): Promise<boolean> {
    try {
      await this.find(path)
      return true
    } catch (error) {
      if (XenError.is(error) && error.details['errno'] === 'ENOENT') return false
      throw error
    }
  }

  async stat(path: FilePath): Promise<FileStat> {
    const handle = await this.find(path)
    if (handle.kind === 'directory') return statOf('folder', this.identityOf(path), { size: BLOCK, time: timeOf(0) })
    return statOf('file', this.identityOf(path), await this.contentsOf(path, handle).facts())
  }

  /** Those of a file, which whoever has it open shares. */
  private contentsOf(path: FilePath, handle: FileHandleLike): Contents {
    return this.contents.get(path.join('/')) ?? new Contents(handle)
  }

  private opened(path: FilePath, handle: FileHandleLike, how: OpenHow): OpenFile {
    const [key, contents] = [path.join('/'), this.contentsOf(path, handle)]
    this.contents.set(key, contents)
    const closed = (): void => { if (contents.uses === 0 && this.contents.get(key) === contents) this.contents.delete(key) }
    return new OpenBrowserFile(contents, how, { identity: this.identityOf(path), closed })
  }

  async list(path: FilePath): Promise<readonly ListedFile[]> {
    const folder = await this.folder(path)
    const found: ListedFile[] = []
    for await (const { name, kind } of folder.values()) found.push({ name, kind: kind === 'file' ? 'file' : 'folder', identity: this.identityOf([...path, name]) })
    return found.sort((one, other) => (one.name < other.name ? -1 : 1))
  }

  async open(path: FilePath, how: OpenHow): Promise<OpenFile> {
    const handle = await this.find(path)
    if (handle.kind === 'directory') throw fileError('EISDIR')
    const file = this.opened(path, handle, how)
    if (how.truncate) await file.change({ size: 0 })
    return file
  }

  async create(path: FilePath, how: OpenHow): Promise<OpenFile> {
    if (await this.isThere(path)) throw fileError('EEXIST')
    const { folder, name } = await this.parent(path)
    return this.opened(path, await told(() => folder.getFileHandle(name, { create: true })), how)
  }

  async makeFolder(path: FilePath, _facts: NewFile): Promise<void> {
    if (await this.isThere(path)) throw fileError('EEXIST')
    const { folder, name } = await this.parent(path)
    await told(() => folder.getDirectoryHandle(name, { create: true }))
  }

  symlink(): never {
    throw fileError('EPERM', 'browsers have no links')
  }

  readLink(): never {
    throw fileError('EINVAL', 'it is no link')
  }

  link(): never {
    throw fileError('EPERM', 'browsers have no links')
  }

  async rename(from: FilePath, to: FilePath): Promise<void> {
    const handle = await this.find(from)
    if (handle.kind === 'directory' || handle.move === undefined) throw fileError('EXDEV')
    const { folder, name } = await this.parent(to)
    if (await this.isThere(to) && (await this.find(to)).kind === 'directory') throw fileError('EISDIR')
    const open = this.contents.get(from.join('/'))
    await open?.settle()
    await told(async () => handle.move!(folder, name))
    this.identities.delete(from.join('/'))
    this.contents.delete(from.join('/'))
    if (open !== undefined) this.contents.set(to.join('/'), open)
  }

  async remove(path: FilePath, kind: 'file' | 'folder'): Promise<void> {
    const handle = await this.find(path)
    if ((handle.kind === 'directory') !== (kind === 'folder')) throw fileError(kind === 'folder' ? 'ENOTDIR' : 'EISDIR')
    const { folder, name } = await this.parent(path)
    await this.contents.get(path.join('/'))?.settle()
    await told(() => folder.removeEntry(name))
    this.identities.delete(path.join('/'))
    this.contents.delete(path.join('/'))
  }

  /** Sizes alone: modes, owners and times are passed over, as FAT does. */
  async change(path: FilePath, { size }: FileChanges): Promise<void> {
    if (size === undefined) return void await this.find(path)
    const file = await this.open(path, { read: false, write: true, append: false, truncate: false })
    await file.change({ size })
    await file.close()
  }

  space(): FileSpace {
    return { blockSize: BLOCK, blocks: BLOCKS, freeBlocks: BLOCKS, files: BLOCKS, freeFiles: BLOCKS }
  }

  close(): void {
    // Nothing is held.
  }
}
