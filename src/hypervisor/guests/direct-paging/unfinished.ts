/**
 * Batches of mmu_update and mmuext_op that are left in the middle. A long one pauses and goes on in the guest's next
 * call; what it has left to do is in its arguments.
 * Reference: xen/arch/x86/mm.c, MMU_UPDATE_PREEMPTED.
 */
import type { HypercallArguments } from '../../domains/hypercall.ts'
import { CALL_AGAIN } from '../../time/work-meter.ts'

/** In the count of a batched operation: it has been begun before, and what is done is in the counter. */
export const PREEMPTED = 0x8000_0000

/**
 * How mmu_update and mmuext_op are left in the middle: both take (list, count, counter, owner), and go on with what their
 * arguments say. When all is done but for tables that are still being taken apart, the result waits in the place of the
 * owner, which is not needed any more, and the list is null.
 */
export const unfinished = {
  /** `left` operations from `list` on are still to be carried out. */
  goOn(args: HypercallArguments, list: number, left: number): number {
    args.set(0, list)
    args.set(1, (left | PREEMPTED) >>> 0)
    return CALL_AGAIN
  },

  /** Everything has been carried out with `result`; the caller's tables are to be settled before it gets it. */
  settle(args: HypercallArguments, result: number): number {
    args.set(0, 0)
    args.set(1, PREEMPTED)
    args.set(2, 0)
    args.set(3, result >>> 0)
    return CALL_AGAIN
  },

  /** True for a call that has only waited for tables to be settled; they are, or it would not have been made. */
  isSettled: (args: HypercallArguments): boolean => args.u32(1) === PREEMPTED && args.address(0) === 0,

  /** Its result. */
  resultOf: (args: HypercallArguments): number => args.u32(3) | 0,
} as const
