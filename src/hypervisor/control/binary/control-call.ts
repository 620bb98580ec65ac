/**
 * One call of the tools' interfaces, domctl or sysctl: its structure, copied once from the caller, and what of it goes back. How a row
 * of either table is written stands here too; what an operation does is in the families' own files.
 * Reference: xen/common/domctl.c, do_domctl; xen/common/sysctl.c, do_sysctl.
 */
import { ERRNO } from '../../../abi/index.ts'
import { type WideField, signedFromParts } from '../../../util/index.ts'
import type { Support } from '../../domains/hypercall.ts'
import type { Vcpu } from '../../domains/domain.ts'
import { Scratch } from '../../memory/guest-access.ts'
import { FULL, refusalNumber } from '../../domains/hypercall-rows.ts'

/** A call in hand. The object is reused: an operation keeps nothing of it. */
export class ControlCall {
  readonly scratch: Scratch
  /** Who asks; set for each call. */
  caller!: Vcpu
  /** Whether the structure goes back to the caller, whatever the result. */
  answers = false

  /** `size`: bytes of the structure. */
  constructor(size: number) {
    this.scratch = new Scratch(size)
  }

  /** The structure as it was copied, and as it goes back. */
  get view(): DataView {
    return this.scratch.view
  }

  /** The address that a handle in the structure holds. */
  address(field: WideField, base: number): number {
    return signedFromParts(field.low(this.view, base), field.high(this.view, base))
  }

  /** True for a handle that points nowhere. */
  isNull(field: WideField, base: number): boolean {
    return field.low(this.view, base) === 0 && field.high(this.view, base) === 0
  }

  /** Copies bytes of the caller's: 0, or -EFAULT. */
  read(address: number, into: Uint8Array): number {
    return this.caller.access.read(address, into) ? 0 : -ERRNO.EFAULT
  }

  /** Copies bytes to the caller: 0, or -EFAULT. */
  write(address: number, from: Uint8Array): number {
    return this.caller.access.write(address, from) ? 0 : -ERRNO.EFAULT
  }
}

/** One operation: what it does, and how much there is of it. Its result is 0 or more, a negative error number, or CALL_AGAIN. */
export interface ControlOperation<Call extends ControlCall> {
  readonly support: Support
  readonly run: (call: Call) => number
}

/** An operation whose structure goes back when it has succeeded. */
export const answering = <Call extends ControlCall>(run: (call: Call) => number, support: Support = FULL): ControlOperation<Call> => ({
  support,
  run: (call) => {
    const result = run(call)
    call.answers ||= result >= 0
    return result
  },
})

/** An operation whose structure stays as it was. */
export const silent = <Call extends ControlCall>(run: (call: Call) => number, support: Support = FULL): ControlOperation<Call> => ({ support, run })

/** An operation that is refused, whatever its argument. */
export const refusing = <Call extends ControlCall>(support: Support): ControlOperation<Call> =>
  ({ support, run: ({ caller }) => refusalNumber(support, caller) })
