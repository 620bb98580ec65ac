/**
 * What a hypercall handler gets and gives: the caller, six arguments as halves of 64 bits, and a number as result.
 * Handlers never throw on the guest's behalf; negative results are error numbers.
 */
import { TWO_32, signedFromParts } from '../../util/index.ts'
import type { Vcpu } from '../vcpu.ts'

/** Arguments of one hypercall. The object is reused: a handler keeps nothing of it. */
export class HypercallArguments {
  readonly low = new Uint32Array(6)
  readonly high = new Uint32Array(6)

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
/** Operations of one batch that are carried out before the host gets a turn. */
export const BATCH_LIMIT = 4096
/** Entries of one multicall, each of which may be a batch, that are made before the host gets a turn. */
export const MULTICALL_LIMIT = 64
/** Page tables of 512 entries each that one batch checks or takes apart before the host gets a turn. */
export const TABLE_LIMIT = 256
