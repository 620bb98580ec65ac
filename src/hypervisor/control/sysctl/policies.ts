/**
 * Operations of sysctl on what guests may be told of processors.
 * Reference: xen/arch/x86/sysctl.c, XEN_SYSCTL_get_cpu_policy, XEN_SYSCTL_get_cpu_featureset.
 */
import { CPU_FEATURESET, CPU_POLICY, ERRNO, SysctlCpuFeatureset, SysctlCpuLevellingCaps, SysctlCpuPolicy } from '../../../abi/index.ts'
import type { CpuPolicy } from '../../domains/cpu-policy.ts'
import { answering } from '../binary/control-call.ts'
import { writePolicy } from '../binary/policy-records.ts'
import { FEATURE_WORDS, featuresetOf } from '../core/system-policies.ts'
import { SYSCTL_ARGUMENT, type SysctlCall, type SysctlParts } from './sysctl-call.ts'

/** Whose policy: processors' own, or that of guests whose frames are translated or not. */
type Whose = 'own' | 'translated' | 'direct'

const OF_POLICY: Readonly<Record<number, Whose>> = {
  [CPU_POLICY.raw]: 'own', [CPU_POLICY.host]: 'own', [CPU_POLICY.pv_max]: 'direct', [CPU_POLICY.pv_default]: 'direct',
  [CPU_POLICY.hvm_max]: 'translated', [CPU_POLICY.hvm_default]: 'translated',
}

const OF_FEATURESET: Readonly<Record<number, Whose>> = {
  [CPU_FEATURESET.raw]: 'own', [CPU_FEATURESET.host]: 'own', [CPU_FEATURESET['pv']]: 'direct', [CPU_FEATURESET.pv_max]: 'direct',
  [CPU_FEATURESET.hvm]: 'translated', [CPU_FEATURESET.hvm_max]: 'translated',
}

/** -EOPNOTSUPP where the host has no such guests, or no processors. */
function policyOf({ policies, lifecycle }: SysctlParts, whose: Whose): CpuPolicy | number {
  if (whose === 'own') return policies.of()
  const kind = lifecycle.kindOf({ translated: whose === 'translated', width: 64 })
  return kind === undefined ? -ERRNO.EOPNOTSUPP : policies.of(kind)
}

function getPolicy(parts: SysctlParts, call: SysctlCall): number {
  const whose = OF_POLICY[SysctlCpuPolicy.index.get(call.view, SYSCTL_ARGUMENT)]
  if (SysctlCpuPolicy.rsvd.get(call.view, SYSCTL_ARGUMENT) !== 0 || whose === undefined) return -ERRNO.EINVAL
  const policy = policyOf(parts, whose)
  return typeof policy === 'number' ? policy : writePolicy(call, SysctlCpuPolicy, SYSCTL_ARGUMENT, policy)
}

function getFeatures(parts: SysctlParts, call: SysctlCall): number {
  const { view } = call
  const op = SysctlCpuFeatureset
  if (call.isNull(op.features, SYSCTL_ARGUMENT)) {
    op.nrFeatures.set(view, SYSCTL_ARGUMENT, FEATURE_WORDS)
    return 0
  }
  const whose = OF_FEATURESET[op.index.get(view, SYSCTL_ARGUMENT)]
  if (whose === undefined) return -ERRNO.EINVAL
  const policy = policyOf(parts, whose)
  if (typeof policy === 'number') return policy
  const count = Math.min(op.nrFeatures.get(view, SYSCTL_ARGUMENT), FEATURE_WORDS)
  const words = Uint32Array.from(featuresetOf(policy).slice(0, count))
  if (call.write(call.address(op.features, SYSCTL_ARGUMENT), new Uint8Array(words.buffer)) < 0) return -ERRNO.EFAULT
  op.nrFeatures.set(view, SYSCTL_ARGUMENT, count)
  call.answers = true
  return count < FEATURE_WORDS ? -ERRNO.ENOBUFS : 0
}

/** The operations, by the names of their numbers. */
export function systemPolicyOperations(parts: SysctlParts) {
  return {
    get_cpu_policy: answering((call: SysctlCall) => getPolicy(parts, call)),
    get_cpu_featureset: answering((call: SysctlCall) => getFeatures(parts, call)),
    get_cpu_levelling_caps: answering(({ view }: SysctlCall) => {
      // Each instruction of a guest's that asks comes to the hypervisor, as where CPUID faults.
      SysctlCpuLevellingCaps.caps.set(view, SYSCTL_ARGUMENT, 1)
      return 0
    }),
  }
}
