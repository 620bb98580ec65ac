/**
 * What every guest needs: hypercall numbers, virtual interrupts, page-table operations, start_info and shared_info.
 * What is particular to x86 is in arch-x86.ts.
 *
 * Reference: xen/include/public/xen.h.
 */
import { array, bytes, frame, gap, i8, nested, over, placed, pointer, structure, u16, u32, u64, u8, ulong } from './structure.ts'

/** Hypercall numbers. */
export const HYPERVISOR = {
  set_trap_table: 0, mmu_update: 1, set_gdt: 2, stack_switch: 3, set_callbacks: 4, fpu_taskswitch: 5,
  sched_op_compat: 6, platform_op: 7, set_debugreg: 8, get_debugreg: 9, update_descriptor: 10, memory_op: 12,
  multicall: 13, update_va_mapping: 14, set_timer_op: 15, event_channel_op_compat: 16, xen_version: 17,
  console_io: 18, physdev_op_compat: 19, grant_table_op: 20, vm_assist: 21, update_va_mapping_otherdomain: 22,
  iret: 23, vcpu_op: 24, set_segment_base: 25, mmuext_op: 26, xsm_op: 27, nmi_op: 28, sched_op: 29, callback_op: 30,
  xenoprof_op: 31, event_channel_op: 32, physdev_op: 33, hvm_op: 34, sysctl: 35, domctl: 36, kexec_op: 37,
  tmem_op: 38, argo_op: 39, xenpmu_op: 40, dm_op: 41, hypfs_op: 42, arch_0: 48, arch_1: 49, arch_2: 50, arch_3: 51,
  arch_4: 52, arch_5: 53, arch_6: 54, arch_7: 55,
} as const

/** Virtual interrupts: TIMER, DEBUG and XENOPROF are per vCPU, the others global. */
export const VIRQ = {
  TIMER: 0, DEBUG: 1, CONSOLE: 2, DOM_EXC: 3, TBUF: 4, DEBUGGER: 6, XENOPROF: 7, CON_RING: 8, PCPU_STATE: 9,
  MEM_EVENT: 10, ARGO: 11, ENOMEM: 12, XENPMU: 13, ARCH_0: 16, ARCH_1: 17, ARCH_2: 18, ARCH_3: 19, ARCH_4: 20,
  ARCH_5: 21, ARCH_6: 22, ARCH_7: 23,
} as const

/** Number of virtual interrupts. */
export const NR_VIRQS = 24

/** What an mmu_update does, in the low two bits of its pointer. */
export const MMU = {
  NORMAL_PT_UPDATE: 0, MACHPHYS_UPDATE: 1, PT_UPDATE_PRESERVE_AD: 2, PT_UPDATE_NO_TRANSLATE: 3,
} as const

/** Extended page-table operations. */
export const MMUEXT = {
  PIN_L1_TABLE: 0, PIN_L2_TABLE: 1, PIN_L3_TABLE: 2, PIN_L4_TABLE: 3, UNPIN_TABLE: 4, NEW_BASEPTR: 5,
  TLB_FLUSH_LOCAL: 6, INVLPG_LOCAL: 7, TLB_FLUSH_MULTI: 8, INVLPG_MULTI: 9, TLB_FLUSH_ALL: 10, INVLPG_ALL: 11,
  FLUSH_CACHE: 12, SET_LDT: 13, NEW_USER_BASEPTR: 15, CLEAR_PAGE: 16, COPY_PAGE: 17, FLUSH_CACHE_GLOBAL: 18,
  MARK_SUPER: 19, UNMARK_SUPER: 20,
} as const

/** Flush flags of update_va_mapping. */
export const UVMF = { NONE: 0, TLB_FLUSH: 1, INVLPG: 2, FLUSHTYPE_MASK: 3, MULTI: 0, LOCAL: 0, ALL: 4 } as const

/** Operations on the hypervisor's console. */
export const CONSOLEIO = { write: 0, read: 1 } as const

/** Commands of vm_assist. */
export const VMASST_CMD = { enable: 0, disable: 1 } as const

/** What vm_assist switches. */
export const VMASST_TYPE = {
  '4gb_segments': 0, '4gb_segments_notify': 1, writable_pagetables: 2, pae_extended_cr3: 3, architectural_iopl: 4,
  runstate_update_flag: 5, m2p_strict: 32,
} as const

/** Domain identifiers with a meaning of their own. */
export const DOMID = {
  FIRST_RESERVED: 0x7ff0, SELF: 0x7ff0, IO: 0x7ff1, XEN: 0x7ff2, COW: 0x7ff3, INVALID: 0x7ff4, IDLE: 0x7fff,
  MASK: 0x7fff,
} as const
/** The greatest number that a domain can have: the one below {@link DOMID}.FIRST_RESERVED. */
export const LAST_DOMID = 0x7fef

/** Flags of start_info. */
export const SIF = {
  PRIVILEGED: 1, INITDOMAIN: 2, MULTIBOOT_MOD: 4, MOD_START_PFN: 8, VIRT_P2M_4TOOLS: 16, PM_MASK: 0xff00,
} as const

/** Flags of a vCPU's time record. */
export const PVCLOCK = { TSC_STABLE_BIT: 1, GUEST_STOPPED: 2 } as const

/** Kinds of console that dom0 may have been given. */
export const VGATYPE = { TEXT_MODE_3: 3, VESA_LFB: 35, EFI_LFB: 112 } as const

/** Bytes of a PV guest's command line, with the zero that ends it. */
export const MAX_GUEST_CMDLINE = 1024

/** Version of the interface that these tables follow. */
export const INTERFACE_VERSION = 0x4_0e00

/** Argument of mmuext_op; which of the fields count depends on the command. */
export const MmuextOp = /* @__PURE__ */ structure({
  cmd: u32, mfn: frame, linearAddr: over(ulong), vcpumask: pointer, nrEnts: over(u32), srcMfn: over(frame),
})

/** One page-table write: machine address of the entry with the MMU command, and its new contents. */
export const MmuUpdate = /* @__PURE__ */ structure({ ptr: u64, val: u64 })

/** One call of a multicall. */
export const MulticallEntry = /* @__PURE__ */ structure({ op: ulong, result: ulong, args: array(ulong, 6) })

/** A vCPU's time record: odd version means that an update is under way. */
export const VcpuTimeInfo = /* @__PURE__ */ structure({
  version: u32, pad0: gap(4), tscTimestamp: u64, systemTime: u64, tscToSystemMul: u32, tscShift: i8, flags: u8, pad1: gap(2),
})

/** What x86 adds to vcpu_info: the address of the last page fault. */
export const ArchVcpuInfo = /* @__PURE__ */ structure({ cr2: ulong, pad: gap(8, 20) })

/** What a vCPU shares with Xen: event state, fault address, time. */
export const VcpuInfo = /* @__PURE__ */ structure({
  evtchnUpcallPending: u8, evtchnUpcallMask: u8, evtchnPendingSel: ulong, arch: nested(ArchVcpuInfo),
  time: nested(VcpuTimeInfo),
})

/** What x86 adds to shared_info: where the guest keeps its frame list. Its last 4 bytes of i386 are `wcSecHi` of {@link SharedInfo}. */
export const ArchSharedInfo = /* @__PURE__ */ structure({
  maxPfn: ulong, pfnToMfnFrameListList: frame, nmiReason: ulong, p2mCr3: ulong, p2mVaddr: ulong, p2mGeneration: ulong,
  wcSecHi: gap(0, 4),
})

/** The page that a domain shares with Xen: as many words of ports as a word has bits. */
export const SharedInfo = /* @__PURE__ */ structure({
  vcpuInfo: array(VcpuInfo, 32), evtchnPending: array(ulong, 64, 32), evtchnMask: array(ulong, 64, 32),
  wcVersion: u32, wcSec: u32, wcNsec: u32, wcSecHi: placed(u32, 3084, 2340), arch: nested(ArchSharedInfo),
})

/** What a PV guest finds at start, its address in RSI. */
export const StartInfo = /* @__PURE__ */ structure({
  magic: bytes(32), nrPages: ulong, sharedInfo: ulong, flags: u32, storeMfn: frame, storeEvtchn: u32,
  consoleMfn: frame, consoleInfoOff: over(u32), consoleInfoSize: placed(u32, 76, 56), consoleEvtchn: u32,
  ptBase: ulong, nrPtFrames: ulong, mfnList: ulong, modStart: ulong, modLen: ulong, cmdLine: bytes(1024),
  firstP2mPfn: ulong, nrP2mFrames: ulong,
})

/** One module, where SIF.MULTIBOOT_MOD says that start_info names such a list. */
export const MultibootModList = /* @__PURE__ */ structure({ modStart: u32, modEnd: u32, cmdline: u32, pad: u32 })

/** Text or graphics console that dom0 takes over. */
export const Dom0VgaConsoleInfo = /* @__PURE__ */ structure({
  videoType: u8, pad: gap(3), fontHeight: u16, width: over(u16), cursorX: u16, height: over(u16), cursorY: u16,
  bytesPerLine: over(u16), rows: u16, bitsPerPixel: over(u16), lfbBase: u32, columns: over(u16), lfbSize: u32, rest: gap(20),
})
