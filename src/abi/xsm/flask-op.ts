/**
 * The security module: its policy, its labels, its decisions.
 * Numbers only: this library has none of it.
 *
 * Reference: xen/include/public/xsm/flask_op.h.
 */

/** Operations of xsm_op. */
export const FLASK = {
  LOAD: 1, GETENFORCE: 2, SETENFORCE: 3, CONTEXT_TO_SID: 4, SID_TO_CONTEXT: 5, ACCESS: 6, CREATE: 7, RELABEL: 8,
  USER: 9, POLICYVERS: 10, GETBOOL: 11, SETBOOL: 12, COMMITBOOLS: 13, MLS: 14, DISABLE: 15, GETAVC_THRESHOLD: 16,
  SETAVC_THRESHOLD: 17, AVC_HASHSTATS: 18, AVC_CACHESTATS: 19, MEMBER: 20, ADD_OCONTEXT: 21, DEL_OCONTEXT: 22,
  GET_PEER_SID: 23, RELABEL_DOMAIN: 24, DEVICETREE_LABEL: 25,
} as const
