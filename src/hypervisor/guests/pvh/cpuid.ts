/**
 * What of the processor a PVH guest is shown: all that a kernel in ring 0 may use here, a local APIC with x2APIC mode whose
 * identifiers are even numbers, MTRRs, and Xen's presence. The hypervisor's own leaves for translated guests follow.
 * Reference: xen/arch/x86/cpuid.c, guest_cpuid, cpuid_hypervisor_leaves; xen/include/public/arch-x86/cpuid.h.
 */
import type { CpuFeature, CpuidAnswer } from '../../../x86/index.ts'
import { type CpuidQuestion, type CpuidSubject, type CpuidView, queryCpuid, throughFeatures } from '../processors/cpuid.ts'

/** Features that Xen does not offer, or that follow from registers. */
const HIDDEN: readonly CpuFeature[] = ['vme', 'monitor', 'osxsave', 'nonstop_tsc']
/** Features that the hypervisor carries out; and its own presence. */
const PROVIDED: readonly CpuFeature[] = ['mce', 'mca', 'apic', 'pat', 'mtrr', 'x2apic', 'hypervisor']

const [FEATURES, TOPOLOGY, STATE, ADDRESSES] = [1, 0xb, 0xd, 0x8000_0008] as const
/** Bits of a guest-physical address, as told: those of a server's processor. */
const PHYSICAL_BITS = 40
/** Bits of EAX of 0x40000004: mappings of others reach devices, vCPU's number in EBX, domain's in ECX, upcalls by vector. */
const HVM_FEATURES = 0x5c
const HVM_LEAF = 0x4000_0004

const SHOWN = { hidden: HIDDEN, provided: PROVIDED }

/** A vCPU among those of its domain. */
export interface CpuidPlace {
  readonly vcpu: number
  readonly count: number
  readonly domid: number
}

/** The processor as a PVH guest's vCPU sees it. Identifiers of local APICs are twice the vCPU's number. */
export const pvhView = ({ vcpu, count }: CpuidPlace): CpuidView => (leaf, subleaf, own) => {
  const [eax, ebx, ecx, edx] = throughFeatures(own, { leaf, subleaf }, SHOWN)
  const identifiers = Math.min(count * 2, 255)
  switch (leaf) {
    case FEATURES: return [eax, ((((vcpu * 2) & 0xff) << 24) | (identifiers << 16) | (ebx & 0xffff)) >>> 0, ecx, edx]
    case TOPOLOGY: return [0, 0, subleaf & 0xff, vcpu * 2]
    case ADDRESSES: return [(eax & ~0xff) | PHYSICAL_BITS, ebx, (Math.ceil(Math.log2(identifiers)) << 12) | (identifiers - 1), edx]
    default: return [eax, ebx, ecx, edx]
  }
}

/** Answers CPUID for a vCPU; Xen tells translated guests of themselves in a leaf of their own. */
export function queryPvhCpuid(
  question: CpuidQuestion, subject: CpuidSubject & { readonly place: CpuidPlace }, processor: { cpuid(leaf: number, subleaf: number): CpuidAnswer },
): CpuidAnswer {
  const { leaf, subleaf } = question
  const { vcpu, domid } = subject.place
  if (leaf === HVM_LEAF) return subleaf === 0 ? [HVM_FEATURES, vcpu, domid, 0] : [0, 0, 0, 0]
  const answer = queryCpuid(question, subject, processor)
  // Leaf 0x40000002 of PV guests tells of page tables.
  if (leaf === 0x4000_0002) return [answer[0], answer[1], 0, 0]
  // A policy that a domain has come with tells neither the vCPU nor its place.
  if (question.own === undefined) return answer
  if (leaf === FEATURES) return [answer[0], ((((vcpu * 2) & 0xff) << 24) | (answer[1] & 0x00ff_ffff)) >>> 0, answer[2], answer[3]]
  return leaf === TOPOLOGY ? [answer[0], answer[1], (answer[2] & ~0xff) | (subleaf & 0xff), vcpu * 2] : answer
}

/** Leaf whose EAX tells which parts of the state XCR0 may name. */
export const STATE_LEAF = STATE
