/**
 * The hypervisor's own file system of facts and parameters.
 *
 * Reference: xen/include/public/hypfs.h.
 */
import { overlay, u16, u32, u8 } from '../util/index.ts'

/** Operations of hypfs_op. */
export const HYPFS_OP = {
  get_version: 0, read: 1, write_contents: 2,
} as const

/** Newest version of this interface. */
export const HYPFS_VERSION = 1

/** Bytes of the longest path, with the zero that ends it. */
export const HYPFS_MAX_PATHLEN = 1024

/** What an entry is. */
export const HYPFS_TYPE = { DIR: 0, BLOB: 1, STRING: 2, UINT: 3, INT: 4, BOOL: 5 } as const

/** An entry; its contents follow. */
export const XenHypfsDirentry = /* @__PURE__ */ overlay(12, { type: u8(0), encoding: u8(1), pad: u16(2), contentLen: u32(4), maxWriteLen: u32(8) })

/** An entry of a directory; its name, which a zero ends, begins with the last two bytes. */
export const XenHypfsDirlistentry = /* @__PURE__ */ overlay(16, { offNext: u16(12) })
