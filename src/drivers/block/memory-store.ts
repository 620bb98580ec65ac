/** A disk in memory. */
import { checkOptions, flag, shape, text } from '../../util/index.ts'
import type { BlockStore } from './block-store.ts'
import { checkRange, checkSize, checkWritable } from './block-store.ts'

/** A disk in memory. */
export const memoryStoreState = /* @__PURE__ */ shape.record<MemoryStoreState>({
  readOnly: shape.flag, bytes: /* @__PURE__ */ shape.array(Uint8Array, 0, Number.MAX_SAFE_INTEGER),
})

/** A saved disk in memory. */
export interface MemoryStoreState {
  readonly readOnly: boolean
  readonly bytes: Uint8Array
}

/** How a disk in memory is made. */
export interface MemoryStoreOptions {
  readonly readOnly?: boolean
  /** Where else it can be opened: other hosts of this process that are given it. */
  readonly storage?: string
}

/** A disk whose bytes are one array. */
export class MemoryBlockStore implements BlockStore {
  readonly readOnly: boolean
  readonly storage: string | undefined
  private content: Uint8Array
  private readonly listeners = new Set<() => void>()

  /** An empty disk of `content` bytes, or one over the given bytes, which are shared and not copied. */
  constructor(content: number | Uint8Array, options: MemoryStoreOptions = {}) {
    checkOptions('MemoryBlockStore', options, { readOnly: flag, storage: text })
    this.content = typeof content === 'number' ? new Uint8Array(checkSize(content)) : content
    checkSize(this.content.length)
    this.readOnly = options.readOnly === true
    this.storage = options.storage
  }

  /** A disk that was saved. */
  static from({ bytes, readOnly }: MemoryStoreState): MemoryBlockStore {
    return new MemoryBlockStore(bytes.slice(), { readOnly })
  }

  /** The disk with its contents, as plain data. */
  save(): MemoryStoreState {
    return { readOnly: this.readOnly, bytes: this.content.slice() }
  }

  get size(): number {
    return this.content.length
  }

  /** The disk's bytes; others after the disk was resized. */
  get bytes(): Uint8Array {
    return this.content
  }

  /** Makes the disk larger, by zeros, or smaller; guests that use it are told. Throws INVALID_ARGUMENT. */
  resize(size: number): void {
    const content = new Uint8Array(checkSize(size))
    content.set(this.content.subarray(0, size))
    this.content = content
    for (const listener of this.listeners) listener()
  }

  onResize(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => void this.listeners.delete(listener)
  }

  read(offset: number, target: Uint8Array): void {
    checkRange(this, offset, target.length)
    target.set(this.content.subarray(offset, offset + target.length))
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
