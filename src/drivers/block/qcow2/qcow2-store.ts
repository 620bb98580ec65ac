/**
 * A disk in a qcow2 file: two levels of tables from the disk's clusters to the file's, above another disk that is only read. Reading takes clusters that are packed,
 * zero, below, or there; writing keeps the counts, so that QEMU's tools find the file sound at any time, and leaves internal snapshots as they are.
 *
 * The file is hostile: every place that a table names is looked at, and the disk's contents are never written where the file's own tables lie.
 *
 * Reference: QEMU, docs/interop/qcow2.txt; block/qcow2-cluster.c.
 */
import { badState, XenError } from '../../../util/index.ts'
import { checkRange, checkWritable, type BlockStore } from '../block-store.ts'
import { badImage, clearAutoclear, readHeader, type QcowHeader } from './header.ts'
import type { ImageFile } from './image-file.ts'
import { Refcounts } from './refcounts.ts'

/** What an image is opened with. */
export interface QcowOptions {
  readonly readOnly?: boolean | undefined
  /** The disk below, where the image has one: it is only read, and closed with the image. */
  readonly backing?: BlockStore | undefined
  /** Unpacks raw deflate into so many bytes at most; without it clusters that are packed cannot be read. */
  inflate?(packed: Uint8Array, most: number): Uint8Array
}

/** Bits of entries: packed; used once, so that it may be written; reads as zeros. The rest is a place. */
const PACKED = 1n << 62n
const OWN = 1n << 63n
const ZERO = 1n
const PLACE = 0x00ff_ffff_ffff_fe00n
const SECTOR = 512

/** What an entry of the second table says about a cluster. */
type Cluster =
  | { readonly kind: 'below' | 'zero' }
  | { readonly kind: 'there'; readonly offset: number; readonly isOwn: boolean }
  /** `length` bytes are there, of `span` that it may take. */
  | { readonly kind: 'packed'; readonly offset: number; readonly length: number; readonly span: number }

interface Table {
  /** Place in the file. */
  offset: number
  readonly view: DataView
}

/** What is below an image, and in which format, for whoever opens it; undefined where nothing is. Throws IO for what is no image. */
export const backingOf = (file: ImageFile): QcowHeader['backing'] => readHeader(file).backing

/** A disk in a qcow2 file. */
export class QcowBlockStore implements BlockStore {
  readonly readOnly: boolean
  readonly size: number
  private readonly file: ImageFile
  private readonly options: QcowOptions
  private readonly header: QcowHeader
  private readonly cluster: number
  private readonly l1: DataView
  private readonly l2 = new Map<number, Table>()
  private readonly counts: Refcounts | undefined

  /** Opens an image. Throws IO for what is none that can be read here, PERMISSION_DENIED for one that may only be read, INVALID_STATE where what is below is missing. */
  constructor(file: ImageFile, options: QcowOptions = {}) {
    const header = this.header = readHeader(file)
    this.file = file
    this.options = options
    this.size = header.size
    this.readOnly = options.readOnly === true
    this.cluster = 2 ** header.clusterBits
    if ((header.backing === undefined) !== (options.backing === undefined)) throw badState(header.backing === undefined ? 'the image has nothing below' : `the image stands on ${header.backing.name}`)
    if (!this.readOnly && header.unwritable !== undefined) throw new XenError('PERMISSION_DENIED', `the qcow2 image cannot be written: ${header.unwritable}`, { details: { format: 'qcow2', why: header.unwritable } })
    this.l1 = this.tableAt(header.l1.offset, header.l1.entries * 8)
    if (this.readOnly) return
    this.counts = new Refcounts(file, header)
    this.keepTables(this.counts)
    clearAutoclear(file, header)
  }

  private tableAt(offset: number, length: number): DataView {
    const bytes = new Uint8Array(length)
    this.file.read(offset, bytes)
    return new DataView(bytes.buffer)
  }

  /** Clusters of tables are not the disk's to write to. */
  private keepTables(counts: Refcounts): void {
    const { header: { l1 }, cluster } = this
    counts.keep(l1.offset, Math.ceil(l1.entries * 8 / cluster))
    for (let at = 0; at < l1.entries; at += 1) {
      const place = this.placeOf(this.l1.getBigUint64(at * 8))
      if (place !== 0) counts.keep(place, 1)
    }
  }

  private placeOf(entry: bigint): number {
    return Number(entry & PLACE)
  }

  /** What the file is known by. */
  get stamp(): string | undefined {
    return this.file.stamp
  }

  // Looking up

  /** The second table for a cluster; undefined where there is none. */
  private tableFor(index: number): Table | undefined {
    const at = Math.floor(index / (this.cluster / 8))
    const known = this.l2.get(at)
    if (known !== undefined) return known
    const offset = this.placeOf(this.l1.getBigUint64(at * 8))
    if (offset === 0) return undefined
    if (offset % this.cluster !== 0 || offset + this.cluster > this.file.size) throw badImage(`a second table at ${offset} lies nowhere in a file of ${this.file.size}`, { offset })
    const made = { offset, view: this.tableAt(offset, this.cluster) }
    this.l2.set(at, made)
    return made
  }

  private slotOf(index: number): number {
    return (index % (this.cluster / 8)) * 8
  }

  private look(index: number): Cluster {
    const entry = this.tableFor(index)?.view.getBigUint64(this.slotOf(index)) ?? 0n
    if ((entry & PACKED) !== 0n) return this.packedAt(entry)
    if (this.header.version >= 3 && (entry & ZERO) !== 0n) return { kind: 'zero' }
    const offset = this.placeOf(entry)
    if (offset === 0) return { kind: 'below' }
    if (offset % this.cluster !== 0 || offset >= this.file.size) throw badImage(`cluster ${index} of the disk at ${offset} lies nowhere in a file of ${this.file.size}`, { offset })
    return { kind: 'there', offset, isOwn: (entry & OWN) !== 0n }
  }

  /** A packed cluster: where its first byte is, and how many sectors follow the first. */
  private packedAt(entry: bigint): Cluster {
    const bits = BigInt(62 - (this.header.clusterBits - 8))
    const offset = Number(entry & ((1n << bits) - 1n))
    const sectors = Number((entry & (PACKED - 1n)) >> bits) + 1
    const span = sectors * SECTOR - (offset % SECTOR)
    const length = Math.min(span, this.file.size - offset)
    if (length <= 0) throw badImage(`a packed cluster at ${offset} lies nowhere in a file of ${this.file.size}`, { offset })
    return { kind: 'packed', offset, length, span }
  }

  /** The parts of clusters that a range touches. */
  private* pieces(offset: number, length: number): Generator<{ readonly index: number; readonly start: number; readonly place: number; readonly length: number }> {
    for (let place = 0; place < length;) {
      const start = (offset + place) % this.cluster
      const part = Math.min(this.cluster - start, length - place)
      yield { index: Math.floor((offset + place) / this.cluster), start, place, length: part }
      place += part
    }
  }

  // Reading

  async read(offset: number, target: Uint8Array): Promise<void> {
    checkRange(this, offset, target.length)
    for (const { index, start, place, length } of this.pieces(offset, target.length)) await this.readPiece(index, start, target.subarray(place, place + length))
  }

  private async readPiece(index: number, start: number, target: Uint8Array): Promise<void> {
    const found = this.look(index)
    if (found.kind === 'there') return this.readFile(found.offset + start, target)
    if (found.kind === 'packed') return void target.set(this.unpacked(found).subarray(start, start + target.length))
    const { backing } = this.options
    target.fill(0)
    const from = index * this.cluster + start
    // What is below may be shorter: behind its end there are zeros.
    const there = found.kind === 'zero' || backing === undefined ? 0 : Math.min(target.length, backing.size - from)
    if (there > 0) await backing!.read(from, target.subarray(0, there))
  }

  /** Bytes of the file; the last cluster may be cut short, and has zeros there. */
  private readFile(offset: number, target: Uint8Array): void {
    const there = Math.max(0, Math.min(target.length, this.file.size - offset))
    this.file.read(offset, target.subarray(0, there))
    target.fill(0, there)
  }

  private unpacked({ offset, length }: { readonly offset: number; readonly length: number }): Uint8Array {
    const { inflate } = this.options
    if (inflate === undefined) throw badImage('a cluster is packed, and nobody unpacks it here')
    const packed = new Uint8Array(length)
    this.file.read(offset, packed)
    let bytes: Uint8Array
    try {
      bytes = inflate(packed, this.cluster)
    } catch (cause) {
      throw new XenError('IO', `no sound qcow2 image: a packed cluster at ${offset} cannot be unpacked`, { details: { format: 'qcow2', offset }, cause })
    }
    if (bytes.length !== this.cluster) throw badImage(`a packed cluster at ${offset} has ${bytes.length} bytes`, { offset })
    return bytes
  }

  // Writing

  async write(offset: number, source: Uint8Array): Promise<void> {
    checkWritable(this)
    checkRange(this, offset, source.length)
    // The guest may change its page while what is below is read.
    const bytes = source.slice()
    for (const { index, start, place, length } of this.pieces(offset, bytes.length)) await this.writePiece(index, start, bytes.subarray(place, place + length))
  }

  private async writePiece(index: number, start: number, source: Uint8Array): Promise<void> {
    const found = this.look(index)
    if (found.kind === 'there' && this.mayWrite(found)) return this.file.write(found.offset + start, source)
    const whole = new Uint8Array(this.cluster)
    if (source.length < this.cluster) await this.readPiece(index, 0, whole)
    whole.set(source, start)
    // Others may have written here while what is below was read.
    if (this.changedSince(index, found)) return this.writePiece(index, start, source)
    const table = this.ownTable(index)
    const cluster = this.counted.allocate()
    this.file.write(cluster * this.cluster, whole)
    this.point(table, index, BigInt(cluster * this.cluster) | OWN)
  }

  private changedSince(index: number, before: Cluster): boolean {
    return JSON.stringify(this.look(index)) !== JSON.stringify(before)
  }

  private get counted(): Refcounts {
    if (this.counts === undefined) throw badState('the image is only read')
    return this.counts
  }

  /** Whether a cluster is the disk's alone. Throws IO where it is one of the file's tables. */
  private mayWrite({ offset, isOwn }: { readonly offset: number; readonly isOwn: boolean }): boolean {
    const index = offset / this.cluster
    if (this.counted.own.has(index)) throw badImage(`the disk's contents at ${offset} lie in a table of the file's own`, { offset })
    return isOwn && this.counted.of(index) === 1
  }

  /** The second table for a cluster, which nobody else has. */
  private ownTable(index: number): Table {
    const { cluster } = this
    const at = Math.floor(index / (cluster / 8))
    const found = this.tableFor(index)
    const entry = this.l1.getBigUint64(at * 8)
    if (found !== undefined && (entry & OWN) !== 0n && this.counted.of(found.offset / cluster) === 1) return found
    const bytes = new Uint8Array(cluster)
    // That of a snapshot stays as it is.
    if (found !== undefined) bytes.set(new Uint8Array(found.view.buffer))
    const place = this.counted.allocate()
    this.file.write(place * cluster, bytes)
    this.counted.own.add(place)
    this.enter(this.l1, { at: at * 8, offset: this.header.l1.offset, entry: BigInt(place * cluster) | OWN })
    if (found !== undefined) {
      this.counted.own.delete(found.offset / cluster)
      this.counted.release(found.offset / cluster)
    }
    const made = { offset: place * cluster, view: new DataView(bytes.buffer) }
    this.l2.set(at, made)
    return made
  }

  private enter(view: DataView, { at, offset, entry }: { readonly at: number; readonly offset: number; readonly entry: bigint }): void {
    view.setBigUint64(at, entry)
    this.file.write(offset + at, new Uint8Array(view.buffer, at, 8))
  }

  /** Has a table's entry say something else, and lets go of what it said before. */
  private point(table: Table, index: number, entry: bigint): void {
    const before = this.look(index)
    const old = table.view.getBigUint64(this.slotOf(index))
    this.enter(table.view, { at: this.slotOf(index), offset: table.offset, entry })
    const { cluster } = this
    if (before.kind === 'packed') {
      for (let at = Math.floor(before.offset / cluster); at <= Math.floor((before.offset + before.span - 1) / cluster); at += 1) this.counted.release(at)
    } else if (before.kind !== 'below' && this.placeOf(old) !== 0) this.counted.release(this.placeOf(old) / cluster)
  }

  flush(): void {
    this.file.flush()
  }

  /** Forgets whole clusters, which others of the file may have then, and writes zeros over parts of them that hold anything else. */
  async discard(offset: number, length: number): Promise<void> {
    checkWritable(this)
    checkRange(this, offset, length)
    for (const { index, start, length: part } of this.pieces(offset, length)) {
      const found = this.look(index)
      const isEmpty = found.kind === 'zero' || (found.kind === 'below' && this.options.backing === undefined)
      if (isEmpty) continue
      // The last cluster of a disk may be longer than the disk.
      const isWhole = start === 0 && (part === this.cluster || index * this.cluster + part === this.size)
      const canSay = this.options.backing === undefined || this.header.version >= 3
      if (!isWhole || !canSay) await this.writePiece(index, start, new Uint8Array(part))
      else {
        if (found.kind === 'there') this.mayWrite(found)
        this.point(this.ownTable(index), index, this.options.backing === undefined ? 0n : ZERO)
      }
    }
  }

  async close(): Promise<void> {
    this.file.close()
    await this.options.backing?.close()
  }
}
