/** What the 9pfs back-end is made with, what it shows of a folder that it serves, and what a folder asks of it. */
import type { Answer, FileStore, FileTime } from './file-store.ts'
import type { FolderRequest } from './folder-request.ts'
import type { FolderInterference } from './interference.ts'
import type { MemoryFileStore } from './memory-file-store.ts'

/** How the back-end is made. */
export interface FolderBackendOptions {
  /** Opens the store of a folder. A rejection is told to the toolstack in `hotplug-error`. */
  open(request: FolderRequest): Answer<FileStore>
  /** What comes between front-ends and what is done for them, for tests. */
  readonly interference?: FolderInterference | undefined
  /** Calendar time, for stores that keep times of their own. Default: 1970, at rest. */
  now?(): FileTime
  /** A store that was waited for has answered: `take` carries the answer on. Default: at once. */
  answered?(request: FolderRequest, take: () => void): void
  /** A store has thrown what is no error of a file: its guest sees EIO. */
  onStoreFailed?(request: FolderRequest, error: unknown): void
}

/** One folder that is being served. */
export interface ServedFolder {
  readonly request: FolderRequest
  /** What has been done; undefined while no front-end is connected. */
  readonly statistics: Readonly<Record<string, number>> | undefined
  /** Why its front-end is not served any more; undefined while all is well. */
  readonly broken: string | undefined
  /** True while its store has not answered what it was asked. */
  readonly isAwaited: boolean
  /** The store that its opener gave; undefined while none is open. */
  readonly contents: FileStore | undefined
}

/** What a folder needs of its back-end. */
export interface FolderServices {
  readonly options: FolderBackendOptions
  placeOf(store: FileStore): number
  storeAt(place: number): MemoryFileStore
  forget(path: string): void
}
