/**
 * Xen's public interface for x86 guests: numbers and layouts of Xen 4.17, data only, one file for each header;
 * a structure is its layout of 64-bit guests, and its `compat` that of 32-bit ones;
 * and the types of the calls that a guest in TypeScript makes.
 *
 * @example
 * import { StartInfo } from 'paravirt/abi'
 *
 * const page = new DataView(new ArrayBuffer(4096))
 * StartInfo.storeMfn.setNumber(page, 0, 7)
 * console.log(StartInfo.storeMfn.offset, StartInfo.compat.storeMfn.offset)
 *
 * @module
 */
export type { GrantCopy, GrantCopySide, GrantMapping, HypercallPort, MappedGrant } from './hypercall-port.ts'
export { PAGE_SHIFT, PAGE_SIZE } from '../x86/index.ts'
export type {
  ArrayField, BytesField, Decoded, DecodedFields, Field, Fields, Layout, NestedField, NumberField, Overlay, WideField,
} from '../util/index.ts'
export { COMPAT, NATIVE, guestAbiOf } from './guest-abi.ts'
export type { GuestAbi, SharedPlaces } from './guest-abi.ts'
export type { FieldsOf, Gap, Member, Members, Structure, Width } from './structure.ts'
export { ERRNO } from './errno.ts'
export type { ErrnoName } from './errno.ts'
export {
  ArchSharedInfo, ArchVcpuInfo, CONSOLEIO, DOMID, Dom0VgaConsoleInfo, HYPERVISOR, INTERFACE_VERSION, LAST_DOMID,
  MAX_GUEST_CMDLINE, MMU, MMUEXT, MmuUpdate, MmuextOp, MultibootModList, MulticallEntry, NR_VIRQS, PVCLOCK, SIF,
  SharedInfo, StartInfo, UVMF, VGATYPE, VIRQ, VMASST_CMD, VMASST_TYPE, VcpuInfo, VcpuTimeInfo,
} from './xen.ts'
export {
  FIRST_RESERVED_GDT_BYTE, FIRST_RESERVED_GDT_ENTRY, FIRST_RESERVED_GDT_PAGE, LEGACY_MAX_VCPUS, TrapInfo, VGCF,
} from './arch-x86.ts'
export {
  CpuUserRegs, FLAT, HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START, IretContext, MACH2PHYS_NR_ENTRIES, MACH2PHYS_VIRT_END,
  MACH2PHYS_VIRT_START, SEGBASE, VcpuGuestContext,
} from './arch-x86-64.ts'
export {
  COMPAT_FLAT, COMPAT_HYPERVISOR_VIRT_START, COMPAT_MACH2PHYS_VIRT_END, COMPAT_MACH2PHYS_VIRT_START,
  CompatCallbackRegister, CompatCpuUserRegs, CompatVcpuGuestContext,
} from './arch-x86-32.ts'
export {
  EVTCHNOP, EVTCHNSTAT, EVTCHN_2L_NR_CHANNELS, EVTCHN_FIFO, EvtchnAllocUnbound, EvtchnBindInterdomain, EvtchnBindIpi,
  EvtchnBindPirq, EvtchnBindVcpu, EvtchnBindVirq, EvtchnClose, EvtchnExpandArray, EvtchnFifoControlBlock,
  EvtchnInitControl, EvtchnOp, EvtchnReset, EvtchnSend, EvtchnSetPriority, EvtchnStatus, EvtchnUnmask,
} from './event-channel.ts'
export {
  GNTCOPY, GNTMAP, GNTST, GNTTABOP, GNTTAB_CACHE, GNTTAB_NR_RESERVED_ENTRIES, GNTTAB_RESERVED_CONSOLE,
  GNTTAB_RESERVED_XENSTORE, GTF, GnttabCacheFlush, GnttabCopy, GnttabCopyPtr, GnttabDumpTable, GnttabGetStatusFrames,
  GnttabGetVersion, GnttabMapGrantRef, GnttabQuerySize, GnttabSetVersion, GnttabSetupTable, GnttabSwapGrantRef,
  GnttabTransfer, GnttabUnmapAndReplace, GnttabUnmapGrantRef, GrantEntryV1, GrantEntryV2,
} from './grant-table.ts'
export {
  SCHEDOP, SHUTDOWN, SchedPinOverride, SchedPoll, SchedRemoteShutdown, SchedShutdown, SchedWatchdog,
} from './sched.ts'
export type { ShutdownReason } from './sched.ts'
export {
  RUNSTATE, VCPUOP, VCPU_SSHOTTMR, VcpuGetPhysid, VcpuRegisterRunstateMemoryArea, VcpuRegisterTimeMemoryArea,
  VcpuRegisterVcpuInfo, VcpuRunstateInfo, VcpuSetPeriodicTimer, VcpuSetSingleshotTimer,
} from './vcpu.ts'
export {
  XENMAPSPACE, XENMEM, XENMEMF, XENMEM_RESOURCE, XenAddToPhysmap, XenAddToPhysmapBatch, XenForeignMemoryMap,
  XenMachphysMapping, XenMachphysMfnList, XenMemAcquireResource, XenMemoryDomain, XenMemoryExchange, XenMemoryMap,
  XenMemoryReservation, XenPodTarget, XenRemoveFromPhysmap, XenVmemrange,
} from './memory.ts'
export { CALLBACKF, CALLBACKOP, CALLBACKTYPE, CallbackRegister, CallbackUnregister } from './callback.ts'
export {
  XENVER, XEN_CAPABILITIES_INFO_LEN, XEN_CHANGESET_INFO_LEN, XEN_COMMANDLINE_LEN, XEN_DOMAIN_HANDLE_LEN,
  XEN_EXTRAVERSION_LEN, XenBuildId, XenCompileInfo, XenFeatureInfo, XenPlatformParameters,
} from './version.ts'
export { XENFEAT, XENFEAT_NR_SUBMAPS } from './features.ts'
export type { FeatureName } from './features.ts'
export { ELFNOTE } from './elfnote.ts'
export { NMIREASON, XENNMI, XennmiCallback } from './nmi.ts'
export {
  MAP_PIRQ_TYPE, PHYSDEVOP, PhysdevApic, PhysdevEoi, PhysdevGetFreePirq, PhysdevIrq, PhysdevIrqStatusQuery,
  PhysdevMapPirq, PhysdevOp, PhysdevPciDevice, PhysdevPirqEoiGmfn, PhysdevSetIobitmap, PhysdevSetIopl, PhysdevSetupGsi,
  PhysdevUnmapPirq, XENIRQSTAT,
} from './physdev.ts'
export {
  CpuidLeaf, DOMCTL, DOMCTL_CDF, DOMCTL_INTERFACE_VERSION, DOMCTL_SCHEDOP, DOMCTL_SCHEDRT_EXTRA, DOMINF, Domctl,
  DomctlAddressSize, DomctlCpuPolicy, DomctlCreatedomain, DomctlDebugOp, DomctlExtVcpucontext, DomctlGdbsxDomstatus,
  DomctlGdbsxMemio, DomctlGdbsxPauseunpVcpu, DomctlGetdomaininfo, DomctlGetpageframeinfo3, DomctlGetvcpuinfo,
  DomctlHvmcontext, DomctlHvmcontextPartial, DomctlHypercallInit, DomctlIomemPermission, DomctlIoportPermission,
  DomctlIrqPermission, DomctlMaxMem, DomctlMaxVcpus, DomctlMemoryMapping, DomctlNodeaffinity, DomctlPagingMempool,
  DomctlPsrAlloc, DomctlPsrCmtOp, DomctlSchedparamVcpu, DomctlSchedulerOp, DomctlSendtrigger, DomctlSetTarget,
  DomctlSetVirqHandler, DomctlSetdebugging, DomctlSetdomainhandle, DomctlSettimeoffset, DomctlShadowOp, DomctlSubscribe,
  DomctlTscInfo, DomctlVcpuMsr, DomctlVcpuMsrs, DomctlVcpuaffinity, DomctlVcpucontext, DomctlVcpuextstate,
  DomctlVmEventOp, DomctlVnuma, MsrEntry, PFINFO, SENDTRIGGER, SHADOW_ENABLE, SHADOW_OP, VCPUAFFINITY, X86_EMU,
  XenctlBitmap,
} from './domctl.ts'
export {
  CPUPOOL_OP, CPUPOOL_PAR_ANY, CPU_FEATURESET, CPU_HOTPLUG, CPU_POLICY, PHYSCAP, PMSTAT, PM_OP, SCHEDULER, SYSCTL,
  SYSCTL_INTERFACE_VERSION, SYSCTL_SCHEDOP, Sysctl, SysctlAvailheap, SysctlCpuFeatureset, SysctlCpuHotplug,
  SysctlCpuLevellingCaps, SysctlCpuPolicy, SysctlCpuinfo, SysctlCpupoolOp, SysctlCputopo, SysctlCputopoinfo,
  SysctlDebugKeys, SysctlGetPmstat, SysctlGetcpuinfo, SysctlGetdomaininfolist, SysctlMeminfo, SysctlNumainfo,
  SysctlPcitopoinfo, SysctlPhysinfo, SysctlPmOp, SysctlPsrCmtOp, SysctlReadconsole, SysctlSchedId, SysctlSchedulerOp,
  SysctlTbufOp, TBUFOP,
} from './sysctl.ts'
export { TBuf, TInfo, TRACE_EXTRA, TRC } from './trace.ts'
export {
  QUIRK, XENPF, XENPF_INTERFACE_VERSION, XEN_FW, XEN_PCPU_FLAGS, XenPlatformOp, XenpfCpuOl, XenpfFirmwareInfo, XenpfPcpuVersion, XenpfPcpuinfo,
  XenpfPlatformQuirk, XenpfSettime32, XenpfSettime64, XenpfSymdata,
} from './platform.ts'
export { HVMMEM, HVMOP, XenHvmEvtchnUpcallVector, XenHvmGetMemType, XenHvmGetTime, XenHvmPagetableDying, XenHvmParam } from './hvm/hvm-op.ts'
export { HVM_NR_PARAMS, HVM_PARAM, HVM_PARAM_CALLBACK_TYPE } from './hvm/params.ts'
export { HVM_MEMMAP_TYPE, HVM_START_MAGIC_VALUE, HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo } from './hvm/start-info.ts'
export { VCPU_HVM_MODE, VcpuHvmContext, VcpuHvmX86_32, VcpuHvmX86_64 } from './hvm/vcpu.ts'
export {
  HVM_FILE_MAGIC, HVM_FILE_VERSION, HVM_SAVE_CODE, HvmHwCpu, HvmHwCpuXsave, HvmHwIsaIrqs, HvmHwLapic, HvmHwLapicRegs,
  HvmHwMtrr, HvmHwPciIrqs, HvmHwPciLink, HvmOneMsr, HvmSaveDescriptor, HvmSaveHeader, HvmTscAdjust, HvmVmceVcpu,
  X86_FPU_INITIALISED,
} from './hvm/save.ts'
export { DMOP } from './hvm/dm-op.ts'
export { XENPMU } from './pmu.ts'
export { KEXEC_CMD } from './kexec.ts'
export { XENOPROF } from './xenoprof.ts'
export { TMEM } from './tmem.ts'
export { HYPFS_MAX_PATHLEN, HYPFS_OP, HYPFS_TYPE, HYPFS_VERSION, XenHypfsDirentry, XenHypfsDirlistentry } from './hypfs.ts'
export { ARGO_OP } from './argo.ts'
export { FLASK } from './xsm/flask-op.ts'
export { MCA, McinfoLogicalCpu, McinfoMsr, XEN_MCA_INTERFACE_VERSION, XEN_MC_FLAGS, XenMc, XenMcFetch, XenMcPhyscpuinfo } from './xen-mca.ts'
export { Sring } from './io/ring.ts'
export { XenconsInterface } from './io/console.ts'
export { XENSTORE, XS, XSD_ERROR, XS_WATCH_FIELD, XenstoreDomainInterface, XsdSockmsg } from './io/xs-wire.ts'
export { XENBUS_STATE } from './io/xenbus.ts'
export type { XenbusStateName } from './io/xenbus.ts'
export {
  BLKIF_DISCARD_SECURE, BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST, BLKIF_MAX_SEGMENTS_PER_REQUEST, BLKIF_OP, BLKIF_RSP,
  BlkifRequest, BlkifRequestDiscard, BlkifRequestDiscardX32, BlkifRequestIndirect, BlkifRequestIndirectX32,
  BlkifRequestSegment, BlkifRequestX32, BlkifResponse, BlkifResponseX32, VDISK,
} from './io/blkif.ts'
export {
  NETIF_CTRL_HASH_ALGORITHM, NETIF_CTRL_HASH_TYPE, NETIF_CTRL_STATUS, NETIF_CTRL_TYPE, NETIF_EXTRA_FLAG,
  NETIF_EXTRA_TYPE, NETIF_GSO_TYPE, NETIF_MAX_TX_SIZE, NETIF_NR_SLOTS_MIN, NETIF_RSP, NETRXF, NETTXF,
  NetifCtrlRequest, NetifCtrlResponse, NetifExtraInfo, NetifGref, NetifRxRequest, NetifRxResponse, NetifTxRequest,
  NetifTxResponse,
} from './io/netif.ts'
export { IO_PROTO_ABI } from './io/protocols.ts'
export { Xen9pfsDataIntf, flexRingSize } from './io/ninepfs.ts'
export { VCHAN_NOTIFY, VchanInterface } from './io/vchan.ts'
export { XENFB, XENFB_TYPE, XenfbPage, XenfbRefreshPeriod, XenfbResize, XenfbUpdate } from './io/fbif.ts'
export { XENKBD, XENKBD_TYPE, XenkbdKey, XenkbdMotion, XenkbdPage, XenkbdPosition } from './io/kbdif.ts'
