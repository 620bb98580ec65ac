/**
 * What of the processor a 32-bit PV guest is shown: what a PV guest is shown, without long mode and what came with it.
 * Reference: xen/arch/x86/cpu-policy.c, recalculate_cpuid_policy; xen/tools/gen-cpuid.py, what depends on LM.
 */
import { type CpuFeature, type CpuidAnswer, featureBits } from '../../../x86/index.ts'
import { PV_CPUID } from '../paravirtual/cpuid.ts'
import type { CpuidView } from '../processors/cpuid.ts'

const HIDDEN: readonly CpuFeature[] = ['lm', 'cx16', 'pcid', 'lahf_lm', 'pdpe1gb', 'pku']

/** The processor as 32-bit PV guests see it. */
export const PV32_CPUID: CpuidView = (leaf, subleaf, own) => {
  const hide = (word: number, register: 0 | 1 | 2 | 3): number => (word & ~featureBits(HIDDEN, { leaf, subleaf, register })) >>> 0
  const [eax, ebx, ecx, edx] = PV_CPUID(leaf, subleaf, own)
  const answer: CpuidAnswer = [hide(eax, 0), hide(ebx, 1), hide(ecx, 2), hide(edx, 3)]
  return answer
}
