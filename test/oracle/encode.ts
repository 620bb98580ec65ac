/**
 * Instances of a form: random operands as bytes, and the initial state in which a memory operand lies in the test's
 * data. What comes out is checked with the decoder by the caller, so that redundant prefixes cannot turn it into
 * something else.
 */
import { below, type Random, SeededRandom } from '../../src/util/index.ts'
import type { Form } from './forms.ts'
import { dataAddress, generalValue, randomCase } from './initial-state.ts'
import { type OracleCase, type Patch, REGIONS } from './wire.ts'

const [RCX, RDX, RBX, RSP, RBP, RSI, RDI] = [1, 2, 3, 4, 5, 6, 7]

/** A case under construction. */
export interface Draft {
  readonly bytes: number[]
  readonly general: Map<number, readonly [number, number]>
  readonly patches: Patch[]
}

interface Address {
  readonly modrm: number
  readonly rest: readonly number[]
  readonly rex: number
  /** Register to be set so that the operand lies at the target. */
  readonly base: number
  readonly index: number
  readonly scale: number
  readonly displacement: number
  readonly relative: boolean
}

const oneIn = (random: Random, count: number): boolean => below(random, count) === 0
const bytesOf = (value: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => (value >>> (i * 8)) & 0xff)

/** A random ModRM memory operand with its SIB and displacement. */
function randomAddress(random: Random, reg: number): Address {
  const kind = below(random, 16)
  const low = (reg & 7) << 3
  const none = { rest: [], rex: 0, base: -1, index: -1, scale: 0, displacement: 0, relative: false }
  if (kind === 0) return { ...none, modrm: low | 5, relative: true }
  const mod = below(random, 3)
  const base = below(random, 16)
  const useSib = (base & 7) === 4 || oneIn(random, 3)
  const noBase = useSib && mod === 0 && (base & 7) === 5
  if (!useSib && mod === 0 && (base & 7) === 5) return randomAddress(random, reg)
  const displacement = mod === 1 ? below(random, 256) - 128 : mod === 2 ? below(random, 0x2000) - 0x1000 : 0
  const disp = mod === 1 ? [displacement & 0xff] : mod === 2 ? bytesOf(displacement, 4) : []
  if (!useSib) {
    return { ...none, modrm: (mod << 6) | low | (base & 7), rest: disp, rex: base >> 3, base, displacement }
  }
  const index = below(random, 16)
  const scale = below(random, 4)
  const sib = (scale << 6) | ((index & 7) << 3) | (base & 7)
  const absolute = noBase ? dataAddress(random) : 0
  return {
    modrm: (mod << 6) | low | 4, rest: [sib, ...(noBase ? bytesOf(absolute, 4) : disp)],
    rex: (base >> 3) | ((index >> 3) << 1),
    base: noBase ? -1 : base, index: index === 4 ? -1 : index, scale, displacement: noBase ? absolute : displacement,
    relative: false,
  }
}

/** Chooses registers so that the operand lies at `target`, if that can be. */
function aim(random: Random, draft: Draft, address: Address, target: number): void {
  if (address.index >= 0 && address.index !== address.base) {
    const small = address.base < 0 ? 0 : below(random, 64)
    draft.general.set(address.index, [small, 0])
    if (address.base >= 0) setSigned(draft, address.base, target - address.displacement - small * 2 ** address.scale)
  } else if (address.base >= 0 && address.index < 0) setSigned(draft, address.base, target - address.displacement)
}

function setSigned(draft: Draft, register: number, value: number): void {
  draft.general.set(register, [value >>> 0, value < 0 ? 0xffff_ffff : 0])
}

/** Prefixes in an arbitrary order. */
function prefixes(random: Random, form: Form): { bytes: number[]; segment: number; short: boolean } {
  const { row } = form
  const bytes: number[] = []
  if (form.size === 16 || row.prefix === '66') bytes.push(0x66)
  if (row.prefix === 'f2' || row.prefix === 'f3') bytes.push(row.prefix === 'f2' ? 0xf2 : 0xf3)
  if (form.repeat !== 0) bytes.push(form.repeat)
  if (form.lock) bytes.push(0xf0)
  const segment = oneIn(random, 12) ? [0x64, 0x65, 0x2e, 0x3e, 0x26, 0x36][below(random, 6)]! : 0
  if (segment !== 0) bytes.push(segment)
  const short = oneIn(random, 16)
  if (short) bytes.push(0x67)
  for (let i = bytes.length - 1; i > 0; i -= 1) {
    const j = below(random, i + 1)
    ;[bytes[i], bytes[j]] = [bytes[j]!, bytes[i]!]
  }
  return { bytes, segment, short }
}

function immediateBytes(random: Random, form: Form, code: string): number[] {
  const count = code === 'Ib' || code === 'Ibs' || code === 'Jb' ? 1 : code === 'Iw' ? 2
    : code === 'Iz' || code === 'Jz' ? (form.size === 16 && form.row.width !== 'f64' ? 2 : 4)
      : code === 'Iv' ? form.size / 8 : code.startsWith('O') ? 8 : 6
  if (code.startsWith('O')) return [...bytesOf(dataAddress(random), 4), 0, 0, 0, 0]
  const value = isShortDoubleShift(form) ? [below(random, 17), 0] as const : generalValue(random)
  return [...bytesOf(value[0], 4), ...bytesOf(value[1], 4)].slice(0, count)
}

/** SHLD and SHRD of words by more than 16 leave the result undefined. */
const isShortDoubleShift = (form: Form): boolean => form.size === 16 && /^sh[lr]d$/.test(form.row.name)

/** Bases of FS and GS by their prefixes. */
const SEGMENT_BASES: Readonly<Record<number, number>> = {
  0x64: REGIONS[2].address + 0x400, 0x65: REGIONS[2].address + 0x1400,
}

/** Appends one instruction of the form at `rip` to the draft. */
function addInstruction(random: Random, form: Form, draft: Draft, rip: number): void {
  const { row } = form
  const start = prefixes(random, form)
  const reg = row.reg ?? below(random, 16)
  const escape = row.map === '' ? [] : row.map === '0f' ? [0x0f] : [0x0f, row.map === '0f38' ? 0x38 : 0x3a]
  let rex = (form.size === 64 && row.width === undefined) || (form.size === 64 && oneIn(random, 2)) ? 8 : 0
  rex |= (reg >> 3) << 2
  let modrm: number[] = []
  let target = -1
  let address: Address | undefined
  if (row.exact !== undefined) modrm = [row.exact]
  else if (row.modrm && !form.memory) {
    const rm = below(random, 16)
    rex |= rm >> 3
    modrm = [0xc0 | ((reg & 7) << 3) | (rm & 7)]
  } else if (row.modrm) {
    address = randomAddress(random, reg)
    rex |= address.rex
    target = dataAddress(random)
    modrm = [address.modrm, ...address.rest]
  }
  // A rex of 0x40 also changes what the byte registers 4 to 7 are.
  const rexBytes = rex !== 0 || oneIn(random, 4) ? [0x40 | rex] : []
  const immediates = row.immediates.flatMap((code) => immediateBytes(random, form, code))
  const opcode = form.opcode
  const before = [...start.bytes, ...rexBytes, ...escape, opcode]
  if (address !== undefined) {
    const base = SEGMENT_BASES[start.segment] ?? 0
    if (address.relative) {
      const next = rip + before.length + 1 + 4 + immediates.length
      modrm = [address.modrm, ...bytesOf(target - base - next, 4)]
    } else if (!oneIn(random, 12)) aim(random, draft, address, target - base)
    special(random, form, draft, target)
  }
  draft.bytes.push(...before, ...modrm, ...immediates)
  implicit(random, form, draft)
}

/** Memory contents that make an instruction do more than fail. */
function special(random: Random, form: Form, draft: Draft, target: number): void {
  const { name } = form.row
  const patch = (bytes: number[]): void => {
    const region = REGIONS.find((r) => target >= r.address && target + bytes.length <= r.address + r.pages * 0x1000)
    if (region !== undefined) draft.patches.push({ address: target, bytes: Uint8Array.from(bytes) })
  }
  if (name.startsWith('cmpxchg') && oneIn(random, 2)) {
    const [low, high] = [generalValue(random), generalValue(random)]
    draft.general.set(0, low)
    draft.general.set(RDX, high)
    const wide = form.size === 64 || name === 'cmpxchg'
    patch(wide ? [...bytesOf(low[0], 4), ...bytesOf(low[1], 4), ...bytesOf(high[0], 4), ...bytesOf(high[1], 4)]
      : [...bytesOf(low[0], 4), ...bytesOf(high[0], 4)])
  }
  if (name === 'ldmxcsr') patch(bytesOf(random.next() & 0xffff, 4))
  if (name === 'fldcw') patch(bytesOf(0x40 | (random.next() & 0x0f3f), 2))
  if (name === 'fxrstor') patch(fxHeader(randomCase(random, 0, new Uint8Array(1)).fx))
  if (name === 'fldenv' || name === 'frstor') {
    const words = [0x40 | (random.next() & 0x0f3f), random.next() & 0x7f7f, random.next() & 0xffff]
    patch(form.size === 16 ? words.flatMap((word) => bytesOf(word, 2)) : words.flatMap((word) => bytesOf(word, 4)))
  }
}

const fxHeader = (fx: Uint8Array): number[] => [...fx.subarray(0, 24), ...fx.subarray(24, 28), 0xff, 0xff, 0, 0]

/** A frame that far returns accept: instruction pointer, code segment, flags, stack pointer, stack segment. */
function farFrame(random: Random, form: Form, draft: Draft): void {
  const at = REGIONS[2].address + 0x1000 + below(random, 0x800)
  draft.general.set(RSP, [at, 0])
  const flags = 0x202 | (random.next() & 0x8d5)
  const element = (value: number): number[] => [...bytesOf(value, 4), 0, 0, 0, 0].slice(0, form.size / 8)
  const values = [REGIONS[0].address + 0x10, 0x33, flags, REGIONS[2].address + 0x1800, 0x2b]
  const count = form.row.name === 'iret' ? 5 : 2
  draft.patches.push({ address: at, bytes: Uint8Array.from(values.slice(0, count).flatMap(element)) })
}

/** Registers that an instruction uses without naming them. */
function implicit(random: Random, form: Form, draft: Draft): void {
  const { name, operands } = form.row
  const set = (register: number, value: number): void => {
    if (!oneIn(random, 16)) draft.general.set(register, [value, 0])
  }
  if (operands.some((code) => /^[XY]/.test(code))) {
    set(RSI, dataAddress(random))
    set(RDI, dataAddress(random))
    // With two faulting operands the order would not be the same with every address.
    if (name === 'cmps') draft.general.set(RDI, [dataAddress(random) & ~0x1000, 0])
    if (form.repeat !== 0) draft.general.set(RCX, [below(random, oneIn(random, 8) ? 600 : 30), 0])
  }
  if (name === 'retf' || (name === 'iret' && !oneIn(random, 4))) farFrame(random, form, draft)
  if (name.startsWith('maskmov')) set(RDI, dataAddress(random))
  if (name === 'xlat') set(RBX, dataAddress(random) & ~0xff)
  if (name === 'leave' || (name === 'enter' && !oneIn(random, 4))) set(RBP, dataAddress(random) & ~7)
  if ((name === 'div' || name === 'idiv') && oneIn(random, 2)) {
    draft.general.set(RDX, oneIn(random, 2) ? [0, 0] : [below(random, 9), 0])
  }
  if (isShortDoubleShift(form)) draft.general.set(RCX, [below(random, 17), 0])
  if (name.startsWith('pcmpestr') && !oneIn(random, 4)) {
    for (const register of [0, RDX]) draft.general.set(register, [below(random, 24), 0])
  }
}

/** Where code lies: usually in the middle of a page, sometimes over its end, sometimes where it may be written. */
function randomRip(random: Random, length: number): number {
  const region = oneIn(random, 8) ? REGIONS[1] : REGIONS[0]
  if (oneIn(random, 8)) return region.address + 0x1000 - 1 - below(random, Math.max(length - 1, 1))
  return region.address + 0x100 + below(random, 0x800)
}

/** How a case comes about: everything but the state that follows from its seed. Small enough to be kept in a file. */
export interface Recipe {
  readonly stateSeed: number
  readonly rip: number
  readonly code: Uint8Array
  readonly steps: number
  /** Registers set on top of the random state: number, low half, high half. */
  readonly general: readonly (readonly [register: number, low: number, high: number])[]
  readonly patches: readonly Patch[]
}

/** A recipe for one instruction of each of the given forms in a row. */
export function makeRecipe(random: Random, forms: readonly Form[]): Recipe {
  const rip = randomRip(random, 8)
  const draft: Draft = { bytes: [], general: new Map(), patches: [] }
  for (const form of forms) addInstruction(random, form, draft, rip + draft.bytes.length)
  const general = [...draft.general].filter(([register]) => register !== RSP || !usesStack(forms))
  return {
    stateSeed: random.next(), rip, code: Uint8Array.from(draft.bytes), steps: forms.length, patches: draft.patches,
    general: general.map(([register, [low, high]]) => [register, low >>> 0, high >>> 0]),
  }
}

/** The case that a recipe describes. */
export function caseOf(recipe: Recipe): OracleCase {
  const one = randomCase(new SeededRandom(recipe.stateSeed), recipe.rip, recipe.code)
  for (const [register, low, high] of recipe.general) {
    one.general[register * 2] = low
    one.general[register * 2 + 1] = high
  }
  return { ...one, steps: recipe.steps, patches: [...one.patches, ...recipe.patches] }
}

/** Whether a stack instruction wants its stack pointer left alone. */
const usesStack = (forms: readonly Form[]): boolean =>
  forms.some(({ row }) => /^(push|pop|call|ret$|enter)/.test(row.name))
