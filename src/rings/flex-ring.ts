/**
 * Where the rings of 9pfs lie: one page with indices and an order, and `2 ** order` data pages, the first half
 * of which are the ring `in`, which the front-end reads, and the second half the ring `out`, which it writes.
 *
 * Reference: xen/include/public/io/ring.h, DEFINE_XEN_FLEX_RING_AND_INTF.
 */
import { Xen9pfsDataIntf, flexRingSize, type HypercallPort } from '../abi/index.ts'
import type { ScatteredRing } from './scattered-ring.ts'

/** Where a pair of rings lies in host memory. */
export interface FlexPlace {
  readonly memory: HypercallPort['memory']
  /** Byte offset of the page with the indices. */
  readonly indexes: number
  /** Byte offsets of the data pages. */
  readonly pages: readonly number[]
  /** The two rings' pages are `2 ** order` together. */
  readonly order: number
}

/** One ring of a pair: which of the two is named from the front-end's side. */
export function flexRing({ memory, indexes, pages, order }: FlexPlace, direction: 'in' | 'out'): ScatteredRing {
  const size = flexRingSize(order)
  const place = { memory, indexes, pages, size }
  const { inProd, inCons, outProd, outCons } = Xen9pfsDataIntf
  return direction === 'in' ? { ...place, produced: inProd, consumed: inCons, start: 0 } : { ...place, produced: outProd, consumed: outCons, start: size }
}
