/** A disk in a `Blob`, as in a file that somebody has chosen or dropped: it can be read, and written over an overlay. */
import { checkRange, checkWritable, SECTOR_SIZE, type BlockStore } from '../../drivers/index.ts'
import { checkArgument, having, thrownMessage, XenError } from '../../util/index.ts'

/** A part of one. */
export interface BlobSlice {
  /** Its bytes. */
  arrayBuffer(): Promise<ArrayBuffer>
}

/** What is used of a `Blob` or `File`. */
export interface BlobLike {
  /** Bytes. */
  readonly size: number
  /** A part of it. */
  slice(start: number, end: number): BlobSlice
}

/** A disk that cannot be written, in a `Blob` or `File`, cut to whole sectors. */
export class BlobBlockStore implements BlockStore {
  readonly size: number
  readonly readOnly = true
  private readonly blob: BlobLike

  /**
   * @example
   * const disk = new OverlayBlockStore(new BlobBlockStore(input.files[0]))
   */
  constructor(blob: BlobLike) {
    checkArgument('the blob', blob, having('slice'))
    this.blob = blob
    this.size = Math.floor(blob.size / SECTOR_SIZE) * SECTOR_SIZE
  }

  /** Rejects with IO where the file behind it was changed or taken away meanwhile. */
  async read(offset: number, target: Uint8Array): Promise<void> {
    checkRange(this, offset, target.length)
    try {
      const bytes = await this.blob.slice(offset, offset + target.length).arrayBuffer()
      target.set(new Uint8Array(bytes))
    } catch (cause) {
      throw new XenError('IO', `the file cannot be read: ${thrownMessage(cause)}`, { details: { offset, length: target.length }, cause })
    }
  }

  write(): void {
    checkWritable(this)
  }

  flush(): void {}

  close(): void {}
}
