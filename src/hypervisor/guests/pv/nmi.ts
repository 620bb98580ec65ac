/**
 * nmi_op: the handler for non-maskable interrupts of a PV guest's first vCPU.
 * Reference: public/nmi.h; xen/arch/x86/pv/callback.c, register_guest_nmi_callback.
 */
import { ERRNO, XENNMI, XennmiCallback } from '../../../abi/index.ts'
import { signedFromParts } from '../../../util/index.ts'
import { VECTOR } from '../../../x86/index.ts'
import type { HypercallHandler } from '../../domains/hypercall.ts'
import type { Vcpu } from '../../domains/domain.ts'
import { Scratch, readInto } from '../../memory/guest-access.ts'
import { isGuestAddress } from '../../memory/guest-address.ts'

/** nmi_op(command, argument). */
export const nmiOp: HypercallHandler = (caller, args) => {
  const { pv } = caller
  if (pv === undefined) return -ERRNO.ENOSYS
  if (args.u32(0) === XENNMI.unregister_callback) {
    pv.setTrap(VECTOR.NMI, { flags: 0, cs: 0, low: 0, high: 0 })
    return 0
  }
  if (args.u32(0) !== XENNMI.register_callback) return -ERRNO.ENOSYS
  const scratch = new Scratch(XennmiCallback.size)
  if (!readInto(caller.access, args.address(1), scratch, XennmiCallback.size)) return -ERRNO.EFAULT
  const { handlerAddress } = XennmiCallback
  return registerNmi(caller, handlerAddress.low(scratch.view, 0), handlerAddress.high(scratch.view, 0))
}

/** Registers the NMI handler of a vCPU: only the first may have one. */
export function registerNmi(caller: Vcpu, low: number, high: number): number {
  const { pv } = caller
  if (pv === undefined || caller.vcpu !== 0 || !isGuestAddress(signedFromParts(low, high))) return -ERRNO.EINVAL
  pv.setTrap(VECTOR.NMI, { flags: 0, cs: 0xe033, low, high })
  return 0
}
