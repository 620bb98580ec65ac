/**
 * Grant tables, versions 1 and 2: entries, operations, status codes.
 *
 * Reference: xen/include/public/grant_table.h.
 */
import { i16, nested, overlay, u16, u32, u64 } from '../util/index.ts'

/** Operations on grant tables. */
export const GNTTABOP = {
  map_grant_ref: 0, unmap_grant_ref: 1, setup_table: 2, dump_table: 3, transfer: 4, copy: 5, query_size: 6,
  unmap_and_replace: 7, set_version: 8, get_status_frames: 9, get_version: 10, swap_grant_ref: 11, cache_flush: 12,
} as const

/** Status of one grant operation. */
export const GNTST = {
  okay: 0, general_error: -1, bad_domain: -2, bad_gntref: -3, bad_handle: -4, bad_virt_addr: -5, bad_dev_addr: -6,
  no_device_space: -7, permission_denied: -8, bad_page: -9, bad_copy_arg: -10, address_too_big: -11, eagain: -12,
  no_space: -13,
} as const

/** Flags of a grant entry. */
export const GTF = {
  invalid: 0, permit_access: 1, accept_transfer: 2, transitive: 3, type_mask: 3, readonly: 4, reading: 8,
  writing: 16, PWT: 32, PCD: 64, PAT: 128, sub_page: 256, transfer_committed: 4, transfer_completed: 8,
} as const

/** Flags of a mapping. */
export const GNTMAP = {
  device_map: 1, host_map: 2, readonly: 4, application_map: 8, contains_pte: 16, guest_avail_mask: 0xffff_0000,
} as const

/** Which sides of a copy are grants. */
export const GNTCOPY = { source_gref: 1, dest_gref: 2 } as const

/** Operations of GNTTABOP.cache_flush. */
export const GNTTAB_CACHE = { CLEAN: 1, INVAL: 2, SOURCE_GREF: 0x8000_0000 } as const

/** Entries at the table's start that the toolstack uses. */
export const GNTTAB_NR_RESERVED_ENTRIES = 8

/** Entry that grants the console's page. */
export const GNTTAB_RESERVED_CONSOLE = 0

/** Entry that grants XenStore's page. */
export const GNTTAB_RESERVED_XENSTORE = 1

/** Entry of a version 1 table. */
export const GrantEntryV1 = /* @__PURE__ */ overlay(8, { flags: u16(0), domid: u16(2), frame: u32(4) })

/** Entry of a version 2 table; which fields count depends on the type in the flags. */
export const GrantEntryV2 = /* @__PURE__ */ overlay(16, {
  flags: u16(0), domid: u16(2), fullPageFrame: u64(8), pageOff: u16(4), length: u16(6), subPageFrame: u64(8),
  transDomid: u16(4), gref: u32(8),
})

/** Maps a granted frame. */
export const GnttabMapGrantRef = /* @__PURE__ */ overlay(32, {
  hostAddr: u64(0), flags: u32(8), ref: u32(12), dom: u16(16), status: i16(18), handle: u32(20), devBusAddr: u64(24),
})

/** Takes a mapping down. */
export const GnttabUnmapGrantRef = /* @__PURE__ */ overlay(24, {
  hostAddr: u64(0), devBusAddr: u64(8), handle: u32(16), status: i16(20),
})

/** Grows the table and asks for its frames. */
export const GnttabSetupTable = /* @__PURE__ */ overlay(24, {
  dom: u16(0), nrFrames: u32(4), status: i16(8), frameList: u64(16),
})

/** Prints the table on Xen's console. */
export const GnttabDumpTable = /* @__PURE__ */ overlay(4, { dom: u16(0), status: i16(2) })

/** Gives a frame away for good. */
export const GnttabTransfer = /* @__PURE__ */ overlay(24, {
  mfn: u64(0), domid: u16(8), ref: u32(12), status: i16(16),
})

/** One side of a copy. */
export const GnttabCopyPtr = /* @__PURE__ */ overlay(16, {
  ref: u32(0), gmfn: u64(0), domid: u16(8), offset: u16(10),
})

/** Copies bytes between frames or grants. */
export const GnttabCopy = /* @__PURE__ */ overlay(40, {
  source: nested(0, GnttabCopyPtr), dest: nested(16, GnttabCopyPtr), len: u16(32), flags: u16(34), status: i16(36),
})

/** Asks how large the table is and may become. */
export const GnttabQuerySize = /* @__PURE__ */ overlay(16, {
  dom: u16(0), nrFrames: u32(4), maxNrFrames: u32(8), status: i16(12),
})

/** Takes a mapping down and moves another address's page-table entry there. */
export const GnttabUnmapAndReplace = /* @__PURE__ */ overlay(24, {
  hostAddr: u64(0), newAddr: u64(8), handle: u32(16), status: i16(20),
})

/** Chooses the version of the own table. */
export const GnttabSetVersion = /* @__PURE__ */ overlay(4, { version: u32(0) })

/** Asks for the frames that hold the status words of version 2. */
export const GnttabGetStatusFrames = /* @__PURE__ */ overlay(16, {
  nrFrames: u32(0), dom: u16(4), status: i16(6), frameList: u64(8),
})

/** Asks which version a table has. */
export const GnttabGetVersion = /* @__PURE__ */ overlay(8, { dom: u16(0), version: u32(4) })

/** Swaps two entries. */
export const GnttabSwapGrantRef = /* @__PURE__ */ overlay(12, { refA: u32(0), refB: u32(4), status: i16(8) })

/** Cleans or invalidates the cache for a grant. */
export const GnttabCacheFlush = /* @__PURE__ */ overlay(16, {
  devBusAddr: u64(0), ref: u32(0), offset: u16(8), length: u16(10), op: u32(12),
})
