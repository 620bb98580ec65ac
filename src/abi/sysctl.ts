/**
 * The tools' calls about the whole host: numbers and arguments. Arguments are the same for guests of both widths, as those of
 * domctl.
 *
 * Reference: xen/include/public/sysctl.h (interface version 0x15).
 */
import { bytes, i32, nested, overlay, u16, u32, u64, u8 } from '../util/index.ts'
import { XenctlBitmap } from './domctl.ts'

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

/** What every call begins with; its own argument lies in `u`. */
export const Sysctl = /* @__PURE__ */ overlay(136, { cmd: u32(0), interfaceVersion: u32(4), u: bytes(8, 128) })

/** Reading the hypervisor's console. */
export const SysctlReadconsole = /* @__PURE__ */ overlay(24, {
  clear: u8(0), incremental: u8(1), index: u32(4), buffer: u64(8), count: u32(16),
})

/** The trace buffers. */
export const SysctlTbufOp = /* @__PURE__ */ overlay(48, {
  cmd: u32(0), cpuMask: nested(8, XenctlBitmap), evtMask: u32(24), bufferMfn: u64(32), bufferBytes: u32(40),
})

/** What is to be done with them. */
export const TBUFOP = { get_info: 0, set_cpu_mask: 1, set_evt_mask: 2, set_size: 3, enable: 4, disable: 5 } as const

/** CPUs and memory of the host. */
export const SysctlPhysinfo = /* @__PURE__ */ overlay(112, {
  threadsPerCore: u32(0), coresPerSocket: u32(4), nrCpus: u32(8), maxCpuId: u32(12), nrNodes: u32(16), maxNodeId: u32(20), cpuKhz: u32(24),
  capabilities: u32(28), archCapabilities: u32(32), totalPages: u64(40), freePages: u64(48), scrubPages: u64(56), outstandingPages: u64(64),
  maxMfn: u64(72), hwCap: bytes(80, 32),
})

/** What a host can do. */
export const PHYSCAP = {
  hvm: 1, pv: 2, directio: 4, hap: 8, shadow: 16, iommu_hap_pt_share: 32, vmtrace: 64, vpmu: 128, gnttab_v1: 256, gnttab_v2: 512,
} as const

/** The host's scheduler. */
export const SysctlSchedId = /* @__PURE__ */ overlay(4, { schedId: u32(0) })

/** A list of domains. */
export const SysctlGetdomaininfolist = /* @__PURE__ */ overlay(24, {
  firstDomain: u16(0), maxDomains: u32(4), buffer: u64(8), numDomains: u32(16),
})

/** Keys that the hypervisor answers by words on its console. */
export const SysctlDebugKeys = /* @__PURE__ */ overlay(16, { keys: u64(0), nrKeys: u32(8) })

/** One CPU's time. */
export const SysctlCpuinfo = /* @__PURE__ */ overlay(8, { idletime: u64(0) })

/** Times of CPUs. */
export const SysctlGetcpuinfo = /* @__PURE__ */ overlay(24, { maxCpus: u32(0), info: u64(8), nrCpus: u32(16) })

/** Free memory. */
export const SysctlAvailheap = /* @__PURE__ */ overlay(24, { minBitwidth: u32(0), maxBitwidth: u32(4), node: i32(8), availBytes: u64(16) })

/** How a CPU saves power. */
export const SysctlGetPmstat = /* @__PURE__ */ overlay(64, { type: u32(0), cpuid: u32(4), maxCx: u32(8) })

/** What is asked of it. */
export const PMSTAT = { get_max_px: 0x11, get_pxstat: 0x12, reset_pxstat: 0x13, get_max_cx: 0x21, get_cxstat: 0x22, reset_cxstat: 0x23 } as const

/** How CPUs are to save power. */
export const SysctlPmOp = /* @__PURE__ */ overlay(128, { cmd: u32(0), cpuid: u32(4), maxCstate: u32(8) })

/** What is to be done. */
export const PM_OP = {
  set_sched_opt_smt: 0x21, get_max_cstate: 0x22, set_max_cstate: 0x23, set_vcpu_migration_delay: 0x24, get_vcpu_migration_delay: 0x25,
  enable_turbo: 0x26, disable_turbo: 0x27,
} as const

/** A CPU that comes or goes. */
export const SysctlCpuHotplug = /* @__PURE__ */ overlay(8, { cpu: u32(0), op: u32(4) })

/** What is to be done with it. */
export const CPU_HOTPLUG = { ONLINE: 0, OFFLINE: 1, SMT_ENABLE: 2, SMT_DISABLE: 3 } as const

/** Where a CPU stands. */
export const SysctlCputopo = /* @__PURE__ */ overlay(12, { core: u32(0), socket: u32(4), node: u32(8) })

/** Where CPUs stand. */
export const SysctlCputopoinfo = /* @__PURE__ */ overlay(16, { numCpus: u32(0), cputopo: u64(8) })

/** Memory of a node. */
export const SysctlMeminfo = /* @__PURE__ */ overlay(16, { memsize: u64(0), memfree: u64(8) })

/** Nodes of the host. */
export const SysctlNumainfo = /* @__PURE__ */ overlay(24, { numNodes: u32(0), meminfo: u64(8), distance: u64(16) })

/** Where devices stand. */
export const SysctlPcitopoinfo = /* @__PURE__ */ overlay(24, { numDevs: u32(0), devs: u64(8), nodes: u64(16) })

/** A pool of CPUs. */
export const SysctlCpupoolOp = /* @__PURE__ */ overlay(40, {
  op: u32(0), cpupoolId: u32(4), schedId: u32(8), domid: u32(12), cpu: u32(16), nDom: u32(20), cpumap: nested(24, XenctlBitmap),
})

/** What is to be done with it. */
export const CPUPOOL_OP = { CREATE: 1, DESTROY: 2, INFO: 3, ADDCPU: 4, RMCPU: 5, MOVEDOMAIN: 6, FREEINFO: 7 } as const

/** Any pool, or any CPU. */
export const CPUPOOL_PAR_ANY = 0xffff_ffff

/** Parameters of a pool's scheduler. */
export const SysctlSchedulerOp = /* @__PURE__ */ overlay(32, {
  cpupoolId: u32(0), schedId: u32(4), cmd: u32(8), tsliceMs: u32(16), ratelimitUs: u32(20), vcpuMigrDelayUs: u32(24), credit2RatelimitUs: u32(16),
})

/** What is to be done with them. */
export const SYSCTL_SCHEDOP = { putinfo: 0, getinfo: 1 } as const

/** Features of processors. */
export const SysctlCpuFeatureset = /* @__PURE__ */ overlay(16, { index: u32(0), nrFeatures: u32(4), features: u64(8) })

/** Whose features: of the hardware, of Xen, of guests. */
export const CPU_FEATURESET = { raw: 0, host: 1, pv: 2, hvm: 3, pv_max: 4, hvm_max: 5 } as const

/** What CPUID and registers that tell of features could tell guests. */
export const SysctlCpuPolicy = /* @__PURE__ */ overlay(32, {
  index: u32(0), nrLeaves: u32(4), nrMsrs: u32(8), rsvd: u32(12), leaves: u64(16), msrs: u64(24),
})

/** Whose policy. */
export const CPU_POLICY = { raw: 0, host: 1, pv_max: 2, hvm_max: 3, pv_default: 4, hvm_default: 5 } as const

/** By what CPUID can be levelled. */
export const SysctlCpuLevellingCaps = /* @__PURE__ */ overlay(4, { caps: u32(0) })

/** Watching of caches. */
export const SysctlPsrCmtOp = /* @__PURE__ */ overlay(16, { cmd: u32(0), flags: u32(4), data: u64(8) })
