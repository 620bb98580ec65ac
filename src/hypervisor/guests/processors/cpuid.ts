/**
 * What CPUID tells a guest: what the processor tells as the guest's kind shows it, the hypervisor's own leaves at
 * 0x40000000, and the user's changes over both.
 * Reference: xen/arch/x86/cpuid.c, guest_cpuid; xen/include/public/arch-x86/cpuid.h.
 */
import { CPUID_BITS, REPEATED_FEATURES, featureBits, hasSubleaves } from '../../../x86/index.ts'
import type { CpuFeature, CpuidAnswer } from '../../../x86/index.ts'
import { XEN_VERSION_NUMBER } from '../../identity.ts'
import { type CpuidTable, answerOf } from '../../domains/cpu-policy.ts'
import { TSC_MODE, type TscFacts } from '../../time/index.ts'

/** Overrides or adds leaves; undefined leaves the answer as it is. The subleaf is 0 for a leaf that has none. */
export type CpuidPolicy = (leaf: number, subleaf: number, answer: CpuidAnswer) => CpuidAnswer | undefined

/** What a kind of guest is shown of a processor, from the processor's own answer. */
export type CpuidView = (leaf: number, subleaf: number, own: CpuidAnswer) => CpuidAnswer

/** Facts that some leaves tell, and what the user changes of them. */
export interface CpuidSubject {
  readonly view: CpuidView
  /** Ticks of its time-stamp counter in a millisecond, where that is not emulated; and of the host's, if it is another. */
  readonly tscKilohertz: number
  readonly hostKilohertz?: number
  /** Bits of a machine address. */
  readonly addressBits: number
  readonly cpuidPolicy?: CpuidPolicy | undefined
}

/** Features that a kind of guest is not shown, and those that it is shown though the processor has none of them. */
export interface ShownFeatures {
  readonly hidden: readonly CpuFeature[]
  readonly provided: readonly CpuFeature[]
}

const NOTHING: CpuidAnswer = [0, 0, 0, 0]
const [EXTENDED, EDX] = [0x8000_0001, 3] as const

/** Takes the hidden features out of a processor's answer and puts the provided ones in. */
export function throughFeatures(answer: CpuidAnswer, { leaf, subleaf }: { readonly leaf: number; readonly subleaf: number }, shown: ShownFeatures): CpuidAnswer {
  return [
    throughWord(answer[0], { leaf, subleaf, register: 0 }, shown), throughWord(answer[1], { leaf, subleaf, register: 1 }, shown),
    throughWord(answer[2], { leaf, subleaf, register: 2 }, shown), throughWord(answer[3], { leaf, subleaf, register: 3 }, shown),
  ]
}

type FeatureWord = Parameters<typeof featureBits>[1]

const throughWord = (word: number, place: FeatureWord, { hidden, provided }: ShownFeatures): number => ((word & ~repeatedBits(hidden, place)) | repeatedBits(provided, place)) >>> 0

/** Bits of features in a register, with those that AMD repeats from another leaf. */
function repeatedBits(features: readonly CpuFeature[], place: FeatureWord): number {
  const own = featureBits(features, place)
  return place.leaf === EXTENDED && place.register === EDX ? own | (featureBits(features, { leaf: 1, register: EDX }) & REPEATED_FEATURES) : own
}

/** Bits of EAX of the time leaf. */
const [EMULATED, SAFE_TSC, HAS_RDTSCP] = [1 << 0, 1 << 1, 1 << 2]

/** What is told of the time-stamp counter. */
function timeLeaf({ tscKilohertz }: CpuidSubject, time: TscFacts | undefined): CpuidAnswer {
  const { mode, isEmulated, kilohertz, incarnation } = time ?? { mode: TSC_MODE.DEFAULT, isEmulated: false, kilohertz: 0, incarnation: 0 }
  return [SAFE_TSC | HAS_RDTSCP | (isEmulated ? EMULATED : 0), mode, isEmulated ? kilohertz : tscKilohertz, incarnation]
}

/** Leaves of the hypervisor. */
function hypervisorLeaf(index: number, { subleaf, time }: CpuidQuestion, subject: CpuidSubject): CpuidAnswer {
  switch (index) {
    // "XenVMMXenVMM"
    case 0: return [0x4000_0005, 0x566e_6558, 0x6558_4d4d, 0x4d4d_566e]
    case 1: return [XEN_VERSION_NUMBER, 0, 0, 0]
    // One hypercall page through MSR 0x40000000; mmu_update keeps accessed and dirty bits.
    case 2: return [1, 0x4000_0000, 1, 0]
    case 3:
      if (subleaf === 0) return timeLeaf(subject, time)
      return subleaf === 2 ? [subject.hostKilohertz ?? subject.tscKilohertz, 0, 0, 0] : NOTHING
    case 5: return subleaf === 0 ? [0, subject.addressBits, 0, 0] : NOTHING
    default: return NOTHING
  }
}

const isHypervisorLeaf = (leaf: number): boolean => leaf >= 0x4000_0000 && leaf < 0x4000_0200

/** What Xen answers without a policy of the user's. */
function plainAnswer(
  question: CpuidQuestion,
  subject: CpuidSubject,
  processor: { cpuid(leaf: number, subleaf: number): CpuidAnswer },
): CpuidAnswer {
  const { leaf, subleaf } = question
  if (isHypervisorLeaf(leaf)) return hypervisorLeaf(leaf - 0x4000_0000, question, subject)
  return subject.view(leaf, subleaf, processor.cpuid(leaf, subleaf))
}

/** What is asked, and the policy that the domain has come with, if it has. */
export interface CpuidQuestion {
  readonly leaf: number
  /** What ECX holds; counts only where the leaf has subleaves. */
  readonly subleaf: number
  readonly own?: CpuidTable | undefined
  /** How the domain sees the time-stamp counter; as a new one does unless given. */
  readonly time?: TscFacts | undefined
  /** What of the guest's registers shows in the answer to an instruction: whether CR4.OSXSAVE is, or passes for, set. */
  readonly now?: { readonly isXsaveOn: boolean } | undefined
}

const [FEATURES, STATE] = [1, 0xd] as const
const XSAVE = 1 << CPUID_BITS.leaf1Ecx.xsave
const OSXSAVE = 1 << CPUID_BITS.leaf1Ecx.osxsave
const XSAVEC = 1 << CPUID_BITS.xsaveEax.xsavec

/** What follows from registers: CR4.OSXSAVE, and how much XSAVE writes with XCR0 as it stands; in a policy neither is told. */
function withPresent(question: CpuidQuestion, subleaf: number, answer: CpuidAnswer, size: () => number): CpuidAnswer {
  const [eax, ebx, ecx, edx] = answer
  const { leaf, now } = question
  if (leaf === FEATURES && now?.isXsaveOn === true && (ecx & XSAVE) !== 0) return [eax, ebx, (ecx | OSXSAVE) >>> 0, edx]
  if (leaf !== STATE || subleaf > 1) return answer
  const isTold = now !== undefined && (subleaf === 0 ? eax !== 0 : (eax & XSAVEC) !== 0)
  return [eax, isTold ? size() : 0, ecx, edx]
}

/** Answers CPUID for a guest, from what the processor itself answers. */
export function queryCpuid(
  question: CpuidQuestion,
  subject: CpuidSubject,
  processor: { cpuid(leaf: number, subleaf: number): CpuidAnswer },
): CpuidAnswer {
  const { leaf, own } = question
  const subleaf = hasSubleaves(leaf) ? question.subleaf : 0
  const plain = own === undefined || isHypervisorLeaf(leaf)
    ? plainAnswer({ ...question, subleaf }, subject, processor) : answerOf(own, leaf, subleaf)
  const answer = subject.cpuidPolicy?.(leaf, subleaf, plain) ?? plain
  return withPresent(question, subleaf, answer, () => processor.cpuid(STATE, 0)[1])
}
