/**
 * Non-maskable interrupts.
 *
 * Reference: xen/include/public/nmi.h.
 */
import { gap, structure, ulong } from './structure.ts'

/** Operations of nmi_op. */
export const XENNMI = { register_callback: 0, unregister_callback: 1 } as const

/** Why an NMI has come, in shared_info. */
export const NMIREASON = { io_error: 1, pci_serr: 2, unknown: 4 } as const

/** Registers an NMI handler. */
export const XennmiCallback = /* @__PURE__ */ structure({ handlerAddress: ulong, pad: gap(8, 4) })
