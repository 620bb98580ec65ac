/**
 * A disk that keeps what is written in memory and leaves the store below as it is: many guests on one image, and a
 * guest whose changes can be thrown away. Whole clusters are copied from below at their first partial write.
 */
import type { BlockStore } from './block-store.ts'
import { checkRange } from './block-store.ts'

/** Bytes that are copied together. */
const CLUSTER = 4096

/** The part of one cluster that a range touches. */
interface Piece {
  readonly cluster: number
  /** Where in the cluster it starts. */
  readonly start: number
  /** Where in the caller's bytes it starts. */
  readonly place: number
  readonly length: number
}

/** Goes on at once when there is nothing to wait for: a store in memory stays synchronous. */
const then = (before: void | Promise<void>, next: () => void | Promise<void>): void | Promise<void> =>
  before instanceof Promise ? before.then(next) : next()

function* pieces(offset: number, length: number): Generator<Piece> {
  for (let place = 0; place < length;) {
    const at = offset + place
    const start = at % CLUSTER
    const part = Math.min(CLUSTER - start, length - place)
    yield { cluster: (at - start) / CLUSTER, start, place, length: part }
    place += part
  }
}

/** A writable disk over another one that stays as it is. */
export class OverlayBlockStore implements BlockStore {
  readonly readOnly = false
  private readonly base: BlockStore
  private readonly changed = new Map<number, Uint8Array>()

  constructor(base: BlockStore) {
    this.base = base
  }

  /** The size of the store below. */
  get size(): number {
    return this.base.size
  }

  onResize(listener: () => void): () => void {
    return this.base.onResize?.(listener) ?? (() => undefined)
  }

  /** Bytes that the changes take. */
  get changedBytes(): number {
    return this.changed.size * CLUSTER
  }

  /** Throws all changes away. */
  revert(): void {
    this.changed.clear()
  }

  read(offset: number, target: Uint8Array): void | Promise<void> {
    checkRange(this, offset, target.length)
    return then(this.base.read(offset, target), () => {
      for (const { cluster, start, place, length } of pieces(offset, target.length)) {
        const own = this.changed.get(cluster)
        if (own !== undefined) target.set(own.subarray(start, start + length), place)
      }
    })
  }

  write(offset: number, source: Uint8Array): void | Promise<void> {
    return this.change(offset, source.length, (own, { start, place, length }) => {
      own.set(source.subarray(place, place + length), start)
    })
  }

  flush(): void {
    // Changes live in memory.
  }

  discard(offset: number, length: number): void | Promise<void> {
    return this.change(offset, length, (own, { start, length: part }) => own.fill(0, start, start + part))
  }

  close(): void | Promise<void> {
    return this.base.close()
  }

  /**
   * Makes the clusters of a range ours, with what is below where they are not wholly overwritten, then applies a
   * change.
   */
  private change(offset: number, length: number, apply: (own: Uint8Array, piece: Piece) => void): void | Promise<void> {
    checkRange(this, offset, length)
    const copied = new Map<number, Uint8Array>()
    let ready: void | Promise<void> = undefined
    for (const { cluster, length: part } of pieces(offset, length)) {
      if (this.changed.has(cluster)) continue
      const begin = cluster * CLUSTER
      const own = new Uint8Array(Math.min(CLUSTER, this.size - begin))
      copied.set(cluster, own)
      if (part < own.length) ready = then(ready, () => this.base.read(begin, own))
    }
    return then(ready, () => {
      for (const piece of pieces(offset, length)) {
        // Another write may have made the cluster ours while this one waited for the store below.
        const own = this.changed.get(piece.cluster) ?? copied.get(piece.cluster)
        if (own === undefined) continue
        this.changed.set(piece.cluster, own)
        apply(own, piece)
      }
    })
  }
}
