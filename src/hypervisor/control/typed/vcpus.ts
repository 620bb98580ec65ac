/**
 * The control interface's face of vCPUs: registers, CPU policy, scheduling. It finds the vCPU, asks the core, and throws
 * where the core refuses; it decides nothing.
 */
import { ERRNO } from '../../../abi/index.ts'
import type { DomId, Mfn } from '../../../util/index.ts'
import { MSR, PAGE_SIZE } from '../../../x86/index.ts'
import type { MsrEntry } from '../../domains/cpu-policy.ts'
import type { Domain, Vcpu } from '../../domains/domain.ts'
import type { HostClock } from '../../time/host-clock.ts'
import { describeVcpu } from '../core/info.ts'
import type { Scheduling, Told } from '../core/scheduling.ts'
import type { VcpuOperations } from '../core/vcpus.ts'
import type { VcpuControl } from './control-interface.ts'
import { type DomainFinder, foundDomain, foundVcpu } from './found.ts'
import { type Facts, accepted } from './refusals.ts'

/** What the face of vCPUs asks. */
export interface VcpuFaceParts {
  readonly domains: DomainFinder
  readonly vcpus: VcpuOperations
  readonly scheduling: Scheduling
  readonly clock: HostClock
}

/** Other registers that Xen saves with a vCPU, by the feature that they belong to. Reference: xen/arch/x86/domctl.c. */
const SAVED_MSRS: ReadonlyMap<number, string> = /* @__PURE__ */ new Map([
  [0x48, 'IBRS (SPEC_CTRL),'], [0x140, 'CPUID faulting (MISC_FEATURES_ENABLES),'], [0xc001_1027, 'DBEXT (DR0_ADDR_MASK),'],
  [0xc001_1019, 'DBEXT (DR1_ADDR_MASK),'], [0xc001_101a, 'DBEXT (DR2_ADDR_MASK),'], [0xc001_101b, 'DBEXT (DR3_ADDR_MASK),'],
])

/** What is to be said of a register that was refused. */
function factsOf(entry: MsrEntry | undefined): Facts {
  if (entry === undefined) return {}
  const { index: register } = entry
  return {
    register, name: `0x${register.toString(16)}`, feature: SAVED_MSRS.get(register) ?? 'a',
    cause: register === MSR.TSC_AUX ? 'value' : 'register',
  }
}

/** Makes the face of vCPUs. */
export function vcpuFace(parts: VcpuFaceParts): VcpuControl {
  return { ...registersFace(parts), ...policyFace(parts), ...schedulingFace(parts) }
}

/** A vCPU with what it executes on. */
function preparedVcpu({ domains, vcpus }: VcpuFaceParts, domid: DomId, index: number): Vcpu {
  const vcpu = foundVcpu(domains, domid, index)
  accepted(vcpus.prepare(vcpu), 'prepareVcpu', { domid })
  return vcpu
}

function registersFace(parts: VcpuFaceParts): Pick<
  VcpuControl, 'prepareVcpu' | 'setVcpuContext' | 'getVcpuContext' | 'startVcpu' | 'traceVcpu' | 'inspectVcpu' | 'profileVcpus' | 'vcpuInfo' | 'sendNmi' | 'translate'
> {
  const { domains, vcpus, clock } = parts
  const find = (domid: DomId, index: number): Vcpu => foundVcpu(domains, domid, index)
  return {
    prepareVcpu: (domid, vcpu) => void preparedVcpu(parts, domid, vcpu),
    setVcpuContext(domid, vcpu, context) {
      accepted(vcpus.setContext(preparedVcpu(parts, domid, vcpu), context), 'setVcpuContext', { domid, vcpu })
    },
    getVcpuContext: (domid, vcpu) => accepted(vcpus.context(find(domid, vcpu)), 'getVcpuContext', { domid, vcpu }),
    startVcpu(domid, vcpu) {
      accepted(vcpus.start(find(domid, vcpu)), 'startVcpu', { domid })
    },
    inspectVcpu: (domid, vcpu) => accepted(vcpus.inspect(find(domid, vcpu)), 'inspectVcpu', { domid, vcpu }),
    traceVcpu: (domid, vcpu, hooks) => accepted(vcpus.trace(find(domid, vcpu), hooks), 'traceVcpu', { domid, vcpu }),
    profileVcpus: (domid) => accepted(vcpus.profiles(foundDomain(domains, domid)), 'profileVcpus', { domid, vcpu: 0 }),
    vcpuInfo: (domid, vcpu) => describeVcpu(find(domid, vcpu), clock.now()),
    sendNmi(domid, vcpu) {
      accepted(vcpus.sendNmi(find(domid, vcpu)), 'sendNmi', { domid })
    },
    translate(domid, address) {
      const at = vcpus.translate(find(domid, 0), address)
      // The frame stands in a validated page table.
      return at < 0 ? undefined : { frame: Math.floor(at / PAGE_SIZE) as Mfn, offset: at % PAGE_SIZE }
    },
  }
}

function policyFace(parts: VcpuFaceParts): Pick<
  VcpuControl,
  'getCpuPolicy' | 'setCpuPolicy' | 'getVcpuMsrs' | 'setVcpuMsrs' | 'getVcpuExtendedState' | 'setVcpuExtendedState' | 'offeredState'
  | 'getVcpuEntries' | 'setVcpuEntries'
> {
  const { domains, vcpus } = parts
  /** A domain whose first vCPU can tell what CPUID tells it. */
  const prepared = (domid: DomId): Domain => preparedVcpu(parts, domid, 0).owner
  return {
    getCpuPolicy(domid) {
      const vcpu = foundVcpu(domains, domid, 0)
      const result = vcpus.prepare(vcpu)
      // Nothing tells a guest without registers of a processor.
      if (result === -ERRNO.EINVAL) return { cpuid: [], msrs: [] }
      accepted(result, 'prepareVcpu', { domid })
      return accepted(vcpus.policy(vcpu.owner), 'getVcpuContext', { domid, vcpu: 0 })
    },
    setCpuPolicy(domid, policy) {
      const missing: string[] = []
      accepted(vcpus.setPolicy(prepared(domid), policy, missing), 'getVcpuContext', { domid, vcpu: 0 })
      return missing
    },
    getVcpuExtendedState(domid, vcpu) {
      const result = vcpus.extendedState(foundVcpu(domains, domid, vcpu))
      return typeof result === 'number' ? new Uint8Array(0) : result
    },
    setVcpuExtendedState(domid, vcpu, bytes) {
      const result = vcpus.setExtendedState(preparedVcpu(parts, domid, vcpu), bytes)
      accepted(result, 'setVcpuExtendedState', { domid, vcpu, bytes: bytes.length })
    },
    offeredState(domid) {
      const vcpu = foundVcpu(domains, domid, 0)
      return vcpus.prepare(vcpu) === 0 ? Math.max(vcpus.offeredState(vcpu), 0) : 0
    },
    getVcpuEntries: (domid, vcpu) => vcpus.entries(foundVcpu(domains, domid, vcpu)),
    setVcpuEntries(domid, vcpu, entries) {
      accepted(vcpus.setEntries(preparedVcpu(parts, domid, vcpu), entries), 'setVcpuEntries', { domid, vcpu })
    },
    getVcpuMsrs: (domid, vcpu) => accepted(vcpus.msrs(foundVcpu(domains, domid, vcpu)), 'getVcpuMsrs', { domid, vcpu }),
    setVcpuMsrs(domid, vcpu, msrs) {
      const result = vcpus.setMsrs(preparedVcpu(parts, domid, vcpu), msrs)
      accepted(result, 'setVcpuMsrs', { domid, vcpu, ...factsOf(msrs[vcpus.firstRefused(msrs)]) })
    },
  }
}

function schedulingFace({ domains, scheduling }: VcpuFaceParts): Pick<
  VcpuControl, 'schedulerParameters' | 'setSchedulerParameters' | 'affinity' | 'setAffinity'
> {
  return {
    schedulerParameters(domid, vcpu) {
      const told: Told = {}
      const parameters = scheduling.parameters(foundDomain(domains, domid), vcpu, told)
      return accepted(parameters, 'schedulerParameters', { ...told.fault })
    },
    setSchedulerParameters(domid, values, vcpu) {
      const told: Told = {}
      const result = scheduling.setParameters(foundDomain(domains, domid), { values, vcpu }, told)
      accepted(result, 'setSchedulerParameters', { ...told.fault })
    },
    affinity: (domid, vcpu) => scheduling.affinity(foundVcpu(domains, domid, vcpu)),
    setAffinity(domid, vcpu, affinity) {
      const told: Told = {}
      const result = scheduling.setAffinity(foundVcpu(domains, domid, vcpu), affinity, told)
      accepted(result, 'setAffinity', { ...told.fault })
    },
  }
}
