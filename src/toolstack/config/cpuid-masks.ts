/**
 * What a description says of CPUID, `cpuid="host,avx=0"` or `cpuid=["1:ecx=xxx..."]` as in xend's files: bits of registers that are to
 * be set, cleared or left. Both forms come to lists of the second one. What becomes of it is ../create/cpuid-policy.ts.
 * Reference: xl.cfg(5), cpuid; tools/libs/light/libxl_cpuid.c, libxl_cpuid_parse_config and libxl_cpuid_parse_config_xend.
 */
import * as z from 'zod/mini'
import { nearestWord } from '../../util/index.ts'
import { CPUID_FIELDS, type CpuidField } from './cpuid-flags.ts'
import { parseNumber } from './number.ts'
import type { ValueKind } from './option-values.ts'

/** What is said of one leaf: for each register a character for each bit, the highest first. */
export interface CpuidMask {
  readonly leaf: number
  /** Undefined for a leaf without subleaves. */
  readonly subleaf: number | undefined
  /** `0` and `1` for a bit's value; `x`, `k` and `s` leave it. EAX to EDX; undefined for a register of which nothing is said. */
  readonly registers: readonly [string | undefined, string | undefined, string | undefined, string | undefined]
}

const NAMES = ['eax', 'ebx', 'ecx', 'edx'] as const
const LEFT = 'x'.repeat(32)
/** Bytes of an entry, and entries, at most. */
const [LONGEST, MOST] = [1024, 256]

type Registers = [string | undefined, string | undefined, string | undefined, string | undefined]
/** Masks on their way, by leaf and subleaf. */
type Draft = Map<string, { readonly leaf: number; readonly subleaf: number | undefined; readonly registers: Registers }>

function registersOf(draft: Draft, leaf: number, subleaf: number | undefined): Registers {
  const key = `${leaf},${subleaf ?? ''}`
  const known = draft.get(key)
  if (known !== undefined) return known.registers
  const registers: Registers = [undefined, undefined, undefined, undefined]
  draft.set(key, { leaf, subleaf, registers })
  return registers
}

const put = (register: string, bits: string, bit: number): string => register.slice(0, 32 - bits.length - bit) + bits + register.slice(32 - bit)

/** Family and model stand in two places each: what does not fit into the first is told by the second. */
function putSplit(register: string, name: string, value: number): string {
  const binary = (number: number, length: number): string => number.toString(2).padStart(length, '0').slice(-length)
  if (name === 'model') return put(put(register, binary(value >> 4, 4), 16), binary(value & 15, 4), 4)
  return value < 16 ? put(put(register, binary(value, 4), 8), '00000000', 20) : put(put(register, '1111', 8), binary(value - 15, 8), 20)
}

/** Takes `name=value` of the newer form; what is wrong with it. */
function takeFlag(draft: Draft, word: string): string | undefined {
  const equals = word.indexOf('=')
  if (equals < 0) return `has ${JSON.stringify(word)} without "="`
  const [name, text] = [word.slice(0, equals).trim(), word.slice(equals + 1).trim()]
  const field = CPUID_FIELDS.get(name)
  if (field === undefined) {
    const nearest = nearestWord(name, [...CPUID_FIELDS.keys()])
    return `has no flag ${JSON.stringify(name)}${nearest === undefined ? '' : `; did you mean ${nearest}?`}`
  }
  const { leaf, subleaf, register, bit, length } = field as CpuidField
  const registers = registersOf(draft, leaf, subleaf)
  const before = registers[register] ?? LEFT
  if (/^[xks]$/.test(text)) {
    registers[register] = put(before, text.repeat(length), bit)
    return undefined
  }
  const value = parseNumber(text)
  if (value === undefined || value < 0 || value >= 2 ** length + (name === 'family' ? 15 : 0)) return `has ${JSON.stringify(text)} for ${name}: 0 to ${2 ** length - 1}, x, k or s`
  registers[register] = length === 8 && (name === 'family' || name === 'model')
    ? putSplit(before, name, value) : put(before, value.toString(2).padStart(length, '0'), bit)
  return undefined
}

/** Takes an entry of the older form; what is wrong with it. */
function takeEntry(draft: Draft, entry: string): string | undefined {
  const colon = entry.indexOf(':')
  if (colon < 0) return `has ${JSON.stringify(entry)} without a colon`
  const [leafText = '', subleafText, ...more] = entry.slice(0, colon).split(',').map((word) => word.trim())
  const [leaf, subleaf] = [parseNumber(leafText), subleafText === undefined ? undefined : parseNumber(subleafText)]
  const isWord = (number: number | undefined): boolean => number !== undefined && number >= 0 && number < 2 ** 32
  if (!isWord(leaf)) return `has ${JSON.stringify(leafText)} for a leaf`
  if (more.length > 0 || (subleafText !== undefined && !isWord(subleaf))) return `has ${JSON.stringify(entry.slice(0, colon))} for a leaf and a subleaf`
  const registers = registersOf(draft, leaf!, subleaf)
  for (const part of entry.slice(colon + 1).split(',').map((word) => word.trim())) {
    const [name = '', bits = ''] = part.split('=')
    const register = NAMES.findIndex((known) => known === name)
    if (register < 0) return `has ${JSON.stringify(name)} for a register, which is eax, ebx, ecx or edx`
    if (!/^[01xks]{32}$/.test(bits)) return `has ${JSON.stringify(bits)} for ${name}: 32 characters, each 0, 1, x, k or s`
    registers[register] = bits
  }
  return undefined
}

/** What a value says; what is wrong with it where it says nothing. */
function read(value: string | readonly string[]): { readonly masks: readonly CpuidMask[]; readonly wrong?: string | undefined } {
  const draft: Draft = new Map()
  const isList = typeof value !== 'string'
  const words = isList ? value : value.split(',')
  if (words.length > MOST || words.some(({ length }) => length > LONGEST)) return { masks: [], wrong: 'is too long' }
  if (!isList && words[0]!.trim() !== 'host') return { masks: [], wrong: 'must begin with "host", as in "host,avx=0"' }
  for (const word of isList ? words : words.slice(1)) {
    const wrong = isList ? takeEntry(draft, word) : takeFlag(draft, word.trim())
    if (wrong !== undefined) return { masks: [], wrong }
  }
  return { masks: [...draft.values()].filter(({ registers }) => registers.some((register) => register !== undefined && /[01]/.test(register))) }
}

/** Masks as entries of the older form. */
export const formatCpuidMasks = (masks: readonly CpuidMask[]): string[] => masks.map(({ leaf, subleaf, registers }) => {
  const place = `0x${leaf.toString(16)}${subleaf === undefined ? '' : `,${subleaf}`}`
  return `${place}:${registers.flatMap((bits, at) => (bits === undefined ? [] : [`${NAMES[at]!}=${bits}`])).join(',')}`
})

/** What a list of such entries says. It has been checked. */
export const readCpuidMasks = (entries: readonly string[]): readonly CpuidMask[] => read(entries).masks

const given = /* @__PURE__ */ z.union([/* @__PURE__ */ z.string(), /* @__PURE__ */ z.array(/* @__PURE__ */ z.string())], {
  error: 'must be a text such as "host,avx=0", or a list such as ["1:ecx=xxx..."]',
})
const entries = /* @__PURE__ */ z.pipe(given, /* @__PURE__ */ z.transform((value: string | string[], context) => {
  if (value === '') return []
  const { masks, wrong } = read(value)
  if (wrong === undefined) return formatCpuidMasks(masks)
  context.issues.push({ code: 'custom', message: wrong, input: value })
  return z.NEVER
}))

/** Bits of CPUID's answers, in either form. */
export const cpuidMasks: ValueKind<string[]> = { object: entries, file: entries, words: '`host,FLAG=0`, or a list as `1:ecx=xxx...`', syntax: 'text' }
