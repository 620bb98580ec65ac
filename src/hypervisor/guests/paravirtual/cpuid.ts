/**
 * What of the processor a PV guest is shown: what only a kernel in ring 0 may use is hidden, what Xen provides in its place
 * is there.
 * Reference: xen/arch/x86/cpuid.c, guest_cpuid; xen/include/public/arch-x86/cpuid.h.
 */
import type { CpuFeature } from '../../../x86/index.ts'
import { type CpuidView, throughFeatures } from '../processors/cpuid.ts'

/** Features of page tables and control registers that the hypervisor keeps to itself. */
const HIDDEN: readonly CpuFeature[] = [
  'vme', 'pse', 'pge', 'pse36', 'sep', 'mtrr', 'x2apic', 'pcid', 'smep', 'smap', 'umip', 'invpcid', 'monitor',
  // Told by what the guest's own CR4 says, not the processor's.
  'osxsave',
  // Only for a domain that cannot be moved.
  'nonstop_tsc',
]
/** Features that the hypervisor carries out: machine-check and APIC registers, page attributes; and its own presence. */
const PROVIDED: readonly CpuFeature[] = ['mce', 'mca', 'apic', 'pat', 'hypervisor']

/** Leaf of address sizes; machine addresses look as wide as on a server, however small the machine is. */
const [ADDRESSES, PHYSICAL_BITS] = [0x8000_0008, 40] as const

const SHOWN = { hidden: HIDDEN, provided: PROVIDED }

/** The processor as PV guests see it. */
export const PV_CPUID: CpuidView = (leaf, subleaf, own) => {
  const answer = throughFeatures(own, { leaf, subleaf }, SHOWN)
  // A PV guest has no APIC; all its vCPUs are told the same identifier, whatever they run on.
  if (leaf === 1) return [answer[0], answer[1] & 0x00ff_ffff, answer[2], answer[3]]
  return leaf === ADDRESSES ? [(answer[0] & ~0xff) | PHYSICAL_BITS, answer[1], answer[2], answer[3]] : answer
}
