/**
 * What CPUID tells a PV guest: what the processor tells, without what only a kernel in ring 0 may use, with what Xen
 * provides in its place, and the hypervisor's own leaves at 0x40000000.
 * Reference: xen/arch/x86/cpuid.c, guest_cpuid; xen/include/public/arch-x86/cpuid.h.
 */
import { REPEATED_FEATURES, featureBits, hasSubleaves } from '../../../x86/index.ts'
import type { CpuFeature, CpuidAnswer } from '../../../x86/index.ts'
import { XEN_VERSION_NUMBER } from '../../identity.ts'
import { type CpuidTable, answerOf } from '../../domains/cpu-policy.ts'

/** Overrides or adds leaves; undefined leaves the answer as it is. The subleaf is 0 for a leaf that has none. */
export type CpuidPolicy = (leaf: number, subleaf: number, answer: CpuidAnswer) => CpuidAnswer | undefined

/** Facts that some leaves tell, and what the user changes of them. */
export interface CpuidSubject {
  readonly tscKilohertz: number
  /** Bits of a machine address. */
  readonly addressBits: number
  readonly cpuidPolicy?: CpuidPolicy | undefined
}

const NOTHING: CpuidAnswer = [0, 0, 0, 0]

/** Features of page tables and control registers that the hypervisor keeps to itself. */
const HIDDEN: readonly CpuFeature[] = [
  'vme', 'pse', 'pge', 'pse36', 'sep', 'mtrr', 'x2apic', 'pcid', 'smep', 'smap', 'umip', 'invpcid', 'monitor',
  // Only for a domain that cannot be moved.
  'nonstop_tsc',
]
/** Features that the hypervisor carries out: machine-check and APIC registers, page attributes; and its own presence. */
const PROVIDED: readonly CpuFeature[] = ['mce', 'mca', 'apic', 'pat', 'hypervisor']

/** Bits of EAX of the time leaf, and the mode that its EBX tells. */
const [SAFE_TSC, HAS_RDTSCP, NEVER_EMULATED] = [1 << 1, 1 << 2, 2]

/** Leaves of the hypervisor. */
function hypervisorLeaf(index: number, subleaf: number, subject: CpuidSubject): CpuidAnswer {
  switch (index) {
    // "XenVMMXenVMM"
    case 0: return [0x4000_0005, 0x566e_6558, 0x6558_4d4d, 0x4d4d_566e]
    case 1: return [XEN_VERSION_NUMBER, 0, 0, 0]
    // One hypercall page through MSR 0x40000000; mmu_update keeps accessed and dirty bits.
    case 2: return [1, 0x4000_0000, 1, 0]
    case 3:
      if (subleaf === 0) return [SAFE_TSC | HAS_RDTSCP, NEVER_EMULATED, subject.tscKilohertz, 0]
      return subleaf === 2 ? [subject.tscKilohertz, 0, 0, 0] : NOTHING
    case 5: return subleaf === 0 ? [0, subject.addressBits, 0, 0] : NOTHING
    default: return NOTHING
  }
}

/** Leaf of address sizes; machine addresses look as wide as on a server, however small the machine is. */
const [ADDRESSES, PHYSICAL_BITS] = [0x8000_0008, 40] as const
const [EXTENDED, EDX] = [0x8000_0001, 3] as const

/** Takes the hidden features out of a processor's answer and puts the provided ones in. */
function throughPolicy(leaf: number, subleaf: number, answer: CpuidAnswer): CpuidAnswer {
  const change = (word: number, register: 0 | 1 | 2 | 3): number => {
    const bits = (features: readonly CpuFeature[]): number => {
      const own = featureBits(features, { leaf, subleaf, register })
      const isRepeated = leaf === EXTENDED && register === EDX
      return isRepeated ? own | (featureBits(features, { leaf: 1, register }) & REPEATED_FEATURES) : own
    }
    return ((word & ~bits(HIDDEN)) | bits(PROVIDED)) >>> 0
  }
  return [change(answer[0], 0), change(answer[1], 1), change(answer[2], 2), change(answer[3], 3)]
}

const isHypervisorLeaf = (leaf: number): boolean => leaf >= 0x4000_0000 && leaf < 0x4000_0200

/** What Xen answers without a policy of the user's. */
function plainAnswer(
  { leaf, subleaf }: { readonly leaf: number; readonly subleaf: number },
  subject: CpuidSubject,
  processor: { cpuid(leaf: number, subleaf: number): CpuidAnswer },
): CpuidAnswer {
  if (isHypervisorLeaf(leaf)) return hypervisorLeaf(leaf - 0x4000_0000, subleaf, subject)
  const answer = throughPolicy(leaf, subleaf, processor.cpuid(leaf, subleaf))
  // A PV guest has no APIC; all its vCPUs are told the same identifier, whatever they run on.
  if (leaf === 1) return [answer[0], answer[1] & 0x00ff_ffff, answer[2], answer[3]]
  return leaf === ADDRESSES ? [(answer[0] & ~0xff) | PHYSICAL_BITS, answer[1], answer[2], answer[3]] : answer
}

/** What is asked, and the policy that the domain has come with, if it has. */
export interface CpuidQuestion {
  readonly leaf: number
  /** What ECX holds; counts only where the leaf has subleaves. */
  readonly subleaf: number
  readonly own?: CpuidTable | undefined
}

/** Answers CPUID for a PV guest, from what the processor itself answers. */
export function queryCpuid(
  { leaf, subleaf: ecx, own }: CpuidQuestion,
  subject: CpuidSubject,
  processor: { cpuid(leaf: number, subleaf: number): CpuidAnswer },
): CpuidAnswer {
  const subleaf = hasSubleaves(leaf) ? ecx : 0
  const plain = own === undefined || isHypervisorLeaf(leaf)
    ? plainAnswer({ leaf, subleaf }, subject, processor) : answerOf(own, leaf, subleaf)
  return subject.cpuidPolicy?.(leaf, subleaf, plain) ?? plain
}
