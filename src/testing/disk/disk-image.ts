/** A disk from a tree of files: an ext2 file system, alone or as the one partition of a disk with an MBR. */
import { MemoryBlockStore, SECTOR_SIZE, rootOf, type FileTree } from '../../drivers/index.ts'
import { checkOptions, flag, text, whole } from '../../util/index.ts'
import { ext2Image } from './ext2-image.ts'

/** What the disk is like. */
export interface DiskImageOptions {
  /** Bytes of the file system; the smallest with some room unless given. */
  readonly size?: number | undefined
  readonly label?: string | undefined
  /** Whether it lies in a partition. Default false: the whole disk is the file system. */
  readonly partitioned?: boolean | undefined
}

/** Where partitioning tools let the first partition begin, in sectors. */
const FIRST_SECTOR = 2048
const LINUX_PARTITION = 0x83

/** A disk with one partition around a file system. */
function partitioned(content: Uint8Array): Uint8Array {
  const disk = new Uint8Array(FIRST_SECTOR * SECTOR_SIZE + content.length)
  const view = new DataView(disk.buffer)
  disk[446] = 0x80
  disk[450] = LINUX_PARTITION
  view.setUint32(454, FIRST_SECTOR, true)
  view.setUint32(458, content.length / SECTOR_SIZE, true)
  view.setUint16(510, 0xaa55, true)
  disk.set(content, FIRST_SECTOR * SECTOR_SIZE)
  return disk
}

/**
 * The bytes of a disk with these files. Throws INVALID_ARGUMENT for names that are none, OUT_OF_RESOURCES where they do not fit.
 *
 * @example
 * const disk = diskImage({ 'boot/grub/grub.cfg': 'echo hello\n', bin: { tool: { contents: tool, mode: 0o755 } } })
 */
export function diskImage(files: FileTree, options: DiskImageOptions = {}): Uint8Array {
  checkOptions('diskImage', options, { size: whole(65_536, 2 ** 40), label: text, partitioned: flag })
  const image = ext2Image(rootOf(files), { size: options.size, label: options.label })
  return options.partitioned === true ? partitioned(image) : image
}

/** The same as a disk in memory, for `attachDisk({ ... }, { store })` and for `openDisk`. */
export const diskOf = (files: FileTree, options: DiskImageOptions = {}): MemoryBlockStore => new MemoryBlockStore(diskImage(files, options))
