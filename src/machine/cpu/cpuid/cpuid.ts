/**
 * What CPUID answers, leaf by leaf: the features of features.ts and a package whose cores are the machine's or the
 * domain's processors. What a hypervisor hides from its guests or adds for them is its own affair.
 * Reference: AMD64 APM volume 3, appendix E; Intel SDM volume 2, CPUID.
 */
import { REPEATED_FEATURES, featureBits, hasSubleaves } from '../../../x86/index.ts'
import type { CpuFeature, CpuidAnswer } from '../../../x86/index.ts'
import { once } from '../../../util/index.ts'
import { XSAVE, xsaveBytes } from '../layout/xsave-area.ts'
import { isOffered, offeredFeatures, xcr0Bits } from './features.ts'
import type { ProcessorLevel } from './features.ts'

/** Place of a processor in its package: core `index` of `count`. */
export interface Topology {
  readonly index: number
  readonly count: number
}

/** Who answers. */
export interface Identity {
  readonly topology: Topology
  readonly level: ProcessorLevel
  /** Whether CR4.OSXSAVE is set, and XCR0. */
  readonly isXsaveOn: boolean
  readonly xcr0: number
}

/** What is asked for, of whom. The subleaf is 0 for a leaf that has none. */
interface Question extends Identity {
  readonly leaf: number
  readonly subleaf: number
}

const NOTHING: CpuidAnswer = [0, 0, 0, 0]
/**
 * Family 6, model 6, stepping 3 of AMD's: what emulators call themselves, and no real processor with errata of its
 * own.
 */
const SIGNATURE = 0x0000_0663
/** EBX, ECX and EDX of the two leaves that say how far the others reach. */
const VENDOR = [0x6874_7541, 0x444d_4163, 0x6974_6e65] as const
/** Leaf 1 EBX: 64 bytes flushed by CLFLUSH, in units of 8. */
const CACHE_LINE = 8 << 8
const BRAND = 'paravirt x86-64 processor'
/**
 * Those of every processor with AVX, of whichever maker: Xen takes in no domain that was told of more leaves than its own
 * processor has. Beyond them everything is zero, as on AMD's.
 */
const [HIGHEST_BASIC, HIGHEST_EXTENDED] = [0xd, 0x8000_0008]
/** 32 bits of physical, 48 of virtual address. */
const ADDRESS_BITS = 0x3020

const [EAX, EBX, ECX, EDX] = [0, 1, 2, 3] as const

/** Features that only some processors have, or have now, by level: more than one core in the package, XSAVE that its kernel uses. */
const featuresOf = ({ topology, level, isXsaveOn }: Identity): readonly CpuFeature[] => listsOf(level)[topology.count > 1 ? 1 : 0]![isXsaveOn ? 1 : 0]!
const listsOf = /* @__PURE__ */ once((level: ProcessorLevel): readonly (readonly (readonly CpuFeature[])[])[] =>
  [[], ['ht', 'cmp_legacy'] as const].map((many) => [[], ['osxsave'] as const].map((on) => [...offeredFeatures(level), ...many, ...on])))

const coresOf = ({ count }: Topology): number => Math.min(count, 255)

/** The offered features in one register of the leaf that is asked for. */
const bits = (question: Question, register: 0 | 1 | 2 | 3): number =>
  featureBits(featuresOf(question), { leaf: question.leaf, subleaf: question.subleaf, register })

/** Four registers of the brand string; leaf 0x80000002 is part 0. */
function brand({ leaf }: Question): CpuidAnswer {
  const bytes = new Uint8Array(48)
  bytes.set(new TextEncoder().encode(BRAND))
  const view = new DataView(bytes.buffer)
  const word = (index: number): number => view.getUint32((leaf - 0x8000_0002) * 16 + index * 4, true)
  return [word(0), word(1), word(2), word(3)]
}

function versionAndFeatures(question: Question): CpuidAnswer {
  const { topology } = question
  const identifier = ((topology.index & 0xff) << 24) >>> 0
  const cores = coresOf(topology)
  const shared = (identifier | (cores > 1 ? cores << 16 : 0) | CACHE_LINE) >>> 0
  return [SIGNATURE, shared, bits(question, ECX), bits(question, EDX)]
}

function extendedFeatures(question: Question): CpuidAnswer {
  const repeated = featureBits(offeredFeatures(question.level), { leaf: 1, register: EDX }) & REPEATED_FEATURES
  return [SIGNATURE, 0, bits(question, ECX), (bits(question, EDX) | repeated) >>> 0]
}

/** Sizes and places of the parts of XSAVE's area that XCR0 can name: what the largest takes, what those in use take. */
function extendedState(question: Question): CpuidAnswer {
  const { level, subleaf, xcr0 } = question
  if (!isOffered('xsave', level)) return NOTHING
  const most = xcr0Bits(level)
  switch (subleaf) {
    case 0: return [most, xsaveBytes(xcr0), xsaveBytes(most), 0]
    // With one component behind the header, the compacted form is as large.
    case 1: return [bits(question, EAX), xsaveBytes(xcr0), 0, 0]
    case 2: return [XSAVE.avxBytes, XSAVE.avx, 0, 0]
    default: return NOTHING
  }
}

/**
 * Size in units, associativity, lines per tag and line size of a cache, and entries of a TLB, as AMD packs them.
 * Nothing here has caches; programs that size their copies by them must not find none, for zero is taken at its word.
 */
const firstLevelCache = (kilobytes: number, ways: number): number => ((kilobytes << 24) | (ways << 16) | (1 << 8) | 64) >>> 0
const EIGHT_WAYS_CODE = 6
const SIXTEEN_WAYS_CODE = 8
/** 64 entries for data and for instructions, fully associative; for large pages and for small ones. */
const FIRST_LEVEL_TLB = 0xff40_ff40
const SECOND_LEVEL_CACHE = ((512 << 16) | (EIGHT_WAYS_CODE << 12) | (1 << 8) | 64) >>> 0
/** 16 MiB, in units of 512 KiB. */
const THIRD_LEVEL_CACHE = ((32 << 18) | (SIXTEEN_WAYS_CODE << 12) | (1 << 8) | 64) >>> 0

/** The leaves that are not all zero. Which of them have subleaves is said in `x86/cpuid.ts`. */
const LEAVES: ReadonlyMap<number, (question: Question) => CpuidAnswer> = /* @__PURE__ */ new Map([
  [0, () => [HIGHEST_BASIC, ...VENDOR]],
  [1, versionAndFeatures],
  // EAX of subleaf 0: the highest subleaf.
  [7, (question) => [0, bits(question, EBX), bits(question, ECX), bits(question, EDX)]],
  [0xd, extendedState],
  [0x8000_0000, () => [HIGHEST_EXTENDED, ...VENDOR]],
  [0x8000_0001, extendedFeatures],
  [0x8000_0002, brand],
  [0x8000_0003, brand],
  [0x8000_0004, brand],
  [0x8000_0005, () => [FIRST_LEVEL_TLB, FIRST_LEVEL_TLB, firstLevelCache(32, 8), firstLevelCache(32, 8)]],
  [0x8000_0006, () => [0, 0, SECOND_LEVEL_CACHE, THIRD_LEVEL_CACHE]],
  [0x8000_0007, (question) => [0, 0, 0, bits(question, EDX)]],
  [0x8000_0008, (question) => [ADDRESS_BITS, bits(question, EBX), coresOf(question.topology) - 1, 0]],
] satisfies readonly (readonly [number, (question: Question) => CpuidAnswer])[])

/** The answer of one leaf; `subleaf` is what ECX holds, and counts only where the leaf has subleaves. */
export function queryProcessor(leaf: number, subleaf: number, identity: Identity): CpuidAnswer {
  const answer = LEAVES.get(leaf)
  return answer === undefined ? NOTHING : answer({ ...identity, leaf, subleaf: hasSubleaves(leaf) ? subleaf : 0 })
}
