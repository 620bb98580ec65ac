/**
 * Performance counters.
 * Numbers only: this library has none of it.
 *
 * Reference: xen/include/public/pmu.h.
 */

/** Operations of xenpmu_op. */
export const XENPMU = {
  mode_get: 0, mode_set: 1, feature_get: 2, feature_set: 3, init: 4, finish: 5, lvtpc_set: 6, flush: 7,
} as const
