/**
 * A set of the clusters of a disk, one bit each, in pieces that are made when something in them is put in: what a guest
 * can make it take is a 32,768th of its disk, whatever it asks for and in however few requests.
 */

import { shape } from '../../util/index.ts'

/** Clusters of one piece: 4 KiB of bits. */
const PIECE = 1 << 15

/** The pieces that there are: number and bits. */
export const clusterSetState = /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record<ClusterSetState[number]>({
  piece: shape.time, bits: /* @__PURE__ */ shape.array(Uint8Array, PIECE / 8),
}))

/** A saved set. */
export type ClusterSetState = readonly { readonly piece: number; readonly bits: Uint8Array }[]

/** The set. */
export class ClusterSet {
  private readonly pieces = new Map<number, Uint8Array>()

  /** Bytes of memory that the set takes. */
  get held(): number {
    return this.pieces.size * (PIECE / 8)
  }

  /** True when the cluster is in the set. */
  has(cluster: number): boolean {
    const bits = this.pieces.get(Math.floor(cluster / PIECE))
    return bits !== undefined && ((bits[(cluster % PIECE) >>> 3]! >>> (cluster & 7)) & 1) === 1
  }

  /** Puts the clusters from `from` up to, and without, `to` in. */
  addRange(from: number, to: number): void {
    for (let cluster = from; cluster < to;) {
      const index = Math.floor(cluster / PIECE)
      const end = Math.min(to, (index + 1) * PIECE)
      let bits = this.pieces.get(index)
      if (bits === undefined) this.pieces.set(index, bits = new Uint8Array(PIECE / 8))
      setBits(bits, cluster - index * PIECE, end - index * PIECE)
      cluster = end
    }
  }

  /** Takes a cluster out; true when it was in. */
  delete(cluster: number): boolean {
    if (!this.has(cluster)) return false
    this.pieces.get(Math.floor(cluster / PIECE))![(cluster % PIECE) >>> 3]! &= ~(1 << (cluster & 7))
    return true
  }

  save(): ClusterSetState {
    return [...this.pieces].map(([piece, bits]) => ({ piece, bits: bits.slice() }))
  }

  load(state: ClusterSetState): void {
    for (const { piece, bits } of state) this.pieces.set(piece, bits.slice())
  }

  /** Takes everything out. */
  clear(): void {
    this.pieces.clear()
  }
}

/** Sets the bits from `from` up to, and without, `to`: whole bytes at once. */
function setBits(bits: Uint8Array, from: number, to: number): void {
  const firstWhole = Math.min(to, (from + 7) & ~7)
  const lastWhole = Math.max(firstWhole, to & ~7)
  for (let bit = from; bit < firstWhole; bit += 1) bits[bit >>> 3]! |= 1 << (bit & 7)
  bits.fill(0xff, firstWhole >>> 3, lastWhole >>> 3)
  for (let bit = lastWhole; bit < to; bit += 1) bits[bit >>> 3]! |= 1 << (bit & 7)
}
