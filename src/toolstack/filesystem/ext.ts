/**
 * ext2, ext3 and ext4 file systems, for reading: superblock, group descriptors, inodes, folders and symbolic links. Where a
 * file's bytes are is in ext-blocks.ts. Journals are not replayed: a file that was written just before a crash may read as
 * it was. Folders with an index are read from end to end, as their blocks allow.
 * Reference: Linux Documentation/filesystems/ext4; e2fsprogs lib/ext2fs/ext2_fs.h.
 */
import { XenError } from '../../util/index.ts'
import { fileBlocks, inlineData, readRuns, type Inode, type Volume } from './ext-blocks.ts'
import type { FileSystem } from './file-system.ts'
import { imageFault, viewOf, type DiskImageReader } from './image-reader.ts'

const SUPERBLOCK = {
  at: 1024, size: 1024, inodes: 0x00, firstDataBlock: 0x14, logBlockSize: 0x18, blocksPerGroup: 0x20, inodesPerGroup: 0x28,
  magic: 0x38, revision: 0x4c, inodeSize: 0x58, compatible: 0x5c, incompatible: 0x60, readOnlyCompatible: 0x64,
  descriptorSize: 0xfe, firstMetaGroup: 0x104, backupGroups: 0x24c,
} as const
const MAGIC = 0xef53
/** Features that change where things are. */
const META_GROUPS = 0x10
const WIDE = 0x80
const SPARSE_SUPER = 0x1
const SPARSE_SUPER_2 = 0x200
/** Incompatible features with which this reader can live: all but compression, a journal's own device, data in folders. */
const KNOWN = 0x2 | 0x4 | META_GROUPS | 0x40 | WIDE | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000
const ENCRYPTED = 0x800
const INODE = { mode: 0x00, sizeLow: 0x04, flags: 0x20, blocks: 0x28, sizeHigh: 0x6c } as const
const ROOT = 2
/** Kinds of files, in the high bits of the mode. */
const KIND = { mask: 0xf000, folder: 0x4000, file: 0x8000, link: 0xa000 } as const
/** Longest folder that is searched, longest symbolic link, and how many links may lie on one way, as for Linux. */
const MAX_FOLDER = 16 * 2 ** 20
const MAX_LINK = 4096
const MAX_LINKS = 40
const MAX_PARTS = 256

const decoder = new TextDecoder()

const unsupported = (what: string, details: Readonly<Record<string, unknown>>): XenError =>
  new XenError('NOT_SUPPORTED', `disk image: ${what}`, { details })

/** True where 3, 5 or 7 has a power that is `group`. */
function isSparse(group: number): boolean {
  if (group <= 1) return true
  return [3, 5, 7].some((base) => {
    let power = base
    while (power < group) power *= base
    return power === group
  })
}

class ExtFileSystem implements FileSystem {
  readonly kind = 'ext'
  private readonly image: DiskImageReader
  private readonly superblock: DataView
  private readonly volume: Volume

  constructor(image: DiskImageReader, superblock: DataView) {
    this.image = image
    this.superblock = superblock
    this.volume = { image, blockSize: 1024 << superblock.getUint32(SUPERBLOCK.logBlockSize, true) }
  }

  private number(field: keyof typeof SUPERBLOCK): number {
    return this.superblock.getUint32(SUPERBLOCK[field], true)
  }

  private get descriptorSize(): number {
    return (this.number('incompatible') & WIDE) === 0 ? 32 : this.superblock.getUint16(SUPERBLOCK.descriptorSize, true)
  }

  /** Whether a copy of the superblock begins a group. */
  private hasSuperblock(group: number): boolean {
    if ((this.number('compatible') & SPARSE_SUPER_2) !== 0) {
      const [first, second] = [this.superblock.getUint32(SUPERBLOCK.backupGroups, true), this.superblock.getUint32(SUPERBLOCK.backupGroups + 4, true)]
      return group === 0 || group === first || group === second
    }
    return (this.number('readOnlyCompatible') & SPARSE_SUPER) === 0 || isSparse(group)
  }

  /** Block of a group's descriptor table. */
  private descriptorBlock(index: number, perBlock: number): number {
    // With clusters the first block counts as 0 also where the superblock is block 1.
    const first = Math.max(this.number('firstDataBlock'), this.volume.blockSize === 1024 ? 1 : 0)
    if ((this.number('incompatible') & META_GROUPS) === 0 || index < this.number('firstMetaGroup')) return first + 1 + index
    const group = index * perBlock
    return first + group * this.number('blocksPerGroup') + (this.hasSuperblock(group) ? 1 : 0)
  }

  private async inode(number: number): Promise<Inode> {
    if (number < 1 || number > this.number('inodes')) throw imageFault('inode', number, 'does not exist')
    const { blockSize } = this.volume
    const [group, index] = [Math.floor((number - 1) / this.number('inodesPerGroup')), (number - 1) % this.number('inodesPerGroup')]
    const size = this.descriptorSize
    const perBlock = Math.floor(blockSize / size)
    const place = this.descriptorBlock(Math.floor(group / perBlock), perBlock) * blockSize + (group % perBlock) * size
    const descriptor = viewOf(await this.image.read(place, size))
    const table = descriptor.getUint32(8, true) + (size >= 64 ? descriptor.getUint32(0x28, true) * 2 ** 32 : 0)
    const inodeSize = this.number('revision') === 0 ? 128 : this.superblock.getUint16(SUPERBLOCK.inodeSize, true)
    const bytes = await this.image.read(table * blockSize + index * inodeSize, inodeSize)
    const view = viewOf(bytes)
    const [mode, flags] = [view.getUint16(INODE.mode, true), view.getUint32(INODE.flags, true)]
    // The upper half is a folder's access list in ext2, and of no use to a link.
    const high = (mode & KIND.mask) === KIND.file ? view.getUint32(INODE.sizeHigh, true) : 0
    const length = high * 2 ** 32 + view.getUint32(INODE.sizeLow, true)
    return { number, bytes, mode, flags, size: length, blocks: bytes.subarray(INODE.blocks, INODE.blocks + 60) }
  }

  private async contents(inode: Inode, limit: number): Promise<Uint8Array> {
    if ((inode.flags & ENCRYPTED) !== 0) throw unsupported('the file is encrypted', { inode: inode.number })
    const length = Math.min(inode.size, limit)
    const inline = inlineData(inode)
    if (inline !== undefined) return inline.slice(0, length)
    return readRuns(this.volume, await fileBlocks(this.volume, inode, length), length)
  }

  /** The inode of a name in a folder; undefined where there is none. */
  private async lookUp(folder: Inode, name: string): Promise<number | undefined> {
    if (folder.size > MAX_FOLDER) throw imageFault('folder', folder.number, 'is too long')
    const inline = inlineData(folder)
    // A folder inside its inode begins with the number of the one above it, and has no entries for either.
    if (inline !== undefined) {
      if (name === '..') return viewOf(inline).getUint32(0, true)
      return findEntry(inline.subarray(4, 60), name) ?? findEntry(inline.subarray(60), name)
    }
    const bytes = await this.contents(folder, folder.size)
    for (let at = 0; at < bytes.length; at += this.volume.blockSize) {
      const found = findEntry(bytes.subarray(at, at + this.volume.blockSize), name)
      if (found !== undefined) return found
    }
    return undefined
  }

  private async linkTarget(link: Inode): Promise<string> {
    if (link.size > MAX_LINK) throw imageFault('symbolic link', link.number, 'is too long')
    // A short one stands where the numbers of its blocks would.
    const short = link.size < 60 && (link.flags & 0x80000) === 0 && inlineData(link) === undefined
    return decoder.decode(short ? link.blocks.subarray(0, link.size) : await this.contents(link, link.size))
  }

  /** The inode at a path, behind all symbolic links; undefined where there is none. */
  private async find(path: string): Promise<Inode | undefined> {
    const parts = path.split('/').reverse()
    const root = await this.inode(ROOT)
    let current = root
    let links = 0
    for (let steps = 0; parts.length > 0; steps += 1) {
      if (parts.length > MAX_PARTS || steps > 16 * MAX_PARTS) throw imageFault('path', path.slice(0, 80), 'is too long')
      const part = parts.pop()!
      if (part === '' || part === '.') continue
      if ((current.mode & KIND.mask) !== KIND.folder) return undefined
      const number = await this.lookUp(current, part)
      if (number === undefined) return undefined
      const next = await this.inode(number)
      if ((next.mode & KIND.mask) !== KIND.link) {
        current = next
        continue
      }
      if ((links += 1) > MAX_LINKS) throw imageFault('symbolic links', MAX_LINKS, 'are not enough to end')
      const target = await this.linkTarget(next)
      if (target.startsWith('/')) current = root
      parts.push(...target.split('/').reverse())
    }
    return current
  }

  async exists(path: string): Promise<boolean> {
    return (await this.find(path)) !== undefined
  }

  async readFile(path: string, limit: number): Promise<Uint8Array | undefined> {
    const inode = await this.find(path)
    if (inode === undefined) return undefined
    if ((inode.mode & KIND.mask) !== KIND.file) throw imageFault('path', path, 'is no file')
    return this.contents(inode, limit)
  }
}

/** The inode of a name among the entries of one block. */
function findEntry(block: Uint8Array, name: string): number | undefined {
  const view = viewOf(block)
  const wanted = new TextEncoder().encode(name)
  for (let at = 0; at + 8 <= block.length;) {
    const [inode, length, nameLength] = [view.getUint32(at, true), view.getUint16(at + 4, true), view.getUint8(at + 6)]
    const isWhole = nameLength === wanted.length && at + 8 + nameLength <= block.length
    if (inode !== 0 && isWhole && wanted.every((byte, i) => block[at + 8 + i] === byte)) return inode
    // Blocks of 64 KiB are longer than the field can say.
    const step = length === 0 || length === 0xffff ? block.length : length
    if (step < 8) return undefined
    at += step
  }
  return undefined
}

/** Refuses what cannot be: each of these is a divisor or a size further on. */
function checkSuperblock(superblock: DataView): void {
  const field = (name: keyof typeof SUPERBLOCK): number => superblock.getUint32(SUPERBLOCK[name], true)
  const unknown = field('incompatible') & ~KNOWN
  if (unknown !== 0) throw unsupported(`unknown features of the file system (0x${(unknown >>> 0).toString(16)})`, { features: unknown >>> 0 })
  if (field('logBlockSize') > 6) throw imageFault('log_block_size', field('logBlockSize'), 'is more than 64 KiB')
  if (field('inodesPerGroup') === 0) throw imageFault('inodes_per_group', 0, 'is nothing')
  const blockSize = 1024 << field('logBlockSize')
  const inodeSize = field('revision') === 0 ? 128 : superblock.getUint16(SUPERBLOCK.inodeSize, true)
  if (inodeSize < 128 || inodeSize > blockSize) throw imageFault('inode_size', inodeSize, 'is none')
  const descriptorSize = superblock.getUint16(SUPERBLOCK.descriptorSize, true)
  if ((field('incompatible') & WIDE) === 0) return
  if (descriptorSize < 64 || descriptorSize > blockSize) throw imageFault('desc_size', descriptorSize, 'is none')
}

/** The ext file system that begins where `image` begins; undefined where there is none. Rejects with INVALID_IMAGE or NOT_SUPPORTED. */
export async function openExt(image: DiskImageReader): Promise<FileSystem | undefined> {
  if (image.size < SUPERBLOCK.at + SUPERBLOCK.size) return undefined
  const superblock = viewOf(await image.read(SUPERBLOCK.at, SUPERBLOCK.size))
  if (superblock.getUint16(SUPERBLOCK.magic, true) !== MAGIC) return undefined
  checkSuperblock(superblock)
  return new ExtFileSystem(image, superblock)
}
