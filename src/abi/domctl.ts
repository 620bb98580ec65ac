/**
 * The tools' calls about one domain: numbers, arguments, and the records that saved images and listings hold. Arguments are the
 * same for guests of both widths: what is 64 bits wide is aligned to 8 bytes, and guest handles are.
 *
 * Reference: xen/include/public/domctl.h (interface version 0x15).
 */
import { bytes, i32, nested, overlay, u16, u32, u64, u8 } from '../util/index.ts'

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
  ssidref: u32(72), handle: bytes(76, 16), cpupool: u32(92), gpaddrBits: u8(96), emulationFlags: u32(104), miscFlags: u32(108),
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

/** What every call begins with; its own argument lies in `u`. */
export const Domctl = /* @__PURE__ */ overlay(144, { cmd: u32(0), interfaceVersion: u32(4), domain: u16(8), u: bytes(16, 128) })

/** A bitmap of the caller's: its address, and how many bits it has. */
export const XenctlBitmap = /* @__PURE__ */ overlay(16, { bitmap: u64(0), nrBits: u32(8) })

/** A new domain. */
export const DomctlCreatedomain = /* @__PURE__ */ overlay(64, {
  ssidref: u32(0), handle: bytes(4, 16), flags: u32(20), iommuOpts: u32(24), maxVcpus: u32(28), maxEvtchnPort: u32(32),
  maxGrantFrames: i32(36), maxMaptrackFrames: i32(40), grantOpts: u32(44), vmtraceSize: u32(48), cpupoolId: u32(52),
  emulationFlags: u32(56), miscFlags: u32(60),
})

/** Devices that Xen emulates for a domain. Reference: public/arch-x86/xen.h. */
export const X86_EMU = {
  LAPIC: 1, HPET: 2, PM: 4, RTC: 8, IOAPIC: 16, PIC: 32, VGA: 64, IOMMU: 128, PIT: 256, USE_PIRQ: 512, VPCI: 1024,
} as const

/** Types of frames, by number or, then, by kind. */
export const DomctlGetpageframeinfo3 = /* @__PURE__ */ overlay(16, { num: u64(0), array: u64(8) })

/** An operation on the frames that a domain has written. */
export const DomctlShadowOp = /* @__PURE__ */ overlay(40, {
  op: u32(0), mode: u32(4), mb: u32(8), dirtyBitmap: u64(16), pages: u64(24), faultCount: u32(32), dirtyCount: u32(36),
})

/** What SHADOW_OP.ENABLE is to do. */
export const SHADOW_ENABLE = { REFCOUNT: 2, LOG_DIRTY: 4, TRANSLATE: 8, EXTERNAL: 16 } as const

/** Most memory of a domain, in KiB. */
export const DomctlMaxMem = /* @__PURE__ */ overlay(8, { maxMemkb: u64(0) })

/** Where the registers of a vCPU are. */
export const DomctlVcpucontext = /* @__PURE__ */ overlay(16, { vcpu: u32(0), ctxt: u64(8) })

/** What a vCPU does. */
export const DomctlGetvcpuinfo = /* @__PURE__ */ overlay(24, {
  vcpu: u32(0), online: u8(4), blocked: u8(5), running: u8(6), cpuTime: u64(8), cpu: u32(16),
})

/** Nodes that a domain should have its memory on. */
export const DomctlNodeaffinity = /* @__PURE__ */ overlay(16, { nodemap: nested(0, XenctlBitmap) })

/** Physical CPUs of a vCPU. */
export const DomctlVcpuaffinity = /* @__PURE__ */ overlay(40, {
  vcpu: u32(0), flags: u32(4), cpumapHard: nested(8, XenctlBitmap), cpumapSoft: nested(24, XenctlBitmap),
})

/** Which affinity is meant. */
export const VCPUAFFINITY = { HARD: 1, SOFT: 2, FORCE: 4 } as const

/** How many vCPUs a domain is to have. */
export const DomctlMaxVcpus = /* @__PURE__ */ overlay(4, { max: u32(0) })

/** Parameters of a domain's scheduling: weight and cap, or period, budget and flags, or a list of its vCPUs'. */
export const DomctlSchedulerOp = /* @__PURE__ */ overlay(24, {
  schedId: u32(0), cmd: u32(4), weight: u16(8), cap: u16(10), period: u32(8), budget: u32(12), rtdsFlags: u32(16), vcpus: u64(8), nrVcpus: u32(16),
})

/** What is to be done with them. */
export const DOMCTL_SCHEDOP = { putinfo: 0, getinfo: 1, putvcpuinfo: 2, getvcpuinfo: 3 } as const

/** Parameters of one vCPU's scheduling. */
export const DomctlSchedparamVcpu = /* @__PURE__ */ overlay(16, { period: u32(0), budget: u32(4), flags: u32(8), vcpuid: u32(12) })

/** It may go on beyond its budget. */
export const DOMCTL_SCHEDRT_EXTRA = 1

/** A domain's handle. */
export const DomctlSetdomainhandle = /* @__PURE__ */ overlay(16, { handle: bytes(0, 16) })

/** Whether somebody debugs a domain. */
export const DomctlSetdebugging = /* @__PURE__ */ overlay(1, { enable: u8(0) })

/** Whether a domain may have an interrupt. */
export const DomctlIrqPermission = /* @__PURE__ */ overlay(8, { pirq: u32(0), allowAccess: u8(4) })

/** Whether a domain may have frames of devices. */
export const DomctlIomemPermission = /* @__PURE__ */ overlay(24, { firstMfn: u64(0), nrMfns: u64(8), allowAccess: u8(16) })

/** Whether a domain may have I/O ports. */
export const DomctlIoportPermission = /* @__PURE__ */ overlay(12, { firstPort: u32(0), nrPorts: u32(4), allowAccess: u8(8) })

/** A frame that is to hold hypercall stubs. */
export const DomctlHypercallInit = /* @__PURE__ */ overlay(8, { gmfn: u64(0) })

/** By how many seconds a domain's wall clock is ahead. */
export const DomctlSettimeoffset = /* @__PURE__ */ overlay(8, { timeOffsetSeconds: u64(0) })

/** State of a translated domain's vCPUs. */
export const DomctlHvmcontext = /* @__PURE__ */ overlay(16, { bytes: u32(0), buffer: u64(8) })

/** One record of it. */
export const DomctlHvmcontextPartial = /* @__PURE__ */ overlay(24, { type: u32(0), instance: u32(4), bufsz: u64(8), buffer: u64(16) })

/** Bits of a guest's machine word. */
export const DomctlAddressSize = /* @__PURE__ */ overlay(4, { bits: u32(0) })

/** Something that happens to a vCPU. */
export const DomctlSendtrigger = /* @__PURE__ */ overlay(8, { trigger: u32(0), vcpu: u32(4) })

/** What happens to it. */
export const SENDTRIGGER = { NMI: 0, RESET: 1, INIT: 2, POWER: 3, SLEEP: 4 } as const

/** Frames of devices at a domain's own numbers. */
export const DomctlMemoryMapping = /* @__PURE__ */ overlay(32, { firstGfn: u64(0), firstMfn: u64(8), nrMfns: u64(16), addMapping: u32(24) })

/** The domain that another one emulates devices for. */
export const DomctlSetTarget = /* @__PURE__ */ overlay(2, { target: u16(0) })

/** What CPUID and registers that tell of features are to tell a domain. */
export const DomctlCpuPolicy = /* @__PURE__ */ overlay(40, {
  nrLeaves: u32(0), nrMsrs: u32(4), leaves: u64(8), msrs: u64(16), errLeaf: u32(24), errSubleaf: u32(28), errMsr: u32(32),
})

/** The port that a domain's suspending is told by. */
export const DomctlSubscribe = /* @__PURE__ */ overlay(4, { port: u32(0) })

/** Single steps of a vCPU. */
export const DomctlDebugOp = /* @__PURE__ */ overlay(8, { op: u32(0), vcpu: u32(4) })

/** Who gets a VIRQ of the host's. */
export const DomctlSetVirqHandler = /* @__PURE__ */ overlay(4, { virq: u32(0) })

/** Memory of a domain that a debugger reads or writes. */
export const DomctlGdbsxMemio = /* @__PURE__ */ overlay(40, {
  pgd3val: u64(0), gva: u64(8), uva: u64(16), len: u32(24), gwr: u8(28), remain: u32(32),
})

/** A vCPU that a debugger pauses. */
export const DomctlGdbsxPauseunpVcpu = /* @__PURE__ */ overlay(4, { vcpu: u32(0) })

/** What a debugger is told of a domain. */
export const DomctlGdbsxDomstatus = /* @__PURE__ */ overlay(12, { paused: u8(0), vcpuId: u32(4), vcpuEv: u32(8) })

/** Events of a domain that somebody wants to hear of. */
export const DomctlVmEventOp = /* @__PURE__ */ overlay(12, { op: u32(0), mode: u32(4), version: u32(8) })

/** Bytes that page tables of the hypervisor's may take for a domain. */
export const DomctlPagingMempool = /* @__PURE__ */ overlay(8, { mempoolBytes: u64(0) })

/** Virtual nodes of a domain. */
export const DomctlVnuma = /* @__PURE__ */ overlay(48, {
  nrVnodes: u32(0), nrVmemranges: u32(4), nrVcpus: u32(8), pad: u32(12), vdistance: u64(16), vcpuToVnode: u64(24), vnodeToPnode: u64(32),
  vmemrange: u64(40),
})

/** Shares of caches and memory. */
export const DomctlPsrAlloc = /* @__PURE__ */ overlay(16, { cmd: u32(0), target: u32(4), data: u64(8) })

/** Watching of caches. */
export const DomctlPsrCmtOp = /* @__PURE__ */ overlay(8, { cmd: u32(0), data: u32(4) })
