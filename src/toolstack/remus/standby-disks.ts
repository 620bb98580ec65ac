/**
 * The disks of a domain as its standby has them. Writes wait for the end of their epoch; what is on the disks is always that of a
 * complete epoch, or on its way to the next one that is complete.
 */
import { checkRange, checkStore, checkWritable, type BlockStore } from '../../drivers/index.ts'
import { XenError } from '../../util/index.ts'
import type { MirroredDisk, ProtectionFrame } from './frames.ts'

type Change = Extract<ProtectionFrame, { readonly type: 'write' | 'discard' }>

/** Zeros are written in pieces of this many bytes where a store cannot discard. */
const ZEROS = 1 << 20

/** Opens what a disk of that name has here. */
type OpenStore = (name: string) => Promise<BlockStore>

/** A disk of the domain: opened, or to be opened when the primary has let it go. */
interface StandbyDisk {
  readonly named: MirroredDisk
  store: BlockStore | undefined
}

const isShared = ({ named }: StandbyDisk): boolean => named.storage !== undefined

/** The disks of one domain. */
export class StandbyDisks {
  private disks: readonly StandbyDisk[] = []
  private waiting: Change[] = []
  private isHandedOver = false

  /**
   * Hears which disks there are, and opens those that are mirrored. Throws INVALID_STREAM for a second time, INVALID_ARGUMENT for a store that is too small.
   */
  async open(disks: readonly MirroredDisk[], open: OpenStore): Promise<void> {
    if (this.disks.length > 0) throw new XenError('INVALID_STREAM', 'the primary names its disks a second time')
    this.disks = disks.map((named) => ({ named, store: undefined }))
    for (const disk of this.disks) if (!isShared(disk)) await this.openOne(disk, open)
  }

  /**
   * Opens those in a storage that both hosts reach, once the primary has flushed them and writes nothing more: what a store reads when it is opened, such as the index of
   * an image, would otherwise be older than what it opens. Throws INVALID_ARGUMENT for one that is too small, or lies in another storage than it has to.
   */
  async openShared(open: OpenStore): Promise<void> {
    for (const disk of this.disks) if (isShared(disk) && disk.store === undefined) await this.openOne(disk, open)
  }

  private async openOne(disk: StandbyDisk, open: OpenStore): Promise<void> {
    const { name, size, storage } = disk.named
    const store = disk.store = checkStore(await open(name))
    if (storage !== undefined && store.storage !== storage) {
      throw new XenError('INVALID_ARGUMENT', `disk ${name} lies in storage ${storage}, and what is opened for it here in ${store.storage ?? 'none'}`, { details: { disk: name, storage } })
    }
    checkWritable(store)
    if (store.size >= size) return
    throw new XenError('INVALID_ARGUMENT', `disk ${name} has ${store.size} bytes here, and ${size} at the primary`, { details: { disk: name, size: store.size, wanted: size } })
  }

  /** Takes a change: `isFirst` before there is an epoch, when it is made at once. */
  async take(change: Change, isFirst: boolean): Promise<void> {
    this.check(change)
    if (isFirst) await this.apply(change)
    else this.waiting.push(change)
  }

  /** The epoch is complete: its changes are made. How many bytes they were. */
  async commit(): Promise<number> {
    const changes = this.waiting
    this.waiting = []
    let bytes = 0
    for (const change of changes) {
      await this.apply(change)
      if (change.type === 'write') bytes += change.bytes.length
    }
    return bytes
  }

  /** The stores by their disks' names, for the domain that is to have them. */
  handOver(): ReadonlyMap<string, BlockStore> {
    this.isHandedOver = true
    return new Map(this.opened().map(({ named, store }) => [named.name, store]))
  }

  /** Lets the stores go, unless a domain has them. */
  async close(): Promise<void> {
    if (this.isHandedOver) return
    const opened = this.opened()
    this.disks = []
    for (const { store } of opened) await Promise.resolve(store.close()).catch(() => undefined)
  }

  private opened(): readonly (StandbyDisk & { readonly store: BlockStore })[] {
    return this.disks.flatMap((disk) => (disk.store === undefined ? [] : [{ ...disk, store: disk.store }]))
  }

  private check(change: Change): void {
    const disk = this.disks[change.disk]
    if (disk?.store === undefined || isShared(disk)) throw new XenError('INVALID_STREAM', `there is no disk ${change.disk}`)
    const { store } = disk
    checkRange(store, change.offset, change.type === 'write' ? change.bytes.length : change.length)
  }

  private async apply(change: Change): Promise<void> {
    const store = this.disks[change.disk]!.store!
    if (change.type === 'write') return store.write(change.offset, change.bytes)
    if (store.discard !== undefined) return store.discard(change.offset, change.length)
    for (let at = 0; at < change.length; at += ZEROS) await store.write(change.offset + at, new Uint8Array(Math.min(ZEROS, change.length - at)))
  }
}
