/**
 * A disk in a raw file or a block device. Calls go straight to the operating system and answer at once: a read from the
 * page cache takes less time than a promise, and a run stays repeatable, because no other thing happens meanwhile.
 *
 * A discard overwrites by zeros what is not zero, so that a guest cannot make a sparse file fill the disk that it lies on.
 * It gives nothing back: Node has no way to punch holes, and a program that has one, started for each piece of a guest's discard, would hold the host for
 * milliseconds each time. What became zeros `fallocate --dig-holes` gives back later.
 */
import { closeSync, fstatSync, fsyncSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import type { BlockStore } from '../drivers/index.ts'
import { SECTOR_SIZE, checkRange, checkSize, checkWritable } from '../drivers/index.ts'
import { XenError, checkOptions, flag, text, thrownMessage } from '../util/index.ts'

/** How a file is opened as a disk. */
export interface FileStoreOptions {
  readonly readOnly?: boolean
  /** The name of the storage that it lies in, which other hosts open by the same name: domains that move to them keep it, and it is not copied. */
  readonly storage?: string | undefined
}

/** Bytes that a discard looks at together, and of a block that it overwrites when it holds anything but zeros. */
const LOOK = 1 << 16
const BLOCK = 4096
const ZEROS = /* @__PURE__ */ Buffer.alloc(LOOK)

/** A disk in a file. */
export class FileBlockStore implements BlockStore {
  readonly readOnly: boolean
  readonly storage: string | undefined
  private readonly path: string
  private descriptor: number
  private bytes: number
  private readonly listeners = new Set<() => void>()

  /** Opens `path`, which must be there; its size is cut to whole sectors. Throws IO when it cannot be opened. */
  constructor(path: string, options: FileStoreOptions = {}) {
    checkOptions('FileBlockStore', options, { readOnly: flag, storage: text })
    this.path = path
    this.readOnly = options.readOnly === true
    this.storage = options.storage
    try {
      this.descriptor = openSync(path, this.readOnly ? 'r' : 'r+')
    } catch (cause) {
      throw new XenError('IO', `disk image ${path} cannot be opened: ${thrownMessage(cause)}`, { details: { path }, cause })
    }
    this.bytes = this.measure()
  }

  get size(): number {
    return this.bytes
  }

  /** Which file it is, how long, and when it was written last. Throws IO once it is closed. */
  get stamp(): string {
    try {
      const { ino, size, mtimeNs } = fstatSync(this.descriptor, { bigint: true })
      return `${ino} ${size} ${mtimeNs}`
    } catch (cause) {
      throw new XenError('IO', `disk image ${this.path} cannot be looked at`, { details: { path: this.path }, cause })
    }
  }

  /** Looks at the file's size again, after somebody has changed it, and tells guests that use it. */
  refresh(): void {
    const before = this.bytes
    this.bytes = this.measure()
    if (this.bytes !== before) for (const listener of this.listeners) listener()
  }

  /** Makes the file larger, by zeros that take no room, or smaller. Throws IO, PERMISSION_DENIED, INVALID_ARGUMENT. */
  resize(size: number): void {
    checkWritable(this)
    checkSize(size)
    try {
      ftruncateSync(this.descriptor, size)
    } catch (cause) {
      throw new XenError('IO', `disk image ${this.path} cannot have ${size} bytes`, { details: { path: this.path, size }, cause })
    }
    this.refresh()
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
    const bytes = Buffer.alloc(Math.min(length, LOOK))
    for (let done = 0; done < length; done += LOOK) {
      const part = bytes.subarray(0, Math.min(LOOK, length - done))
      this.read(offset + done, part)
      this.overwrite(offset + done, part)
    }
  }

  /** Writes zeros over the blocks of some bytes at `offset` that hold anything else. */
  private overwrite(offset: number, bytes: Buffer): void {
    if (bytes.equals(ZEROS.subarray(0, bytes.length))) return
    for (let place = 0; place < bytes.length;) {
      const part = Math.min(BLOCK - ((offset + place) % BLOCK), bytes.length - place)
      const isZero = bytes.subarray(place, place + part).equals(ZEROS.subarray(0, part))
      if (!isZero) this.write(offset + place, ZEROS.subarray(0, part))
      place += part
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
