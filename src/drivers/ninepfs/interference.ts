/** What may come between a front-end's messages and what is done, so that tests see what guests do when a folder fails. */
import type { FileErrorName } from './file-errors.ts'
import type { FolderRequest } from './folder-request.ts'
import { MESSAGE } from './protocol.ts'

/** What a message asks for: reading or writing contents, or changing what there is, or looking. */
export type FolderRequestKind = 'read' | 'write' | 'change' | 'look'

/** What becomes of a message. */
export interface FolderEffect {
  /** It is not done, and answered with this number. */
  readonly errno?: FileErrorName | undefined
  /** Nanoseconds by which its answer comes later; everybody else goes on meanwhile. */
  readonly delay?: number | undefined
}

/** Stands between. */
export interface FolderInterference {
  /** Asked of each message but those of a session's own (version, attach, clunk, flush); undefined: nothing is done to it. */
  message(request: FolderRequest, kind: FolderRequestKind): FolderEffect | undefined
}

const OWN: readonly number[] = [MESSAGE.VERSION, MESSAGE.AUTH, MESSAGE.ATTACH, MESSAGE.CLUNK, MESSAGE.FLUSH]
const CHANGES: readonly number[] = [
  MESSAGE.LCREATE, MESSAGE.SYMLINK, MESSAGE.MKNOD, MESSAGE.RENAME, MESSAGE.SETATTR, MESSAGE.LINK, MESSAGE.MKDIR, MESSAGE.RENAMEAT, MESSAGE.UNLINKAT, MESSAGE.REMOVE,
]

/** What a type of message asks for; undefined for a session's own. */
export function requestKind(type: number): FolderRequestKind | undefined {
  if (OWN.includes(type)) return undefined
  if (type === MESSAGE.READ) return 'read'
  if (type === MESSAGE.WRITE || type === MESSAGE.FSYNC) return 'write'
  return CHANGES.includes(type) ? 'change' : 'look'
}
