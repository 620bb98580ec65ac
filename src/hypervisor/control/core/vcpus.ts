/**
 * What a toolstack does with vCPUs: giving them registers and reading them, CPU policies, bringing them up. A kind of
 * guest without registers answers -EINVAL where they are meant. Nothing throws.
 * Reference: xen/common/domctl.c; xen/arch/x86/domctl.c, XEN_DOMCTL_set_cpu_policy, XEN_DOMCTL_set_vcpu_msrs.
 */
import { ERRNO, VGCF } from '../../../abi/index.ts'
import type { CacheInspection, ProcessorProfile, Trace, TraceHooks } from '../../../machine/index.ts'
import { type CpuidAnswer, MSR, PAGE_SHIFT, PAGE_SIZE } from '../../../x86/index.ts'
import {
  type CpuPolicy, type MsrEntry, describePolicy, keptPolicy, missingFeatures,
} from '../../domains/cpu-policy.ts'
import type { Domain, Vcpu } from '../../domains/domain.ts'
import type { CompatEntries } from '../../domains/guest-vcpu.ts'
import type { VcpuContext } from '../../domains/vcpu-registers.ts'

/** What these operations work on. */
export interface VcpuParts {
  readonly execution: { bringUp(vcpu: Vcpu): number; wake(vcpu: Vcpu): void }
}

const HIGHEST_U32 = 0xffff_ffffn

/** Carries out operations on vCPUs. */
export class VcpuOperations {
  private readonly parts: VcpuParts

  constructor(parts: VcpuParts) {
    this.parts = parts
  }

  /** Makes what the vCPU executes on, if it is not there yet: 0, -ESRCH for a dying domain, -EINVAL, -EOPNOTSUPP, -ENOMEM. */
  prepare(vcpu: Vcpu): number {
    if (vcpu.owner.dying) return -ERRNO.ESRCH
    return vcpu.owner.kind.hasRegisters ? vcpu.equip() : -ERRNO.EINVAL
  }

  /**
   * XEN_DOMCTL_setvcpucontext of a prepared vCPU: gives it its registers, and brings it up where they say so. 0, -EINVAL or
   * what else the context deserves, with nothing changed.
   */
  setContext(vcpu: Vcpu, context: VcpuContext): number {
    const result = vcpu.guest?.context?.set(context) ?? -ERRNO.EINVAL
    if (result === 0 && (context.flags & VGCF.online) !== 0) this.parts.execution.bringUp(vcpu)
    return result
  }

  /** XEN_DOMCTL_getvcpucontext: the vCPU's registers, or -ENODATA where it has none. */
  context(vcpu: Vcpu): VcpuContext | number {
    return vcpu.guest?.context?.get() ?? -ERRNO.ENODATA
  }

  /** XEN_DOMCTL_get_cpu_policy of a domain whose first vCPU is prepared: what CPUID tells it, or -EINVAL without registers. */
  policy(domain: Domain): CpuPolicy | number {
    const context = domain.vcpus[0]!.guest?.context
    if (context === undefined) return -ERRNO.EINVAL
    return describePolicy((leaf, subleaf) => context.cpuid(leaf, subleaf, domain.cpuPolicy))
  }

  /** The most that a domain whose first vCPU is prepared can be told: what it is told without a policy of its own. -EINVAL without registers. */
  offeredPolicy(domain: Domain): CpuPolicy | number {
    const context = domain.vcpus[0]!.guest?.context
    return context === undefined ? -ERRNO.EINVAL : describePolicy((leaf, subleaf) => context.cpuid(leaf, subleaf, undefined))
  }

  /**
   * XEN_DOMCTL_set_cpu_policy of a domain whose first vCPU is prepared: 0, or -EINVAL without registers. What the host does
   * not offer is hidden, where Xen refuses the whole, and named in `missing`.
   */
  setPolicy(domain: Domain, policy: CpuPolicy, missing: string[]): number {
    const context = domain.vcpus[0]!.guest?.context
    if (context === undefined) return -ERRNO.EINVAL
    const host = (leaf: number, subleaf: number): CpuidAnswer => context.cpuid(leaf, subleaf, undefined)
    domain.cpuPolicy = keptPolicy(policy, host)
    missing.push(...missingFeatures(policy, host))
    return 0
  }

  /** XEN_DOMCTL_get_vcpu_msrs: registers that are saved with it, but for those that hold 0; -EINVAL without registers. */
  msrs(vcpu: Vcpu): MsrEntry[] | number {
    const value = vcpu.guest?.context?.registers.tscAux()
    if (value === undefined) return -ERRNO.EINVAL
    return value === 0 ? [] : [{ index: MSR.TSC_AUX, value: BigInt(value) }]
  }

  /** Index of the first register that `setMsrs` would refuse with -ENXIO, or -1. */
  firstRefused(msrs: readonly MsrEntry[]): number {
    return msrs.findIndex(({ index, value }) => index !== MSR.TSC_AUX || value < 0n || value > HIGHEST_U32)
  }

  /**
   * XEN_DOMCTL_set_vcpu_msrs of a prepared vCPU: 0, -ENXIO for a register that the host does not offer and for a value that it
   * cannot hold, -EINVAL without registers.
   */
  setMsrs(vcpu: Vcpu, msrs: readonly MsrEntry[]): number {
    const context = vcpu.guest?.context
    if (context === undefined) return -ERRNO.EINVAL
    if (this.firstRefused(msrs) >= 0) return -ERRNO.ENXIO
    for (const { value } of msrs) context.registers.setTscAux(Number(value))
    return 0
  }

  /** XEN_DOMCTL_getvcpuextstate; -EINVAL without registers. */
  extendedState(vcpu: Vcpu): Uint8Array | number {
    return vcpu.guest?.context?.extendedState() ?? -ERRNO.EINVAL
  }

  /** XEN_DOMCTL_setvcpuextstate of a prepared vCPU: 0, or what the state deserves, with nothing changed. */
  setExtendedState(vcpu: Vcpu, bytes: Uint8Array): number {
    return vcpu.guest?.context?.setExtendedState(bytes) ?? -ERRNO.EINVAL
  }

  /** Bits of XCR0 that the domain of a prepared vCPU is offered; -EINVAL without registers. */
  offeredState(vcpu: Vcpu): number {
    return vcpu.guest?.context?.offeredState() ?? -ERRNO.EINVAL
  }

  /** XEN_DOMCTL_get_ext_vcpucontext: where system calls of 32-bit code enter; undefined for a guest that has no such entries. */
  entries(vcpu: Vcpu): CompatEntries | undefined {
    return vcpu.guest?.context?.entries?.()
  }

  /** XEN_DOMCTL_set_ext_vcpucontext of a prepared vCPU: 0, -EINVAL with nothing changed, -EOPNOTSUPP for a guest that has no such entries. */
  setEntries(vcpu: Vcpu, entries: CompatEntries): number {
    return vcpu.guest?.context?.setEntries?.(entries) ?? -ERRNO.EOPNOTSUPP
  }

  /** Begins to watch a vCPU; -EINVAL without registers. */
  trace(vcpu: Vcpu, hooks: TraceHooks): Trace | number {
    return vcpu.guest?.context?.trace(hooks) ?? -ERRNO.EINVAL
  }

  /** What a vCPU's processor has remembered of page tables; -EINVAL without registers. */
  inspect(vcpu: Vcpu): CacheInspection | number {
    return vcpu.guest?.caches?.inspect() ?? -ERRNO.EINVAL
  }

  /** Where a domain's vCPUs were when they were sampled, by number; -EINVAL where none has registers. */
  profiles({ vcpus }: Domain): (ProcessorProfile | undefined)[] | number {
    const profiles = vcpus.map((vcpu) => vcpu?.guest?.context?.profile())
    return profiles.some((one) => one !== undefined) ? profiles : -ERRNO.EINVAL
  }

  /** XEN_DOMCTL_sendtrigger, XEN_DOMCTL_SENDTRIGGER_NMI: 0, or -EOPNOTSUPP where the kind of guest knows no NMI. */
  sendNmi(vcpu: Vcpu): number {
    const { guest } = vcpu
    if (vcpu.owner.kind.hasRegisters && guest === undefined) return 0
    if (guest?.raiseNmi === undefined) return -ERRNO.EOPNOTSUPP
    guest.raiseNmi()
    this.parts.execution.wake(vcpu)
    return 0
  }

  /** Brings up a vCPU that needs no registers: 0, or -EINVAL for one that does. */
  start(vcpu: Vcpu): number {
    const { owner } = vcpu
    if (owner.kind.hasRegisters) return -ERRNO.EINVAL
    const result = vcpu.equip()
    if (result < 0) return result
    vcpu.initialised = true
    return this.parts.execution.bringUp(vcpu)
  }

  /** Byte address in host memory of what a vCPU's kernel has at a virtual address, which only looks; -EINVAL without registers, -EFAULT. */
  translate(vcpu: Vcpu, address: bigint): number {
    const caches = vcpu.guest?.caches
    if (caches === undefined) return -ERRNO.EINVAL
    const wide = BigInt.asIntN(64, address)
    const leaf = wide === BigInt.asIntN(48, wide) ? caches.lookAsKernel(Number(wide)) : undefined
    return leaf === undefined ? -ERRNO.EFAULT : leaf.frame * PAGE_SIZE + Number(BigInt.asUintN(PAGE_SHIFT, wide))
  }
}
