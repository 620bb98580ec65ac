/**
 * Byte channels between two domains, libxenvchan's: the page that the server shares, with the indices of two rings, their orders and who is there. `left` is what
 * the client writes, `right` what the server writes.
 *
 * Reference: xen/include/public/io/libxenvchan.h.
 */
import { overlay, u16, u32, u8 } from '../../util/index.ts'

/**
 * The head of the shared page; the references of the pages of rings that are pages of their own, 4 bytes each, begin where it ends. `cliNotify` says what the client
 * is to tell the server of, `srvNotify` what the server is to tell the client of.
 */
export const VchanInterface = /* @__PURE__ */ overlay(24, {
  leftCons: u32(0), leftProd: u32(4), rightCons: u32(8), rightProd: u32(12), leftOrder: u16(16), rightOrder: u16(18),
  cliLive: u8(20), srvLive: u8(21), cliNotify: u8(22), srvNotify: u8(23),
})

/** What one side asks to be woken for: that something was written, that something was read. */
export const VCHAN_NOTIFY = { WRITE: 1, READ: 2 } as const
