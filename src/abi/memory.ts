/**
 * Memory operations: reservations, physical maps, tables of frames.
 *
 * Reference: xen/include/public/memory.h.
 */
import { frame, nested, pointer, structure, u16, u32, u64, ulong } from './structure.ts'

/** Operations of memory_op. */
export const XENMEM = {
  increase_reservation: 0, decrease_reservation: 1, maximum_ram_page: 2, current_reservation: 3,
  maximum_reservation: 4, machphys_mfn_list: 5, populate_physmap: 6, add_to_physmap: 7, memory_map: 9,
  machine_memory_map: 10, exchange: 11, machphys_mapping: 12, set_memory_map: 13, maximum_gpfn: 14,
  remove_from_physmap: 15, set_pod_target: 16, get_pod_target: 17, get_sharing_freed_pages: 18,
  get_sharing_shared_pages: 19, paging_op: 20, access_op: 21, sharing_op: 22, add_to_physmap_batch: 23,
  claim_pages: 24, machphys_compat_mfn_list: 25, get_vnumainfo: 26, reserved_device_memory_map: 27,
  acquire_resource: 28,
} as const

/** Flags of a reservation; the low 8 bits limit the address width. */
export const XENMEMF = { populate_on_demand: 0x1_0000, exact_node_request: 0x2_0000, vnode: 0x4_0000 } as const

/** What add_to_physmap maps. */
export const XENMAPSPACE = {
  shared_info: 0, grant_table: 1, gmfn: 2, gmfn_range: 3, gmfn_foreign: 4, dev_mmio: 5,
} as const

/** Resources that acquire_resource knows. */
export const XENMEM_RESOURCE = {
  ioreq_server: 0, grant_table: 1, vmtrace_buf: 2, grant_table_id_shared: 0, grant_table_id_status: 1,
} as const

/** Extents to give back, to get, or to fill holes with. */
export const XenMemoryReservation = /* @__PURE__ */ structure({
  extentStart: pointer, nrExtents: ulong, extentOrder: u32, memFlags: u32, domid: u16,
})

/** Gives extents back and gets others for them. */
export const XenMemoryExchange = /* @__PURE__ */ structure({
  in: nested(XenMemoryReservation), out: nested(XenMemoryReservation), nrExchanged: ulong,
})

/** The domain that a question is about. */
export const XenMemoryDomain = /* @__PURE__ */ structure({ domid: u16 })

/** Asks for the frames of the machine-to-physical table, 2 MiB each. */
export const XenMachphysMfnList = /* @__PURE__ */ structure({ maxExtents: u32, extentStart: pointer, nrExtents: u32 })

/** Where the machine-to-physical table is mapped. */
export const XenMachphysMapping = /* @__PURE__ */ structure({ vStart: ulong, vEnd: ulong, maxMfn: ulong })

/** Puts one page at a place of the physical map. */
export const XenAddToPhysmap = /* @__PURE__ */ structure({ domid: u16, count: u16, space: u32, idx: ulong, gpfn: frame })

/** Puts many pages at places of the physical map. */
export const XenAddToPhysmapBatch = /* @__PURE__ */ structure({
  domid: u16, space: u16, count: u16, foreignDomid: u16, idxs: pointer, gpfns: pointer, errs: pointer,
})

/** Makes a hole in the physical map. */
export const XenRemoveFromPhysmap = /* @__PURE__ */ structure({ domid: u16, gpfn: frame })

/** A memory map: how many entries, and where. */
export const XenMemoryMap = /* @__PURE__ */ structure({ nrEntries: u32, buffer: pointer })

/** Sets a domain's memory map. */
export const XenForeignMemoryMap = /* @__PURE__ */ structure({ domid: u16, map: nested(XenMemoryMap) })

/** Populate-on-demand target and state. */
export const XenPodTarget = /* @__PURE__ */ structure({
  targetPages: u64, totPages: u64, podCachePages: u64, podEntries: u64, domid: u16,
})

/** Frames of a resource of a domain, to be mapped by its tools. */
export const XenMemAcquireResource = /* @__PURE__ */ structure({
  domid: u16, type: u16, id: u32, nrFrames: u32, pad: u32, frame: u64, frameList: pointer,
})

/** One range of a virtual NUMA node. */
export const XenVmemrange = /* @__PURE__ */ structure({ start: u64, end: u64, flags: u32, nid: u32 })
