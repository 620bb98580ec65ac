/** Numbers that stand in the frame table: flags, and owners that are no domain. Reference: xen/arch/x86/include/asm/mm.h, PGC_*. */
import { DOMID } from '../../abi/index.ts'

/** Flags of a frame. */
export const FRAME_FLAG = {
  /** The owner's own reference exists: the frame has not been given back. */
  ALLOCATED: 1,
  /** The hypervisor's frame, shared with its owner (shared_info, grant table): not part of the reservation. */
  SHARED: 2,
  /** Pinned as a page table by the owner. */
  PINNED: 4,
  /** Its contents have been checked for its type. */
  VALIDATED: 8,
  /** The check of its contents as a table has paused behind its first `progress` entries. */
  PARTIAL: 16,
  /** It was a table until its last use ended; its first `progress` entries are still to be given back. */
  FALLING: 32,
  /** It falls because it was refused, not because it was given up. */
  REFUSED: 64,
} as const

/** Owner of frames that are free. */
export const OWNER_FREE = 0xffff
/** Owner of the hypervisor's own frames (DOMID_XEN). */
export const OWNER_XEN = DOMID.XEN
/** Owner of frames of the hypervisor's that serve one vCPU, and come and go with it: no guest can name them (DOMID_INVALID). */
export const OWNER_VCPU = DOMID.INVALID
