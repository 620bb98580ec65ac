/**
 * The contents of X86_PV_VCPU_EXTENDED: where system calls of 32-bit code enter a PV guest's kernel. In the machine-check banks, which stand
 * behind that, nothing has happened.
 * Reference: xen/include/public/domctl.h, struct xen_domctl_ext_vcpucontext; tools/libs/guest/xg_sr_save_x86_pv.c, write_one_vcpu_extended.
 */
import { DomctlExtVcpucontext } from '../../abi/index.ts'
import { type CompatEntries, MACHINE_CHECK_BANKS } from '../../hypervisor/index.ts'
import { XenError } from '../../util/index.ts'

/** The bytes of a record; all zero of a guest without such entries, but for the vCPU and the size. */
export function encodeEntries(vcpu: number, entries: CompatEntries | undefined): Uint8Array {
  const bytes = new Uint8Array(DomctlExtVcpucontext.size)
  const { syscall32, sysenter } = entries ?? {}
  DomctlExtVcpucontext.encode(new DataView(bytes.buffer), 0, {
    vcpu, structSize: bytes.length, mcgCap: BigInt(MACHINE_CHECK_BANKS),
    syscall32CallbackEip: syscall32?.address ?? 0n, syscall32CallbackCs: syscall32?.selector ?? 0, syscall32DisablesEvents: Number(syscall32?.masksEvents ?? false),
    sysenterCallbackEip: sysenter?.address ?? 0n, sysenterCallbackCs: sysenter?.selector ?? 0, sysenterDisablesEvents: Number(sysenter?.masksEvents ?? false),
  })
  return bytes
}

/** What the bytes of a record say. A size within says how much of them counts; throws INVALID_STREAM where that is too little, or more than there is. */
export function decodeEntries(vcpu: number, bytes: Uint8Array): CompatEntries {
  const { size, mcgCap, structSize } = DomctlExtVcpucontext
  const said = bytes.length < structSize.offset + structSize.size ? 0 : structSize.get(new DataView(bytes.buffer, bytes.byteOffset), 0)
  if (said < mcgCap.offset || said > bytes.length) {
    throw new XenError('INVALID_STREAM', `the extended context of vCPU ${vcpu} says that it has ${said} of ${bytes.length} bytes`, { details: { vcpu } })
  }
  // A shorter structure of an older Xen ends with zeros.
  const whole = new Uint8Array(size)
  whole.set(bytes.subarray(0, Math.min(said, size)))
  const context = DomctlExtVcpucontext.decode(new DataView(whole.buffer), 0)
  return {
    syscall32: { address: context.syscall32CallbackEip, selector: context.syscall32CallbackCs, masksEvents: context.syscall32DisablesEvents !== 0 },
    sysenter: { address: context.sysenterCallbackEip, selector: context.sysenterCallbackCs, masksEvents: context.sysenterDisablesEvents !== 0 },
  }
}
