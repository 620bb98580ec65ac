/**
 * The hypervisor's own file system of parameters.
 * Numbers only: this library has none of it.
 *
 * Reference: xen/include/public/hypfs.h.
 */

/** Operations of hypfs_op. */
export const HYPFS_OP = {
  get_version: 0, read: 1, write_contents: 2,
} as const
