/**
 * XenStore on the wire: message kinds, header, error names, and the shared page.
 * Numbers above 22 and the page's last field are newer than Xen 4.17's header.
 *
 * Reference: xen/include/public/io/xs_wire.h, xen/docs/misc/xenstore.txt.
 */
import { bytes, overlay, u32 } from '../../util/index.ts'

/** Message kinds. Reference: public/io/xs_wire.h, enum xsd_sockmsg_type. */
export const XS = /* @__PURE__ */ Object.freeze({
  CONTROL: 0,
  DIRECTORY: 1,
  READ: 2,
  GET_PERMS: 3,
  WATCH: 4,
  UNWATCH: 5,
  TRANSACTION_START: 6,
  TRANSACTION_END: 7,
  INTRODUCE: 8,
  RELEASE: 9,
  GET_DOMAIN_PATH: 10,
  WRITE: 11,
  MKDIR: 12,
  RM: 13,
  SET_PERMS: 14,
  WATCH_EVENT: 15,
  ERROR: 16,
  IS_DOMAIN_INTRODUCED: 17,
  RESUME: 18,
  SET_TARGET: 19,
  RESET_WATCHES: 21,
  DIRECTORY_PART: 22,
  GET_FEATURE: 23,
  SET_FEATURE: 24,
  GET_QUOTA: 25,
  SET_QUOTA: 26,
  INVALID: 0xffff,
} as const)

/** Header of every message. Reference: public/io/xs_wire.h, struct xsd_sockmsg. */
export const XsdSockmsg = /* @__PURE__ */ overlay(16, {
  type: u32(0),
  reqId: u32(4),
  txId: u32(8),
  len: u32(12),
})

/** The shared page of a domain's connection. Reference: public/io/xs_wire.h, struct xenstore_domain_interface. */
export const XenstoreDomainInterface = /* @__PURE__ */ overlay(2080, {
  req: bytes(0, 1024),
  rsp: bytes(1024, 1024),
  reqCons: u32(2048),
  reqProd: u32(2052),
  rspCons: u32(2056),
  rspProd: u32(2060),
  serverFeatures: u32(2064),
  connection: u32(2068),
  error: u32(2072),
  evtchnPort: u32(2076),
})

/** Limits of the protocol. Reference: public/io/xs_wire.h, XENSTORE_*_MAX. */
export const XENSTORE = /* @__PURE__ */ Object.freeze({
  RING_SIZE: 1024,
  PAYLOAD_MAX: 4096,
  ABS_PATH_MAX: 3072,
  REL_PATH_MAX: 2048,
} as const)

/** What the server can do, in `serverFeatures`. Reference: public/io/xs_wire.h, XENSTORE_SERVER_FEATURE_*. */
export const XENSTORE_SERVER_FEATURE = /* @__PURE__ */ Object.freeze({
  RECONNECTION: 1,
  ERROR: 2,
  WATCHDEPTH: 4,
  DOMID_ANY: 8,
} as const)

/** States of the connection, in `connection`. Reference: public/io/xs_wire.h. */
export const XENSTORE_CONNECTION = /* @__PURE__ */ Object.freeze({ CONNECTED: 0, RECONNECT: 1 } as const)

/** What broke the connection, in `error`. Reference: public/io/xs_wire.h, XENSTORE_ERROR_*. */
export const XENSTORE_ERROR = /* @__PURE__ */ Object.freeze({ NONE: 0, COMM: 1, RINGIDX: 2, PROTO: 3 } as const)
