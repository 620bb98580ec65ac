/**
 * Head of every page that holds a ring of requests and responses.
 *
 * Reference: xen/include/public/io/ring.h.
 */
import { overlay, u32 } from '../../util/index.ts'

/** Indices of a shared ring. In C the structure holds its first slot too: slots begin at byte 64, behind the indices and padding. */
export const Sring = /* @__PURE__ */ overlay(176, {
  reqProd: u32(0), reqEvent: u32(4), rspProd: u32(8), rspEvent: u32(12),
})
