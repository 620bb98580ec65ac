/**
 * The shared request/response ring.
 *
 * Reference: xen/include/public/io/ring.h.
 */
import { bytes, overlay, u32 } from '../../util/index.ts'

/** Header of a shared ring page; the entries follow it. Reference: public/io/ring.h, struct NAME_sring. */
export const Sring = /* @__PURE__ */ overlay(64, {
  reqProd: u32(0),
  reqEvent: u32(4),
  rspProd: u32(8),
  rspEvent: u32(12),
  pvt: bytes(16, 4),
})
