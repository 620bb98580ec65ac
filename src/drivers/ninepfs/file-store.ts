/**
 * The seam to where the files of a mounted folder are. A store knows paths below its root and nothing of guests, fids or messages. Its calls may
 * answer at once or by a promise. Paths are lists of names that have been checked: none is empty, `.` or `..`, none holds a slash or a zero.
 * No call follows a symbolic link, at no step: a path that leads over one fails with ENOTDIR or ELOOP.
 *
 * A call that cannot be done throws, or rejects with, what {@link fileError} makes, or an error of Node's, whose `code` is an error number's name;
 * the guest sees that number, and EIO for whatever else is thrown.
 */
import { XenError } from '../../util/index.ts'
import { FILE_ERRORS, type FileErrorName } from './file-errors.ts'

/** At once, or later. */
export type Answer<T> = T | Promise<T>

/** Names from the root on; empty for the root. */
export type FilePath = readonly string[]

/** A time since 1970. */
export interface FileTime {
  readonly seconds: number
  /** Below 10^9. */
  readonly nanoseconds: number
}

/** What something in a folder is; `other` cannot be opened. */
export type FileKind = 'file' | 'folder' | 'link' | 'other'

/** What is known of a file, folder or link itself. */
export interface FileStat {
  readonly kind: FileKind
  /** Permissions, 12 bits. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Names that it has. */
  readonly links: number
  /** Bytes. */
  readonly size: number
  /** Its number: no two things of the store have one at the same time. Below 2^53. */
  readonly identity: number
  /** Last access, change of the contents, change of anything. */
  readonly accessed: FileTime
  readonly modified: FileTime
  readonly changed: FileTime
}

/** One name in a folder. */
export interface ListedFile {
  readonly name: string
  readonly kind: FileKind
  readonly identity: number
}

/** What a file is opened for. */
export interface OpenHow {
  readonly read: boolean
  readonly write: boolean
  /** Each write goes to the end, whatever its offset. */
  readonly append: boolean
  readonly truncate: boolean
}

/** Whose a new file is, and who may do what to it. */
export interface NewFile {
  readonly mode: number
  readonly uid: number
  readonly gid: number
}

/** What is to be another; `now` is the store's own time. */
export interface FileChanges {
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  readonly size?: number
  readonly accessed?: FileTime | 'now'
  readonly modified?: FileTime | 'now'
}

/** Room in a store, in blocks. */
export interface FileSpace {
  readonly blockSize: number
  readonly blocks: number
  readonly freeBlocks: number
  readonly files: number
  readonly freeFiles: number
}

/** A file that is open; it stays so when its name goes. */
export interface OpenFile {
  /** What is known of the file. */
  stat(): Answer<FileStat>
  /** The bytes at an offset, at most so many; none behind the end. What is answered is used at once. */
  read(offset: number, length: number): Answer<Uint8Array>
  /** Stores bytes; how many. The caller goes on using `source`. */
  write(offset: number, source: Uint8Array): Answer<number>
  /** Changes its size, owner, permissions or times. */
  change(changes: FileChanges): Answer<void>
  /** Makes what was written durable. */
  sync(): Answer<void>
  /** Lets the file go. */
  close(): Answer<void>
}

/** Where the files of a mounted folder are. Everything that changes fails with EROFS where it is read-only; the caller sees to that. */
export interface FileStore {
  readonly readOnly: boolean
  /** What is known of something. ENOENT where there is nothing. */
  stat(path: FilePath): Answer<FileStat>
  /** The names in a folder, without `.` and `..`, in an order that stays. */
  list(path: FilePath): Answer<readonly ListedFile[]>
  /** Opens a file that is there. ENOENT where it is not, EISDIR for a folder. */
  open(path: FilePath, how: OpenHow): Answer<OpenFile>
  /** Makes a file and opens it. EEXIST where there is anything by the name. */
  create(path: FilePath, how: OpenHow, facts: NewFile): Answer<OpenFile>
  /** Makes an empty folder. EEXIST where there is anything by the name. */
  makeFolder(path: FilePath, facts: NewFile): Answer<void>
  /** Makes a symbolic link, whose text is any. */
  symlink(path: FilePath, target: string, facts: NewFile): Answer<void>
  /** The text of a symbolic link. EINVAL for anything else. */
  readLink(path: FilePath): Answer<string>
  /** Gives a file another name. */
  link(existing: FilePath, path: FilePath): Answer<void>
  /** Gives something another place; what is there already goes, as by rename(2). */
  rename(from: FilePath, to: FilePath): Answer<void>
  /** Takes a name away. ENOTEMPTY for a folder that holds something. */
  remove(path: FilePath, kind: 'file' | 'folder'): Answer<void>
  /** Changes size, owner, permissions or times of something. */
  change(path: FilePath, changes: FileChanges): Answer<void>
  /** How much room there is. */
  space(): Answer<FileSpace>
  /** Tells a store that keeps times of its own by which clock: the host's. */
  useClock?(now: () => FileTime): void
  /** Lets the store go. */
  close(): Answer<void>
}

/** The error of a call that a guest is told by a Linux error number: a XenError with code IO and `details.errno`. */
export const fileError = (errno: FileErrorName, message: string = errno): XenError => new XenError('IO', message, { details: { errno } })

/** The name of an error number in whatever was thrown; undefined where it names none. Never throws. */
export function errnoOf(thrown: unknown): FileErrorName | undefined {
  try {
    const { code, details } = thrown as { readonly code?: unknown; readonly details?: { readonly errno?: unknown } }
    const name = [details?.errno, code].find((one) => typeof one === 'string' && Object.hasOwn(FILE_ERRORS, one))
    return name as FileErrorName | undefined
  } catch {
    return undefined // Anything can be thrown.
  }
}

const METHODS = ['stat', 'list', 'open', 'create', 'makeFolder', 'symlink', 'readLink', 'link', 'rename', 'remove', 'change', 'space', 'close'] as const

/** Throws INVALID_ARGUMENT when what a user's function answered is no store of files, and says what it lacks. */
export function checkFileStore(store: unknown): FileStore {
  if (typeof store !== 'object' || store === null) throw new XenError('INVALID_ARGUMENT', `${store === null ? 'null' : typeof store} is no store of files`)
  // Every property is looked at before it is believed.
  const candidate = store as FileStore
  const missing = METHODS.find((method) => typeof candidate[method] !== 'function')
  if (missing !== undefined) throw new XenError('INVALID_ARGUMENT', `a store of files has no method ${missing}`, { details: { method: missing } })
  return candidate
}
