/** Finds out of which kind the file system of an image is: each kind that can be read is asked in turn. */
import { XenError } from '../../util/index.ts'
import { openExt } from './ext.ts'
import type { FileSystem } from './file-system.ts'
import type { DiskImageReader } from './image-reader.ts'

/** Opens the file system that begins where `image` begins. Rejects with INVALID_IMAGE where there is none that is known. */
export async function openFileSystem(image: DiskImageReader): Promise<FileSystem> {
  const found = await openExt(image)
  if (found !== undefined) return found
  throw new XenError('INVALID_IMAGE', 'disk image: there is no ext2, ext3 or ext4 file system', {
    details: { field: 'file system' },
  })
}
