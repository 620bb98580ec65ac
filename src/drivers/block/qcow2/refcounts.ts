/**
 * How often each cluster of a qcow2 file is used: a table of blocks of counts, by which clusters are found that nobody uses. Counts are written before what
 * they count, so that a file whose writer dies has clusters that are lost at worst, never any that are used twice.
 *
 * Reference: QEMU, docs/interop/qcow2.txt, "Host cluster management"; block/qcow2-refcount.c.
 */
import { badImage, writeRefcountPlace, type QcowHeader } from './header.ts'
import type { ImageFile } from './image-file.ts'

/** Bytes of a count. */
const COUNT = 2
const MOST = 0xffff
/** Bits of an entry of the table that are the place of a block. */
const PLACE = 0xffff_ffff_ffff_fe00n

/** The counts of one file. */
export class Refcounts {
  private readonly file: ImageFile
  private readonly cluster: number
  private readonly perBlock: number
  /** Places of blocks; 0 for none. */
  private table: number[]
  private place: { offset: number; clusters: number }
  private readonly blocks = new Map<number, DataView>()
  /** No cluster before this one is free. */
  private hint = 1
  /** The cluster behind the last. */
  private end: number
  /** Clusters that hold the file's own tables: nothing of a disk's contents may be written there. */
  readonly own = new Set<number>()

  /** Reads the table. Throws IO. */
  constructor(file: ImageFile, { clusterBits, refcounts: { offset, clusters } }: QcowHeader) {
    this.file = file
    this.cluster = 2 ** clusterBits
    this.perBlock = this.cluster / COUNT
    this.place = { offset, clusters }
    this.end = Math.ceil(file.size / this.cluster)
    const bytes = new Uint8Array(clusters * this.cluster)
    file.read(offset, bytes)
    const view = new DataView(bytes.buffer)
    this.table = Array.from({ length: bytes.length / 8 }, (_, at) => Number(view.getBigUint64(at * 8) & PLACE))
    this.keep(0, 1)
    this.keep(offset, clusters)
    for (const block of this.table) if (block !== 0) this.keep(block, 1)
  }

  /** Takes note of clusters that are the file's own. Throws IO where they are so already: two tables cannot lie at one place. */
  keep(offset: number, clusters: number): void {
    if (offset % this.cluster !== 0 || offset + this.cluster * (clusters - 1) >= this.file.size) throw badImage(`a table at ${offset} lies nowhere in a file of ${this.file.size}`, { offset })
    for (let at = offset / this.cluster; at < offset / this.cluster + clusters; at += 1) {
      if (this.own.has(at)) throw badImage(`two tables lie in cluster ${at}`, { cluster: at })
      this.own.add(at)
    }
  }

  /** How often a cluster is used. */
  of(index: number): number {
    return this.block(index)?.getUint16((index % this.perBlock) * COUNT) ?? 0
  }

  private block(index: number): DataView | undefined {
    const at = Math.floor(index / this.perBlock)
    const place = this.table[at] ?? 0
    if (place === 0) return undefined
    const known = this.blocks.get(at)
    if (known !== undefined) return known
    const bytes = new Uint8Array(this.cluster)
    this.file.read(place, bytes.subarray(0, Math.min(bytes.length, this.file.size - place)))
    const made = new DataView(bytes.buffer)
    this.blocks.set(at, made)
    return made
  }

  /** Uses a cluster once less. */
  release(index: number): void {
    const count = this.of(index)
    if (count === 0 || this.own.has(index)) throw badImage(`cluster ${index}, which is given up, is ${count === 0 ? 'nobody\'s' : 'a table of the file\'s own'}`, { cluster: index })
    this.write(index, count - 1)
    if (count === 1) this.hint = Math.min(this.hint, index)
  }

  private write(index: number, count: number): void {
    const block = this.block(index)
    if (block === undefined || count > MOST) throw badImage(`cluster ${index} cannot be counted`, { cluster: index })
    const at = (index % this.perBlock) * COUNT
    block.setUint16(at, count)
    this.file.write(this.table[Math.floor(index / this.perBlock)]! + at, new Uint8Array(block.buffer, at, COUNT))
  }

  /** A cluster that nobody uses, which is used once from now on. Its bytes are what they were: whoever asks writes all of it. */
  allocate(): number {
    for (; this.hint < this.end; this.hint += 1) {
      // One that no block counts may be lost, or may lie about being free.
      if (this.own.has(this.hint) || this.block(this.hint) === undefined || this.of(this.hint) !== 0) continue
      this.write(this.hint, 1)
      return this.hint
    }
    const index = this.end
    this.end += 1
    if (this.block(index) === undefined) this.addBlock(index)
    this.write(index, 1)
    this.hint = index
    return index
  }

  /** Gives the clusters around one a block of counts: behind the end, where it counts itself, or is counted by the one before. */
  private addBlock(index: number): void {
    const at = Math.floor(index / this.perBlock)
    if (at > this.table.length) throw badImage(`a file of ${this.file.size} bytes is longer than its counts can be`)
    if (at === this.table.length) this.growTable()
    if (this.block(index) !== undefined) return
    const place = this.end
    this.end += 1
    const bytes = new Uint8Array(this.cluster)
    const within = Math.floor(place / this.perBlock) === at
    if (within) new DataView(bytes.buffer).setUint16((place % this.perBlock) * COUNT, 1)
    this.file.write(place * this.cluster, bytes)
    this.own.add(place)
    this.blocks.set(at, new DataView(bytes.buffer))
    this.enter(at, place * this.cluster)
    if (within) return
    if (this.block(place) === undefined) this.addBlock(place)
    this.write(place, 1)
  }

  private enter(at: number, place: number): void {
    this.table[at] = place
    const bytes = new Uint8Array(8)
    new DataView(bytes.buffer).setBigUint64(0, BigInt(place))
    this.file.write(this.place.offset + at * 8, bytes)
  }

  /** A larger table behind the end, with the blocks that count it and themselves. */
  private growTable(): void {
    const { table, place: old, cluster, perBlock } = this
    const first = this.end
    const clusters = old.clusters + Math.ceil(old.clusters / 2)
    // The blocks behind the table count from where no block is: their number depends on itself.
    const from = table.length
    let blocks = 1
    while ((from + blocks) * perBlock < first + clusters + blocks) blocks += 1
    const grown = [...table, ...Array.from({ length: clusters * cluster / 8 - table.length }, () => 0)]
    for (let at = 0; at < blocks; at += 1) {
      const place = first + clusters + at
      grown[from + at] = place * cluster
      this.blocks.set(from + at, new DataView(new ArrayBuffer(cluster)))
      this.own.add(place)
    }
    this.end = first + clusters + blocks
    const bytes = new Uint8Array(clusters * cluster)
    const view = new DataView(bytes.buffer)
    for (const [at, place] of grown.entries()) view.setBigUint64(at * 8, BigInt(place))
    for (let at = 0; at < blocks; at += 1) this.file.write((first + clusters + at) * cluster, new Uint8Array(cluster))
    this.file.write(first * cluster, bytes)
    for (let at = first; at < first + clusters; at += 1) this.own.add(at)
    this.table = grown
    for (let at = first; at < this.end; at += 1) this.write(at, 1)
    writeRefcountPlace(this.file, first * cluster, clusters)
    this.place = { offset: first * cluster, clusters }
    for (let at = old.offset / cluster; at < old.offset / cluster + old.clusters; at += 1) {
      this.own.delete(at)
      this.release(at)
    }
  }
}
