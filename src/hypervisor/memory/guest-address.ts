/**
 * Which virtual addresses a guest may name: those outside of the hypervisor's own range.
 * Reference: xen/include/asm-x86/x86_64/uaccess.h, __addr_ok.
 */
import { HYPERVISOR_VIRT_END } from '../../abi/index.ts'

/** First non-canonical address above the lower half. */
export const LOWER_END = 0x8000_0000_0000

/** True for an address that a guest may pass: outside of the hypervisor's range, and canonical. */
export const isGuestAddress = (address: number): boolean =>
  (address >= 0 && address < LOWER_END) || (address >= HYPERVISOR_VIRT_END && address < 0)
