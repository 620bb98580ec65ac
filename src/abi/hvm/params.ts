/**
 * Parameters of a translated guest, which its tools set and of which it may read some.
 *
 * Reference: xen/include/public/hvm/params.h.
 */

/** Numbers of parameters. */
export const HVM_PARAM = {
  CALLBACK_IRQ: 0, STORE_PFN: 1, STORE_EVTCHN: 2, IOREQ_PFN: 5, BUFIOREQ_PFN: 6, VIRIDIAN: 9, TIMER_MODE: 10,
  HPET_ENABLED: 11, IDENT_PT: 12, ACPI_S_STATE: 14, VM86_TSS: 15, VPT_ALIGN: 16, CONSOLE_PFN: 17, CONSOLE_EVTCHN: 18,
  ACPI_IOPORTS_LOCATION: 19, PAGING_RING_PFN: 27, MONITOR_RING_PFN: 28, SHARING_RING_PFN: 29, TRIPLE_FAULT_REASON: 31,
  IOREQ_SERVER_PFN: 32, NR_IOREQ_SERVER_PAGES: 33, VM_GENERATION_ID_ADDR: 34, ALTP2M: 35, X87_FIP_WIDTH: 36,
  VM86_TSS_SIZED: 37, MCA_CAP: 38,
} as const

/** How many there are. */
export const HVM_NR_PARAMS = 39

/** How CALLBACK_IRQ says that an event is to be told: bits 63 to 56 of its value. */
export const HVM_PARAM_CALLBACK_TYPE = { GSI: 0, PCI_INTX: 1, VECTOR: 2 } as const
