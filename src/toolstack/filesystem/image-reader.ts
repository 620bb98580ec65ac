/**
 * Reads a disk image that nobody vouches for: every range is checked, and how much is read is bounded, so that no image,
 * however twisted, takes the host's time or memory. What the bytes mean is for others (partitions.ts, ext.ts).
 */
import { XenError } from '../../util/index.ts'

/** What is read: a disk's contents, or a part of them. */
export interface ImageSource {
  /** Bytes of the image. */
  readonly size: number
  /** Fills `target` with the bytes at `offset`. */
  read(offset: number, target: Uint8Array): void | Promise<void>
}

/** Calls and bytes that reading one image may take: some times what a kernel and a ramdisk of the largest size need. */
const MAX_CALLS = 200_000
const MAX_BYTES = 2 ** 30
/** Bytes of a cached piece, and how many are kept: inode tables and directories are read again and again. */
const PIECE = 4096
const PIECES = 256

/** An image that is damaged, or made to do damage. Code INVALID_IMAGE; `field` names what is wrong, `value` how. */
export function imageFault(field: string, value: unknown, why: string): XenError {
  return new XenError('INVALID_IMAGE', `disk image: ${field} ${String(value)} ${why}`, { details: { field, value } })
}

/** A window on an image, from `start` on, that shares its budget with all other windows. */
export class DiskImageReader {
  readonly size: number
  private readonly source: ImageSource
  private readonly start: number
  private readonly budget: { calls: number; bytes: number }
  private readonly pieces = new Map<number, Uint8Array>()

  private constructor(source: ImageSource, start: number, budget: DiskImageReader['budget']) {
    this.source = source
    this.start = start
    this.size = Math.max(0, source.size - start)
    this.budget = budget
  }

  /** The whole of an image. */
  static over(source: ImageSource): DiskImageReader {
    return new DiskImageReader(source, 0, { calls: MAX_CALLS, bytes: MAX_BYTES })
  }

  /** What lies from `offset` on. */
  from(offset: number): DiskImageReader {
    return new DiskImageReader(this.source, this.start + offset, this.budget)
  }

  /** The bytes of a range. Rejects with INVALID_IMAGE where they are not within the image, or where too much has been read. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length)
    await this.readInto(offset, bytes)
    return bytes
  }

  /** Like {@link read}, into given memory. */
  async readInto(offset: number, target: Uint8Array): Promise<void> {
    const { length } = target
    if (!Number.isSafeInteger(offset) || offset < 0 || offset + length > this.size) {
      throw imageFault('offset', offset, `and ${length} bytes behind it are not within its ${this.size} bytes`)
    }
    this.charge(length)
    if (length > PIECE) return this.fetch(offset, target)
    for (let done = 0; done < length;) {
      const at = offset + done
      const piece = await this.piece(at - (at % PIECE))
      const part = piece.subarray(at % PIECE, (at % PIECE) + length - done)
      target.set(part, done)
      done += part.length
    }
  }

  private async piece(start: number): Promise<Uint8Array> {
    const known = this.pieces.get(start)
    if (known !== undefined) return known
    const piece = new Uint8Array(Math.min(PIECE, this.size - start))
    await this.fetch(start, piece)
    if (this.pieces.size >= PIECES) this.pieces.clear()
    this.pieces.set(start, piece)
    return piece
  }

  /** Every reading counts, also where the bytes are at hand: what is bounded is the work. */
  private charge(bytes: number): void {
    this.budget.calls -= 1
    this.budget.bytes -= bytes
    if (this.budget.calls < 0 || this.budget.bytes < 0) throw imageFault('effort', MAX_CALLS, 'reads or 1 GiB do not suffice to read it')
  }

  private async fetch(offset: number, target: Uint8Array): Promise<void> {
    await this.source.read(this.start + offset, target)
  }
}

/** A view for reading numbers, of bytes that were just read. */
export const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** A number of 64 bits; what is beyond 2^53 becomes something that no image reaches. */
export const u64 = (view: DataView, offset: number): number =>
  view.getUint32(offset + 4, true) * 2 ** 32 + view.getUint32(offset, true)
