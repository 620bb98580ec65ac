/**
 * Grant tables, versions 1 and 2: entries, operations, status codes.
 *
 * Reference: xen/include/public/grant_table.h.
 */
import { frame, i16, nested, over, pointer, structure, u16, u32, u64, ulong } from './structure.ts'

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
export const GrantEntryV1 = /* @__PURE__ */ structure({ flags: u16, domid: u16, frame: u32 })

/** Entry of a version 2 table; which fields count depends on the type in the flags. */
export const GrantEntryV2 = /* @__PURE__ */ structure({
  flags: u16, domid: u16, pageOff: u16, transDomid: over(u16), length: u16, fullPageFrame: u64, subPageFrame: over(u64),
  gref: over(u32),
})

/** Maps a granted frame. */
export const GnttabMapGrantRef = /* @__PURE__ */ structure({
  hostAddr: u64, flags: u32, ref: u32, dom: u16, status: i16, handle: u32, devBusAddr: u64,
})

/** Takes a mapping down. */
export const GnttabUnmapGrantRef = /* @__PURE__ */ structure({ hostAddr: u64, devBusAddr: u64, handle: u32, status: i16 })

/** Grows the table and asks for its frames. */
export const GnttabSetupTable = /* @__PURE__ */ structure({ dom: u16, nrFrames: u32, status: i16, frameList: pointer })

/** Prints the table on Xen's console. */
export const GnttabDumpTable = /* @__PURE__ */ structure({ dom: u16, status: i16 })

/** Gives a frame away for good. */
export const GnttabTransfer = /* @__PURE__ */ structure({ mfn: ulong, domid: u16, ref: u32, status: i16 })

/** One side of a copy. */
export const GnttabCopyPtr = /* @__PURE__ */ structure({ gmfn: frame, ref: over(u32), domid: u16, offset: u16 })

/** Copies bytes between frames or grants. */
export const GnttabCopy = /* @__PURE__ */ structure({
  source: nested(GnttabCopyPtr), dest: nested(GnttabCopyPtr), len: u16, flags: u16, status: i16,
})

/** Asks how large the table is and may become. */
export const GnttabQuerySize = /* @__PURE__ */ structure({ dom: u16, nrFrames: u32, maxNrFrames: u32, status: i16 })

/** Takes a mapping down and moves another address's page-table entry there. */
export const GnttabUnmapAndReplace = /* @__PURE__ */ structure({ hostAddr: u64, newAddr: u64, handle: u32, status: i16 })

/** Chooses the version of the own table. */
export const GnttabSetVersion = /* @__PURE__ */ structure({ version: u32 })

/** Asks for the frames that hold the status words of version 2. */
export const GnttabGetStatusFrames = /* @__PURE__ */ structure({ nrFrames: u32, dom: u16, status: i16, frameList: pointer })

/** Asks which version a table has. */
export const GnttabGetVersion = /* @__PURE__ */ structure({ dom: u16, version: u32 })

/** Swaps two entries. */
export const GnttabSwapGrantRef = /* @__PURE__ */ structure({ refA: u32, refB: u32, status: i16 })

/** Cleans or invalidates the cache for a grant. */
export const GnttabCacheFlush = /* @__PURE__ */ structure({
  devBusAddr: u64, ref: over(u32), offset: u16, length: u16, op: u32,
})
