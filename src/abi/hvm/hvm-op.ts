/**
 * Translated guests: what they ask for themselves, and what is asked about them.
 * Numbers only: this library has none of it.
 *
 * Reference: xen/include/public/hvm/hvm_op.h.
 */

/** Operations of hvm_op. */
export const HVMOP = {
  set_param: 0, get_param: 1, flush_tlbs: 5, pagetable_dying: 9, get_time: 10, xentrace: 11, set_mem_access: 12,
  get_mem_access: 13, get_mem_type: 15, set_evtchn_upcall_vector: 23, guest_request_vm_event: 24, altp2m: 25,
} as const
