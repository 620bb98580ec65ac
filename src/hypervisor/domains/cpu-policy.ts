/**
 * A domain's CPU policy: all that CPUID tells it, as a list of leaves that is saved with it and set again where it goes on.
 * What the new host does not offer is taken out, and named.
 * Reference: xen/lib/x86/cpuid.c, x86_cpuid_copy_to_buffer; xen/arch/x86/cpu-policy.c, recalculate_cpuid_policy.
 */
import { CPU_FEATURES, REPEATED_FEATURES, XCR0, type CpuFeature, type CpuidAnswer } from '../../x86/index.ts'

/** One leaf. Reference: public/arch-x86/xen.h, xen_cpuid_leaf_t. */
export interface CpuidLeaf {
  readonly leaf: number
  /** 0xffffffff where the leaf has no sub-leaves. */
  readonly subleaf: number
  readonly eax: number
  readonly ebx: number
  readonly ecx: number
  readonly edx: number
}

/** A model-specific register and its value. Reference: public/arch-x86/xen.h, xen_msr_entry_t. */
export interface MsrEntry {
  readonly index: number
  readonly value: bigint
}

/** What a domain is told of its processor. */
export interface CpuPolicy {
  readonly cpuid: readonly CpuidLeaf[]
  /** Registers that tell of features: MSR_PLATFORM_INFO and MSR_ARCH_CAPABILITIES. */
  readonly msrs: readonly MsrEntry[]
}

/** What a host answers without a policy of the domain's own. */
export type CpuidSource = (leaf: number, subleaf: number) => CpuidAnswer

/** The answers of a policy by leaf and subleaf. */
export type CpuidTable = ReadonlyMap<string, CpuidAnswer>

type Word = readonly [leaf: number, subleaf: number, register: 0 | 1 | 2 | 3]

export const NO_SUBLEAF = 0xffff_ffff
const [BASIC, EXTENDED, HYPERVISOR, VIRIDIAN] = [0, 0x8000_0000, 0x4000_0000, 0x4000_0100]
const [FEATURES, STRUCTURED, XSTATE] = [1, 7, 0xd]
/** The highest leaf that Xen carries in each range. */
const MOST = { basic: 0xd, extended: 0x8000_0021 } as const
const { PLATFORM_INFO, ARCH_CAPABILITIES, CPUID_FAULTING } = { PLATFORM_INFO: 0xce, ARCH_CAPABILITIES: 0x10a, CPUID_FAULTING: 1n << 31n }
const REGISTERS = ['EAX', 'EBX', 'ECX', 'EDX'] as const
const EMPTY: CpuidAnswer = [0, 0, 0, 0]

/** Registers that consist of features. */
const WORDS: readonly Word[] = [
  [1, 0, 2], [1, 0, 3], [7, 0, 1], [7, 0, 2], [7, 0, 3], [7, 1, 0], [7, 1, 1], [7, 1, 2], [7, 1, 3], [7, 2, 3], [0xd, 1, 0],
  [0x8000_0001, 0, 2], [0x8000_0001, 0, 3], [0x8000_0007, 0, 3], [0x8000_0008, 0, 1], [0x8000_0021, 0, 0],
]

/**
 * Features that a domain does not miss where it has seen them before: they tell of speed, of flaws that the processor has
 * not, of who else is in the package, or of what Xen shows to every domain. No instruction and no register is gone with them.
 */
const HARMLESS: readonly CpuFeature[] = [
  'hypervisor', 'x2apic', 'osxsave', 'ht', 'ss', 'acpi', 'erms', 'md_clear', 'fsrm', 'fzrm', 'fsrs', 'fsrc', 'cmp_legacy', 'cr8_legacy',
  'fxsr_opt', 'xsaveerptr', 'ssb_no', 'btc_no', 'ibpb_ret', 'lfence_rdtsc', 'null_sel_clr_base', 'nonstop_tsc',
]
/** x87 pointers that are told only with an exception, and selectors that are not: what the host does, for every domain. */
const X87_HABITS = 1 << 6 | 1 << 13

/** Leaves whose subleaves a policy carries; of the others it has one answer each. */
const CARRIED: ReadonlySet<number> = /* @__PURE__ */ new Set([4, STRUCTURED, 0xb, XSTATE])

const keyOf = (leaf: number, subleaf: number): string => `${leaf}.${CARRIED.has(leaf) ? subleaf : 0}`
const wordKey = ([leaf, subleaf, register]: Word): string => `${leaf}.${subleaf}.${register}`

/** What is known of the bits of one register: their names, and which of them are no matter. */
function knowledge(): ReadonlyMap<string, { readonly names: Map<number, CpuFeature>; harmless: number }> {
  const known = new Map(WORDS.map((word) => [wordKey(word), { names: new Map<number, CpuFeature>(), harmless: 0 }]))
  for (const [name, { leaf, subleaf, register, bit }] of Object.entries(CPU_FEATURES) as [CpuFeature, (typeof CPU_FEATURES)[CpuFeature]][]) {
    const word = known.get(wordKey([leaf, subleaf, register]))
    if (word === undefined) continue
    word.names.set(bit, name)
    if (HARMLESS.includes(name)) word.harmless |= 1 << bit
  }
  known.get(wordKey([STRUCTURED, 0, 1]))!.harmless |= X87_HABITS
  known.get(wordKey([0x8000_0001, 0, 3]))!.harmless |= REPEATED_FEATURES
  return known
}

const KNOWN = /* @__PURE__ */ knowledge()

/** Subleaves of XSAVE: the first two, and one for each part of the state behind them. */
const lastState = (source: CpuidSource): number => Math.max(1, 31 - Math.clz32(source(XSTATE, 0)[0]))

/** All leaves of a domain, from what CPUID answers it. */
export function describePolicy(source: CpuidSource): CpuPolicy {
  const cpuid: CpuidLeaf[] = []
  const take = (leaf: number, subleaf: number): void => {
    const [eax, ebx, ecx, edx] = source(leaf, subleaf)
    cpuid.push({ leaf, subleaf: CARRIED.has(leaf) ? subleaf : NO_SUBLEAF, eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 })
  }
  for (let leaf = BASIC; leaf <= Math.min(source(BASIC, 0)[0], MOST.basic); leaf += 1) {
    const last = leaf === STRUCTURED ? source(leaf, 0)[0] : leaf === XSTATE ? lastState(source) : 0
    for (let subleaf = 0; subleaf <= last; subleaf += 1) take(leaf, subleaf)
  }
  // How many leaves of the hypervisor's own a domain sees: 0 stands for the usual number.
  for (const leaf of [HYPERVISOR, VIRIDIAN]) cpuid.push({ leaf, subleaf: NO_SUBLEAF, eax: 0, ebx: 0, ecx: 0, edx: 0 })
  for (let leaf = EXTENDED; leaf <= Math.min(source(EXTENDED, 0)[0], MOST.extended); leaf += 1) take(leaf, 0)
  return { cpuid, msrs: [PLATFORM_INFO, ARCH_CAPABILITIES].map((index) => ({ index, value: 0n })) }
}

function tableOf(leaves: readonly CpuidLeaf[]): Map<string, CpuidAnswer> {
  return new Map(leaves.map(({ leaf, subleaf, eax, ebx, ecx, edx }) => [keyOf(leaf, subleaf), [eax, ebx, ecx, edx]]))
}

/** Features that a policy shows and the host does not offer, each with its place: "avx (leaf 0x1, ECX bit 28)". */
export function missingFeatures(policy: CpuPolicy, host: CpuidSource): string[] {
  const table = tableOf(policy.cpuid)
  const missing: string[] = []
  for (const word of WORDS) {
    const [leaf, subleaf, register] = word
    const { names, harmless } = KNOWN.get(wordKey(word))!
    const excess = (table.get(keyOf(leaf, subleaf)) ?? EMPTY)[register] & ~host(leaf, subleaf)[register] & ~harmless
    for (let bit = 0; bit < 32; bit += 1) {
      if ((excess >>> bit & 1) === 0) continue
      missing.push(`${names.get(bit) ?? 'a feature'} (leaf 0x${leaf.toString(16)}, ${REGISTERS[register]} bit ${bit})`)
    }
  }
  const platform = policy.msrs.find(({ index }) => index === PLATFORM_INFO)?.value ?? 0n
  if ((platform & CPUID_FAULTING) !== 0n) missing.push('cpuid_faulting (MSR 0xce, bit 31)')
  return missing
}

const lower = (a: number, b: number): number => Math.min(a >>> 0, b >>> 0)

/** Sizes of XSAVE's area by the parts that it may hold: those of AVX lie behind the header. */
const [AREA_BYTES, AREA_WITH_AVX] = [576, 832] as const

/**
 * XSAVE's leaf: what follows from the parts that both have. How much is written at present, and where the parts lie, is the
 * processor's to say.
 */
function keptState(subleaf: number, wanted: CpuidAnswer, own: CpuidAnswer): CpuidAnswer {
  const both = (wanted[0] & own[0]) >>> 0
  if (subleaf === 0) return both === 0 ? EMPTY : [both, 0, (both & XCR0.AVX) === 0 ? AREA_BYTES : AREA_WITH_AVX, 0]
  if (subleaf === 1) return [both, 0, 0, 0]
  return wanted[0] === own[0] && wanted[1] === own[1] ? own : EMPTY
}

/** One leaf of a policy as the host can keep it: features that both have, what the guest saw of the rest. */
function keptLeaf({ leaf, subleaf }: Pick<CpuidLeaf, 'leaf' | 'subleaf'>, wanted: CpuidAnswer, own: CpuidAnswer): CpuidAnswer {
  const both = [0, 1, 2, 3].map((register) => (wanted[register]! & own[register]!) >>> 0)
  switch (leaf) {
    case BASIC:
    case EXTENDED:
      return [lower(wanted[0], own[0]), wanted[1], wanted[2], wanted[3]]
    // Model and number of processors as the guest knows them, lines of caches as they are.
    case FEATURES: return [wanted[0], ((wanted[1] & 0x00ff_00ff) | (own[1] & 0xff00)) >>> 0, both[2]!, both[3]!]
    case XSTATE: return keptState(subleaf, wanted, own)
    case STRUCTURED: return [lower(wanted[0], own[0]), both[1]!, both[2]!, both[3]!]
    case 0x8000_0001: return [wanted[0], 0, both[2]!, both[3]!]
    case 0x8000_0002:
    case 0x8000_0003:
    case 0x8000_0004:
    case 0x8000_0005:
    case 0x8000_0006:
      return wanted
    case 0x8000_0008: return [own[0], both[1]!, wanted[2], 0]
    default: return [both[0]!, both[1]!, both[2]!, both[3]!]
  }
}

/** Features without which others are nothing. Reference: xen/tools/gen-cpuid.py, deps. */
const DEPENDENTS: readonly (readonly [feature: CpuFeature, without: readonly CpuFeature[]])[] = [
  // In an order in which what goes takes along what depends on it.
  ['fpu', ['mmx']], ['mmx', ['mmxext', '3dnow']], ['3dnow', ['3dnowext']], ['tsc', ['rdtscp']], ['cx8', ['cx16']], ['fxsr', ['fxsr_opt', 'sse']], ['sse', ['sse2', 'misalignsse']],
  ['sse2', ['sse3', 'aes', 'pclmulqdq', 'sha_ni', 'gfni', 'lm']], ['pae', ['lm']], ['lm', ['cx16', 'pcid', 'lahf_lm', 'pdpe1gb', 'pku']],
  ['sse3', ['ssse3', 'sse4a']], ['ssse3', ['sse4_1']], ['sse4_1', ['sse4_2']], ['xsave', ['xsaveopt', 'xsavec', 'xgetbv1', 'xsaves', 'avx', 'pku']],
  ['avx', ['fma', 'fma4', 'f16c', 'avx2', 'xop']], ['avx2', ['vaes', 'vpclmulqdq', 'avx_vnni', 'avx512f']], ['aes', ['vaes']], ['pclmulqdq', ['vpclmulqdq']],
]

/** Hides what depends on a feature that is hidden, and parts of XSAVE's state whose instructions are. */
function hideDependents(table: Map<string, CpuidAnswer>): void {
  const shows = (feature: CpuFeature): boolean => {
    const { leaf, subleaf, register, bit } = CPU_FEATURES[feature]
    return ((table.get(keyOf(leaf, subleaf)) ?? EMPTY)[register] >>> bit & 1) === 1
  }
  const change = (key: string, with_: (answer: CpuidAnswer) => CpuidAnswer): void => {
    const answer = table.get(key)
    if (answer !== undefined) table.set(key, with_(answer))
  }
  for (const feature of DEPENDENTS.flatMap(([needed, dependents]) => (shows(needed) ? [] : dependents))) {
    const { leaf, subleaf, register, bit } = CPU_FEATURES[feature]
    change(keyOf(leaf, subleaf), (answer) => answer.map((word, at) => (at === register ? (word & ~(1 << bit)) >>> 0 : word)) as unknown as CpuidAnswer)
  }
  const parts = shows('xsave') ? (shows('avx') ? ~0 : ~XCR0.AVX) : 0
  change(keyOf(XSTATE, 0), ([eax, ebx, ecx, edx]) => [(eax & parts) >>> 0, ebx, ecx, edx])
  if ((parts & XCR0.AVX) === 0) change(keyOf(XSTATE, 2), () => EMPTY)
}

/** What CPUID is to tell a domain that comes with a policy: the policy as far as the host keeps it, and nothing beyond. */
export function keptPolicy(policy: CpuPolicy, host: CpuidSource): CpuidTable {
  const table = tableOf(policy.cpuid)
  hideDependents(table)
  const kept = policy.cpuid.map(({ leaf, subleaf }) => {
    const own = host(leaf, CARRIED.has(leaf) ? subleaf : 0)
    return [keyOf(leaf, subleaf), keptLeaf({ leaf, subleaf }, table.get(keyOf(leaf, subleaf)) ?? EMPTY, own)] as const
  })
  return new Map(kept)
}

/** The answer of a policy. */
export const answerOf = (table: CpuidTable, leaf: number, subleaf: number): CpuidAnswer => table.get(keyOf(leaf, subleaf)) ?? EMPTY
