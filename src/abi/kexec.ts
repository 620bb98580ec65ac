/**
 * Starting another kernel in the place of Xen.
 * Numbers only: this library has none of it.
 *
 * Reference: xen/include/public/kexec.h.
 */

/** Operations of kexec_op. */
export const KEXEC_CMD = {
  kexec: 0, kexec_load_v1: 1, kexec_unload_v1: 2, kexec_get_range: 3, kexec_load: 4, kexec_unload: 5, kexec_status: 6,
} as const
