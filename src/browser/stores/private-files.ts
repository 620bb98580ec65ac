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

interface FileHandle {
  createSyncAccessHandle?(): Promise<SyncFile>
}

interface Folder {
  getDirectoryHandle(name: string, options: { readonly create: boolean }): Promise<Folder>
  getFileHandle(name: string, options: { readonly create: boolean }): Promise<FileHandle>
  removeEntry(name: string): Promise<void>
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
export async function openPrivateFile(name: string, { create }: { readonly create: boolean }): Promise<SyncFile | undefined> {
  const inside = await folder()
  try {
    const handle = await inside.getFileHandle(fileName(name), { create })
    if (handle.createSyncAccessHandle === undefined) {
      throw new XenError('NOT_SUPPORTED', 'private files are opened in dedicated workers alone: have the host in one', { details: { name } })
    }
    return await handle.createSyncAccessHandle()
  } catch (cause) {
    if (XenError.is(cause)) throw cause
    if (named(cause, 'NotFoundError') && !create) return undefined
    if (named(cause, 'NoModificationAllowedError')) throw new XenError('BUSY', `${name} is open already, here or in another tab`, { details: { name }, cause })
    throw new XenError('IO', `${name} cannot be opened: ${thrownMessage(cause)}`, { details: { name }, cause })
  }
}

/** Takes a file away; nothing where there is none. */
export async function removePrivateFile(name: string): Promise<void> {
  const inside = await folder()
  await inside.removeEntry(fileName(name)).catch((error: unknown) => { if (!named(error, 'NotFoundError')) throw error })
}
