/** What every store has that stands between a back-end and another one: size, rights and whether there is a discard are that one's. */
import { checkStore, type BlockStore } from '../../drivers/index.ts'

/** A store that hands on what it is asked; requests are its heirs'. */
export abstract class StoreBetween implements BlockStore {
  /** The one behind it. */
  readonly store: BlockStore
  /** Absent where that one has none. */
  readonly discard?: (offset: number, length: number) => void | Promise<void>
  /** Absent where that one has the size that it has. */
  readonly resize?: (size: number) => void | Promise<void>

  /** Throws INVALID_ARGUMENT for what is no store. */
  constructor(store: BlockStore) {
    this.store = checkStore(store)
    if (store.discard !== undefined) this.discard = (offset, length) => this.discarding(offset, length)
    if (store.resize !== undefined) this.resize = (size) => this.store.resize?.(size)
  }

  get size(): number {
    return this.store.size
  }

  get readOnly(): boolean {
    return this.store.readOnly
  }

  onResize(listener: () => void): () => void {
    return this.store.onResize?.(listener) ?? (() => undefined)
  }

  abstract read(offset: number, target: Uint8Array): void | Promise<void>
  abstract write(offset: number, source: Uint8Array): void | Promise<void>
  abstract flush(): void | Promise<void>
  abstract close(): void | Promise<void>
  /** A discard, where the store has one. */
  protected abstract discarding(offset: number, length: number): void | Promise<void>
}
