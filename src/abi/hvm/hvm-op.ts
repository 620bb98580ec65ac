/**
 * Translated guests: what they ask for themselves, and what is asked about them. All structures are the same for guests of
 * both widths.
 *
 * Reference: xen/include/public/hvm/hvm_op.h.
 */

import { overlay, u16, u32, u64, u8 } from '../../util/index.ts'

/** Operations of hvm_op. */
export const HVMOP = {
  set_param: 0, get_param: 1, flush_tlbs: 5, pagetable_dying: 9, get_time: 10, xentrace: 11, set_mem_access: 12,
  get_mem_access: 13, get_mem_type: 15, set_evtchn_upcall_vector: 23, guest_request_vm_event: 24, altp2m: 25,
} as const

/** A parameter of a domain, see HVM_PARAM. */
export const XenHvmParam = /* @__PURE__ */ overlay(16, { domid: u16(0), index: u32(4), value: u64(8) })

/** The vector by which a vCPU's local APIC tells of events. */
export const XenHvmEvtchnUpcallVector = /* @__PURE__ */ overlay(8, { vcpu: u32(0), vector: u8(4) })

/** The hypervisor's time in nanoseconds. */
export const XenHvmGetTime = /* @__PURE__ */ overlay(8, { now: u64(0) })

/** A page table that is about to be given up. */
export const XenHvmPagetableDying = /* @__PURE__ */ overlay(16, { domid: u16(0), gpa: u64(8) })

/** What a frame number of a domain's is used as. */
export const XenHvmGetMemType = /* @__PURE__ */ overlay(16, { domid: u16(0), memType: u16(2), pfn: u64(8) })

/** Uses of a frame number: memory, memory for reading, what a device model serves. */
export const HVMMEM = { ram_rw: 0, ram_ro: 1, mmio_dm: 2 } as const
