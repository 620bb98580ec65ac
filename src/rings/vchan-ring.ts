/**
 * Where the two rings of a vchan lie: a ring of 1024 or of 2048 bytes at that offset of the page that has the indices, a larger one in pages of its own.
 *
 * Reference: xen/include/public/io/libxenvchan.h.
 */
import { PAGE_SHIFT, VchanInterface, type HypercallPort } from '../abi/index.ts'
import type { ScatteredRing } from './scattered-ring.ts'

/** Where the rings of a vchan lie in host memory. */
export interface VchanPlace {
  readonly memory: HypercallPort['memory']
  /** Byte offset of the page with the indices. */
  readonly head: number
  readonly left: VchanRingPlace
  readonly right: VchanRingPlace
}

/** One of the rings: it holds `2 ** order` bytes. */
export interface VchanRingPlace {
  readonly order: number
  /** Byte offsets of its own pages; none for a ring within the first page. */
  readonly pages: readonly number[]
}

/** Both rings: the client writes `left`, the server `right`. */
export function vchanRings({ memory, head, left, right }: VchanPlace): { readonly left: ScatteredRing; readonly right: ScatteredRing } {
  const place = ({ order, pages }: VchanRingPlace): Pick<ScatteredRing, 'memory' | 'indexes' | 'pages' | 'start' | 'size'> => {
    const isWithin = order < PAGE_SHIFT
    return { memory, indexes: head, pages: isWithin ? [head] : pages, start: isWithin ? 2 ** order : 0, size: 2 ** order }
  }
  const { leftProd, leftCons, rightProd, rightCons } = VchanInterface
  return { left: { ...place(left), produced: leftProd, consumed: leftCons }, right: { ...place(right), produced: rightProd, consumed: rightCons } }
}
