/** The control interface's operations on vCPUs: registers, starting, affinity. Reference: xen/common/domctl.c. */
import { type DomId, type Mfn, XenError, highPart, lowPart, signedFromParts } from '../util/index.ts'
import { GPR } from '../x86/index.ts'
import { VGCF } from '../abi/index.ts'
import type { Trace, TraceHooks } from '../machine/index.ts'
import type { HypervisorParts } from './composition.ts'
import type { VcpuContext, VcpuInfoSnapshot } from './control.ts'
import type { Domain } from './domain.ts'
import type { PvVcpu } from './pv/pv-vcpu.ts'
import type { Vcpu } from './vcpu.ts'

/** What vCPU control works on. */
export interface VcpuContextControlParts extends Pick<HypervisorParts,
  'memory' | 'clock' | 'control' | 'contexts' | 'pvVcpus' | 'portOf'> {
  find(domid: DomId): Domain
}

/** Carries out operations on vCPUs for the toolstack. */
export class VcpuContextControl {
  private readonly parts: VcpuContextControlParts

  constructor(parts: VcpuContextControlParts) {
    this.parts = parts
  }

  prepare(domid: DomId, index: number): Vcpu {
    const vcpu = this.vcpuOf(domid, index)
    if (vcpu.owner.kind !== 'pv') {
      throw new XenError('INVALID_STATE', `domain ${domid} has no registers: it is written in TypeScript`, {
        details: { domid },
      })
    }
    this.parts.pvVcpus.ensure(vcpu)
    return vcpu
  }

  set(domid: DomId, index: number, context: VcpuContext): void {
    const vcpu = this.prepare(domid, index)
    const result = this.parts.contexts.set(vcpu, context)
    if (result < 0) {
      throw new XenError('INVALID_ARGUMENT', `vCPU ${index} of domain ${domid} cannot have this context`, {
        details: { domid, vcpu: index, result },
      })
    }
    if ((context.flags & VGCF.online) !== 0) this.parts.control.bringUp(vcpu)
  }

  get(domid: DomId, index: number): VcpuContext {
    return this.parts.contexts.get(this.vcpuOf(domid, index), this.withRegisters(domid, index))
  }

  trace(domid: DomId, index: number, hooks: TraceHooks): Trace {
    return this.withRegisters(domid, index).processor.trace(hooks)
  }

  start(domid: DomId, index: number): void {
    const vcpu = this.vcpuOf(domid, index)
    const { owner } = vcpu
    if (owner.createRunner === undefined) {
      throw new XenError('INVALID_STATE', `domain ${domid} is not written in TypeScript; give its vCPU a context`, {
        details: { domid },
      })
    }
    vcpu.runner ??= owner.createRunner(this.parts.portOf(owner), index)
    vcpu.initialised = true
    this.parts.control.bringUp(vcpu)
  }

  info(domid: DomId, index: number): VcpuInfoSnapshot {
    const vcpu = this.vcpuOf(domid, index)
    return {
      vcpu: index, online: vcpu.online, running: vcpu.runningOn >= 0, blocked: vcpu.blocked,
      polling: vcpu.blocked ? vcpu.polledPorts : undefined, cpuTime: vcpu.runstate.cpuTime(this.parts.clock.now()), cpu: vcpu.lastCpu,
    }
  }

  setAffinity(domid: DomId, index: number, affinity: { hard?: readonly number[]; soft?: readonly number[] }): void {
    this.parts.control.setAffinity(this.vcpuOf(domid, index), affinity)
  }

  /** What the hypercall that a suspended domain's first vCPU is in will have returned. */
  setHypercallResult(domain: Domain, result: number): void {
    domain.vcpus[0]?.pv?.processor.registers.set(GPR.rax, lowPart(result), highPart(result))
  }

  translate(domid: DomId, address: bigint): { readonly frame: Mfn; readonly offset: number } | undefined {
    const vcpu = this.vcpuOf(domid, 0)
    if (vcpu.pv === undefined) return undefined
    const wide = BigInt.asUintN(64, address)
    const at = vcpu.kernelAccess.locate(signedFromParts(Number(wide & 0xffff_ffffn), Number(wide >> 32n)), false)
    // The frame stands in a validated page table.
    return at < 0 ? undefined : { frame: Math.floor(at / 4096) as Mfn, offset: at % 4096 }
  }

  private withRegisters(domid: DomId, index: number): PvVcpu {
    const { pv } = this.vcpuOf(domid, index)
    if (pv !== undefined) return pv
    throw new XenError('INVALID_STATE', `vCPU ${index} of domain ${domid} has no registers`, {
      details: { domid, vcpu: index },
    })
  }

  private vcpuOf(domid: DomId, index: number): Vcpu {
    const vcpu = this.parts.find(domid).vcpus[index]
    if (vcpu === undefined) {
      throw new XenError('INVALID_ARGUMENT', `domain ${domid} has no vCPU ${index}`, {
        details: { domid, vcpu: index },
      })
    }
    return vcpu
  }
}
