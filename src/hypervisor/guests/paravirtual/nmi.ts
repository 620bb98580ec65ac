/**
 * nmi_op: the handler for non-maskable interrupts of a PV guest's first vCPU.
 * Reference: public/nmi.h; xen/arch/x86/pv/callback.c, register_guest_nmi_callback.
 */
import { ERRNO, type GuestAbi, XENNMI, XennmiCallback } from '../../../abi/index.ts'
import { signedFromParts } from '../../../util/index.ts'
import { VECTOR } from '../../../x86/index.ts'
import type { HypercallRow } from '../../domains/hypercall.ts'
import { FULL, type Operation, type Operations, byFirstArgument, listed } from '../../domains/hypercall-rows.ts'
import type { Vcpu } from '../../domains/domain.ts'
import { Scratch, readInto } from '../../memory/guest-access.ts'
import { isGuestAddress } from '../../memory/guest-address.ts'
import { paravirtualOf } from './paravirtual-vcpu.ts'

/** Makes the row of nmi_op(command, argument) for guests whose kernel has the code segment `selector`. */
export function nmiOp(selector: number, abi: GuestAbi): HypercallRow {
  const { size, handlerAddress } = abi.of(XennmiCallback)
  const scratch = new Scratch(size)
  const rows: Operations<typeof XENNMI, Operation> = {
    register_callback: {
      support: FULL,
      run: (caller, args) => {
        if (!readInto(caller.access, args.address(1), scratch, size)) return -ERRNO.EFAULT
        return registerNmi(caller, selector, { low: handlerAddress.low(scratch.view, 0), high: handlerAddress.high(scratch.view, 0) })
      },
    },
    unregister_callback: {
      support: FULL,
      run: (caller) => {
        paravirtualOf(caller)?.setTrap(VECTOR.NMI, { flags: 0, cs: 0, low: 0, high: 0 })
        return 0
      },
    },
  }
  return {
    name: 'nmi_op', handler: byFirstArgument(XENNMI, rows), source: 'public/nmi.h; do_nmi_op',
    operations: [listed('XENNMI_', XENNMI, rows)],
  }
}

/** Registers the NMI handler of a vCPU: only the first may have one. */
export function registerNmi(caller: Vcpu, selector: number, { low, high }: { readonly low: number; readonly high: number }): number {
  const pv = paravirtualOf(caller)
  if (pv === undefined || caller.vcpu !== 0 || !isGuestAddress(signedFromParts(low, high))) return -ERRNO.EINVAL
  pv.setTrap(VECTOR.NMI, { flags: 0, cs: selector, low, high })
  return 0
}
