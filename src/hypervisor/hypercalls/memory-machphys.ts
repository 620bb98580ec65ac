/**
 * XENMEM_machphys_mapping, XENMEM_machphys_mfn_list and XENMEM_machphys_compat_mfn_list: where the machine-to-physical
 * tables lie, in a guest's address space and in the host's frames.
 * Reference: public/memory.h, struct xen_machphys_mapping; xen/arch/x86/mm.c, subarch_memory_op.
 */
import { ERRNO, type GuestAbi, XenMachphysMapping, XenMachphysMfnList } from '../../abi/index.ts'
import { signedFromParts } from '../../util/index.ts'
import type { Vcpu } from '../domains/domain.ts'
import type { DomainRegistry } from '../domains/registry.ts'
import type { MachineToPhys } from '../frames/machine-to-phys.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'

/** Frames in 2 MiB, by which the table is listed. */
const LARGE_PAGE_FRAMES = 512

/** What it tells of. */
export interface MachphysParts {
  readonly machineToPhys: MachineToPhys
  readonly memory: { readonly endFrame: number }
  readonly domains: Pick<DomainRegistry, 'mayDo'>
}

/** Tells where the table is; structures are at guest addresses of the caller's. */
export class MachphysOperations {
  private readonly machineToPhys: MachineToPhys
  private readonly domains: MachphysParts['domains']
  /** First frame that the host has not. */
  private readonly endFrame: number
  private readonly abi: GuestAbi
  private readonly scratch = new Scratch(XenMachphysMapping.size)

  constructor({ machineToPhys, memory: { endFrame }, domains }: MachphysParts, abi: GuestAbi) {
    this.domains = domains
    this.machineToPhys = machineToPhys
    this.endFrame = endFrame
    this.abi = abi
  }

  /** XENMEM_machphys_mapping: where every guest sees it. */
  mapping(caller: Vcpu, address: number): number {
    const { vStart, vEnd, maxMfn, size } = this.abi.of(XenMachphysMapping)
    const { start, end, entries } = this.abi.machineToPhys
    const last = caller.owner.privileged && this.abi.width === 64 ? this.endFrame : entries
    const { view, bytes } = this.scratch
    vStart.set(view, 0, BigInt.asUintN(64, BigInt(start)))
    vEnd.set(view, 0, BigInt.asUintN(64, BigInt(end)))
    maxMfn.setNumber(view, 0, last - 1)
    return caller.access.write(address, bytes.subarray(0, size)) ? 0 : -ERRNO.EFAULT
  }

  /** XENMEM_machphys_mfn_list: first frames of each 2 MiB of the table that the caller sees, for tools of a privileged domain. */
  frames(caller: Vcpu, address: number): number {
    return this.list(caller, address, this.abi.width === 64 ? this.machineToPhys : this.machineToPhys.compat)
  }

  /** XENMEM_machphys_compat_mfn_list: those of the table that 32-bit guests see. */
  compatFrames(caller: Vcpu, address: number): number {
    return this.list(caller, address, this.machineToPhys.compat)
  }

  private list({ owner, access }: Vcpu, address: number, { tableFrame, tableFrames }: Pick<MachineToPhys, 'tableFrame' | 'tableFrames'>): number {
    if (!this.domains.mayDo(owner.id, 'memory_op.machphys_mfn_list')) return -ERRNO.EPERM
    const { scratch, abi } = this
    const { maxExtents, extentStart, nrExtents, size } = abi.of(XenMachphysMfnList)
    if (!readInto(access, address, scratch, size)) return -ERRNO.EFAULT
    const { view } = scratch
    const count = Math.min(maxExtents.get(view, 0), Math.ceil(tableFrames / LARGE_PAGE_FRAMES))
    const list = signedFromParts(extentStart.low(view, 0), extentStart.high(view, 0))
    const out = new DataView(new ArrayBuffer(count * abi.word.size))
    for (let i = 0; i < count; i += 1) abi.word.setNumber(out, i * abi.word.size, tableFrame + i * LARGE_PAGE_FRAMES)
    nrExtents.set(view, 0, count)
    const stored = access.write(list, new Uint8Array(out.buffer))
      && access.write(address, scratch.bytes.subarray(0, size))
    return stored ? 0 : -ERRNO.EFAULT
  }
}
