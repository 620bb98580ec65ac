/**
 * What a processor would have to have for an instruction that ours refuses: the feature of its row in the decode table, or
 * of its encoding where the table has no row (VEX, EVEX, XOP, 3DNow!, REX2). It serves those who explain an #UD; what
 * executes is decided elsewhere.
 * Reference: Intel SDM volume 2, sections 2.3 and 2.7, and the CPUID column of each instruction; AMD64 APM volume 4
 * (XOP), AMD 3DNow! manual.
 */
import type { CpuFeature } from '../../../x86/index.ts'

/** Names in manuals, where they are more than the flag's name in capitals. */
const TITLES: Readonly<Partial<Record<CpuFeature, string>>> = {
  sse3: 'SSE3', sse4_1: 'SSE4.1', sse4_2: 'SSE4.2', cx8: 'CMPXCHG8B', cx16: 'CMPXCHG16B', cmov: 'CMOV', aes: 'AES-NI', vmx: 'VMX',
  svm: 'SVM', sha_ni: 'SHA', avx512f: 'AVX-512', rtm: 'RTM', lahf_lm: 'LAHF in 64-bit mode', sep: 'SYSENTER', lm: 'long mode',
  prefetchw: 'PREFETCHW', monitor: 'MONITOR', shstk: 'CET shadow stacks', pku: 'protection keys', sgx: 'SGX',
}

/** A feature's name as manuals write it. */
export const featureTitle = (feature: CpuFeature): string => TITLES[feature] ?? feature.toUpperCase()

/** The parts of a VEX prefix that tell instructions apart. */
interface Vex {
  readonly map: number
  /** 0 for none, 1 for 66, 2 for F3, 3 for F2. */
  readonly prefix: number
  readonly isLong: boolean
  readonly opcode: number
}

/** The prefix at an offset, its opcode behind it; undefined when it is none. */
function vexAt(bytes: Uint8Array, at: number, codeSize: number): Vex | undefined {
  const [first = 0, second = 0, third = 0, fourth = 0] = bytes.subarray(at, at + 4)
  if (codeSize !== 64 && second < 0xc0) return undefined
  if (first === 0xc5) return { map: 1, prefix: second & 3, isLong: (second & 4) !== 0, opcode: third }
  if (first === 0xc4) return { map: second & 31, prefix: third & 3, isLong: (third & 4) !== 0, opcode: fourth }
  return undefined
}

/** Opcodes as a list of numbers and ranges in hexadecimal. */
function opcodes(list: string): ReadonlySet<number> {
  const set = new Set<number>()
  for (const part of list.split(' ')) {
    const [first, last = first] = part.split('-').map((text) => parseInt(text, 16)) as [number, number?]
    for (let opcode = first; opcode <= last!; opcode += 1) set.add(opcode)
  }
  return set
}

/** VEX encodings that are not AVX: map, opcodes, mandatory prefix (undefined: any), name. The first that fits counts. */
const OTHERS: readonly { map: number; opcodes: ReadonlySet<number>; prefix?: number; title: string }[] = [
  { map: 1, opcodes: /* @__PURE__ */ opcodes('41 42 44-47 4a 4b 90-93 98 99'), title: 'AVX-512' },
  { map: 3, opcodes: /* @__PURE__ */ opcodes('30-33'), title: 'AVX-512' },
  { map: 2, opcodes: /* @__PURE__ */ opcodes('f2 f3'), prefix: 0, title: 'BMI1' },
  { map: 2, opcodes: /* @__PURE__ */ opcodes('f7'), prefix: 0, title: 'BMI1' },
  { map: 2, opcodes: /* @__PURE__ */ opcodes('f5-f7'), title: 'BMI2' },
  { map: 3, opcodes: /* @__PURE__ */ opcodes('f0'), title: 'BMI2' },
  { map: 2, opcodes: /* @__PURE__ */ opcodes('96-9f a6-af b6-bf'), prefix: 1, title: 'FMA' },
  { map: 2, opcodes: /* @__PURE__ */ opcodes('13'), prefix: 1, title: 'F16C' },
  { map: 3, opcodes: /* @__PURE__ */ opcodes('1d'), prefix: 1, title: 'F16C' },
  { map: 2, opcodes: /* @__PURE__ */ opcodes('50-53'), title: 'AVX-VNNI' },
  { map: 2, opcodes: /* @__PURE__ */ opcodes('49 4b 5c 5e'), title: 'AMX' },
  { map: 2, opcodes: /* @__PURE__ */ opcodes('16 36 45-47 58-5a 78 79 8c 8e 90-93'), title: 'AVX2' },
  { map: 3, opcodes: /* @__PURE__ */ opcodes('00-02 38 39 46'), prefix: 1, title: 'AVX2' },
]

/** Integer operations, by map: AVX with 128 bits, AVX2 with 256. */
const INTEGER: Readonly<Record<number, ReadonlySet<number>>> = {
  1: /* @__PURE__ */ opcodes('60-6d 70-76 d1-d5 d7-e5 e8-ef f1-f6 f8-fe'),
  2: /* @__PURE__ */ opcodes('00-0b 1c-1e 20-25 28-2b 30-35 37-41'),
  3: /* @__PURE__ */ opcodes('0e 0f 42 4c'),
}
/** Of map 0F38, gathers use the same opcodes for both; FMA4 and XOP instructions are AMD's. */
const FMA4 = /* @__PURE__ */ opcodes('5c-5f 68-6f 78-7f')

function vexTitle(vex: Vex): string {
  const other = OTHERS.find(({ map, opcodes: set, prefix }) =>
    map === vex.map && set.has(vex.opcode) && (prefix === undefined || prefix === vex.prefix))
  if (other !== undefined) return other.title
  if (vex.map === 3 && vex.prefix === 1 && FMA4.has(vex.opcode)) return 'FMA4'
  // Maskmov and the moves between sizes count as floating-point: they are not in the lists.
  return vex.isLong && INTEGER[vex.map]?.has(vex.opcode) === true ? 'AVX2' : 'AVX'
}

const PREFIXES: ReadonlySet<number> = /* @__PURE__ */ new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf2, 0xf3])

/**
 * The feature that an encoding without a row belongs to; undefined when it is no instruction of any processor that is
 * known here.
 */
export function missingByEncoding(bytes: Uint8Array, offset: number, codeSize: 16 | 32 | 64): string | undefined {
  let at = offset
  while (at < bytes.length && PREFIXES.has(bytes[at]!)) at += 1
  const vex = vexAt(bytes, at, codeSize)
  if (vex !== undefined) return vexTitle(vex)
  const [first = 0, second = 0] = bytes.subarray(at, at + 2)
  if (first === 0x62 && (codeSize === 64 || second >= 0xc0)) return (second & 7) === 4 ? 'APX' : 'AVX-512'
  if (first === 0xd5 && codeSize === 64) return 'APX'
  // With a map number of 8 and more the POP with this opcode becomes XOP's prefix.
  if (first === 0x8f && (second & 31) >= 8) return 'XOP'
  return first === 0x0f && second === 0x0f ? '3DNow!' : undefined
}
