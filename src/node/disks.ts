/** Opens disks' targets as raw files of this machine, for a host's `openDisk`. */
import { resolve } from 'node:path'
import type { DiskOpener } from '../toolstack/index.ts'
import { confinedPath, type ConfinedOptions } from './confined-path.ts'
import { FileBlockStore, type FileStoreOptions } from './file-block-store.ts'

/** How targets are opened. */
export interface DiskFolderOptions extends ConfinedOptions, Pick<FileStoreOptions, 'storage'> {}

/**
 * Opens targets as files; relative paths count from `folder`. A disk with mode `r` is opened for reading only. With
 * `confined` whatever lies outside `folder` is refused with PERMISSION_DENIED, whoever asks for it. `storage` names a folder
 * that other hosts have as well, such as a network's file system.
 *
 * @example
 * const host = await Host.boot({ openDisk: nodeDisks('/srv/images', { confined: true }) })
 */
export const nodeDisks = (folder = '.', options: DiskFolderOptions = {}): DiskOpener => ({ params, readOnly }) =>
  new FileBlockStore(options.confined === true ? confinedPath(folder, params) : resolve(folder, params), { readOnly, storage: options.storage })
