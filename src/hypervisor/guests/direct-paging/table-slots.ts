/**
 * The slots of page tables: how many there are, which are the hypervisor's, and in whose name and where an entry stands.
 * Reference: xen/include/asm-x86/config.h (ROOT_PAGETABLE_FIRST_XEN_SLOT); xen/arch/x86/mm.c, is_guest_l4_slot, is_guest_l2_slot.
 */
import { COMPAT_XEN_SLOTS } from '../../frames/compat-machine-to-phys.ts'
import { FRAME_TYPE } from '../../frames/frame-table.ts'

/** First and last slot of a top-level table that belong to the hypervisor. */
export const XEN_SLOTS = { first: 256, last: 271 } as const

/** Entries of a level-3 table in PAE. */
export const PAE_ENTRIES = 4

/** True for a slot of a table that the guest may use; others are the hypervisor's. */
export function isGuestSlot(type: number, slot: number): boolean {
  if (type === FRAME_TYPE.L4) return slot < XEN_SLOTS.first || slot > XEN_SLOTS.last
  return type !== FRAME_TYPE.XEN_L2 || slot < COMPAT_XEN_SLOTS.first
}

/** Entries of a table. */
export const ENTRIES = 512

/** Who is concerned by a level-1 entry. */
export interface LeafOwners {
  /** Owner of the table that holds the entry. */
  readonly table: number
  /** Domain in whose name the frame is mapped. */
  readonly frame: number
  /** The table is of a domain with tables of three levels. */
  readonly isPae: boolean
}

/** Where an entry of level 2 to 4 stands. */
export interface TablePlace {
  /** Frame of the table that holds it, and that table's level and owner. */
  readonly parent: number
  readonly level: number
  readonly slot: number
  readonly domid: number
  /** The domain has tables of three levels. */
  readonly isPae: boolean
}
