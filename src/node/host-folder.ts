/**
 * A folder of this machine as a store of files, for guests that mount it by 9P. Calls go straight to the operating system and answer at once, as those of
 * `FileBlockStore` do.
 *
 * No path leads out of the folder: on Linux each step is opened in the one before, as a folder and never over a symbolic link, and what is done is done to a
 * name in the folder that was opened last (`/proc/self/fd/N/name`, where Node has no `openat`). Whoever moves things about on the host meanwhile cannot
 * lead a guest out either. Elsewhere each step is looked at before the path is used, which leaves whoever can change the folder meanwhile a moment in
 * between: there nobody else may write to it. Links are made and read as they are, and the guest follows them in its own tree.
 *
 * Pipes, sockets and devices in the folder are listed and not opened. New files belong to whoever runs the host; set-user-id, set-group-id and sticky
 * bits are not set, and owners are not changed. Names that are no UTF-8 are not listed.
 */
import {
  chmodSync, closeSync, constants, existsSync, fchmodSync, fstatSync, fsyncSync, ftruncateSync, linkSync, lstatSync, lutimesSync, mkdirSync, openSync, readdirSync, readlinkSync,
  readSync, realpathSync, renameSync, rmdirSync, statfsSync, symlinkSync, unlinkSync, writeSync, type BigIntStats,
} from 'node:fs'
import { resolve } from 'node:path'
import { fileError, type FileChanges, type FileKind, type FilePath, type FileSpace, type FileStat, type FileStore, type FileTime, type ListedFile, type NewFile, type OpenFile, type OpenHow } from '../drivers/index.ts'
import type { FolderOpener } from '../toolstack/index.ts'
import { checkOptions, flag, XenError } from '../util/index.ts'
import { confinedPath, type ConfinedOptions } from './confined-path.ts'

/** Opens what a name stands for without opening it for anything: Linux's own, which Node does not name. */
const O_PATH = 0o10000000
const { O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants
const PERMISSIONS = 0o777
/** Numbers of files count on from here for each further file system below the folder. */
const DEVICE_STRIDE = 2 ** 48

/** How a folder is opened. */
export interface HostFolderOptions {
  /** Nothing may be changed. Default false. */
  readonly readOnly?: boolean | undefined
}

const decoder = /* @__PURE__ */ new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function nameOf(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes)
  } catch {
    return undefined
  }
}

const timeOf = (nanoseconds: bigint): FileTime => ({ seconds: Number(nanoseconds / 1_000_000_000n), nanoseconds: Number(nanoseconds % 1_000_000_000n) })
const secondsOf = (wanted: FileTime | 'now' | undefined, before: bigint): number => {
  if (wanted === undefined) return Number(before) / 1e9
  return wanted === 'now' ? Date.now() / 1000 : wanted.seconds + wanted.nanoseconds / 1e9
}

const kindOf = (stat: BigIntStats): FileKind => (stat.isFile() ? 'file' : stat.isDirectory() ? 'folder' : stat.isSymbolicLink() ? 'link' : 'other')

const flagsOf = ({ read, write, append, truncate }: OpenHow): number =>
  (read ? (write ? O_RDWR : O_RDONLY) : write ? O_WRONLY : O_RDONLY) | (append ? O_APPEND : 0) | (truncate ? O_TRUNC : 0)

/** Numbers of what lies in a folder, in which there may be several file systems. */
class Numbers {
  private readonly devices: bigint[] = []

  of({ dev, ino }: BigIntStats): number {
    let at = this.devices.indexOf(dev)
    if (at < 0) at = this.devices.push(dev) - 1
    return Number(BigInt.asUintN(48, ino)) + (at % 32) * DEVICE_STRIDE
  }

  stat(stat: BigIntStats): FileStat {
    return {
      kind: kindOf(stat), mode: Number(stat.mode) & 0o7777, uid: Number(stat.uid), gid: Number(stat.gid), links: Number(stat.nlink), size: Number(stat.size),
      identity: this.of(stat), accessed: timeOf(stat.atimeNs), modified: timeOf(stat.mtimeNs), changed: timeOf(stat.ctimeNs),
    }
  }
}

/** A file of this machine that is open. */
class OpenHostFile implements OpenFile {
  private readonly descriptor: number
  private readonly numbers: Numbers
  private isOpen = true

  constructor(descriptor: number, numbers: Numbers) {
    this.descriptor = descriptor
    this.numbers = numbers
  }

  stat(): FileStat {
    return this.numbers.stat(fstatSync(this.descriptor, { bigint: true }))
  }

  read(offset: number, length: number): Uint8Array {
    const bytes = Buffer.allocUnsafe(length)
    return bytes.subarray(0, readSync(this.descriptor, bytes, 0, length, offset))
  }

  write(offset: number, source: Uint8Array): number {
    return writeSync(this.descriptor, source, 0, source.length, offset)
  }

  change({ size, mode }: FileChanges): void {
    if (size !== undefined) ftruncateSync(this.descriptor, size)
    if (mode !== undefined) fchmodSync(this.descriptor, mode & PERMISSIONS)
  }

  sync(): void {
    fsyncSync(this.descriptor)
  }

  close(): void {
    if (this.isOpen) closeSync(this.descriptor)
    this.isOpen = false
  }
}

/** A folder of this machine. */
export class HostFolderStore implements FileStore {
  readonly readOnly: boolean
  private readonly folder: string
  private readonly numbers = new Numbers()
  /** Whether names in folders that are open can be spoken of. */
  private readonly byDescriptor = process.platform === 'linux' && existsSync('/proc/self/fd')
  private root: number

  /** Opens `folder`, which must be there. Throws IO when it is none. */
  constructor(folder: string, options: HostFolderOptions = {}) {
    checkOptions('HostFolderStore', options, { readOnly: flag })
    this.readOnly = options.readOnly === true
    try {
      this.folder = realpathSync(folder)
      this.root = openSync(this.folder, O_RDONLY | O_DIRECTORY)
    } catch (cause) {
      throw new XenError('IO', `folder ${folder} cannot be opened`, { details: { folder }, cause })
    }
  }

  // Finding

  /** Calls `work` with how the folder at a path is spoken of, which stays the same folder meanwhile. */
  private inFolder<T>(path: FilePath, work: (folder: string) => T): T {
    if (this.root < 0) throw fileError('EIO', 'the folder is closed')
    if (!this.byDescriptor) return work(this.lookAtSteps(path))
    let at = this.root
    try {
      for (const name of path) {
        const next = openSync(`/proc/self/fd/${at}/${name}`, O_PATH | O_DIRECTORY | O_NOFOLLOW)
        if (at !== this.root) closeSync(at)
        at = next
      }
      return work(`/proc/self/fd/${at}`)
    } finally {
      if (at !== this.root) closeSync(at)
    }
  }

  /** Where nothing can be opened step by step: each is looked at before the path is used. */
  private lookAtSteps(path: FilePath): string {
    let at = this.folder
    for (const name of path) {
      at = `${at}/${name}`
      if (!lstatSync(at).isDirectory()) throw fileError('ENOTDIR')
    }
    return at
  }

  /** Calls `work` with how a name is spoken of, which it never follows where it is a link. */
  private atName<T>(path: FilePath, work: (place: string) => T): T {
    const name = path.at(-1)
    if (name === undefined) throw fileError('EBUSY', 'the root has no name')
    return this.inFolder(path.slice(0, -1), (folder) => work(`${folder}/${name}`))
  }

  /** Calls `work` with how the thing itself at a path is spoken of, whatever becomes of its name meanwhile, and what it is. */
  private atThing<T>(path: FilePath, work: (thing: string, stat: BigIntStats) => T): T {
    if (path.length === 0) return this.inFolder(path, (folder) => work(folder, fstatSync(this.root, { bigint: true })))
    return this.atName(path, (place) => {
      if (!this.byDescriptor) return work(place, lstatSync(place, { bigint: true }))
      const descriptor = openSync(place, O_PATH | O_NOFOLLOW)
      try {
        return work(`/proc/self/fd/${descriptor}`, fstatSync(descriptor, { bigint: true }))
      } finally {
        closeSync(descriptor)
      }
    })
  }

  stat(path: FilePath): FileStat {
    if (path.length === 0) return this.inFolder(path, () => this.numbers.stat(fstatSync(this.root, { bigint: true })))
    return this.atName(path, (place) => this.numbers.stat(lstatSync(place, { bigint: true })))
  }

  list(path: FilePath): ListedFile[] {
    return this.inFolder(path, (folder) => {
      const names = readdirSync(`${folder}/.`, { encoding: 'buffer' }).flatMap((bytes) => nameOf(bytes) ?? [])
      return names.sort().flatMap((name) => {
        const stat = lstatSync(`${folder}/${name}`, { bigint: true, throwIfNoEntry: false })
        return stat === undefined ? [] : [{ name, kind: kindOf(stat), identity: this.numbers.of(stat) }]
      })
    })
  }

  readLink(path: FilePath): string {
    return this.atName(path, (place) => readlinkSync(place))
  }

  // Opening and making

  open(path: FilePath, how: OpenHow): OpenFile {
    return this.atThing(path, (thing, stat) => {
      // A pipe would keep the host waiting, a device would do what it does.
      if (!stat.isFile()) throw fileError(stat.isDirectory() ? 'EISDIR' : stat.isSymbolicLink() ? 'ELOOP' : 'EACCES')
      const descriptor = openSync(thing, flagsOf(how) | (this.byDescriptor ? 0 : O_NOFOLLOW))
      return new OpenHostFile(descriptor, this.numbers)
    })
  }

  create(path: FilePath, how: OpenHow, { mode }: NewFile): OpenFile {
    return this.atName(path, (place) => {
      const descriptor = openSync(place, flagsOf(how) | O_CREAT | O_EXCL | O_NOFOLLOW, mode & PERMISSIONS)
      // As the guest's own mask has it, not this process's.
      fchmodSync(descriptor, mode & PERMISSIONS)
      return new OpenHostFile(descriptor, this.numbers)
    })
  }

  makeFolder(path: FilePath, { mode }: NewFile): void {
    this.atName(path, (place) => mkdirSync(place, { mode: mode & PERMISSIONS }))
    this.atThing(path, (thing, stat) => { if (stat.isDirectory()) chmodSync(thing, mode & PERMISSIONS) })
  }

  symlink(path: FilePath, target: string): void {
    this.atName(path, (place) => symlinkSync(target, place))
  }

  link(existing: FilePath, path: FilePath): void {
    this.atName(existing, (from) => this.atName(path, (to) => linkSync(from, to)))
  }

  // Changing

  rename(from: FilePath, to: FilePath): void {
    this.atName(from, (source) => this.atName(to, (target) => renameSync(source, target)))
  }

  remove(path: FilePath, kind: 'file' | 'folder'): void {
    this.atName(path, (place) => (kind === 'folder' ? rmdirSync(place) : unlinkSync(place)))
  }

  change(path: FilePath, changes: FileChanges): void {
    const { mode, uid, gid, size, accessed, modified } = changes
    this.atThing(path, (thing, stat) => {
      if ((uid !== undefined && BigInt(uid) !== stat.uid) || (gid !== undefined && BigInt(gid) !== stat.gid)) throw fileError('EPERM', 'owners are not changed')
      if (mode !== undefined) {
        if (stat.isSymbolicLink()) throw fileError('EOPNOTSUPP', 'a link has no permissions')
        chmodSync(thing, mode & PERMISSIONS)
      }
    })
    if (size !== undefined) this.resize(path, size)
    if (accessed === undefined && modified === undefined) return
    const setTimes = (place: string, stat: BigIntStats): void => lutimesSync(place, secondsOf(accessed, stat.atimeNs), secondsOf(modified, stat.mtimeNs))
    if (path.length === 0) this.inFolder([], (folder) => setTimes(`${folder}/.`, fstatSync(this.root, { bigint: true })))
    else this.atName(path, (place) => setTimes(place, lstatSync(place, { bigint: true })))
  }

  private resize(path: FilePath, size: number): void {
    const file = this.open(path, { read: false, write: true, append: false, truncate: false })
    try {
      file.change({ size })
    } finally {
      file.close()
    }
  }

  space(): FileSpace {
    const { bsize, blocks, bavail, files, ffree } = this.inFolder([], (folder) => statfsSync(`${folder}/.`))
    return { blockSize: bsize, blocks, freeBlocks: bavail, files, freeFiles: ffree }
  }

  close(): void {
    if (this.root < 0) return
    closeSync(this.root)
    this.root = -1
  }
}

/**
 * Opens paths as folders of this machine, for a host's `openFolder`; relative paths count from `folder`. With `confined` whatever lies outside `folder` is
 * refused with PERMISSION_DENIED, whoever asks for it.
 *
 * @example
 * const host = await Host.boot({ openFolder: nodeFolders('/srv/shared', { confined: true }) })
 */
export const nodeFolders = (folder = '.', options: ConfinedOptions & HostFolderOptions = {}): FolderOpener => ({ path }) =>
  new HostFolderStore(options.confined === true ? confinedPath(folder, path) : resolve(folder, path), { readOnly: options.readOnly })
