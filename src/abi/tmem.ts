/**
 * Transcendent memory, which Xen has dropped: its numbers are reserved.
 * Numbers only: this library has none of it.
 *
 * Reference: xen/include/public/tmem.h.
 */

/** Operations of tmem_op. */
export const TMEM = {
  NEW_POOL: 1, DESTROY_POOL: 2, PUT_PAGE: 4, GET_PAGE: 5, FLUSH_PAGE: 6, FLUSH_OBJECT: 7, AUTH: 101, RESTORE_NEW: 102,
} as const
