/**
 * What a hypercall handler gets and gives: the caller, six arguments as halves of 64 bits, and a number as result.
 * Handlers never throw on the guest's behalf; negative results are error numbers.
 */
import { TWO_32, signedFromParts } from '../../util/index.ts'
import type { Vcpu } from '../domains/vcpu.ts'

/** Arguments of one hypercall. The object is reused: a handler keeps nothing of it. */
export class HypercallArguments {
  readonly low: Uint32Array = new Uint32Array(6)
  readonly high: Uint32Array = new Uint32Array(6)

  /** Argument `index` as a guest address. */
  address(index: number): number {
    return signedFromParts(this.low[index]!, this.high[index]!)
  }

  /** Argument `index` as an unsigned number; exact below 2^53. */
  number(index: number): number {
    return this.high[index]! * TWO_32 + this.low[index]!
  }

  /** Low 32 bits of argument `index`, as C reads an `unsigned int`. */
  u32(index: number): number {
    return this.low[index]!
  }

  /** Sets argument `index` to a whole number. */
  set(index: number, value: number): void {
    this.low[index] = value >>> 0
    this.high[index] = Math.floor(value / TWO_32) >>> 0
  }
}

/** Carries out one hypercall for a vCPU. */
export type HypercallHandler = (caller: Vcpu, args: HypercallArguments) => number

/** Result of a handler that has not finished: it is to be called again with the arguments it has left. */
export const CALL_AGAIN = -(2 ** 40)
/** Result of a handler that has set the guest's registers itself. */
export const CALL_SILENT = -(2 ** 41)

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
