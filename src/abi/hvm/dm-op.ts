/**
 * What a device model asks about the guest that it serves.
 * Numbers only: this library has none of it.
 *
 * Reference: xen/include/public/hvm/dm_op.h.
 */

/** Operations of dm_op. */
export const DMOP = {
  create_ioreq_server: 1, get_ioreq_server_info: 2, map_io_range_to_ioreq_server: 3,
  unmap_io_range_from_ioreq_server: 4, set_ioreq_server_state: 5, destroy_ioreq_server: 6, track_dirty_vram: 7,
  set_pci_intx_level: 8, set_isa_irq_level: 9, set_pci_link_route: 10, modified_memory: 11, set_mem_type: 12,
  inject_event: 13, inject_msi: 14, map_mem_type_to_ioreq_server: 15, remote_shutdown: 16, relocate_memory: 17,
  pin_memory_cacheattr: 18, set_irq_level: 19, nr_vcpus: 20,
} as const
