/**
 * What is used of a browser's private file system (OPFS). Handles that read and write at once are for dedicated workers alone, which is
 * where a host belongs.
 *
 * Reference: WHATWG, File System Standard.
 */
import { thrownMessage, XenError } from '../../util/index.ts'

/** A file that is read and written at once. */
export interface SyncFile {
  /** Fills bytes from a place; gives how many there were. */
  read(into: Uint8Array, options: { readonly at: number }): number
  /** Stores bytes at a place; gives how many. */
  write(from: Uint8Array, options: { readonly at: number }): number
  /** Makes it so long. */
  truncate(size: number): void
  /** Bytes. */
  getSize(): number
  /** Makes what was written durable. */
  flush(): void
  /** Lets it go. */
  close(): void
}

/** A file of the folder, as it is listed. */
export interface PrivateFile {
  readonly name: string
  /** Bytes. */
  readonly size: number
  /** When it was written last, in milliseconds since 1970. */
  readonly written: number
}

/** How a file is opened. */
export interface OpenPrivateFile {
  /** Whether one that is not there is made. */
  readonly create: boolean
  /** `'read-only'`: beside others who do so, where the browser knows of that; alone otherwise. Default: alone, for reading and writing. */
  readonly mode?: 'read-only' | undefined
}

interface FileHandle {
  readonly kind: 'file'
  getFile(): Promise<{ readonly size: number; readonly lastModified: number }>
  createSyncAccessHandle?(options?: { readonly mode: string }): Promise<SyncFile>
}

interface Folder {
  readonly kind: 'directory'
  getDirectoryHandle(name: string, options: { readonly create: boolean }): Promise<Folder>
  getFileHandle(name: string, options: { readonly create: boolean }): Promise<FileHandle>
  removeEntry(name: string): Promise<void>
  entries(): AsyncIterable<readonly [string, FileHandle | Folder]>
}

/** Everything is in a folder of this name. */
const FOLDER = 'paravirt'

/** The folder of this library. Rejects with NOT_SUPPORTED where there is no such file system. */
async function folder(): Promise<Folder> {
  const storage = (globalThis.navigator as { readonly storage?: { getDirectory?(): Promise<unknown> } } | undefined)?.storage
  if (storage?.getDirectory === undefined) throw new XenError('NOT_SUPPORTED', 'there is no private file system here: it takes a browser and a secure context', { details: {} })
  const root = await storage.getDirectory() as Folder
  return root.getDirectoryHandle(FOLDER, { create: true })
}

const named = (error: unknown, name: string): boolean => error instanceof DOMException && error.name === name

/** The same text as a name of a file. */
const fileName = (name: string): string => encodeURIComponent(name)

/**
 * Opens a file; undefined where there is none and none is to be made. Rejects with NOT_SUPPORTED outside a dedicated worker, BUSY where it is
 * open already, in this tab or another one, IO.
 */
export async function openPrivateFile(name: string, { create, mode }: OpenPrivateFile): Promise<SyncFile | undefined> {
  const inside = await folder()
  try {
    const handle = await inside.getFileHandle(fileName(name), { create })
    if (handle.createSyncAccessHandle === undefined) {
      throw new XenError('NOT_SUPPORTED', 'private files are opened in dedicated workers alone: have the host in one', { details: { name } })
    }
    return await handle.createSyncAccessHandle(mode === undefined ? undefined : { mode })
  } catch (cause) {
    if (XenError.is(cause)) throw cause
    if (named(cause, 'NotFoundError') && !create) return undefined
    if (named(cause, 'NoModificationAllowedError')) throw new XenError('BUSY', `${name} is open already, here or in another tab`, { details: { name }, cause })
    throw new XenError('IO', `${name} cannot be opened: ${thrownMessage(cause)}`, { details: { name }, cause })
  }
}

/** Takes a file away; nothing where there is none. Rejects with BUSY where it is open. */
export async function removePrivateFile(name: string): Promise<void> {
  const inside = await folder()
  try {
    await inside.removeEntry(fileName(name))
  } catch (cause) {
    if (named(cause, 'NoModificationAllowedError')) throw new XenError('BUSY', `${name} is open, here or in another tab`, { details: { name }, cause })
    if (!named(cause, 'NotFoundError')) throw cause
  }
}

/** The files whose names begin so, in no order; one that goes away meanwhile is left out. */
export async function listPrivateFiles(prefix: string): Promise<readonly PrivateFile[]> {
  const found: PrivateFile[] = []
  for await (const [written, handle] of (await folder()).entries()) {
    const name = nameOf(written)
    if (handle.kind !== 'file' || name === undefined || !name.startsWith(prefix)) continue
    const file = await handle.getFile().catch(() => undefined)
    if (file !== undefined) found.push({ name, size: file.size, written: file.lastModified })
  }
  return found
}

/** The text that a file's name stands for; undefined for one that is not of this library. */
function nameOf(written: string): string | undefined {
  try {
    return decodeURIComponent(written)
  } catch {
    return undefined
  }
}
