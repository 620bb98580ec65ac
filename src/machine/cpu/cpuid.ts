/**
 * What CPUID answers, leaf by leaf: the features of features.ts and a package whose cores are the machine's or the
 * domain's processors. What a hypervisor hides from its guests or adds for them is its own affair.
 * Reference: AMD64 APM volume 3, appendix E; Intel SDM volume 2, CPUID.
 */
import { featureBits } from '../../x86/index.ts'
import type { CpuFeature, CpuidAnswer } from '../../x86/index.ts'
import { OFFERED_FEATURES } from './features.ts'

/** Place of a processor in its package: core `index` of `count`. */
export interface Topology {
  readonly index: number
  readonly count: number
}

const NOTHING: CpuidAnswer = [0, 0, 0, 0]
/**
 * Family 6, model 6, stepping 3 of AMD's: what emulators call themselves, and no real processor with errata of its
 * own.
 */
const SIGNATURE = 0x0000_0663
const VENDOR: CpuidAnswer = [0, 0x6874_7541, 0x444d_4163, 0x6974_6e65]
/** Leaf 1 EBX: 64 bytes flushed by CLFLUSH, in units of 8. */
const CACHE_LINE = 8 << 8
const BRAND = 'paravirt x86-64 processor'
const [HIGHEST_BASIC, HIGHEST_EXTENDED] = [7, 0x8000_0008]
/** 32 bits of physical, 48 of virtual address. */
const ADDRESS_BITS = 0x3020
/** Bits of leaf 1 EDX that AMD repeats in 0x80000001. */
const REPEATED = 0x0183_f3ff

const [EBX, ECX, EDX] = [1, 2, 3] as const

/** Features that only some processors have: more than one core in the package. */
const featuresOf = ({ count }: Topology): readonly CpuFeature[] =>
  count > 1 ? [...OFFERED_FEATURES, 'ht', 'cmp_legacy'] : OFFERED_FEATURES

/** Four registers of the brand string; leaf 0x80000002 is part 0. */
function brand(part: number): CpuidAnswer {
  const bytes = new Uint8Array(48)
  bytes.set(new TextEncoder().encode(BRAND))
  const view = new DataView(bytes.buffer)
  const word = (index: number): number => view.getUint32(part * 16 + index * 4, true)
  return [word(0), word(1), word(2), word(3)]
}

/** The answer of one leaf. */
export function queryProcessor(leaf: number, subleaf: number, topology: Topology): CpuidAnswer {
  const bits = (register: 0 | 1 | 2 | 3): number => featureBits(featuresOf(topology), { leaf, subleaf, register })
  const cores = Math.min(topology.count, 255)
  switch (leaf) {
    case 0: return [HIGHEST_BASIC, VENDOR[1], VENDOR[2], VENDOR[3]]
    case 1: {
      const identifier = ((topology.index & 0xff) << 24) >>> 0
      return [SIGNATURE, (identifier | (cores > 1 ? cores << 16 : 0) | CACHE_LINE) >>> 0, bits(ECX), bits(EDX)]
    }
    case 7: return subleaf === 0 ? [0, bits(EBX), bits(ECX), bits(EDX)] : NOTHING
    case 0x8000_0000: return [HIGHEST_EXTENDED, VENDOR[1], VENDOR[2], VENDOR[3]]
    case 0x8000_0001: {
      const repeated = featureBits(OFFERED_FEATURES, { leaf: 1, register: EDX }) & REPEATED
      return [SIGNATURE, 0, bits(ECX), (bits(EDX) | repeated) >>> 0]
    }
    case 0x8000_0002:
    case 0x8000_0003:
    case 0x8000_0004:
      return brand(leaf - 0x8000_0002)
    case 0x8000_0008: return [ADDRESS_BITS, bits(EBX), cores - 1, 0]
    default: return NOTHING
  }
}
