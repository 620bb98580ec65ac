/**
 * Messages between domains that Xen copies.
 * Numbers only: this library has none of it.
 *
 * Reference: xen/include/public/argo.h.
 */

/** Operations of argo_op. */
export const ARGO_OP = {
  register_ring: 1, unregister_ring: 2, sendv: 3, notify: 4,
} as const
