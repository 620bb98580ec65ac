/**
 * XENMEM_machphys_mapping and XENMEM_machphys_mfn_list: where the machine-to-physical table lies, in a guest's address
 * space and in the host's frames.
 * Reference: public/memory.h, struct xen_machphys_mapping; xen/arch/x86/mm.c, subarch_memory_op.
 */
import {
  ERRNO, MACH2PHYS_NR_ENTRIES, MACH2PHYS_VIRT_END, MACH2PHYS_VIRT_START, XenMachphysMapping, XenMachphysMfnList,
} from '../../abi/index.ts'
import { signedFromParts } from '../../util/index.ts'
import type { Vcpu } from '../domains/domain.ts'
import type { MachineToPhys } from '../frames/machine-to-phys.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'

/** Frames in 2 MiB, by which the table is listed. */
const LARGE_PAGE_FRAMES = 512

/** Tells where the table is; structures are at guest addresses of the caller's. */
export class MachphysOperations {
  private readonly machineToPhys: MachineToPhys
  /** First frame that the host has not. */
  private readonly endFrame: number
  private readonly scratch = new Scratch(XenMachphysMapping.size)

  constructor(machineToPhys: MachineToPhys, endFrame: number) {
    this.machineToPhys = machineToPhys
    this.endFrame = endFrame
  }

  /** XENMEM_machphys_mapping: where every guest sees it. */
  mapping(caller: Vcpu, address: number): number {
    const last = caller.owner.privileged ? this.endFrame : MACH2PHYS_NR_ENTRIES
    const { view, bytes } = this.scratch
    XenMachphysMapping.vStart.set(view, 0, BigInt.asUintN(64, BigInt(MACH2PHYS_VIRT_START)))
    XenMachphysMapping.vEnd.set(view, 0, BigInt.asUintN(64, BigInt(MACH2PHYS_VIRT_END)))
    XenMachphysMapping.maxMfn.setNumber(view, 0, last - 1)
    return caller.access.write(address, bytes.subarray(0, XenMachphysMapping.size)) ? 0 : -ERRNO.EFAULT
  }

  /** XENMEM_machphys_mfn_list: first frames of each 2 MiB of the table, for tools of a privileged domain. */
  frames({ owner, access }: Vcpu, address: number): number {
    if (!owner.privileged) return -ERRNO.EPERM
    const { scratch } = this
    if (!readInto(access, address, scratch, XenMachphysMfnList.size)) return -ERRNO.EFAULT
    const { view } = scratch
    const { tableFrame, tableFrames } = this.machineToPhys
    const count = Math.min(XenMachphysMfnList.maxExtents.get(view, 0), Math.ceil(tableFrames / LARGE_PAGE_FRAMES))
    const { extentStart } = XenMachphysMfnList
    const list = signedFromParts(extentStart.low(view, 0), extentStart.high(view, 0))
    const out = new DataView(new ArrayBuffer(count * 8))
    for (let i = 0; i < count; i += 1) out.setUint32(i * 8, tableFrame + i * LARGE_PAGE_FRAMES, true)
    XenMachphysMfnList.nrExtents.set(view, 0, count)
    const stored = access.write(list, new Uint8Array(out.buffer))
      && access.write(address, scratch.bytes.subarray(0, XenMachphysMfnList.size))
    return stored ? 0 : -ERRNO.EFAULT
  }
}
