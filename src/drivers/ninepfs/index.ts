/**
 * Folders by 9P: a store of files, the back-end that serves it, the front-end of guests in TypeScript.
 *
 * @module
 */
export { NINEPFS_TYPE } from './protocol.ts'
export { FILE_ERRORS } from './file-errors.ts'
export type { FileErrorName } from './file-errors.ts'
export { checkFileStore, errnoOf, fileError } from './file-store.ts'
export type {
  Answer, FileChanges, FileKind, FilePath, FileSpace, FileStat, FileStore, FileTime, ListedFile, NewFile, OpenFile, OpenHow,
} from './file-store.ts'
export { rootOf } from './file-tree.ts'
export type { FileEntry, FileTree, FolderNode, LinkEntry, TreeNode } from './file-tree.ts'
export { MemoryFileStore, memoryFilesState } from './memory-file-store.ts'
export type { MemoryFilesOptions, MemoryFilesState } from './memory-file-store.ts'
export { memoryNodeState } from './memory-nodes.ts'
export type { MemoryNode, MemoryNodeState } from './memory-nodes.ts'
export { FolderBackend } from './backend.ts'
export type { FolderRequest } from './folder-request.ts'
export type { FolderBackendOptions, ServedFolder } from './folder-services.ts'
export type { FolderEffect, FolderInterference, FolderRequestKind } from './interference.ts'
export { FolderFrontend } from './frontend.ts'
export type { FolderFrontendOptions } from './frontend.ts'
export { MountedFolder } from './mounted-folder.ts'
export type { MountedStat } from './mounted-folder.ts'
export { FileClient } from './client.ts'
export type { FileClientOptions } from './client.ts'
export { MessageReader, MessageWriter } from './message.ts'
