/**
 * The tools' calls about one domain: numbers, and the records that saved images and listings hold.
 *
 * Reference: xen/include/public/domctl.h (interface version 0x15).
 */
import { bytes, overlay, u16, u32, u64, u8 } from '../util/index.ts'

/** Operations of domctl. */
export const DOMCTL = {
  createdomain: 1, destroydomain: 2, pausedomain: 3, unpausedomain: 4, getdomaininfo: 5, setvcpuaffinity: 9,
  shadow_op: 10, max_mem: 11, setvcpucontext: 12, getvcpucontext: 13, getvcpuinfo: 14, max_vcpus: 15,
  scheduler_op: 16, setdomainhandle: 17, setdebugging: 18, irq_permission: 19, iomem_permission: 20,
  ioport_permission: 21, hypercall_init: 22, settimeoffset: 24, getvcpuaffinity: 25, real_mode_area: 26,
  resumedomain: 27, sendtrigger: 28, subscribe: 29, gethvmcontext: 33, sethvmcontext: 34, set_address_size: 35,
  get_address_size: 36, assign_device: 37, bind_pt_irq: 38, memory_mapping: 39, ioport_mapping: 40,
  set_ext_vcpucontext: 42, get_ext_vcpucontext: 43, set_opt_feature: 44, test_assign_device: 45, set_target: 46,
  deassign_device: 47, unbind_pt_irq: 48, get_device_group: 50, debug_op: 54, gethvmcontext_partial: 55,
  vm_event_op: 56, mem_sharing_op: 57, gettscinfo: 59, settscinfo: 60, getpageframeinfo3: 61, setvcpuextstate: 62,
  getvcpuextstate: 63, set_access_required: 64, audit_p2m: 65, set_virq_handler: 66, set_broken_page_p2m: 67,
  setnodeaffinity: 68, getnodeaffinity: 69, cacheflush: 71, get_vcpu_msrs: 72, set_vcpu_msrs: 73, setvnumainfo: 74,
  psr_cmt_op: 75, monitor_op: 77, psr_alloc: 78, soft_reset: 79, vuart_op: 81, get_cpu_policy: 82,
  set_cpu_policy: 83, vmtrace_op: 84, get_paging_mempool_size: 85, set_paging_mempool_size: 86,
  gdbsx_guestmemio: 1000, gdbsx_pausevcpu: 1001, gdbsx_unpausevcpu: 1002, gdbsx_domstatus: 1003,
} as const

/** Version of this interface. */
export const DOMCTL_INTERFACE_VERSION = 21

/** Flags of a domain at creation. */
export const DOMCTL_CDF = {
  hvm: 1, hap: 2, s3_integrity: 4, oos_off: 8, xs_domain: 16, iommu: 32, nested_virt: 64, vpmu: 128,
} as const

/** State flags of a domain. */
export const DOMINF = {
  dying: 1, hvm_guest: 2, shutdown: 4, paused: 8, blocked: 16, running: 32, debugged: 64, xs_domain: 128, hap: 256,
  shutdownmask: 255, shutdownshift: 16,
} as const

/** Type of a frame, as saved images tell it. */
export const PFINFO = {
  LTAB_SHIFT: 28, NOTAB: 0, L1TAB: 0x1000_0000, L2TAB: 0x2000_0000, L3TAB: 0x3000_0000, L4TAB: 0x4000_0000,
  LTABTYPE_MASK: 0x7000_0000, LPINTAB: 0x8000_0000, XTAB: 0xf000_0000, XALLOC: 0xe000_0000, BROKEN: 0xd000_0000,
  LTAB_MASK: 0xf000_0000,
} as const

/** Operations of DOMCTL.shadow_op; log-dirty is among them. */
export const SHADOW_OP = {
  OFF: 0, ENABLE: 32, CLEAN: 11, PEEK: 12, GET_ALLOCATION: 30, SET_ALLOCATION: 31, ENABLE_TEST: 1,
  ENABLE_LOGDIRTY: 2,
} as const

/** What is known of a domain. */
export const DomctlGetdomaininfo = /* @__PURE__ */ overlay(112, {
  domain: u16(0), flags: u32(4), totPages: u64(8), maxPages: u64(16), outstandingPages: u64(24), shrPages: u64(32),
  pagedPages: u64(40), sharedInfoFrame: u64(48), cpuTime: u64(56), nrOnlineVcpus: u32(64), maxVcpuId: u32(68),
  ssidref: u32(72), handle: bytes(76, 16), cpupool: u32(92),
})

/** Entry points for 32-bit system calls and the machine-check state of a vCPU. */
export const DomctlExtVcpucontext = /* @__PURE__ */ overlay(64, {
  vcpu: u32(0), structSize: u32(4), syscall32CallbackEip: u64(8), sysenterCallbackEip: u64(16),
  syscall32CallbackCs: u16(24), sysenterCallbackCs: u16(26), syscall32DisablesEvents: u8(28),
  sysenterDisablesEvents: u8(29), mcgCap: u64(32),
})

/** Extended processor state of a vCPU. */
export const DomctlVcpuextstate = /* @__PURE__ */ overlay(32, {
  vcpu: u32(0), xfeatureMask: u64(8), bufferSize: u64(16), buffer: u64(24),
})

/** One model-specific register. */
export const DomctlVcpuMsr = /* @__PURE__ */ overlay(16, { index: u32(0), value: u64(8) })

/** Model-specific registers of a vCPU. */
export const DomctlVcpuMsrs = /* @__PURE__ */ overlay(16, { vcpu: u32(0), msrCount: u32(4), msrs: u64(8) })

/** How a domain sees the time-stamp counter. */
export const DomctlTscInfo = /* @__PURE__ */ overlay(24, {
  tscMode: u32(0), gtscKhz: u32(4), incarnation: u32(8), elapsedNsec: u64(16),
})

/** One CPUID leaf of a policy. */
export const CpuidLeaf = /* @__PURE__ */ overlay(24, {
  leaf: u32(0), subleaf: u32(4), a: u32(8), b: u32(12), c: u32(16), d: u32(20),
})

/** One model-specific register of a policy. */
export const MsrEntry = /* @__PURE__ */ overlay(16, { idx: u32(0), flags: u32(4), val: u64(8) })
