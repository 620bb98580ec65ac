/**
 * What a hypercall is to whoever contributes one: the caller, six arguments as halves of 64 bits (the upper ones are 0 in a
 * call from 32-bit mode), a number as result,
 * and the row that says how much of it there is. Handlers never throw on the guest's behalf; negative results are error
 * numbers.
 */
import type { ErrnoName, GuestAbi, HYPERVISOR } from '../../abi/index.ts'
import { TWO_32, signedFromParts } from '../../util/index.ts'
import type { Vcpu } from './domain.ts'

/** Arguments of one hypercall. The object is reused: a handler keeps nothing of it. */
export class HypercallArguments {
  readonly low: Uint32Array = new Uint32Array(6)
  readonly high: Uint32Array = new Uint32Array(6)

  /** All of them, for those who are told. */
  values(): bigint[] {
    return Array.from(this.low, (low, index) => (BigInt(this.high[index]!) << 32n) | BigInt(low))
  }

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

  /** Upper half of a 64-bit value that begins in argument `index`: of the same one, or the next one in a 32-bit call. */
  highHalf(index: number, { wideArguments }: GuestAbi): number {
    return wideArguments === 1 ? this.high[index]! : this.low[index + 1]!
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

/** Name of a hypercall, as in public/xen.h without its prefix. */
export type HypercallName = keyof typeof HYPERVISOR

/**
 * How much of an operation there is. What is refused has one answer for all arguments that can be read: `error`, or
 * `privileged` where a privileged domain gets another one.
 */
export type Support =
  | { readonly level: 'full' }
  | { readonly level: 'partial'; readonly missing: string }
  | { readonly level: 'refused'; readonly error: ErrnoName; readonly privileged: ErrnoName; readonly why: string }

/** One sub-operation. */
export interface OperationRow {
  readonly number: number
  /** As in Xen's header, without the prefix of its list. */
  readonly name: string
  readonly support: Support
}

/** A list of sub-operations that one of a hypercall's arguments names. */
export interface OperationList {
  /** What its names begin with in Xen's headers. */
  readonly prefix: string
  readonly rows: readonly OperationRow[]
}

/** One hypercall: what carries it out, and what is told of it. */
export interface HypercallRow {
  readonly name: HypercallName
  readonly handler: HypercallHandler
  /** Header of Xen's public interface, and the function of Xen's. */
  readonly source: string
  /** Of a hypercall that has no sub-operations. */
  readonly support?: Support
  readonly operations?: readonly OperationList[]
  /** Number of the operation that the latest call asked for, where that stands in a structure and not in the first argument. */
  asked?(): number
}

/** The hypercalls of one kind of guest, by their numbers. */
export interface HypercallTable {
  /** Every row that there is, in the order of the numbers. */
  readonly rows: readonly HypercallRow[]
  /**
   * Carries out hypercall `number` for a vCPU. The result goes to the guest, except the work meter's CALL_AGAIN (to be made
   * again with what the arguments hold now) and {@link CALL_SILENT}.
   */
  call(caller: Vcpu, number: number, args: HypercallArguments): number
}
