/**
 * A store from outside that may have to stay as it is from some moment on: until then it is what it is, and from then on
 * changes are kept in memory above it.
 */
import { badState } from '../../util/index.ts'
import type { BlockStore } from './block-store.ts'
import { OverlayBlockStore, type OverlayState } from './overlay-store.ts'

/** What a back-end serves in the place of a store whose contents lie elsewhere than in memory. */
export class LateOverlay implements BlockStore {
  /** Absent where the store below has none, so that the disk offers what it offered. */
  readonly discard?: (offset: number, length: number) => void | Promise<void>
  /** The same. Throws INVALID_STATE once the store below is not to change. */
  readonly resize?: (size: number) => void | Promise<void>
  readonly base: BlockStore
  private overlay: OverlayBlockStore | undefined

  constructor(base: BlockStore) {
    this.base = base
    if (base.discard !== undefined) this.discard = (offset, length) => this.upper.discard?.(offset, length)
    if (base.resize !== undefined) {
      this.resize = (size) => {
        if (this.overlay === undefined) return base.resize?.(size)
        throw badState('the disk\'s contents stay as they are since a moment was taken')
      }
    }
  }

  /** From now on the store below is not changed. Nothing is under way. */
  begin(): void {
    // What cannot be written needs nothing above it.
    if (!this.readOnly) this.overlay ??= new OverlayBlockStore(this.base)
  }

  /** The changes since it began; undefined while it has not. */
  changes(): OverlayState | undefined {
    return this.overlay?.save()
  }

  /** Begins with changes that were kept before. */
  load(changes: OverlayState): void {
    this.begin()
    this.overlay?.load(changes)
  }

  private get upper(): BlockStore {
    return this.overlay ?? this.base
  }

  get readOnly(): boolean {
    return this.base.readOnly
  }

  get size(): number {
    return this.upper.size
  }

  onResize(listener: () => void): () => void {
    return this.base.onResize?.(listener) ?? (() => undefined)
  }

  read(offset: number, target: Uint8Array): void | Promise<void> {
    return this.upper.read(offset, target)
  }

  write(offset: number, source: Uint8Array): void | Promise<void> {
    return this.upper.write(offset, source)
  }

  flush(): void | Promise<void> {
    return this.upper.flush()
  }

  close(): void | Promise<void> {
    return this.base.close()
  }
}
