/**
 * Writes an ext2 file system from a tree of files: revision 1, blocks of 4096 bytes, one or more groups, each with a copy of the
 * superblock and of the table of groups. Linux, GRUB, pygrub and e2fsck read it. The same tree gives the same bytes.
 *
 *   group: superblock | table of groups | bitmap of blocks | bitmap of inodes | table of inodes | data
 *
 * Reference: Linux, Documentation/filesystems/ext2.rst and fs/ext2/ext2.h; Dave Poirier, "The Second Extended File System".
 */
import { ByteWriter, XenError } from '../../util/index.ts'
import type { FolderNode, TreeNode } from '../../drivers/index.ts'

const BLOCK = 4096
/** A bitmap is one block. */
const GROUP_BLOCKS = BLOCK * 8
const INODE = 128
const INODES_IN_BLOCK = BLOCK / INODE
const FIRST_INODE = 11
const ROOT_INODE = 2
const DIRECT = 12
/** Block numbers in one block. */
const POINTERS = BLOCK / 4
const MAGIC = 0xef53
const INCOMPAT_FILETYPE = 2
const TYPE = { file: 0o100_000, folder: 0o040_000, link: 0o120_000 } as const
const ENTRY_TYPE = { file: 1, folder: 2, link: 7 } as const
/** Bytes of a link's target that lie in its inode. */
const SHORT_LINK = 60
/** A fixed moment, so that images repeat: 2005-10-24. */
const TIME = 1_130_155_200

/** A file system's facts. */
export interface Ext2Options {
  /** Bytes; the smallest that holds the tree unless given. */
  readonly size?: number | undefined
  readonly label?: string | undefined
}

/** One inode that is to be written. */
interface Entry {
  readonly node: TreeNode
  readonly number: number
  readonly parent: number
  /** Bytes of its blocks; empty for a short link. */
  data: Uint8Array
  readonly folders: number
}

const encoder = /* @__PURE__ */ new TextEncoder()
const blocksOf = (bytes: number): number => Math.ceil(bytes / BLOCK)

/** Blocks of numbers that a file of so many blocks needs. */
function pointerBlocks(blocks: number): number {
  if (blocks <= DIRECT) return 0
  if (blocks <= DIRECT + POINTERS) return 1
  return 2 + Math.ceil((blocks - DIRECT - POINTERS) / POINTERS)
}

/** The inodes of a tree, the root first, each folder before what is in it. */
function listEntries(root: FolderNode): Entry[] {
  const entries: Entry[] = []
  const numbers = new Map<TreeNode, number>([[root, ROOT_INODE]])
  let next = FIRST_INODE
  const visit = (node: TreeNode, parent: number): void => {
    const number = numbers.get(node)!
    const children = node.kind === 'folder' ? [...node.children.values()] : []
    for (const child of children) numbers.set(child, next++)
    const data = node.kind === 'folder' ? folderBytes(node, { number, parent, numbers }) : node.kind === 'file' ? node.contents : encoder.encode(node.target)
    entries.push({ node, number, parent, data, folders: children.filter(({ kind }) => kind === 'folder').length })
    for (const child of children) visit(child, number)
  }
  visit(root, ROOT_INODE)
  return entries
}

/** A folder's blocks: entries do not cross blocks, and the last of a block reaches to its end. */
function folderBytes(folder: FolderNode, { number, parent, numbers }: { readonly number: number; readonly parent: number; readonly numbers: ReadonlyMap<TreeNode, number> }): Uint8Array {
  const rows = [['.', number, 'folder'], ['..', parent, 'folder'], ...[...folder.children.values()].map((child) => [child.name, numbers.get(child)!, child.kind])] as [string, number, keyof typeof ENTRY_TYPE][]
  const blocks: Uint8Array[] = []
  let writer = new ByteWriter(BLOCK)
  let lastAt = 0
  const close = (): void => {
    const block = new Uint8Array(BLOCK)
    const bytes = writer.finish()
    block.set(bytes)
    new DataView(block.buffer).setUint16(lastAt + 4, BLOCK - lastAt, true)
    blocks.push(block)
    writer = new ByteWriter(BLOCK)
  }
  let used = 0
  for (const [text, inode, kind] of rows) {
    const name = encoder.encode(text)
    const length = (8 + name.length + 3) & ~3
    if (used + length > BLOCK) {
      close()
      used = 0
    }
    lastAt = used
    writer.u32(inode).u16(length).u8(name.length).u8(ENTRY_TYPE[kind]).bytes(name).pad(4)
    used += length
  }
  close()
  const all = new Uint8Array(blocks.length * BLOCK)
  blocks.forEach((block, place) => all.set(block, place * BLOCK))
  return all
}

/** How the file system is divided. */
interface Division {
  readonly blocks: number
  readonly groups: number
  readonly tableBlocks: number
  readonly inodesInGroup: number
}

/** Blocks at the beginning of each group that are no data. */
const overheadOf = ({ tableBlocks, inodesInGroup }: Division): number => 1 + tableBlocks + 2 + inodesInGroup / INODES_IN_BLOCK

/** Divides a number of blocks; undefined where it is too small for what is to be in it. */
function divide(blocks: number, wanted: { readonly data: number; readonly inodes: number }): Division | undefined {
  const groups = Math.ceil(blocks / GROUP_BLOCKS)
  const tableBlocks = blocksOf(groups * 32)
  const spread = Math.ceil(wanted.inodes / groups / INODES_IN_BLOCK) * INODES_IN_BLOCK
  const division = { blocks, groups, tableBlocks, inodesInGroup: Math.max(INODES_IN_BLOCK, spread) }
  const overhead = overheadOf(division)
  const lastGroup = blocks - (groups - 1) * GROUP_BLOCKS
  if (lastGroup <= overhead || blocks - groups * overhead < wanted.data) return undefined
  return division
}

/** Writes one image. */
class Ext2Writer {
  private readonly image: Uint8Array
  private readonly view: DataView
  private readonly division: Division
  private readonly used: Uint8Array
  private next = 0
  private readonly label: string

  constructor(division: Division, label: string) {
    this.division = division
    this.label = label
    this.image = new Uint8Array(division.blocks * BLOCK)
    this.view = new DataView(this.image.buffer)
    this.used = new Uint8Array(division.blocks)
    const overhead = overheadOf(division)
    for (let group = 0; group < division.groups; group += 1) this.used.fill(1, group * GROUP_BLOCKS, Math.min(division.blocks, group * GROUP_BLOCKS + overhead))
  }

  write(entries: readonly Entry[]): Uint8Array {
    for (const entry of entries) this.inode(entry)
    this.bitmaps(entries)
    for (let group = 0; group < this.division.groups; group += 1) this.head(group, entries)
    return this.image
  }

  private take(): number {
    while (this.used[this.next] === 1) this.next += 1
    this.used[this.next] = 1
    return this.next
  }

  private inodeAt(number: number): number {
    const { inodesInGroup, tableBlocks } = this.division
    const group = Math.floor((number - 1) / inodesInGroup)
    return (group * GROUP_BLOCKS + 3 + tableBlocks) * BLOCK + ((number - 1) % inodesInGroup) * INODE
  }

  private inode({ node, number, data, folders }: Entry): void {
    const { view } = this
    const at = this.inodeAt(number)
    const isShort = node.kind === 'link' && data.length < SHORT_LINK
    const mode = TYPE[node.kind] | (node.kind === 'file' ? node.mode : node.kind === 'folder' ? 0o755 : 0o777)
    view.setUint16(at, mode, true)
    view.setUint32(at + 4, data.length, true)
    for (const time of [8, 12, 16]) view.setUint32(at + time, TIME, true)
    view.setUint16(at + 26, node.kind === 'folder' ? 2 + folders : 1, true)
    if (isShort) return this.image.set(data, at + 40)
    const blocks = Array.from({ length: blocksOf(data.length) }, (_, place) => this.dataBlock(data, place))
    const pointers = this.pointers(at + 40, blocks)
    // In units of 512 bytes.
    view.setUint32(at + 28, (blocks.length + pointers) * (BLOCK / 512), true)
  }

  private dataBlock(data: Uint8Array, place: number): number {
    const block = this.take()
    this.image.set(data.subarray(place * BLOCK, (place + 1) * BLOCK), block * BLOCK)
    return block
  }

  /** Writes the numbers of a file's blocks; how many blocks of numbers that took. */
  private pointers(at: number, blocks: readonly number[]): number {
    blocks.slice(0, DIRECT).forEach((block, place) => this.view.setUint32(at + place * 4, block, true))
    if (blocks.length <= DIRECT) return 0
    this.view.setUint32(at + DIRECT * 4, this.pointerBlock(blocks.slice(DIRECT, DIRECT + POINTERS)), true)
    const rest = blocks.slice(DIRECT + POINTERS)
    if (rest.length === 0) return 1
    const second: number[] = []
    for (let from = 0; from < rest.length; from += POINTERS) second.push(this.pointerBlock(rest.slice(from, from + POINTERS)))
    this.view.setUint32(at + (DIRECT + 1) * 4, this.pointerBlock(second), true)
    return 2 + second.length
  }

  private pointerBlock(numbers: readonly number[]): number {
    const block = this.take()
    numbers.forEach((number, place) => this.view.setUint32(block * BLOCK + place * 4, number, true))
    return block
  }

  private bitmaps(entries: readonly Entry[]): void {
    const { groups, blocks, tableBlocks, inodesInGroup } = this.division
    const set = (block: number, bit: number): void => { this.image[block * BLOCK + (bit >>> 3)]! |= 1 << (bit & 7) }
    for (let group = 0; group < groups; group += 1) {
      const [first, bitmap] = [group * GROUP_BLOCKS, group * GROUP_BLOCKS + 1 + tableBlocks]
      for (let bit = 0; bit < GROUP_BLOCKS; bit += 1) if (first + bit >= blocks || this.used[first + bit] === 1) set(bitmap, bit)
      for (let bit = inodesInGroup; bit < GROUP_BLOCKS; bit += 1) set(bitmap + 1, bit)
    }
    const numbers = [...Array.from({ length: FIRST_INODE - 1 }, (_, place) => place + 1), ...entries.map(({ number }) => number)]
    for (const number of numbers) {
      const group = Math.floor((number - 1) / inodesInGroup)
      set(group * GROUP_BLOCKS + 2 + tableBlocks, (number - 1) % inodesInGroup)
    }
  }

  /** Free blocks, free inodes and folders of a group. */
  private counts(group: number, entries: readonly Entry[]): readonly [number, number, number] {
    const { blocks, inodesInGroup } = this.division
    const inGroup = (number: number): boolean => Math.floor((number - 1) / inodesInGroup) === group
    let free = 0
    for (let block = group * GROUP_BLOCKS; block < Math.min(blocks, (group + 1) * GROUP_BLOCKS); block += 1) if (this.used[block] === 0) free += 1
    const own = entries.filter(({ number }) => inGroup(number) && number >= FIRST_INODE).length
    const reserved = group === 0 ? FIRST_INODE - 1 : 0
    return [free, inodesInGroup - own - reserved, entries.filter(({ number, node }) => inGroup(number) && node.kind === 'folder').length]
  }

  /** A group's copy of the superblock and of the table of groups. */
  private head(group: number, entries: readonly Entry[]): void {
    const { groups, blocks, tableBlocks, inodesInGroup } = this.division
    const counts = Array.from({ length: groups }, (_, each) => this.counts(each, entries))
    const sum = (place: 0 | 1): number => counts.reduce((total, each) => total + each[place], 0)
    const first = group * GROUP_BLOCKS * BLOCK
    const superblock = new ByteWriter(1024)
      .u32(inodesInGroup * groups).u32(blocks).u32(0).u32(sum(0)).u32(sum(1)).u32(0).u32(2).u32(2)
      .u32(GROUP_BLOCKS).u32(GROUP_BLOCKS).u32(inodesInGroup).u32(0).u32(TIME).u16(0).u16(0xffff).u16(MAGIC).u16(1).u16(1).u16(0)
      .u32(TIME).u32(0).u32(0).u32(1).u16(0).u16(0).u32(FIRST_INODE).u16(INODE).u16(group).u32(0).u32(INCOMPAT_FILETYPE).u32(0)
      .bytes(this.uuid()).bytes(encoder.encode(this.label.padEnd(16, '\0')).subarray(0, 16))
    this.image.set(superblock.finish(), group === 0 ? 1024 : first)
    const table = new ByteWriter(groups * 32)
    counts.forEach(([freeBlocks, freeInodes, folders], each) => {
      const start = each * GROUP_BLOCKS + 1 + tableBlocks
      table.u32(start).u32(start + 1).u32(start + 2).u16(freeBlocks).u16(freeInodes).u16(folders).u16(0).u64(0n).u32(0)
    })
    this.image.set(table.finish(), first + BLOCK)
  }

  /** Of the label alone, so that images repeat. */
  private uuid(): Uint8Array {
    const bytes = Uint8Array.from({ length: 16 }, (_, at) => (this.label.charCodeAt(at % Math.max(1, this.label.length)) || 0) * 31 + at * 17)
    bytes[6] = (bytes[6]! & 0x0f) | 0x40
    bytes[8] = (bytes[8]! & 0x3f) | 0x80
    return bytes
  }
}

/** The bytes of a file system with this tree. Throws OUT_OF_RESOURCES where a size is given that is too small. */
export function ext2Image(root: FolderNode, { size, label = '' }: Ext2Options = {}): Uint8Array {
  const entries = listEntries(root)
  const needed = ({ node, data }: Entry): number => (node.kind === 'link' && data.length < SHORT_LINK ? 0 : blocksOf(data.length) + pointerBlocks(blocksOf(data.length)))
  const wanted = { data: entries.reduce((sum, entry) => sum + needed(entry), 0), inodes: entries.length + FIRST_INODE }
  if (size !== undefined) {
    const division = divide(Math.floor(size / BLOCK), wanted)
    if (division === undefined) throw new XenError('OUT_OF_RESOURCES', `a file system of ${size} bytes does not hold ${wanted.data * BLOCK} bytes of files`, { details: { size, needed: wanted.data * BLOCK } })
    return new Ext2Writer(division, label).write(entries)
  }
  // A quarter more than needed, so that a guest can write.
  let blocks = Math.max(64, Math.ceil(wanted.data * 1.25) + 16)
  for (let division = divide(blocks, wanted); ; division = divide(blocks, wanted)) {
    if (division !== undefined) return new Ext2Writer(division, label).write(entries)
    blocks += 64
  }
}
