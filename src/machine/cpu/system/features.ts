/**
 * What CPUID offers decides what a bare processor's kernel may switch on.
 * Reference: Intel SDM volume 2, CPUID.
 */
import { CPU_FEATURES, CR0, CR4, EFER } from '../../../x86/index.ts'
import type { CpuFeature } from '../../../x86/index.ts'
import type { Outside } from '../core/outside.ts'

/** Features that decide what may be switched on. */
export const FEATURE = {
  VME: 'vme', DE: 'de', PSE: 'pse', TSC: 'tsc', PAE: 'pae', MCE: 'mce', APIC: 'apic', SEP: 'sep', PGE: 'pge',
  FXSR: 'fxsr', SSE: 'sse', PCID: 'pcid', XSAVE: 'xsave', FSGSBASE: 'fsgsbase', SMEP: 'smep', SMAP: 'smap',
  UMIP: 'umip', SYSCALL: 'syscall',
  NX: 'nx', LM: 'lm', RDTSCP: 'rdtscp',
} as const satisfies Readonly<Record<string, CpuFeature>>

/** Whether CPUID offers a feature. */
export function hasFeature(outside: Outside, name: CpuFeature): boolean {
  const { leaf, subleaf, register, bit } = CPU_FEATURES[name]
  return (outside.cpuid.read(leaf, subleaf)[register] >>> bit & 1) === 1
}

/** Bits of CR4, each with what has to be offered for it; the others are reserved. */
const CR4_FEATURES: readonly (readonly [bit: number, feature: CpuFeature | undefined])[] = [
  [CR4.VME, FEATURE.VME], [CR4.PVI, FEATURE.VME], [CR4.TSD, FEATURE.TSC], [CR4.DE, FEATURE.DE], [CR4.PSE, FEATURE.PSE],
  [CR4.PAE, FEATURE.PAE], [CR4.MCE, FEATURE.MCE], [CR4.PGE, FEATURE.PGE], [CR4.PCE, undefined],
  [CR4.OSFXSR, FEATURE.FXSR],
  [CR4.OSXMMEXCPT, FEATURE.SSE], [CR4.UMIP, FEATURE.UMIP], [CR4.FSGSBASE, FEATURE.FSGSBASE], [CR4.PCIDE, FEATURE.PCID],
  [CR4.OSXSAVE, FEATURE.XSAVE], [CR4.SMEP, FEATURE.SMEP], [CR4.SMAP, FEATURE.SMAP],
]

/** Bits of CR4 that may be set. */
export const allowedCr4 = (outside: Outside): number =>
  CR4_FEATURES.reduce(
    (bits, [bit, feature]) => (feature === undefined || hasFeature(outside, feature) ? bits | bit : bits), 0)

/** Bits of CR0 that exist. */
export const CR0_BITS =
  (CR0.PE | CR0.MP | CR0.EM | CR0.TS | CR0.ET | CR0.NE | CR0.WP | CR0.AM | CR0.NW | CR0.CD | CR0.PG) >>> 0

/** Bits of EFER that may be set. */
export const allowedEfer = (outside: Outside): number =>
  (hasFeature(outside, FEATURE.SYSCALL) ? EFER.SCE : 0) | (hasFeature(outside, FEATURE.NX) ? EFER.NXE : 0) |
  (hasFeature(outside, FEATURE.LM) ? EFER.LME | EFER.LMA : 0)
