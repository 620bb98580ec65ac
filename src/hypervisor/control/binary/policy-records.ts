/**
 * CPU policies as tools give and take them: lists of CPUID leaves and of model-specific registers, in the caller's memory.
 * Reference: xen/lib/x86/cpuid.c, x86_cpuid_copy_to_buffer, x86_cpuid_copy_from_buffer; xen/lib/x86/msr.c; xen/lib/x86/policy.c,
 * x86_cpu_policies_are_compatible.
 */
import { CpuidLeaf, ERRNO, MsrEntry } from '../../../abi/index.ts'
import type { NumberField, WideField } from '../../../util/index.ts'
import { type CpuPolicy, type CpuidLeaf as Leaf, type MsrEntry as Msr, NO_SUBLEAF } from '../../domains/cpu-policy.ts'
import { Scratch } from '../../memory/guest-access.ts'
import type { ControlCall } from './control-call.ts'

/** Most entries of either list (CPUID_MAX_SERIALISED_LEAVES, MSR_MAX_SERIALISED_ENTRIES). */
const [MOST_LEAVES, MOST_MSRS] = [120, 2] as const

/** Leaves that a policy carries by the number of subleaves; of all others it has one answer each. */
const SUBLEAVES: ReadonlyMap<number, number> = /* @__PURE__ */ new Map([[4, 6], [7, 3], [0xb, 2], [0xd, 63]])
/** Leaves of the basic range, of the hypervisor's and of the extended one. */
const isCarried = (leaf: number): boolean => leaf <= 0xd || leaf === 0x4000_0000 || leaf === 0x4000_0100 || (leaf >= 0x8000_0000 && leaf <= 0x8000_0021)
const [PLATFORM_INFO, ARCH_CAPABILITIES] = [0xce, 0x10a] as const

/** Where a structure has its lists. */
export interface PolicyLists {
  readonly nrLeaves: NumberField
  readonly nrMsrs: NumberField
  readonly leaves: WideField
  readonly msrs: WideField
}

/** What an audit objects to. */
export interface Objection {
  leaf: number
  subleaf: number
  msr: number
}

/** Writes a policy into the lists that the structure at `base` names, or how long they would be: 0, -ENOBUFS, -EFAULT. */
export function writePolicy(call: ControlCall, at: PolicyLists, base: number, policy: CpuPolicy): number {
  const { view } = call
  let result = 0
  if (call.isNull(at.leaves, base)) at.nrLeaves.set(view, base, MOST_LEAVES)
  else {
    const { cpuid } = policy
    if (cpuid.length > at.nrLeaves.get(view, base)) return -ERRNO.ENOBUFS
    const list = new Scratch(cpuid.length * CpuidLeaf.size)
    cpuid.forEach(({ leaf, subleaf, eax: a, ebx: b, ecx: c, edx: d }, i) => CpuidLeaf.encode(list.view, i * CpuidLeaf.size, { leaf, subleaf, a, b, c, d }))
    result = call.write(call.address(at.leaves, base), list.bytes)
    at.nrLeaves.set(view, base, cpuid.length)
  }
  if (result < 0) return result
  if (call.isNull(at.msrs, base)) {
    at.nrMsrs.set(view, base, MOST_MSRS)
    return 0
  }
  const { msrs } = policy
  if (msrs.length > at.nrMsrs.get(view, base)) return -ERRNO.ENOBUFS
  const list = new Scratch(msrs.length * MsrEntry.size)
  msrs.forEach(({ index, value }, i) => MsrEntry.encode(list.view, i * MsrEntry.size, { idx: index, flags: 0, val: value }))
  at.nrMsrs.set(view, base, msrs.length)
  return call.write(call.address(at.msrs, base), list.bytes)
}

/** Reads what a caller wants changed of `policy`: the policy with that in it, or -E2BIG, -EFAULT, -ERANGE, -EINVAL, -EOVERFLOW. */
export function readPolicy(call: ControlCall, at: PolicyLists, base: number, { policy, objection }: { readonly policy: CpuPolicy; readonly objection: Objection }): CpuPolicy | number {
  const leaves = readLeaves(call, at, base, objection)
  if (typeof leaves === 'number') return leaves
  const msrs = readMsrs(call, at, base, objection)
  if (typeof msrs === 'number') return msrs
  const key = ({ leaf, subleaf }: Leaf): string => `${leaf}.${subleaf}`
  const merged = new Map([...policy.cpuid, ...leaves].map((leaf) => [key(leaf), leaf]))
  const values = new Map([...policy.msrs, ...msrs].map((msr) => [msr.index, msr]))
  return { cpuid: [...merged.values()], msrs: [...values.values()] }
}

function readLeaves(call: ControlCall, at: PolicyLists, base: number, objection: Objection): Leaf[] | number {
  const count = at.nrLeaves.get(call.view, base)
  if (count > MOST_LEAVES) return -ERRNO.E2BIG
  const list = new Scratch(count * CpuidLeaf.size)
  if (call.read(call.address(at.leaves, base), list.bytes) < 0) return -ERRNO.EFAULT
  const leaves = Array.from({ length: count }, (_, i): Leaf => {
    const { leaf, subleaf, a, b, c, d } = CpuidLeaf.decode(list.view, i * CpuidLeaf.size)
    return { leaf, subleaf, eax: a, ebx: b, ecx: c, edx: d }
  })
  for (const { leaf, subleaf } of leaves) {
    const subleaves = SUBLEAVES.get(leaf)
    if (isCarried(leaf) && (subleaves === undefined ? subleaf === NO_SUBLEAF : subleaf < subleaves)) continue
    Object.assign(objection, { leaf, subleaf })
    return -ERRNO.ERANGE
  }
  return leaves
}

function readMsrs(call: ControlCall, at: PolicyLists, base: number, objection: Objection): Msr[] | number {
  const count = at.nrMsrs.get(call.view, base)
  if (count > MOST_MSRS) return -ERRNO.E2BIG
  const list = new Scratch(count * MsrEntry.size)
  if (call.read(call.address(at.msrs, base), list.bytes) < 0) return -ERRNO.EFAULT
  const msrs: Msr[] = []
  for (let i = 0; i < count; i += 1) {
    const { idx: index, flags, val: value } = MsrEntry.decode(list.view, i * MsrEntry.size)
    const isKnown = index === PLATFORM_INFO || index === ARCH_CAPABILITIES
    const result = flags !== 0 ? -ERRNO.EINVAL : !isKnown ? -ERRNO.ERANGE : index === PLATFORM_INFO && value > 0xffff_ffffn ? -ERRNO.EOVERFLOW : 0
    if (result < 0) {
      objection.msr = index
      return result
    }
    msrs.push({ index, value })
  }
  return msrs
}

/** Whether a host that can tell `most` can tell `wanted`: 0, or -EINVAL with what it objects to. */
export function auditPolicy(wanted: CpuPolicy, most: CpuPolicy, objection: Objection): number {
  const highest = ({ cpuid }: CpuPolicy, leaf: number): number => cpuid.find((one) => one.leaf === leaf)?.eax ?? 0
  for (const leaf of [0, 7, 0x8000_0000]) {
    if (highest(wanted, leaf) <= highest(most, leaf)) continue
    Object.assign(objection, { leaf, subleaf: leaf === 7 ? 0 : NO_SUBLEAF })
    return -ERRNO.EINVAL
  }
  const valueOf = ({ msrs }: CpuPolicy, index: number): bigint => msrs.find((one) => one.index === index)?.value ?? 0n
  if ((valueOf(wanted, PLATFORM_INFO) & ~valueOf(most, PLATFORM_INFO)) !== 0n) {
    objection.msr = PLATFORM_INFO
    return -ERRNO.EINVAL
  }
  return 0
}
