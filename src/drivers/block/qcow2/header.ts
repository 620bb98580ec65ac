/**
 * The head of a qcow2 file: where its tables are, how large everything is, what is below. Whatever it says is looked at before it is believed: strangers
 * write images.
 *
 * Reference: QEMU, docs/interop/qcow2.txt; block/qcow2.c, qcow2_do_open.
 */
import { XenError } from '../../../util/index.ts'
import { SECTOR_SIZE } from '../block-store.ts'
import type { ImageFile } from './image-file.ts'

const MAGIC = 0x514649fb
/** Bytes of the head of each version. */
const LENGTHS: Readonly<Record<number, number>> = { 2: 72, 3: 104 }
const [MIN_CLUSTER_BITS, MAX_CLUSTER_BITS] = [9, 21]
/** Bytes of the tables that are held: QEMU's own limits. */
const MAX_L1_BYTES = 32 << 20
const MAX_REFCOUNT_TABLE_BYTES = 8 << 20
const MAX_BACKING_NAME = 1023
const MAX_EXTENSIONS = 64
/** An extension that says what format the file below has, and the end of them. */
const EXTENSION = { END: 0, BACKING_FORMAT: 0xe2792aca } as const
/** Features without which nobody may open a file: written without its counts, found wrong, data elsewhere, packed otherwise, longer entries. */
const INCOMPATIBLE = { DIRTY: 1, CORRUPT: 2, KNOWN: 3 } as const
/** Bits of a count, as a power of two: the usual one, of which alone counts are written. */
export const USUAL_REFCOUNT_ORDER = 4

/** What a head says. Offsets and lengths are bytes. */
export interface QcowHeader {
  readonly version: number
  readonly clusterBits: number
  /** Bytes of the disk. */
  readonly size: number
  readonly l1: { readonly offset: number; readonly entries: number }
  readonly refcounts: { readonly offset: number; readonly clusters: number; readonly order: number }
  readonly snapshots: number
  /** Why it may not be written; undefined when it may. */
  readonly unwritable: string | undefined
  /** What is below; undefined where nothing is. `format` is undefined where the file does not say. */
  readonly backing: { readonly name: string; readonly format: string | undefined } | undefined
}

/** The error for what a file cannot be. */
export const badImage = (message: string, details: Readonly<Record<string, unknown>> = {}): XenError => new XenError('IO', `no sound qcow2 image: ${message}`, { details: { format: 'qcow2', ...details } })

function wide(view: DataView, offset: number, what: string): number {
  const value = view.getBigUint64(offset)
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw badImage(`${what} is ${value}`)
  return Number(value)
}

function headBytes(file: ImageFile): { readonly view: DataView; readonly version: number } {
  const bytes = new Uint8Array(Math.min(LENGTHS[3]!, file.size))
  if (bytes.length < LENGTHS[2]!) throw badImage(`a file of ${file.size} bytes has no head`)
  file.read(0, bytes)
  const view = new DataView(bytes.buffer)
  const version = view.getUint32(4)
  if (view.getUint32(0) !== MAGIC) throw badImage('it does not begin as one')
  if (LENGTHS[version] === undefined || bytes.length < LENGTHS[version]) throw badImage(`version ${version} is none that is known`)
  return { view, version }
}

/** Throws where a range of clusters is not within the file. */
function checkPlace(file: ImageFile, { what, offset, bytes, cluster }: { readonly what: string; readonly offset: number; readonly bytes: number; readonly cluster: number }): void {
  if (offset % cluster === 0 && offset >= cluster && offset + bytes <= file.size) return
  throw badImage(`${what} of ${bytes} bytes at ${offset} lies nowhere in a file of ${file.size}`, { offset })
}

/** What features keep it from being opened, or from being written. */
function featureFault(view: DataView, version: number): string | undefined {
  if (version < 3) return undefined
  const [high, low] = [view.getUint32(72), view.getUint32(76)]
  if (high !== 0 || (low & ~INCOMPATIBLE.KNOWN) !== 0) throw badImage(`it has features (${low.toString(16)}) that are not known here: data in another file, zstd, or long entries`)
  if ((low & INCOMPATIBLE.CORRUPT) !== 0) return 'it was found to be damaged: see `qemu-img check`'
  return (low & INCOMPATIBLE.DIRTY) !== 0 ? 'it was not closed when it was written last: see `qemu-img check -r all`' : undefined
}

/** The format of what is below, where an extension says it. */
function backingFormat(file: ImageFile, from: number, limit: number): string | undefined {
  const head = new Uint8Array(8)
  const view = new DataView(head.buffer)
  for (let at = from, count = 0; at + 8 <= limit && count < MAX_EXTENSIONS; count += 1) {
    file.read(at, head)
    const [type, length] = [view.getUint32(0), view.getUint32(4)]
    if (type === EXTENSION.END) return undefined
    if (at + 8 + length > limit) throw badImage(`an extension of ${length} bytes is longer than its head`)
    if (type === EXTENSION.BACKING_FORMAT) {
      const text = new Uint8Array(Math.min(length, 16))
      file.read(at + 8, text)
      return new TextDecoder().decode(text)
    }
    at += 8 + Math.ceil(length / 8) * 8
  }
  return undefined
}

function readBacking(file: ImageFile, { view, extensions, cluster }: { readonly view: DataView; readonly extensions: number; readonly cluster: number }): QcowHeader['backing'] {
  const [offset, length] = [wide(view, 8, 'the place of the name below'), view.getUint32(16)]
  if (offset === 0) return undefined
  if (length < 1 || length > MAX_BACKING_NAME || offset + length > Math.min(cluster, file.size)) throw badImage(`a name of ${length} bytes at ${offset} is no name of a file below`)
  const name = new Uint8Array(length)
  file.read(offset, name)
  return { name: new TextDecoder().decode(name), format: backingFormat(file, extensions, Math.min(offset, file.size)) }
}

/** Reads the head of a file, and checks what it says. Throws IO. */
export function readHeader(file: ImageFile): QcowHeader {
  const { view, version } = headBytes(file)
  const clusterBits = view.getUint32(20)
  if (clusterBits < MIN_CLUSTER_BITS || clusterBits > MAX_CLUSTER_BITS) throw badImage(`clusters of 2^${clusterBits} bytes`)
  const cluster = 2 ** clusterBits
  const size = wide(view, 24, 'its size')
  if (size % SECTOR_SIZE !== 0) throw badImage(`${size} bytes are not a whole number of sectors`)
  if (view.getUint32(32) !== 0) throw badImage('it is encrypted')
  const l1 = { offset: wide(view, 40, 'the place of its first table'), entries: view.getUint32(36) }
  const needed = Math.ceil(size / (cluster * (cluster / 8)))
  if (l1.entries < needed || l1.entries * 8 > MAX_L1_BYTES) throw badImage(`a first table of ${l1.entries} entries for a disk of ${size} bytes`)
  if (l1.entries > 0) checkPlace(file, { what: 'its first table', offset: l1.offset, bytes: l1.entries * 8, cluster })
  const refcounts = { offset: wide(view, 48, 'the place of its counts'), clusters: view.getUint32(56), order: version < 3 ? USUAL_REFCOUNT_ORDER : view.getUint32(96) }
  if (refcounts.order > 6 || refcounts.clusters < 1 || refcounts.clusters * cluster > MAX_REFCOUNT_TABLE_BYTES) throw badImage(`${refcounts.clusters} clusters of counts of 2^${refcounts.order} bits`)
  checkPlace(file, { what: 'its table of counts', offset: refcounts.offset, bytes: refcounts.clusters * cluster, cluster })
  const extensions = version < 3 ? LENGTHS[2]! : view.getUint32(100)
  if (extensions < LENGTHS[version]! || extensions > cluster) throw badImage(`a head of ${extensions} bytes`)
  return {
    version, clusterBits, size, l1, refcounts, snapshots: view.getUint32(60), backing: readBacking(file, { view, extensions, cluster }),
    unwritable: featureFault(view, version) ?? (refcounts.order === USUAL_REFCOUNT_ORDER ? undefined : `its counts have 2^${refcounts.order} bits`),
  }
}

/** Says in the head that nothing is kept of what others add to a file and would have to keep in step, as whoever writes one must. */
export function clearAutoclear(file: ImageFile, { version }: QcowHeader): void {
  const bits = new Uint8Array(8)
  if (version >= 3) file.read(88, bits)
  if (bits.some((byte) => byte !== 0)) file.write(88, new Uint8Array(8))
}

/** Says in the head where the table of counts is. */
export function writeRefcountPlace(file: ImageFile, offset: number, clusters: number): void {
  const bytes = new Uint8Array(12)
  const view = new DataView(bytes.buffer)
  view.setBigUint64(0, BigInt(offset))
  view.setUint32(8, clusters)
  file.write(48, bytes)
}
