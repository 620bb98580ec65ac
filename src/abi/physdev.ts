/**
 * Physical devices: what a PV guest's kernel asks even when it has none.
 *
 * Reference: xen/include/public/physdev.h.
 */
import { frame, i32, nested, pointer, structure, u16, u32, u64, u8, ulong } from './structure.ts'

/** Operations of physdev_op. */
export const PHYSDEVOP = {
  eoi: 12, pirq_eoi_gmfn_v1: 17, pirq_eoi_gmfn_v2: 28, irq_status_query: 5, set_iopl: 6, set_iobitmap: 7,
  apic_read: 8, apic_write: 9, alloc_irq_vector: 10, free_irq_vector: 11, map_pirq: 13, unmap_pirq: 14,
  manage_pci_add: 15, manage_pci_remove: 16, restore_msi: 19, manage_pci_add_ext: 20, setup_gsi: 21,
  get_free_pirq: 23, pci_mmcfg_reserved: 24, pci_device_add: 25, pci_device_remove: 26, restore_msi_ext: 27,
  prepare_msix: 30, release_msix: 31, dbgp_op: 29,
} as const

/** State of a physical interrupt. */
export const XENIRQSTAT = { needs_eoi: 1, shared: 2 } as const

/** Kinds of interrupt that map_pirq maps. */
export const MAP_PIRQ_TYPE = { MSI: 0, GSI: 1, UNKNOWN: 2, MSI_SEG: 3, MULTI_MSI: 4 } as const

/** Says that an interrupt has been served. */
export const PhysdevEoi = /* @__PURE__ */ structure({ irq: u32 })

/** Registers the bitmap of interrupts that need an end-of-interrupt call. */
export const PhysdevPirqEoiGmfn = /* @__PURE__ */ structure({ gmfn: frame })

/** Asks for an interrupt's state. */
export const PhysdevIrqStatusQuery = /* @__PURE__ */ structure({ irq: u32, flags: u32 })

/** Sets the I/O privilege level. */
export const PhysdevSetIopl = /* @__PURE__ */ structure({ iopl: u32 })

/** Sets the I/O permission bitmap. */
export const PhysdevSetIobitmap = /* @__PURE__ */ structure({ bitmap: pointer, nrPorts: u32 })

/** Reads or writes an I/O APIC register. */
export const PhysdevApic = /* @__PURE__ */ structure({ apicPhysbase: ulong, reg: u32, value: u32 })

/** Argument of the old physdev_op_compat: command, then its structure, of which this is the largest. */
export const PhysdevOp = /* @__PURE__ */ structure({ cmd: u32, apicOp: nested(PhysdevApic) })

/** Pairs an interrupt with a vector. */
export const PhysdevIrq = /* @__PURE__ */ structure({ irq: u32, vector: u32 })

/** Maps a physical interrupt. */
export const PhysdevMapPirq = /* @__PURE__ */ structure({
  domid: u16, type: i32, index: i32, pirq: i32, bus: i32, devfn: i32, entryNr: i32, tableBase: u64,
})

/** Takes the mapping of an interrupt down. */
export const PhysdevUnmapPirq = /* @__PURE__ */ structure({ domid: u16, pirq: i32 })

/** Sets how an interrupt line is triggered. */
export const PhysdevSetupGsi = /* @__PURE__ */ structure({ gsi: i32, triggering: u8, polarity: u8 })

/** Asks for an unused interrupt number. */
export const PhysdevGetFreePirq = /* @__PURE__ */ structure({ type: i32, pirq: u32 })

/** Address of a PCI device. */
export const PhysdevPciDevice = /* @__PURE__ */ structure({ seg: u16, bus: u8, devfn: u8 })
