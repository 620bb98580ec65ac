/**
 * The tools' calls about the whole host: numbers only.
 *
 * Reference: xen/include/public/sysctl.h (interface version 0x15).
 */
/** Operations of sysctl. */
export const SYSCTL = {
  readconsole: 1, tbuf_op: 2, physinfo: 3, sched_id: 4, perfc_op: 5, getdomaininfolist: 6, debug_keys: 7,
  getcpuinfo: 8, availheap: 9, get_pmstat: 10, cpu_hotplug: 11, pm_op: 12, page_offline_op: 14, lockprof_op: 15,
  cputopoinfo: 16, numainfo: 17, cpupool_op: 18, scheduler_op: 19, coverage_op: 20, psr_cmt_op: 21, pcitopoinfo: 22,
  psr_alloc: 23, get_cpu_levelling_caps: 25, get_cpu_featureset: 26, livepatch_op: 27, get_cpu_policy: 29,
} as const

/** Version of this interface. */
export const SYSCTL_INTERFACE_VERSION = 21

/** Schedulers. */
export const SCHEDULER = { CREDIT: 5, CREDIT2: 6, ARINC653: 7, RTDS: 8, NULL: 9 } as const
