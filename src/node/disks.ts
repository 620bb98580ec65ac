/** Opens disks' targets as raw files of this machine, for a host's `openDisk`. */
import { resolve } from 'node:path'
import type { DiskOpener } from '../toolstack/index.ts'
import { FileBlockStore } from './file-block-store.ts'

/** Opens targets as files; relative paths count from `folder`. A disk with mode `r` is opened for reading only. */
export const nodeDisks = (folder = '.'): DiskOpener => ({ params, readOnly }) =>
  new FileBlockStore(resolve(folder, params), { readOnly })
