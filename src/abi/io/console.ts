/**
 * The console's page: two byte rings and their indices.
 *
 * Reference: xen/include/public/io/console.h.
 */
import { bytes, overlay, u32 } from '../../util/index.ts'

/** The console's page; `in` goes to the guest, `out` comes from it. */
export const XenconsInterface = /* @__PURE__ */ overlay(3088, {
  in: bytes(0, 1024), out: bytes(1024, 2048), inCons: u32(3072), inProd: u32(3076), outCons: u32(3080),
  outProd: u32(3084),
})
