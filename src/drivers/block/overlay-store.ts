/**
 * A disk that keeps what is written in memory and leaves the store below as it is: many guests on one image, and a
 * guest whose changes can be thrown away. Whole clusters are copied from below at their first partial write; those that are
 * discarded cost a bit each.
 */
import type { BlockStore } from './block-store.ts'
import { checkRange } from './block-store.ts'
import { badState, shape } from '../../util/index.ts'
import { ClusterSet, clusterSetState, type ClusterSetState } from './cluster-set.ts'

/** Bytes that are copied together. */
const CLUSTER = 4096

/** What an overlay keeps: numbers of the changed clusters, their contents one behind the other, and what was discarded. */
export const overlayState = /* @__PURE__ */ shape.record<OverlayState>({
  clusters: /* @__PURE__ */ shape.array(Float64Array, 0, 2 ** 40), contents: /* @__PURE__ */ shape.array(Uint8Array, 0, Number.MAX_SAFE_INTEGER),
  discarded: clusterSetState,
})

/** A saved overlay, without what is below. */
export interface OverlayState {
  /** Numbers of the clusters that were written. */
  readonly clusters: Float64Array
  /** Their bytes, one after the other. */
  readonly contents: Uint8Array
  readonly discarded: ClusterSetState
}

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
  /** Clusters that read as zeros; none of them is among the changed ones. */
  private readonly discarded = new ClusterSet()

  constructor(base: BlockStore) {
    this.base = base
  }

  /** The store below. */
  get below(): BlockStore {
    return this.base
  }

  /** The changes, as plain data. */
  save(): OverlayState {
    const contents = new Uint8Array(this.changed.size * CLUSTER)
    let at = 0
    for (const own of this.changed.values()) {
      contents.set(own, at)
      at += CLUSTER
    }
    return { clusters: Float64Array.from(this.changed.keys()), contents, discarded: this.discarded.save() }
  }

  /** Takes over the changes that an overlay over the same store has kept. */
  load({ clusters, contents, discarded }: OverlayState): void {
    const last = Math.ceil(this.size / CLUSTER)
    const isSound = contents.length === clusters.length * CLUSTER && clusters.every((cluster) => Number.isInteger(cluster) && cluster >= 0 && cluster < last)
    if (!isSound) throw badState('changes lie beyond the disk')
    this.revert()
    clusters.forEach((cluster, index) => this.changed.set(cluster, contents.slice(index * CLUSTER, (index + 1) * CLUSTER)))
    this.discarded.load(discarded)
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
    return this.changed.size * CLUSTER + this.discarded.held
  }

  /** Throws all changes away. */
  revert(): void {
    this.changed.clear()
    this.discarded.clear()
  }

  read(offset: number, target: Uint8Array): void | Promise<void> {
    checkRange(this, offset, target.length)
    return then(this.base.read(offset, target), () => {
      for (const { cluster, start, place, length } of pieces(offset, target.length)) {
        const own = this.changed.get(cluster)
        if (own !== undefined) target.set(own.subarray(start, start + length), place)
        else if (this.discarded.has(cluster)) target.fill(0, place, place + length)
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
    checkRange(this, offset, length)
    const end = offset + length
    const first = Math.ceil(offset / CLUSTER)
    // The disk's last cluster may be a short one.
    const last = end === this.size ? Math.ceil(end / CLUSTER) : Math.floor(end / CLUSTER)
    if (first >= last) return this.zero(offset, length)
    this.forget(first, last)
    return then(this.zero(offset, first * CLUSTER - offset), () => this.zero(last * CLUSTER, Math.max(0, end - last * CLUSTER)))
  }

  close(): void | Promise<void> {
    return this.base.close()
  }

  /** Overwrites a range that fills no cluster by zeros. */
  private zero(offset: number, length: number): void | Promise<void> {
    if (length === 0) return
    return this.change(offset, length, (own, { start, length: part }) => own.fill(0, start, start + part))
  }

  /** Discards whole clusters and gives back what their changes took. */
  private forget(first: number, last: number): void {
    if (last - first < this.changed.size) for (let cluster = first; cluster < last; cluster += 1) this.changed.delete(cluster)
    else for (const cluster of this.changed.keys()) if (cluster >= first && cluster < last) this.changed.delete(cluster)
    this.discarded.addRange(first, last)
  }

  /**
   * A cluster that is ours already, or zeros that now are, because it was discarded: either may have come about while a
   * write waited for the store below.
   */
  private current(cluster: number): Uint8Array | undefined {
    return this.changed.get(cluster) ?? (this.discarded.delete(cluster) ? new Uint8Array(CLUSTER) : undefined)
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
      const own = new Uint8Array(CLUSTER)
      const size = Math.min(CLUSTER, this.size - begin)
      copied.set(cluster, own)
      if (part < size && !this.discarded.has(cluster)) ready = then(ready, () => this.base.read(begin, own.subarray(0, size)))
    }
    return then(ready, () => {
      for (const piece of pieces(offset, length)) {
        const own = this.current(piece.cluster) ?? copied.get(piece.cluster)
        if (own === undefined) continue
        this.changed.set(piece.cluster, own)
        apply(own, piece)
      }
    })
  }
}
