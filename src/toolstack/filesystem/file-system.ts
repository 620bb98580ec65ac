/** What a boot loader needs of a file system, whichever kind it is, and how the kind is found out. */
import { XenError } from '../../util/index.ts'
import { openExt } from './ext.ts'
import type { ImageReader } from './image-reader.ts'

/** A file system that can be read. */
export interface FileSystem {
  readonly kind: 'ext'
  /**
   * The contents of a file, at most `limit` bytes of it; undefined where nothing has that name. Rejects with
   * INVALID_IMAGE where the name is no file's or the image is damaged.
   */
  readFile(path: string, limit: number): Promise<Uint8Array | undefined>
  /** Whether a name is there, be it a file's or a folder's. */
  exists(path: string): Promise<boolean>
}

/** Opens the file system that begins where `image` begins. Rejects with INVALID_IMAGE where there is none that is known. */
export async function openFileSystem(image: ImageReader): Promise<FileSystem> {
  const found = await openExt(image)
  if (found !== undefined) return found
  throw new XenError('INVALID_IMAGE', 'disk image: there is no ext2, ext3 or ext4 file system', {
    details: { field: 'file system' },
  })
}
