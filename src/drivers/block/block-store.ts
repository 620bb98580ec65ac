/**
 * The seam to what a disk's bytes are kept in. A store knows offsets and bytes, no sectors and no guests. Its calls may
 * answer at once or by a promise. Every store passes the same suite of tests.
 */
import { XenError } from '../../util/index.ts'

/** Where a disk's bytes are. Offsets and lengths are whole numbers; the caller keeps within `size`. */
export interface BlockStore {
  /** Bytes of the disk, a multiple of 512. It may change: the guest is told at its next request, or by `onResize`. */
  readonly size: number
  /** Calls `listener` whenever the size has changed, until the returned function is called. */
  onResize?(listener: () => void): () => void
  /** Makes it larger, by zeros, or smaller; a multiple of 512 bytes. Absent where it has the size that it has. */
  resize?(size: number): void | Promise<void>
  /** True when writing is refused. */
  readonly readOnly: boolean
  /**
   * What the contents that lie outside are known by: another stamp, other contents. A host is not brought back to a moment, nor is one branched from
   * it, over contents that are others. Absent where nothing tells.
   */
  readonly stamp?: string | undefined
  /**
   * Where else it can be opened: the name of a storage that other hosts know by the same name (`nfs1`). A domain that moves to one of them finds the same contents
   * there, and they are not copied. Absent for contents that are this host's alone.
   */
  readonly storage?: string | undefined
  /** Fills `target` with the bytes at `offset`. */
  read(offset: number, target: Uint8Array): void | Promise<void>
  /** Stores `source` at `offset`. */
  write(offset: number, source: Uint8Array): void | Promise<void>
  /** Makes everything written so far durable. */
  flush(): void | Promise<void>
  /** Forgets a range, which reads as zeros afterwards. Absent where it cannot be done. */
  discard?(offset: number, length: number): void | Promise<void>
  /** Lets the store go. */
  close(): void | Promise<void>
}

/** Bytes of the unit that disks are addressed in. */
export const SECTOR_SIZE = 512

/** Throws INVALID_ARGUMENT when a range is not within a store. */
export function checkRange(store: BlockStore, offset: number, length: number): void {
  if (Number.isInteger(offset) && offset >= 0 && length >= 0 && offset + length <= store.size) return
  const range = `bytes ${offset} to ${offset + length}`
  throw new XenError('INVALID_ARGUMENT', `${range} are not within the disk's ${store.size}`, {
    details: { offset, length, size: store.size },
  })
}

/** Throws PERMISSION_DENIED when a store may not be written. */
export function checkWritable(store: BlockStore): void {
  if (store.readOnly) throw new XenError('PERMISSION_DENIED', 'the disk is read-only')
}

/** Throws INVALID_ARGUMENT when what a user's function answered is no block store, and says what it lacks. */
export function checkStore(store: unknown): BlockStore {
  if (typeof store !== 'object' || store === null) {
    throw new XenError('INVALID_ARGUMENT', `${store === null ? 'null' : typeof store} is no block store`)
  }
  // Every property is looked at before it is believed.
  const candidate = store as BlockStore
  for (const method of ['read', 'write', 'flush', 'close'] as const) {
    if (typeof candidate[method] !== 'function') {
      throw new XenError('INVALID_ARGUMENT', `a block store has no method ${method}`, { details: { method } })
    }
  }
  if (candidate.discard !== undefined && typeof candidate.discard !== 'function') {
    throw new XenError('INVALID_ARGUMENT', 'a block store has a `discard` that is no method', { details: { method: 'discard' } })
  }
  checkSize(candidate.size)
  return candidate
}

/** Throws INVALID_ARGUMENT when a size is not a whole number of sectors. */
export function checkSize(size: number): number {
  if (Number.isInteger(size) && size >= 0 && size % SECTOR_SIZE === 0) return size
  throw new XenError('INVALID_ARGUMENT', `a disk of ${size} bytes is not a whole number of sectors`, {
    details: { size },
  })
}
