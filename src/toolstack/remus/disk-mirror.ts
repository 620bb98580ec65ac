/**
 * The disks of a protected domain as its primary sees them: all that is on them is sent once while the domain runs, and from then on
 * what the guest writes, epoch by epoch. The primary's own disks take every write at once; only the standby's wait for the epoch. Disks in
 * a storage that both hosts open are not sent: where the domain stands still, they are held until it is known who goes on with them.
 */
import type { ServedDisk } from '../../drivers/index.ts'
import type { MirroredDisk, ProtectionFrame } from './frames.ts'

/** Bytes that are read and sent together. */
const CHUNK = 1 << 18

/** A disk of the domain, and its name. */
export interface NamedDisk {
  readonly name: string
  readonly disk: ServedDisk
}

/** The storage in which other hosts open a disk, too; undefined for one that is this host's alone. */
export const storageOf = ({ disk }: NamedDisk): string | undefined => disk.contents?.storage

/** The part of a disk that is being read. */
interface Reading {
  readonly disk: number
  readonly from: number
  readonly to: number
  /** The guest has written into it meanwhile. */
  isStale: boolean
}

const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0)

/** The mirrored disks of one domain. */
export class DiskMirror {
  readonly disks: readonly MirroredDisk[]
  private readonly named: readonly NamedDisk[]
  private changes: ProtectionFrame[] = []
  private size = 0
  private reading: Reading | undefined
  private readonly ends: (() => Promise<void>)[] = []
  private readonly holds: (() => Promise<void>)[] = []

  constructor(named: readonly NamedDisk[]) {
    this.named = named
    this.disks = named.map((each) => ({ name: each.name, size: each.disk.size, storage: storageOf(each) }))
  }

  /** Hears of every write from now on. Rejects with BUSY when somebody else does. */
  async observe(): Promise<void> {
    for (const [number, { disk }] of this.named.entries()) {
      if (this.isShared(number)) continue
      this.ends.push(await disk.observe({
        wrote: (offset, bytes) => this.note(number, { type: 'write', disk: number, offset, bytes }, offset + bytes.length),
        discarded: (offset, length) => this.note(number, { type: 'discard', disk: number, offset, length }, offset + length),
      }))
    }
  }

  /** Sends what is on the disks; writes that come meanwhile go with it. */
  async copyAll(send: (frames: readonly ProtectionFrame[]) => Promise<void>): Promise<void> {
    for (const [number, { size }] of this.disks.entries()) {
      if (this.isShared(number)) continue
      for (let offset = 0; offset < size; offset += CHUNK) await send(await this.copy(number, offset, Math.min(CHUNK, size - offset)))
    }
  }

  /** Has disks that the other host opens, too, take nothing more, of a domain that does not run. Rejects with what their stores say. */
  async holdShared(): Promise<void> {
    for (const [number, { disk }] of this.named.entries()) if (this.isShared(number)) this.holds.push(await disk.hold())
  }

  /** They are this host's again. */
  async releaseShared(): Promise<void> {
    for (const release of this.holds.splice(0)) await release()
  }

  /** What was written since this was asked last. */
  take(): { readonly frames: readonly ProtectionFrame[]; readonly bytes: number } {
    const taken = { frames: this.changes, bytes: this.size }
    this.changes = []
    this.size = 0
    return taken
  }

  /** Hears nothing any more. */
  async end(): Promise<void> {
    for (const end of this.ends.splice(0)) await end()
  }

  private isShared(disk: number): boolean {
    return this.disks[disk]!.storage !== undefined
  }

  private note(disk: number, frame: Extract<ProtectionFrame, { readonly type: 'write' | 'discard' }>, end: number): void {
    this.changes.push(frame)
    if (frame.type === 'write') this.size += frame.bytes.length
    const { reading } = this
    if (reading?.disk === disk && frame.offset < reading.to && end > reading.from) reading.isStale = true
  }

  /** What was written before, and then a part of a disk as it is behind that. */
  private async copy(disk: number, offset: number, length: number): Promise<readonly ProtectionFrame[]> {
    const bytes = new Uint8Array(length)
    const reading: Reading = { disk, from: offset, to: offset + length, isStale: false }
    this.reading = reading
    do {
      reading.isStale = false
      await this.named[disk]!.disk.read(offset, bytes)
    } while (reading.isStale)
    // No await since the read: nothing has been written into it.
    this.reading = undefined
    const part: ProtectionFrame = isZero(bytes) ? { type: 'discard', disk, offset, length } : { type: 'write', disk, offset, bytes }
    return [...this.take().frames, part]
  }
}
