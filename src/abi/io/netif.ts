/**
 * Network interfaces: transmit and receive rings, extra information, control ring.
 *
 * Reference: xen/include/public/io/netif.h.
 */
import { array, bytes, i16, overlay, u16, u32, u8 } from '../../util/index.ts'

/** Flags of a transmit request. */
export const NETTXF = { csum_blank: 1, data_validated: 2, more_data: 4, extra_info: 8 } as const

/** Flags of a receive response. */
export const NETRXF = { data_validated: 1, csum_blank: 2, more_data: 4, extra_info: 8, gso_prefix: 16 } as const

/** Status of a response. */
export const NETIF_RSP = { DROPPED: -2, ERROR: -1, OKAY: 0, NULL: 1 } as const

/** Kinds of extra information. */
export const NETIF_EXTRA_TYPE = { NONE: 0, GSO: 1, MCAST_ADD: 2, MCAST_DEL: 3, HASH: 4, MAX: 5 } as const

/** Flags of extra information. */
export const NETIF_EXTRA_FLAG = { MORE: 1 } as const

/** Kinds of segmentation offload. */
export const NETIF_GSO_TYPE = { NONE: 0, TCPV4: 1, TCPV6: 2 } as const

/** Messages on the control ring. */
export const NETIF_CTRL_TYPE = {
  INVALID: 0, GET_HASH_FLAGS: 1, SET_HASH_FLAGS: 2, SET_HASH_KEY: 3, GET_HASH_MAPPING_SIZE: 4,
  SET_HASH_MAPPING_SIZE: 5, SET_HASH_MAPPING: 6, SET_HASH_ALGORITHM: 7, GET_GREF_MAPPING_SIZE: 8,
  ADD_GREF_MAPPING: 9, DEL_GREF_MAPPING: 10,
} as const

/** Status of a control response. */
export const NETIF_CTRL_STATUS = { SUCCESS: 0, NOT_SUPPORTED: 1, INVALID_PARAMETER: 2, BUFFER_OVERFLOW: 3 } as const

/** What a hash covers. */
export const NETIF_CTRL_HASH_TYPE = { IPV4: 1, IPV4_TCP: 2, IPV6: 4, IPV6_TCP: 8 } as const

/** How a hash is computed. */
export const NETIF_CTRL_HASH_ALGORITHM = { NONE: 0, TOEPLITZ: 1 } as const

/** Slots that every back-end accepts for one packet. */
export const NETIF_NR_SLOTS_MIN = 18

/** Bytes of the largest packet. */
export const NETIF_MAX_TX_SIZE = 0xffff

/** A packet, or a further part of it, to be sent. */
export const NetifTxRequest = /* @__PURE__ */ overlay(12, {
  gref: u32(0), offset: u16(4), flags: u16(6), id: u16(8), packetSize: u16(10),
})

/** What became of a transmit request. */
export const NetifTxResponse = /* @__PURE__ */ overlay(4, { id: u16(0), status: i16(2) })

/** A page to receive into. */
export const NetifRxRequest = /* @__PURE__ */ overlay(8, { id: u16(0), gref: u32(4) })

/** A received packet, or a further part of it; a positive status is its length. */
export const NetifRxResponse = /* @__PURE__ */ overlay(8, {
  id: u16(0), offset: u16(2), flags: u16(4), status: i16(6),
})

/** Extra information in the slot of a request or response. */
export const NetifExtraInfo = /* @__PURE__ */ overlay(8, {
  type: u8(0), flags: u8(1), gsoSize: u16(2), gsoType: u8(4), gsoFeatures: u16(6), mcastAddr: bytes(2, 6),
  hashType: u8(2), hashAlgorithm: u8(3), hashValue: bytes(4, 4),
})

/** A request on the control ring. */
export const NetifCtrlRequest = /* @__PURE__ */ overlay(16, { id: u16(0), type: u16(2), data: array(4, u32, 3) })

/** A response on the control ring. */
export const NetifCtrlResponse = /* @__PURE__ */ overlay(12, {
  id: u16(0), type: u16(2), status: u32(4), data: u32(8),
})

/** One grant that the back-end shall keep mapped. */
export const NetifGref = /* @__PURE__ */ overlay(8, { ref: u32(0), flags: u16(4), status: u16(6) })
