/** The control interface's operations on vCPUs: registers, starting, affinity. Reference: xen/common/domctl.c. */
import { type DomId, type Mfn, XenError, highPart, lowPart, signedFromParts } from '../../util/index.ts'
import { GPR, MSR } from '../../x86/index.ts'
import { VGCF } from '../../abi/index.ts'
import type { Trace, TraceHooks } from '../../machine/index.ts'
import type { HypervisorParts } from '../composition.ts'
import type { VcpuInfoSnapshot } from './control-interface.ts'
import type { VcpuContext } from '../domains/vcpu-registers.ts'
import type { Domain, Vcpu } from '../domains/domain.ts'
import {
  type CpuPolicy, type CpuidSource, type CpuidTable, type MsrEntry, describePolicy, keptPolicy, missingFeatures,
} from '../domains/cpu-policy.ts'
import type { PvVcpu } from '../guests/pv/pv-vcpu.ts'

/** Other registers that Xen saves with a vCPU, by the feature that they belong to. Reference: xen/arch/x86/domctl.c. */
const SAVED_MSRS: ReadonlyMap<number, string> = /* @__PURE__ */ new Map([
  [0x48, 'IBRS (SPEC_CTRL),'], [0x140, 'CPUID faulting (MISC_FEATURES_ENABLES),'], [0xc001_1027, 'DBEXT (DR0_ADDR_MASK),'],
  [0xc001_1019, 'DBEXT (DR1_ADDR_MASK),'], [0xc001_101a, 'DBEXT (DR2_ADDR_MASK),'], [0xc001_101b, 'DBEXT (DR3_ADDR_MASK),'],
])

/** What vCPU control works on. */
export interface VcpuContextControlParts extends Pick<HypervisorParts,
  'memory' | 'clock' | 'execution' | 'contexts' | 'pvVcpus' | 'privileged' | 'portOf'> {
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
    if ((context.flags & VGCF.online) !== 0) this.parts.execution.bringUp(vcpu)
  }

  get(domid: DomId, index: number): VcpuContext {
    return this.parts.contexts.get(this.vcpuOf(domid, index), this.withRegisters(domid, index))
  }

  policy(domid: DomId): CpuPolicy {
    const { cpuPolicy, kind } = this.parts.find(domid)
    return kind === 'pv' ? describePolicy(this.cpuid(domid, cpuPolicy)) : { cpuid: [], msrs: [] }
  }

  setPolicy(domid: DomId, policy: CpuPolicy): string[] {
    const host = this.cpuid(domid, undefined)
    this.parts.find(domid).cpuPolicy = keptPolicy(policy, host)
    return missingFeatures(policy, host)
  }

  /** CPUID as a domain's first vCPU sees it. */
  private cpuid(domid: DomId, own: CpuidTable | undefined): CpuidSource {
    const pv = this.parts.pvVcpus.ensure(this.prepare(domid, 0))
    return (leaf, subleaf) => this.parts.privileged.query(pv, { leaf, subleaf, own })
  }

  msrs(domid: DomId, index: number): MsrEntry[] {
    const value = this.withRegisters(domid, index).processor.registers.tscAux()
    return value === 0 ? [] : [{ index: MSR.TSC_AUX, value: BigInt(value) }]
  }

  setMsrs(domid: DomId, index: number, msrs: readonly MsrEntry[]): void {
    const details = { domid, vcpu: index }
    for (const { index: register, value } of msrs) {
      const name = `register 0x${register.toString(16)}`
      if (register !== MSR.TSC_AUX) {
        throw new XenError('NOT_SUPPORTED', `vCPU ${index} uses ${SAVED_MSRS.get(register) ?? 'a'} ${name}, which this host does not offer`, {
          details: { ...details, register },
        })
      }
      if (value >> 32n !== 0n) throw new XenError('INVALID_ARGUMENT', `${name} of vCPU ${index} has 32 bits`, { details })
    }
    const { registers } = this.parts.pvVcpus.ensure(this.prepare(domid, index)).processor
    for (const { value } of msrs) registers.setTscAux(Number(value))
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
    this.parts.execution.bringUp(vcpu)
  }

  info(domid: DomId, index: number): VcpuInfoSnapshot {
    const vcpu = this.vcpuOf(domid, index)
    return {
      vcpu: index, online: vcpu.online, running: vcpu.runningOn >= 0, blocked: vcpu.blocked,
      polling: vcpu.blocked ? vcpu.polledPorts : undefined, cpuTime: vcpu.runstate.cpuTime(this.parts.clock.now()), cpu: vcpu.lastCpu,
    }
  }

  setAffinity(domid: DomId, index: number, affinity: { hard?: readonly number[]; soft?: readonly number[] }): void {
    this.parts.execution.setAffinity(this.vcpuOf(domid, index), affinity)
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
