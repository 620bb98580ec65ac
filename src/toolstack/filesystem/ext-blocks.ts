/**
 * Where the bytes of a file in an ext file system are: in a tree of extents, in blocks of block numbers, or in the inode
 * itself. Every number comes from the image and is believed only as far as it leads to bytes of the image.
 * Reference: Linux Documentation/filesystems/ext4, "The Contents of inode.i_block"; fs/ext4/ext4_extents.h.
 */
import { imageFault, viewOf, type DiskImageReader } from './image-reader.ts'

/** A file system as far as its blocks go. */
export interface Volume {
  readonly image: DiskImageReader
  readonly blockSize: number
}

/** A file, folder or link. */
export interface Inode {
  readonly number: number
  readonly bytes: Uint8Array
  readonly mode: number
  readonly flags: number
  /** Bytes of its contents. */
  readonly size: number
  /** The 60 bytes that say where they are. */
  readonly blocks: Uint8Array
}

/** Blocks that follow each other in the file and on the disk. */
export interface BlockRun {
  /** First block of the file. */
  readonly logical: number
  /** First block of the disk. */
  readonly physical: number
  readonly count: number
}

const EXTENTS = 0x80000
const INLINE = 0x1000_0000
const EXTENT = { magic: 0xf30a, header: 12, size: 12, maxDepth: 5, initialised: 32768 } as const
/** Pieces of one file: a file of the largest size that is read has no more, even in single blocks of 1 KiB. */
const MAX_RUNS = 200_000
const DIRECT = 12

/** Reads a tree of extents. */
class ExtentReader {
  readonly runs: BlockRun[] = []
  private readonly volume: Volume
  private readonly lastBlock: number
  private visited = 0

  constructor(volume: Volume, lastBlock: number) {
    this.volume = volume
    this.lastBlock = lastBlock
  }

  async node(bytes: Uint8Array, depth?: number): Promise<void> {
    const view = viewOf(bytes)
    const [magic, entries, found] = [view.getUint16(0, true), view.getUint16(2, true), view.getUint16(6, true)]
    if (magic !== EXTENT.magic) throw imageFault('extent header', magic, 'is none')
    if (found > EXTENT.maxDepth || (depth !== undefined && found !== depth)) throw imageFault('extent depth', found, 'cannot be')
    if (EXTENT.header + entries * EXTENT.size > bytes.length) throw imageFault('extents', entries, 'do not fit into their block')
    for (let i = 0; i < entries; i += 1) await this.entry(view, EXTENT.header + i * EXTENT.size, found)
  }

  private async entry(view: DataView, at: number, depth: number): Promise<void> {
    this.visited += 1
    if (this.visited > MAX_RUNS) throw imageFault('extents', MAX_RUNS, 'do not suffice for the file')
    const logical = view.getUint32(at, true)
    if (logical >= this.lastBlock) return
    if (depth > 0) {
      const block = view.getUint32(at + 4, true) + view.getUint16(at + 8, true) * 2 ** 32
      return this.node(await this.volume.image.read(block * this.volume.blockSize, this.volume.blockSize), depth - 1)
    }
    const count = view.getUint16(at + 4, true)
    // A longer one has been allocated and not been written: it reads as zeros.
    if (count > EXTENT.initialised) return
    this.runs.push({ logical, physical: view.getUint32(at + 8, true) + view.getUint16(at + 6, true) * 2 ** 32, count })
  }
}

/** Reads block numbers out of the inode and out of blocks of them, up to three deep. */
class IndirectReader {
  readonly runs: BlockRun[] = []
  private readonly volume: Volume
  private readonly lastBlock: number
  private logical = 0

  constructor(volume: Volume, lastBlock: number) {
    this.volume = volume
    this.lastBlock = lastBlock
  }

  /** Blocks of the file that one number of this depth stands for. */
  private span(depth: number): number {
    return (this.volume.blockSize / 4) ** depth
  }

  private add(physical: number): void {
    const last = this.runs.at(-1)
    if (last !== undefined && last.physical + last.count === physical && last.logical + last.count === this.logical) {
      this.runs[this.runs.length - 1] = { ...last, count: last.count + 1 }
      return
    }
    if (this.runs.length >= MAX_RUNS) throw imageFault('blocks', MAX_RUNS, 'do not suffice for the file')
    this.runs.push({ logical: this.logical, physical, count: 1 })
  }

  private async number(physical: number, depth: number): Promise<void> {
    if (this.logical >= this.lastBlock) return
    if (physical === 0) this.logical += this.span(depth)
    else if (depth === 0) {
      this.add(physical)
      this.logical += 1
    } else {
      const { image, blockSize } = this.volume
      const view = viewOf(await image.read(physical * blockSize, blockSize))
      for (let at = 0; at < blockSize && this.logical < this.lastBlock; at += 4) await this.number(view.getUint32(at, true), depth - 1)
    }
  }

  async inode(blocks: Uint8Array): Promise<void> {
    const view = viewOf(blocks)
    for (let i = 0; i < DIRECT; i += 1) await this.number(view.getUint32(i * 4, true), 0)
    for (let depth = 1; depth <= 3; depth += 1) await this.number(view.getUint32((DIRECT + depth - 1) * 4, true), depth)
  }
}

/** Where the first `length` bytes of a file are. Rejects with INVALID_IMAGE. */
export async function fileBlocks(volume: Volume, inode: Inode, length: number): Promise<readonly BlockRun[]> {
  const lastBlock = Math.ceil(length / volume.blockSize)
  if ((inode.flags & EXTENTS) !== 0) {
    const reader = new ExtentReader(volume, lastBlock)
    await reader.node(inode.blocks)
    return reader.runs
  }
  const reader = new IndirectReader(volume, lastBlock)
  await reader.inode(inode.blocks)
  return reader.runs
}

/** The first `length` bytes of a file; what no run covers is zero. */
export async function readRuns({ image, blockSize }: Volume, runs: readonly BlockRun[], length: number): Promise<Uint8Array> {
  const contents = new Uint8Array(length)
  for (const { logical, physical, count } of runs) {
    const start = logical * blockSize
    const target = contents.subarray(start, Math.min(length, start + count * blockSize))
    if (target.length > 0) await image.readInto(physical * blockSize, target)
  }
  return contents
}

const ATTRIBUTES = { magic: 0xea020000, entry: 16, system: 7 } as const
const NAME = 'data'

/** What the attribute `system.data` behind an inode holds: the rest of a file that is kept in its inode. */
function attributeData({ bytes }: Inode): Uint8Array {
  const none = new Uint8Array(0)
  if (bytes.length < 132) return none
  const view = viewOf(bytes)
  const start = 128 + view.getUint16(128, true) + 4
  if (start > bytes.length || view.getUint32(start - 4, true) !== ATTRIBUTES.magic) return none
  for (let at = start; at + ATTRIBUTES.entry <= bytes.length && view.getUint32(at, true) !== 0;) {
    const nameLength = view.getUint8(at)
    const name = String.fromCharCode(...bytes.subarray(at + ATTRIBUTES.entry, at + ATTRIBUTES.entry + nameLength))
    if (view.getUint8(at + 1) === ATTRIBUTES.system && name === NAME) {
      const value = start + view.getUint16(at + 2, true)
      return bytes.subarray(Math.min(value, bytes.length), Math.min(bytes.length, value + view.getUint32(at + 8, true)))
    }
    at += (ATTRIBUTES.entry + nameLength + 3) & ~3
  }
  return none
}

/** The contents that an inode holds itself; undefined for one whose contents are in blocks. */
export function inlineData(inode: Inode): Uint8Array | undefined {
  if ((inode.flags & INLINE) === 0) return undefined
  const rest = attributeData(inode)
  const all = new Uint8Array(inode.blocks.length + rest.length)
  all.set(inode.blocks)
  all.set(rest, inode.blocks.length)
  return all
}
