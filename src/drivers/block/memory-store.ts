/** A disk in memory. */
import type { BlockStore } from './block-store.ts'
import { checkRange, checkSize, checkWritable } from './block-store.ts'

/** How a disk in memory is made. */
export interface MemoryStoreOptions {
  readonly readOnly?: boolean
}

/** A disk whose bytes are one array. */
export class MemoryBlockStore implements BlockStore {
  readonly size: number
  readonly readOnly: boolean
  /** The disk's bytes. */
  readonly bytes: Uint8Array

  /** An empty disk of `content` bytes, or one over the given bytes, which are shared and not copied. */
  constructor(content: number | Uint8Array, options: MemoryStoreOptions = {}) {
    this.bytes = typeof content === 'number' ? new Uint8Array(checkSize(content)) : content
    this.size = checkSize(this.bytes.length)
    this.readOnly = options.readOnly === true
  }

  read(offset: number, target: Uint8Array): void {
    checkRange(this, offset, target.length)
    target.set(this.bytes.subarray(offset, offset + target.length))
  }

  write(offset: number, source: Uint8Array): void {
    checkWritable(this)
    checkRange(this, offset, source.length)
    this.bytes.set(source, offset)
  }

  flush(): void {
    // Memory is as durable as it will ever be.
  }

  discard(offset: number, length: number): void {
    checkWritable(this)
    checkRange(this, offset, length)
    this.bytes.fill(0, offset, offset + length)
  }

  close(): void {
    // Nothing is held.
  }
}
