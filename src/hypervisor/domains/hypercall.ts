/**
 * What a hypercall handler gets and gives: the caller, six arguments as halves of 64 bits, and a number as result.
 * Handlers never throw on the guest's behalf; negative results are error numbers.
 */
import { TWO_32, signedFromParts } from '../../util/index.ts'
import type { Vcpu } from './domain.ts'

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

/**
 * Result of a handler that has set the guest's registers itself. Another result that is none is CALL_AGAIN of the work
 * meter: the call has not finished, and is to be made again with the arguments it has left.
 */
export const CALL_SILENT = -(2 ** 41)
