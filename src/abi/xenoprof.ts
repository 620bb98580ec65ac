/**
 * Profiling by sampling, before performance counters.
 * Numbers only: this library has none of it.
 *
 * Reference: xen/include/public/xenoprof.h.
 */

/** Operations of xenoprof_op. */
export const XENOPROF = {
  init: 0, reset_active_list: 1, reset_passive_list: 2, set_active: 3, set_passive: 4, reserve_counters: 5,
  counter: 6, setup_events: 7, enable_virq: 8, start: 9, stop: 10, disable_virq: 11, release_counters: 12,
  shutdown: 13, get_buffer: 14, set_backtrace: 15, get_ibs_caps: 16, ibs_counter: 17,
} as const
