/** Opens disks' targets as files of this machine, raw and qcow2, for a host's `openDisk`. */
import { resolve } from 'node:path'
import type { DiskOpener, DiskOpenRequest } from '../toolstack/index.ts'
import { confinedPath, type ConfinedOptions } from './confined-path.ts'
import { openQcow } from './qcow2-disk.ts'
import { FileBlockStore, type FileStoreOptions } from './file-block-store.ts'

/** How targets are opened. */
export interface DiskFolderOptions extends ConfinedOptions, Pick<FileStoreOptions, 'storage'> {}

/**
 * Opens targets as files; relative paths count from `folder`. A disk with mode `r` is opened for reading only. With
 * `confined` whatever lies outside `folder` is refused with PERMISSION_DENIED, whoever asks for it. `storage` names a folder
 * that other hosts have as well, such as a network's file system. A disk of `format=qcow2` is read and written as QEMU's tools have it; what an image stands on
 * is looked for in its own folder and below, or in `folder` with `confined`.
 *
 * @example
 * const host = await Host.boot({ openDisk: nodeDisks('/srv/images', { confined: true }) })
 */
export const nodeDisks = (folder = '.', options: DiskFolderOptions = {}): DiskOpener => Object.assign(({ params, readOnly, format }: DiskOpenRequest) => {
  const confined = options.confined === true
  const path = confined ? confinedPath(folder, params) : resolve(folder, params)
  return format === 'qcow2' ? openQcow(path, { readOnly, folder: confined ? folder : undefined }) : new FileBlockStore(path, { readOnly, storage: options.storage })
}, { formats: ['raw', 'qcow2'] as const })
