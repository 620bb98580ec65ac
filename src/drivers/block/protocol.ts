/**
 * The block protocol as both halves need it: names in XenStore, the two ring layouts, and limits.
 *
 *   device/vbd/ID           ring-ref, event-channel, protocol, feature-persistent, state    (front-end)
 *     of a larger ring      ring-page-order, ring-ref0, ring-ref1, ...
 *     of several            multi-queue-num-queues, queue-N/ring-ref, queue-N/event-channel
 *   backend/vbd/DOMAIN/ID   multi-queue-max-queues, max-ring-page-order, feature-*, sectors, info, sector-size, state    (back-end)
 *
 * Reference: public/io/blkif.h.
 */
import {
  BLKIF_MAX_SEGMENTS_PER_REQUEST, BlkifRequest, BlkifRequestDiscard, BlkifRequestDiscardX32, BlkifRequestIndirect,
  BlkifRequestIndirectX32, BlkifRequestSegment, BlkifRequestX32, BlkifResponse, BlkifResponseX32, IO_PROTO_ABI,
} from '../../abi/index.ts'

/** 512-byte sectors in a page. */
export const SECTORS_PER_PAGE = 8
/** Pages that a request in the ring itself can carry. */
export const DIRECT_SEGMENTS = BLKIF_MAX_SEGMENTS_PER_REQUEST
/**
 * Pages that a request can carry whose segments stand in a page of their own; what the back-end offers, as Linux
 * does.
 */
export const INDIRECT_SEGMENTS = 256
/** Rings that a disk can have, which is what the back-end offers: as many as Linux's front-end takes. */
export const MAX_QUEUES = 4
/** A ring can have 2 to this power pages, which is what the back-end offers, as Linux does. */
export const MAX_DISK_RING_ORDER = 4

/** Where the fields of a segment stand, as numbers: a request has up to 256 segments. */
export const SEGMENT_AT = /* @__PURE__ */ Object.freeze({
  gref: BlkifRequestSegment.gref.offset, firstSect: BlkifRequestSegment.firstSect.offset,
  lastSect: BlkifRequestSegment.lastSect.offset, size: BlkifRequestSegment.size,
})

/** How requests and responses lie in the ring. 32-bit guests align 64-bit fields to 4 bytes. */
export interface BlockLayout {
  readonly request: typeof BlkifRequest
  readonly discard: typeof BlkifRequestDiscard
  readonly indirect: typeof BlkifRequestIndirect
  readonly response: typeof BlkifResponse
  /** Bytes of a ring entry. */
  readonly entrySize: number
}

/** The layout of 64-bit guests, and of all who do not say. */
export const LAYOUT_64: BlockLayout = /* @__PURE__ */ Object.freeze({
  request: BlkifRequest, discard: BlkifRequestDiscard, indirect: BlkifRequestIndirect, response: BlkifResponse,
  entrySize: BlkifRequest.size,
})
/** The layout of 32-bit guests. */
export const LAYOUT_32: BlockLayout = /* @__PURE__ */ Object.freeze({
  request: BlkifRequestX32, discard: BlkifRequestDiscardX32, indirect: BlkifRequestIndirectX32,
  response: BlkifResponseX32, entrySize: BlkifRequestX32.size,
})

/** The layout that a front-end's node `protocol` names; undefined for one that is not spoken here. */
export function layoutOf(protocol: string | undefined): BlockLayout | undefined {
  if (protocol === undefined || protocol === IO_PROTO_ABI.X86_64) return LAYOUT_64
  return protocol === IO_PROTO_ABI.X86_32 ? LAYOUT_32 : undefined
}

/** What a disk is, as the two halves agree on it. */
export interface DiskGeometry {
  /** 512-byte sectors. */
  readonly sectors: number
  readonly readOnly: boolean
  readonly cdrom: boolean
  readonly removable: boolean
}
