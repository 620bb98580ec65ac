/**
 * The console's shared page.
 *
 * Reference: xen/include/public/io/console.h.
 */
import { bytes, overlay, u32 } from '../../util/index.ts'

/** Two byte rings, named from the guest's side. Reference: public/io/console.h, struct xencons_interface. */
export const XenconsInterface = /* @__PURE__ */ overlay(3088, {
  in: bytes(0, 1024),
  out: bytes(1024, 2048),
  inCons: u32(3072),
  inProd: u32(3076),
  outCons: u32(3080),
  outProd: u32(3084),
})
