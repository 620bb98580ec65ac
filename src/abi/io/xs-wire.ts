/**
 * XenStore's wire: message header, operations, limits, and the page between a domain and the store.
 *
 * Reference: xen/include/public/io/xs_wire.h.
 */
import { bytes, overlay, u32 } from '../../util/index.ts'

/** Types of messages. */
export const XS = {
  CONTROL: 0, DIRECTORY: 1, READ: 2, GET_PERMS: 3, WATCH: 4, UNWATCH: 5, TRANSACTION_START: 6, TRANSACTION_END: 7,
  INTRODUCE: 8, RELEASE: 9, GET_DOMAIN_PATH: 10, WRITE: 11, MKDIR: 12, RM: 13, SET_PERMS: 14, WATCH_EVENT: 15,
  ERROR: 16, IS_DOMAIN_INTRODUCED: 17, RESUME: 18, SET_TARGET: 19, RESET_WATCHES: 21, DIRECTORY_PART: 22,
  TYPE_COUNT: 23, INVALID: 0xffff,
} as const

/** Which string of a watch event is which. */
export const XS_WATCH_FIELD = { PATH: 0, TOKEN: 1 } as const

/** Limits, and values of the ring page's fields. */
export const XENSTORE = {
  RING_SIZE: 1024, PAYLOAD_MAX: 4096, ABS_PATH_MAX: 3072, REL_PATH_MAX: 2048, SERVER_FEATURE_RECONNECTION: 1,
  SERVER_FEATURE_ERROR: 2, CONNECTED: 0, RECONNECT: 1, ERROR_NONE: 0, ERROR_COMM: 1, ERROR_RINGIDX: 2,
  ERROR_PROTO: 3,
} as const

/** Errors that travel on the wire, as their names. */
export const XSD_ERROR = {
  EINVAL: 22, EACCES: 13, EEXIST: 17, EISDIR: 21, ENOENT: 2, ENOMEM: 12, ENOSPC: 28, EIO: 5, ENOTEMPTY: 39,
  ENOSYS: 38, EROFS: 30, EBUSY: 16, EAGAIN: 11, EISCONN: 106, E2BIG: 7, EPERM: 1,
} as const

/** Header of every message. */
export const XsdSockmsg = /* @__PURE__ */ overlay(16, { type: u32(0), reqId: u32(4), txId: u32(8), len: u32(12) })

/** The page between a domain and the store: two byte rings, their indices, and how they fare. */
export const XenstoreDomainInterface = /* @__PURE__ */ overlay(2076, {
  req: bytes(0, 1024), rsp: bytes(1024, 1024), reqCons: u32(2048), reqProd: u32(2052), rspCons: u32(2056),
  rspProd: u32(2060), serverFeatures: u32(2064), connection: u32(2068), error: u32(2072),
})
