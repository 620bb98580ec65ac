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

/** The disks of one domain. */
export class StandbyDisks {
  private readonly stores: { readonly name: string; readonly store: BlockStore; readonly isShared: boolean }[] = []
  private waiting: Change[] = []
  private isHandedOver = false

  /** Opens what the primary says. Throws INVALID_STREAM for a second time, INVALID_ARGUMENT for a store that is too small, or lies in another storage than it has to. */
  async open(disks: readonly MirroredDisk[], open: (name: string) => Promise<BlockStore>): Promise<void> {
    if (this.stores.length > 0) throw new XenError('INVALID_STREAM', 'the primary names its disks a second time')
    for (const { name, size, storage } of disks) {
      const store = checkStore(await open(name))
      this.stores.push({ name, store, isShared: storage !== undefined })
      if (storage !== undefined && store.storage !== storage) {
        throw new XenError('INVALID_ARGUMENT', `disk ${name} lies in storage ${storage}, and what is opened for it here in ${store.storage ?? 'none'}`, { details: { disk: name, storage } })
      }
      checkWritable(store)
      if (store.size >= size) continue
      throw new XenError('INVALID_ARGUMENT', `disk ${name} has ${store.size} bytes here, and ${size} at the primary`, { details: { disk: name, size: store.size, wanted: size } })
    }
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
    return new Map(this.stores.map(({ name, store }) => [name, store]))
  }

  /** Lets the stores go, unless a domain has them. */
  async close(): Promise<void> {
    if (this.isHandedOver) return
    for (const { store } of this.stores.splice(0)) await Promise.resolve(store.close()).catch(() => undefined)
  }

  private check(change: Change): void {
    const { store, isShared } = this.stores[change.disk] ?? {}
    if (store === undefined || isShared === true) throw new XenError('INVALID_STREAM', `there is no disk ${change.disk}`)
    checkRange(store, change.offset, change.type === 'write' ? change.bytes.length : change.length)
  }

  private async apply(change: Change): Promise<void> {
    const { store } = this.stores[change.disk]!
    if (change.type === 'write') return store.write(change.offset, change.bytes)
    if (store.discard !== undefined) return store.discard(change.offset, change.length)
    for (let at = 0; at < change.length; at += ZEROS) await store.write(change.offset + at, new Uint8Array(Math.min(ZEROS, change.length - at)))
  }
}
