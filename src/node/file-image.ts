/** A file of this machine that may be of any length, as images with tables of their own lie in: no whole sectors, and it grows as it is written. */
import { closeSync, fstatSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs'
import type { ImageFile } from '../drivers/index.ts'
import { thrownMessage, XenError } from '../util/index.ts'

/** A file that is open. */
export class FileImage implements ImageFile {
  private readonly path: string
  private descriptor: number
  private length: number

  /** Opens `path`, which must be there. Throws IO. */
  constructor(path: string, { readOnly }: { readonly readOnly: boolean }) {
    this.path = path
    this.descriptor = this.tried('opened', () => openSync(path, readOnly ? 'r' : 'r+'))
    this.length = this.tried('looked at', () => fstatSync(this.descriptor).size)
  }

  private tried<T>(what: string, act: () => T): T {
    try {
      return act()
    } catch (cause) {
      throw new XenError('IO', `disk image ${this.path} cannot be ${what}: ${thrownMessage(cause)}`, { details: { path: this.path }, cause })
    }
  }

  get size(): number {
    return this.length
  }

  /** Which file it is, how long, and when it was written last. Throws IO once it is closed. */
  get stamp(): string {
    const { ino, size, mtimeNs } = this.tried('looked at', () => fstatSync(this.descriptor, { bigint: true }))
    return `${ino} ${size} ${mtimeNs}`
  }

  read(offset: number, target: Uint8Array): void {
    this.whole(target.length, (done) => readSync(this.descriptor, target, done, target.length - done, offset + done))
  }

  write(offset: number, source: Uint8Array): void {
    this.whole(source.length, (done) => writeSync(this.descriptor, source, done, source.length - done, offset + done))
    this.length = Math.max(this.length, offset + source.length)
  }

  /** Repeats a call until all bytes are moved: the operating system may move fewer than it was asked to. */
  private whole(length: number, move: (done: number) => number): void {
    for (let done = 0; done < length;) {
      const moved = this.tried('read or written', () => move(done))
      if (moved === 0) throw new XenError('IO', `disk image ${this.path} ended`, { details: { path: this.path, done, length } })
      done += moved
    }
  }

  flush(): void {
    this.tried('made durable', () => fsyncSync(this.descriptor))
  }

  close(): void {
    if (this.descriptor >= 0) closeSync(this.descriptor)
    this.descriptor = -1
  }
}
