/**
 * VCPUOP_initialise: gives an offline vCPU all of its registers.
 * Reference: xen/arch/x86/domain.c, arch_initialise_vcpu.
 */
import { ERRNO, type GuestAbi } from '../../abi/index.ts'
import type { Vcpu } from '../domains/domain.ts'
import { vcpuContextCodec } from '../domains/vcpu-context-codec.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import { WORK, type WorkMeter } from '../time/work-meter.ts'

/** Makes the operation: the registers lie at a guest address of the caller's. 0 or a negative error number. */
export function initialiseVcpu(meter: WorkMeter, abi: GuestAbi): (caller: Vcpu, vcpu: Vcpu, address: number) => number {
  const codec = vcpuContextCodec(abi)
  const scratch = new Scratch(codec.size)
  return (caller, vcpu, address) => {
    const own = vcpu.owner.kind.firstRegisters
    if (!readInto(caller.access, address, scratch, own?.size ?? codec.size)) return -ERRNO.EFAULT
    if (vcpu.initialised) return -ERRNO.EEXIST
    if (caller.guest?.context === undefined) return -ERRNO.EINVAL
    if (vcpu.equip() < 0) return -ERRNO.ENOMEM
    meter.charge(WORK.context)
    if (own !== undefined) {
      const result = own.set(vcpu, scratch.view)
      if (result === 0) vcpu.initialised = true
      return result
    }
    return vcpu.guest?.context?.set(codec.decode(scratch.view, 0)) ?? -ERRNO.EINVAL
  }
}
