/**
 * File systems by 9P: the page with the indices of a pair of byte rings, and behind them the grants of the pages in which the bytes are.
 * `in` is what the front-end reads, `out` what it writes.
 *
 * Reference: xen/include/public/io/9pfs.h; xen/include/public/io/ring.h, DEFINE_XEN_FLEX_RING_AND_INTF; docs/misc/9pfs.pandoc.
 */
import { overlay, u32 } from '../../util/index.ts'

/** Indices and order of a pair of rings. The references of its data pages, 4 bytes each, begin where it ends. */
export const Xen9pfsDataIntf = /* @__PURE__ */ overlay(132, {
  inCons: u32(0), inProd: u32(4), outCons: u32(64), outProd: u32(68), ringOrder: u32(128),
})

/** Bytes of one of the two rings whose pages are `2 ** order` together: XEN_FLEX_RING_SIZE. */
export const flexRingSize = (order: number): number => 2 ** (order + 11)
