/**
 * Memory operations: reservations, physical maps, tables of frames.
 *
 * Reference: xen/include/public/memory.h.
 */
import { nested, overlay, u16, u32, u64 } from '../util/index.ts'

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
export const XenMemoryReservation = /* @__PURE__ */ overlay(32, {
  extentStart: u64(0), nrExtents: u64(8), extentOrder: u32(16), memFlags: u32(20), domid: u16(24),
})

/** Gives extents back and gets others for them. */
export const XenMemoryExchange = /* @__PURE__ */ overlay(72, {
  in: nested(0, XenMemoryReservation), out: nested(32, XenMemoryReservation), nrExchanged: u64(64),
})

/** The domain that a question is about. */
export const XenMemoryDomain = /* @__PURE__ */ overlay(2, { domid: u16(0) })

/** Asks for the frames of the machine-to-physical table, 2 MiB each. */
export const XenMachphysMfnList = /* @__PURE__ */ overlay(24, {
  maxExtents: u32(0), extentStart: u64(8), nrExtents: u32(16),
})

/** Where the machine-to-physical table is mapped. */
export const XenMachphysMapping = /* @__PURE__ */ overlay(24, { vStart: u64(0), vEnd: u64(8), maxMfn: u64(16) })

/** Puts one page at a place of the physical map. */
export const XenAddToPhysmap = /* @__PURE__ */ overlay(24, {
  domid: u16(0), count: u16(2), space: u32(4), idx: u64(8), gpfn: u64(16),
})

/** Puts many pages at places of the physical map. */
export const XenAddToPhysmapBatch = /* @__PURE__ */ overlay(32, {
  domid: u16(0), space: u16(2), count: u16(4), foreignDomid: u16(6), idxs: u64(8), gpfns: u64(16), errs: u64(24),
})

/** Makes a hole in the physical map. */
export const XenRemoveFromPhysmap = /* @__PURE__ */ overlay(16, { domid: u16(0), gpfn: u64(8) })

/** A memory map: how many entries, and where. */
export const XenMemoryMap = /* @__PURE__ */ overlay(16, { nrEntries: u32(0), buffer: u64(8) })

/** Sets a domain's memory map. */
export const XenForeignMemoryMap = /* @__PURE__ */ overlay(24, { domid: u16(0), map: nested(8, XenMemoryMap) })

/** Populate-on-demand target and state. */
export const XenPodTarget = /* @__PURE__ */ overlay(40, {
  targetPages: u64(0), totPages: u64(8), podCachePages: u64(16), podEntries: u64(24), domid: u16(32),
})

/** Frames of a resource of a domain, to be mapped by its tools. */
export const XenMemAcquireResource = /* @__PURE__ */ overlay(32, {
  domid: u16(0), type: u16(2), id: u32(4), nrFrames: u32(8), frame: u64(16), frameList: u64(24),
})

/** One range of a virtual NUMA node. */
export const XenVmemrange = /* @__PURE__ */ overlay(24, { start: u64(0), end: u64(8), flags: u32(16), nid: u32(20) })
