/**
 * Instances of a form: random operands as bytes, and the initial state in which a memory operand lies in the test's
 * data. What comes out is checked with the decoder by the caller, so that redundant prefixes cannot turn it into
 * something else.
 */
import { below, type Random, SeededRandom } from '../../src/util/index.ts'
import type { Form } from './forms.ts'
import { dataAddress, generalValue, randomCase, vectorBytes } from './initial-state.ts'
import { type CodeMode, FLAT_MODE, LONG_MODE, baseOf, local } from './segments.ts'
import { type Address, bytesOf, oneIn, shortAddress } from './short-address.ts'
import { type OracleCase, type Patch, REGIONS } from './wire.ts'

const [RCX, RDX, RBX, RSP, RBP, RSI, RDI] = [1, 2, 3, 4, 5, 6, 7]

/** An instruction, or several, under construction: what the registers and memory have to hold for it besides. */
export interface Draft {
  readonly bytes: number[]
  readonly general: Map<number, readonly [number, number]>
  readonly patches: Patch[]
}

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
function aim(random: Random, draft: Draft, address: Address, at: { target: number; bytes: number }): void {
  const { target, bytes } = at
  if (address.index >= 0 && address.index !== address.base) {
    const small = address.base < 0 ? 0 : below(random, 64)
    draft.general.set(address.index, [small, 0])
    const scaled = small * 2 ** address.scale
    if (address.base >= 0) setSigned(draft, address.base, target - address.displacement - scaled, bytes)
  } else if (address.base >= 0 && address.index < 0) {
    setSigned(draft, address.base, target - address.displacement, bytes)
  }
}

function setSigned(draft: Draft, register: number, value: number, bytes: number): void {
  draft.general.set(register, [value >>> 0, value < 0 && bytes === 8 ? 0xffff_ffff : 0])
}

/** Prefixes in an arbitrary order. */
function prefixes(random: Random, form: Form, mode: CodeMode): { bytes: number[]; segment: number; short: boolean } {
  const { row } = form
  const bytes: number[] = []
  const other = (form.size === 16) !== (mode.code === 16) && row.prefix !== 'np' && row.exact === undefined
  if (row.vex === undefined) {
    if (other || row.prefix === '66') bytes.push(0x66)
    if (row.prefix === 'f2' || row.prefix === 'f3') bytes.push(row.prefix === 'f2' ? 0xf2 : 0xf3)
  }
  if (form.repeat !== 0) bytes.push(form.repeat)
  if (form.lock) bytes.push(0xf0)
  const segment = oneIn(random, 12) ? [0x64, 0x65, 0x2e, 0x3e, 0x26, 0x36][below(random, 6)]! : 0
  if (segment !== 0) bytes.push(segment)
  const short = oneIn(random, mode.code === 64 ? 16 : 6)
  if (short) bytes.push(0x67)
  for (let i = bytes.length - 1; i > 0; i -= 1) {
    const j = below(random, i + 1)
    ;[bytes[i], bytes[j]] = [bytes[j]!, bytes[i]!]
  }
  return { bytes, segment, short }
}

function immediateBytes(random: Random, form: Form, o: { code: string; offset: Offset }): number[] {
  const { code, offset } = o
  if (code === 'Ap') return farPointer(random, form.size, FLAT_MODE)
  if (code.startsWith('O')) return [...bytesOf(offset.value(dataAddress(random)), 4), 0, 0, 0, 0].slice(0, offset.bytes)
  const count = /^(Ibs?|Jb|Lx)$/.test(code) ? 1 : code === 'Iw' ? 2
    : code === 'Iz' || code === 'Jz' ? (form.size === 16 ? 2 : 4) : form.size / 8
  const value = isShortDoubleShift(form) ? [below(random, 17), 0] as const : generalValue(random)
  return [...bytesOf(value[0], 4), ...bytesOf(value[1], 4)].slice(0, count)
}

/** SHLD and SHRD of words by more than 16 leave the result undefined. */
const isShortDoubleShift = (form: Form): boolean => form.size === 16 && /^sh[lr]d$/.test(form.row.name)

/** Segments by their prefixes. */
const SEGMENT_PREFIX: Readonly<Record<number, number>> = { 0x26: 0, 0x2e: 1, 0x36: 2, 0x3e: 3, 0x64: 4, 0x65: 5 }
/** Bases of FS and GS in 64-bit code. */
const LONG_BASES: Readonly<Record<number, number>> = {
  0x64: REGIONS[2].address + 0x400, 0x65: REGIONS[2].address + 0x1400,
}

/** An address as an instruction names it: its offset in a segment, in so many bytes. */
interface Offset {
  readonly bytes: number
  readonly value: (linear: number) => number
}

/** Base that an address counts from: that of the prefix's segment, or of one that the base register implies. */
function baseFor(mode: CodeMode, prefix: number, fallback: number): number {
  if (mode.code === 64) return LONG_BASES[prefix] ?? 0
  return baseOf(mode.selectors[SEGMENT_PREFIX[prefix] ?? fallback]!)
}

/** Selectors that are worth loading, and some that are not. */
const WORTH_LOADING = [
  0x23, 0x2b, 0x33, 0, 3, local(1), local(2), local(3), local(4), local(5), local(6), local(7), local(8), local(10),
  local(11), local(12), local(13), 0x10, 0x28, local(14),
]
const anySelector = (random: Random): number => WORTH_LOADING[below(random, WORTH_LOADING.length)]!

/** Where far jumps go: code that is there, or anywhere. */
function farPointer(random: Random, size: number, mode: CodeMode): number[] {
  if (mode.code === 64) {
    const known = [0x23, 0x2b, 0x33, 0][below(random, 4)]!
    return [...bytesOf(random.next(), size / 8), ...bytesOf(known, 2)]
  }
  const selector = oneIn(random, 3) ? anySelector(random) : [0x23, 0x33, local(1), local(2)][below(random, 4)]!
  const linear = REGIONS[0].address + below(random, 0x1c00)
  const offset = oneIn(random, 8) ? random.next() : (linear - baseOf(selector)) >>> 0
  return [...bytesOf(offset, size === 16 ? 2 : 4), ...bytesOf(selector, 2)]
}

/** Appends one instruction of the form at `rip` to the draft. */
function addInstruction(random: Random, form: Form, draft: Draft, at: { rip: number; mode: CodeMode }): void {
  const { row } = form
  const { rip, mode } = at
  const long = mode.code === 64
  const start = prefixes(random, form, mode)
  const reg = row.reg ?? below(random, long ? 16 : 8)
  const escape = row.map === '' || row.vex !== undefined ? [] : row.map === '0f' ? [0x0f] : [0x0f, row.map === '0f38' ? 0x38 : 0x3a]
  const addressBytes = long ? 8 : (mode.code === 16) !== start.short ? 2 : 4
  let rex = (form.size === 64 && row.width === undefined) || (form.size === 64 && oneIn(random, 2)) ? 8 : 0
  rex |= (reg >> 3) << 2
  let modrm: number[] = []
  let target = -1
  let address: Address | undefined
  if (row.exact !== undefined) modrm = [row.exact]
  else if (row.modrm && !form.memory) {
    const rm = below(random, long ? 16 : 8)
    rex |= rm >> 3
    modrm = [0xc0 | ((reg & 7) << 3) | (rm & 7)]
  } else if (row.modrm) {
    address = row.vex?.indices !== undefined ? gatherAddress(random, reg, long ? 16 : 8)
      : long ? randomAddress(random, reg) : shortAddress(random, reg, addressBytes)
    rex |= address.rex
    target = dataAddress(random)
    // What XSAVE takes is aligned, unless it is to fault.
    if (/^x(save|rstor)/.test(row.name) && !oneIn(random, 12)) target &= ~63
    modrm = [address.modrm, ...address.rest]
  }
  if (row.vex !== undefined && !long) rex = 0
  // A rex of 0x40 also changes what the byte registers 4 to 7 are.
  const rexBytes = long && (rex !== 0 || oneIn(random, 4)) ? [0x40 | rex] : []
  const offset = { bytes: addressBytes, value: (linear: number) => (linear - baseFor(mode, start.segment, 3)) >>> 0 }
  const immediates = row.immediates.flatMap((code) => immediateBytes(random, form, { code, offset }))
  const opcode = form.opcode
  const before = row.vex === undefined ? [...start.bytes, ...rexBytes, ...escape, opcode]
    : [...start.bytes, ...vexBytes(random, form, { rex, long }), opcode]
  if (address !== undefined) {
    const base = baseFor(mode, start.segment, address.base === RSP || address.base === RBP ? 2 : 3)
    if (address.relative) {
      const next = rip + before.length + 1 + 4 + immediates.length
      modrm = [address.modrm, ...bytesOf(target - base - next, 4)]
    } else if (!oneIn(random, 12)) aim(random, draft, address, { target: target - base, bytes: addressBytes })
    special(random, form, draft, { target, mode })
  }
  if (!long && row.operands[0] === 'Sw') {
    const selector = anySelector(random)
    if (address === undefined) draft.general.set(modrm[0]! & 7, [selector, 0])
    else draft.patches.push({ address: target, bytes: Uint8Array.from(bytesOf(selector, 2)) })
  }
  draft.bytes.push(...before, ...modrm, ...immediates)
  implicit(random, form, { draft, mode })
}

/** One instruction of the form as it stands at `rip`. */
export function drawInstruction(random: Random, form: Form, at: { rip: number; mode: CodeMode }): Draft {
  const draft: Draft = { bytes: [], general: new Map(), patches: [] }
  addInstruction(random, form, draft, at)
  return draft
}

/** A base and a vector of indices. */
function gatherAddress(random: Random, reg: number, registers: number): Address {
  const [base, index, scale] = [below(random, registers), below(random, registers), below(random, 4)]
  const hasDisplacement = (base & 7) === 5 || oneIn(random, 2)
  const displacement = hasDisplacement ? below(random, 256) - 128 : 0
  return {
    modrm: (hasDisplacement ? 0x44 : 4) | ((reg & 7) << 3), rest: [(scale << 6) | ((index & 7) << 3) | (base & 7), ...(hasDisplacement ? [displacement & 0xff] : [])],
    rex: (base >> 3) | ((index >> 3) << 1), base, index: -1, scale, displacement, relative: false,
  }
}

/** A VEX prefix, in its shorter form where that can be; the register in VEX.vvvv by chance. */
function vexBytes(random: Random, form: Form, { rex, long }: { rex: number; long: boolean }): number[] {
  const { prefix, map, vex, operands } = form.row
  const sized = operands.some((code) => code.endsWith('y'))
  const wide = vex!.wide ?? (sized && long ? (form.size === 64 ? 1 : 0) : below(random, 2))
  const length = vex!.usesLength ? (form.long ? 1 : 0) : vex!.length ?? below(random, 2)
  const second = vex!.usesSecond ? below(random, long ? 16 : 8) : 0
  const last = (wide << 7) | ((~second & 15) << 3) | (length << 2) | { np: 0, 66: 1, f3: 2, f2: 3 }[prefix!]
  const isShort = map === 'vex0f' && wide === 0 && (rex & 3) === 0 && oneIn(random, 2)
  if (isShort) return [0xc5, (((~rex >> 2) & 1) << 7) | (last & 0x7f)]
  return [0xc4, ((~rex & 7) << 5) | { vex0f: 1, vex0f38: 2, vex0f3a: 3 }[map as 'vex0f'], last]
}

/** Memory contents that make an instruction do more than fail. */
function special(random: Random, form: Form, draft: Draft, place: { target: number; mode: CodeMode }): void {
  const { target, mode } = place
  const { name } = form.row
  const patch = (bytes: number[], offset = 0): void => {
    const at = target + offset
    const region = REGIONS.find((r) => at >= r.address && at + bytes.length <= r.address + r.pages * 0x1000)
    if (region !== undefined) draft.patches.push({ address: at, bytes: Uint8Array.from(bytes) })
  }
  if (/^v|p[sd]$|s[sd]$/.test(name) && oneIn(random, 2)) patch([...vectorBytes(random)])
  if (name.startsWith('cmpxchg') && oneIn(random, 2)) {
    const [low, high] = [generalValue(random), generalValue(random)]
    draft.general.set(0, low)
    draft.general.set(RDX, high)
    const wide = form.size === 64 || name === 'cmpxchg'
    patch(wide ? [...bytesOf(low[0], 4), ...bytesOf(low[1], 4), ...bytesOf(high[0], 4), ...bytesOf(high[1], 4)]
      : [...bytesOf(low[0], 4), ...bytesOf(high[0], 4)])
  }
  if (name === 'bound') {
    const bounds = oneIn(random, 2) ? [generalValue(random)[0], generalValue(random)[0]] : [-(2 ** 31), 2 ** 31 - 1]
    patch(bounds.flatMap((bound) => bytesOf(form.size === 16 ? bound >> 16 : bound, form.size / 8)))
  }
  if (name === 'xrstor') {
    const compacted = oneIn(random, 3)
    const parts = below(random, 8)
    const form = compacted ? [oneIn(random, 6) ? below(random, 8) : 7, 0, 0, 0, 0, 0, 0, 0x80] : [0, 0, 0, 0, 0, 0, 0, oneIn(random, 16) ? 1 : 0]
    const header = [parts, 0, 0, 0, 0, 0, 0, 0, ...form, ...new Array<number>(32).fill(0)]
    patch(fxHeader(randomCase(random, 0, new Uint8Array(1)).fx))
    patch(header, 512)
    patch(new Array<number>(16).fill(0), 560)
  }
  if (/^x(save|rstor)/.test(name)) {
    draft.general.set(0, [below(random, 8), 0])
    draft.general.set(RDX, [0, 0])
  }
  if (/^v?ldmxcsr/.test(name)) patch(bytesOf(random.next() & 0xffff, 4))
  if (name === 'fldcw') patch(bytesOf(0x40 | (random.next() & 0x0f3f), 2))
  if (/^(l[defgs]s|callf|jmpf)$/.test(name)) patch(farPointer(random, form.size, mode))
  if (name === 'fxrstor') patch(fxHeader(randomCase(random, 0, new Uint8Array(1)).fx))
  if (name === 'fldenv' || name === 'frstor') {
    const words = [0x40 | (random.next() & 0x0f3f), random.next() & 0x7f7f, random.next() & 0xffff]
    patch(form.size === 16 ? words.flatMap((word) => bytesOf(word, 2)) : words.flatMap((word) => bytesOf(word, 4)))
  }
}

const fxHeader = (fx: Uint8Array): number[] => [...fx.subarray(0, 24), ...fx.subarray(24, 28), 0xff, 0xff, 0, 0]

/** A frame that far returns accept: instruction pointer, code segment, flags, stack pointer, stack segment. */
function farFrame(random: Random, form: Form, to: { draft: Draft; mode: CodeMode }): void {
  const { draft, mode } = to
  const at = REGIONS[2].address + 0x1000 + below(random, 0x800)
  draft.general.set(RSP, [mode.code === 64 ? at : (at - baseOf(mode.selectors[2]!)) >>> 0, 0])
  const flags = 0x202 | (random.next() & 0x9d5)
  const element = (value: number): number[] => [...bytesOf(value, 4), 0, 0, 0, 0].slice(0, form.size / 8)
  const selector = mode.code === 64 ? 0x33 : oneIn(random, 4) ? anySelector(random) : mode.selectors[1]!
  const target = mode.code === 64 ? REGIONS[0].address + 0x10 : (REGIONS[0].address + 0x10 - baseOf(selector)) >>> 0
  const values = [target, selector, flags, REGIONS[2].address + 0x1800, 0x2b]
  const count = form.row.name === 'iret' ? 5 : 2
  if (form.row.name === 'pop') values.splice(0, 2, anySelector(random))
  draft.patches.push({ address: at, bytes: Uint8Array.from(values.slice(0, count).flatMap(element)) })
}

/** Registers that an instruction uses without naming them. */
function implicit(random: Random, form: Form, to: { draft: Draft; mode: CodeMode }): void {
  const { draft, mode } = to
  const { name, operands } = form.row
  const inSegment = (segment: number, linear: number): number =>
    mode.code === 64 ? linear : (linear - baseOf(mode.selectors[segment]!)) >>> 0
  const set = (register: number, value: number): void => {
    if (!oneIn(random, 16)) draft.general.set(register, [value, 0])
  }
  if (operands.some((code) => /^[XY]/.test(code))) {
    set(RSI, inSegment(3, dataAddress(random)))
    set(RDI, inSegment(0, dataAddress(random)))
    // With two faulting operands the order would not be the same with every address.
    if (name === 'cmps') draft.general.set(RDI, [inSegment(0, dataAddress(random) & ~0x1000), 0])
    if (form.repeat !== 0) draft.general.set(RCX, [below(random, oneIn(random, 8) ? 600 : 30), 0])
  }
  const takesSelector = name === 'retf' || (mode.code !== 64 && popsSegment(form))
  if (takesSelector || (name === 'iret' && !oneIn(random, 4))) farFrame(random, form, to)
  if (/^v?maskmovdqu|^maskmovq/.test(name)) set(RDI, inSegment(3, dataAddress(random)))
  if (name === 'xlat') set(RBX, inSegment(3, dataAddress(random) & ~0xff))
  if (name === 'leave' || (name === 'enter' && !oneIn(random, 4))) set(RBP, inSegment(2, dataAddress(random) & ~7))
  if ((name === 'div' || name === 'idiv') && oneIn(random, 2)) {
    draft.general.set(RDX, oneIn(random, 2) ? [0, 0] : [below(random, 9), 0])
  }
  if (isShortDoubleShift(form)) draft.general.set(RCX, [below(random, 17), 0])
  if (/^v?pcmpestr/.test(name) && !oneIn(random, 4)) {
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
  readonly mode: CodeMode
}

/** A recipe for one instruction of each of the given forms in a row. */
export function makeRecipe(random: Random, forms: readonly Form[], mode: CodeMode = LONG_MODE): Recipe {
  const rip = (randomRip(random, 8) - (mode.code === 64 ? 0 : baseOf(mode.selectors[1]!))) >>> 0
  const draft: Draft = { bytes: [], general: new Map(), patches: [] }
  for (const form of forms) addInstruction(random, form, draft, { rip: rip + draft.bytes.length, mode })
  const general = [...draft.general].filter(([register]) => register !== RSP || !usesStack(forms))
  return {
    stateSeed: random.next(), rip, code: Uint8Array.from(draft.bytes), steps: forms.length,
    patches: draft.patches, mode,
    general: general.map(([register, [low, high]]) => [register, low >>> 0, high >>> 0]),
  }
}

/** The case that a recipe describes. */
export function caseOf(recipe: Recipe): OracleCase {
  const one = randomCase(new SeededRandom(recipe.stateSeed), recipe.rip, recipe.code, recipe.mode)
  for (const [register, low, high] of recipe.general) {
    one.general[register * 2] = low
    one.general[register * 2 + 1] = high
  }
  return { ...one, steps: recipe.steps, patches: [...one.patches, ...recipe.patches] }
}

/** Whether a stack instruction wants its stack pointer left alone. */
const usesStack = (forms: readonly Form[]): boolean =>
  forms.some((form) => /^(push|pop|call|ret$|enter)/.test(form.row.name) && !popsSegment(form))

const popsSegment = ({ row }: Form): boolean => row.name === 'pop' && /^[c-gs]s$/.test(row.operands[0]!)
