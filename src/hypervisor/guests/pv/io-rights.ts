/**
 * What a PV guest's kernel may do with I/O ports, as it asks by physdev_op. A vCPU of another kind has no such rights:
 * its level is taken and means nothing, a bitmap is refused.
 * Reference: xen/arch/x86/physdev.c, PHYSDEVOP_set_iopl, PHYSDEVOP_set_iobitmap.
 */
import { ERRNO } from '../../../abi/index.ts'
import type { Vcpu } from '../../domains/domain.ts'

/** The two calls: 0, or a negative error number. */
export const ioRights = {
  setIopl(vcpu: Vcpu, level: number): number {
    if (vcpu.pv !== undefined) vcpu.pv.iopl = level << 12
    return 0
  },

  setIoBitmap({ pv }: Vcpu, { low, high, ports }: { readonly low: number; readonly high: number; readonly ports: number }): number {
    if (pv === undefined) return -ERRNO.EINVAL
    pv.ioBitmap.low = low
    pv.ioBitmap.high = high
    pv.ioBitmapLimit = ports
    return 0
  },
} as const
