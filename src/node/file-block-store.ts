/**
 * A disk in a raw file or a block device. Calls go straight to the operating system and answer at once: a read from the
 * page cache takes less time than a promise, and a run stays repeatable, because no other thing happens meanwhile.
 */
import { closeSync, fstatSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs'
import type { BlockStore } from '../drivers/index.ts'
import { SECTOR_SIZE, checkRange, checkWritable } from '../drivers/index.ts'
import { XenError } from '../util/index.ts'

/** How a file is opened as a disk. */
export interface FileStoreOptions {
  readonly readOnly?: boolean
}

/** Bytes of zeros that a discard writes at once. */
const ZEROS = 1 << 16

/** A disk in a file. */
export class FileBlockStore implements BlockStore {
  readonly readOnly: boolean
  private readonly path: string
  private descriptor: number
  private bytes: number
  private readonly listeners = new Set<() => void>()

  /** Opens `path`, which must be there; its size is cut to whole sectors. Throws IO when it cannot be opened. */
  constructor(path: string, options: FileStoreOptions = {}) {
    this.path = path
    this.readOnly = options.readOnly === true
    try {
      this.descriptor = openSync(path, this.readOnly ? 'r' : 'r+')
    } catch (cause) {
      throw new XenError('IO', `disk image ${path} cannot be opened`, { details: { path }, cause })
    }
    this.bytes = this.measure()
  }

  get size(): number {
    return this.bytes
  }

  /** Looks at the file's size again, after somebody has changed it, and tells guests that use it. */
  refresh(): void {
    const before = this.bytes
    this.bytes = this.measure()
    if (this.bytes !== before) for (const listener of this.listeners) listener()
  }

  onResize(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => void this.listeners.delete(listener)
  }

  private measure(): number {
    return Math.floor(fstatSync(this.descriptor).size / SECTOR_SIZE) * SECTOR_SIZE
  }

  read(offset: number, target: Uint8Array): void {
    checkRange(this, offset, target.length)
    const { length } = target
    this.whole(length, 'read', (done) => readSync(this.descriptor, target, done, length - done, offset + done))
  }

  write(offset: number, source: Uint8Array): void {
    checkWritable(this)
    checkRange(this, offset, source.length)
    const { length } = source
    this.whole(length, 'written', (done) => writeSync(this.descriptor, source, done, length - done, offset + done))
  }

  flush(): void {
    fsyncSync(this.descriptor)
  }

  discard(offset: number, length: number): void {
    checkWritable(this)
    checkRange(this, offset, length)
    const zeros = new Uint8Array(Math.min(length, ZEROS))
    for (let done = 0; done < length; done += zeros.length) {
      this.write(offset + done, zeros.subarray(0, Math.min(zeros.length, length - done)))
    }
  }

  close(): void {
    if (this.descriptor < 0) return
    closeSync(this.descriptor)
    this.descriptor = -1
  }

  /** Repeats a call until all bytes are moved: the operating system may move fewer than it was asked to. */
  private whole(length: number, what: string, move: (done: number) => number): void {
    for (let done = 0; done < length;) {
      const moved = move(done)
      if (moved === 0) {
        const details = { path: this.path, done, length }
        throw new XenError('IO', `disk image ${this.path} ended while it was ${what}`, { details })
      }
      done += moved
    }
  }
}
