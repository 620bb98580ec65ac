/**
 * Block devices: requests and responses. The 32-bit forms differ in alignment; a back-end needs both.
 *
 * Reference: xen/include/public/io/blkif.h.
 */
import { array, i16, overlay, u16, u32, u64, u8 } from '../../util/index.ts'

/** Operations. */
export const BLKIF_OP = {
  READ: 0, WRITE: 1, WRITE_BARRIER: 2, FLUSH_DISKCACHE: 3, RESERVED_1: 4, DISCARD: 5, INDIRECT: 6,
} as const

/** Status of a response. */
export const BLKIF_RSP = { EOPNOTSUPP: -2, ERROR: -1, OKAY: 0 } as const

/** Kind of disk, in the node `info`. */
export const VDISK = { CDROM: 1, REMOVABLE: 2, READONLY: 4 } as const

/** Flag of a discard request: overwrite, too. */
export const BLKIF_DISCARD_SECURE = 1

/** Segments of a direct request. */
export const BLKIF_MAX_SEGMENTS_PER_REQUEST = 11

/** Pages of segments of an indirect request. */
export const BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST = 8

/** A granted page, and the 512-byte sectors of it that count. */
export const BlkifRequestSegment = /* @__PURE__ */ overlay(8, { gref: u32(0), firstSect: u8(4), lastSect: u8(5) })

/** Reads, writes, flushes. */
export const BlkifRequest = /* @__PURE__ */ overlay(112, {
  operation: u8(0), nrSegments: u8(1), handle: u16(2), id: u64(8), sectorNumber: u64(16),
  seg: array(24, BlkifRequestSegment, 11),
})

/** Says that sectors are no longer needed. */
export const BlkifRequestDiscard = /* @__PURE__ */ overlay(32, {
  operation: u8(0), flag: u8(1), handle: u16(2), id: u64(8), sectorNumber: u64(16), nrSectors: u64(24),
})

/** Reads or writes whose segments are in further granted pages. */
export const BlkifRequestIndirect = /* @__PURE__ */ overlay(64, {
  operation: u8(0), indirectOp: u8(1), nrSegments: u16(2), id: u64(8), sectorNumber: u64(16), handle: u16(24),
  indirectGrefs: array(28, u32, 8),
})

/** The answer. */
export const BlkifResponse = /* @__PURE__ */ overlay(16, { id: u64(0), operation: u8(8), status: i16(10) })

/** {@link BlkifRequest} of a 32-bit guest. */
export const BlkifRequestX32 = /* @__PURE__ */ overlay(108, {
  operation: u8(0), nrSegments: u8(1), handle: u16(2), id: u64(4), sectorNumber: u64(12),
  seg: array(20, BlkifRequestSegment, 11),
})

/** {@link BlkifRequestDiscard} of a 32-bit guest. */
export const BlkifRequestDiscardX32 = /* @__PURE__ */ overlay(28, {
  operation: u8(0), flag: u8(1), handle: u16(2), id: u64(4), sectorNumber: u64(12), nrSectors: u64(20),
})

/** {@link BlkifRequestIndirect} of a 32-bit guest. */
export const BlkifRequestIndirectX32 = /* @__PURE__ */ overlay(64, {
  operation: u8(0), indirectOp: u8(1), nrSegments: u16(2), id: u64(4), sectorNumber: u64(12), handle: u16(20),
  indirectGrefs: array(24, u32, 8),
})

/** {@link BlkifResponse} of a 32-bit guest. */
export const BlkifResponseX32 = /* @__PURE__ */ overlay(12, { id: u64(0), operation: u8(8), status: i16(10) })
