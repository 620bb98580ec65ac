/**
 * What CPUID offers decides what a bare processor's kernel may switch on: bits of the answers, by name.
 * Reference: Intel SDM volume 2, CPUID.
 */
import { CR0, CR4, EFER } from '../../../x86/index.ts'
import type { Core } from '../core.ts'

/** A bit of an answer: leaf, register (0 to 3: EAX to EDX), bit. */
type Feature = readonly [leaf: number, register: number, bit: number]

/** Features by the manual's names. */
export const FEATURE = {
  VME: [1, 3, 1], DE: [1, 3, 2], PSE: [1, 3, 3], TSC: [1, 3, 4], PAE: [1, 3, 6], MCE: [1, 3, 7], APIC: [1, 3, 9], SEP: [1, 3, 11],
  PGE: [1, 3, 13], FXSR: [1, 3, 24], SSE: [1, 3, 25], PCID: [1, 2, 17], XSAVE: [1, 2, 26],
  FSGSBASE: [7, 1, 0], SMEP: [7, 1, 7], SMAP: [7, 1, 20], UMIP: [7, 2, 2],
  SYSCALL: [0x8000_0001, 3, 11], NX: [0x8000_0001, 3, 20], LM: [0x8000_0001, 3, 29], RDTSCP: [0x8000_0001, 3, 27],
} as const satisfies Readonly<Record<string, Feature>>

/** Whether CPUID offers a feature. */
export const hasFeature = (core: Core, [leaf, register, bit]: Feature): boolean =>
  (core.cpuid.read(leaf, 0)[register]! >>> bit & 1) === 1

/** Bits of CR4, each with what has to be offered for it; the others are reserved. */
const CR4_FEATURES: readonly (readonly [bit: number, feature: Feature | undefined])[] = [
  [CR4.VME, FEATURE.VME], [CR4.PVI, FEATURE.VME], [CR4.TSD, FEATURE.TSC], [CR4.DE, FEATURE.DE], [CR4.PSE, FEATURE.PSE],
  [CR4.PAE, FEATURE.PAE], [CR4.MCE, FEATURE.MCE], [CR4.PGE, FEATURE.PGE], [CR4.PCE, undefined], [CR4.OSFXSR, FEATURE.FXSR],
  [CR4.OSXMMEXCPT, FEATURE.SSE], [CR4.UMIP, FEATURE.UMIP], [CR4.FSGSBASE, FEATURE.FSGSBASE], [CR4.PCIDE, FEATURE.PCID],
  [CR4.OSXSAVE, FEATURE.XSAVE], [CR4.SMEP, FEATURE.SMEP], [CR4.SMAP, FEATURE.SMAP],
]

/** Bits of CR4 that may be set. */
export const allowedCr4 = (core: Core): number =>
  CR4_FEATURES.reduce((bits, [bit, feature]) => (feature === undefined || hasFeature(core, feature) ? bits | bit : bits), 0)

/** Bits of CR0 that exist. */
export const CR0_BITS = (CR0.PE | CR0.MP | CR0.EM | CR0.TS | CR0.ET | CR0.NE | CR0.WP | CR0.AM | CR0.NW | CR0.CD | CR0.PG) >>> 0

/** Bits of EFER that may be set. */
export const allowedEfer = (core: Core): number =>
  (hasFeature(core, FEATURE.SYSCALL) ? EFER.SCE : 0) | (hasFeature(core, FEATURE.NX) ? EFER.NXE : 0) |
  (hasFeature(core, FEATURE.LM) ? EFER.LME | EFER.LMA : 0)
