/** The seam to the file that an image of several layers of tables lies in. It answers at once: what the tables say is needed before anything else can be read. */

/** A file of any length. */
export interface ImageFile {
  /** Bytes that it has now. */
  readonly size: number
  /** What its contents are known by: another stamp, other contents. Absent where nothing tells. */
  readonly stamp?: string | undefined
  /** Fills `target` with the bytes at `offset`, which are there. */
  read(offset: number, target: Uint8Array): void
  /** Stores `source` at `offset`; the file grows where that is behind its end. */
  write(offset: number, source: Uint8Array): void
  /** Makes everything written so far durable. */
  flush(): void
  /** Lets the file go. */
  close(): void
}

/** A file in memory, for images that are made or looked at without a disk. */
export class MemoryImageFile implements ImageFile {
  private held: Uint8Array
  private length: number

  constructor(bytes: Uint8Array = new Uint8Array()) {
    this.held = bytes.slice()
    this.length = bytes.length
  }

  get size(): number {
    return this.length
  }

  /** All of it. */
  get bytes(): Uint8Array {
    return this.held.slice(0, this.length)
  }

  read(offset: number, target: Uint8Array): void {
    target.set(this.held.subarray(offset, offset + target.length))
  }

  write(offset: number, source: Uint8Array): void {
    const end = offset + source.length
    if (end > this.held.length) {
      const larger = new Uint8Array(Math.max(end, this.held.length * 2))
      larger.set(this.held.subarray(0, this.length))
      this.held = larger
    }
    this.held.set(source, offset)
    this.length = Math.max(this.length, end)
  }

  flush(): void {}

  close(): void {}
}
