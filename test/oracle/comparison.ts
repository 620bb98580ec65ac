/**
 * Runs batches of cases on both processors and says where they differ, form by form. What is left out of a comparison
 * follows from the decode table's rows and from a few facts about the processor underneath, given here with their
 * reason.
 */
import { DECODED, Decoder } from '../../src/machine/cpu/decode/decoder.ts'
import { decodeMaps } from '../../src/machine/cpu/decode/maps.ts'
import type { InstructionRow } from '../../src/machine/cpu/decode/table.ts'
import { disassembleAll } from '../../src/machine/index.ts'
import type { DisassemblyOptions, Machine } from '../../src/machine/index.ts'
import { below, SeededRandom } from '../../src/util/index.ts'
import { differences, exceptionDiffers } from './compare.ts'
import type { FaultLeniency, Leniency } from './compare.ts'
import { caseOf, makeRecipe } from './encode.ts'
import type { Recipe } from './encode.ts'
import { COMPARED_LEVEL, type Form, allForms, whyNotCompared } from './forms.ts'
import { HostedExecutor, type HostedOutcome } from './hosted.ts'
import { runNatively } from './native.ts'
import { randomCase } from './initial-state.ts'
import { type CodeMode, FLAT_MODE, LONG_MODE, baseOf, modeOf, randomMode } from './segments.ts'
import { RegionExecutor, type Carried } from './regions.ts'
import type { Vector } from './vectors.ts'
import { END, type OracleCase, type Outcome, MAX_PATCHES, REGIONS } from './wire.ts'

const FLAG_BITS: Readonly<Record<string, number>> = { c: 0x1, p: 0x4, a: 0x10, z: 0x40, s: 0x80, o: 0x800 }
const lettersMask = (letters: string): number =>
  [...letters].reduce((mask, letter) => mask | (FLAG_BITS[letter] ?? 0), 0)

/** A difference found. */
export interface Mismatch {
  readonly form: string
  readonly bytes: string
  /** The bytes as an assembler writes them. */
  readonly text: string
  readonly found: readonly string[]
  readonly one: OracleCase
}

/** What a run came to. */
export interface Summary {
  readonly known: number
  readonly comparable: number
  exercised: number
  cases: number
  /** Cases of random bytes, and those among them that ran into an instruction which ours does not offer. */
  noise: number
  notOffered: number
  mismatches: number
  readonly samples: Mismatch[]
  readonly byForm: Map<string, number>
  readonly regions: RegionSummary
}

/** Where an instruction stands in a region. */
export type RegionWay = 'alone' | 'between'

/** What came of cases in compiled code. */
export interface RegionSummary {
  /** Cases by how far a region carried them. */
  readonly carried: Map<Carried, number>
  /** Forms that a region has carried out in a case that it came to the end of: alone, and between two others. */
  readonly alone: Set<string>
  readonly between: Set<string>
  /** Forms that no region carries out. */
  readonly refused: Set<string>
  /** Cases that came to exactly what the interpreter made of the one that was compared natively. */
  native: number
}

/**
 * Flags that shifts and rotations leave undefined, by their count: at most everything but what a count of 1 defines.
 */
const SHIFT_UNDEFINED = /* @__PURE__ */ lettersMask('oa')
const DOUBLE_SHIFT_UNDEFINED = /* @__PURE__ */ lettersMask('oszapc')

function leniencyOf(form: Form): Leniency {
  const { name, undefinedFlags } = form.row
  const counted = undefinedFlags === 'count'
  const small = form.size === 16 || form.row.operands[0]?.endsWith('b') === true
  let mask = counted ? SHIFT_UNDEFINED : lettersMask(undefinedFlags)
  // A count beyond the operand's size leaves the carry of a shift undefined too.
  if (counted && small && /^sh/.test(name)) mask |= 1
  if (/^sh[lr]d/.test(name) && form.size === 16) mask |= DOUBLE_SHIFT_UNDEFINED
  // SYSCALL leaves rcx and r11 to the host; natively a filter stands in its way. INT 80 shortens rax on its way there.
  const undefinedRegisters = name === 'syscall' ? 0x802 : name === 'int' ? 1 : TIMES[name] ?? 0
  return {
    undefinedFlags: mask, undefinedRegisters, approximate: APPROXIMATE.has(name), estimate: ESTIMATES.has(name),
    hiddenMemory: /^(fxsave|xsave.?.?.?)$/.test(name) ? 0x2_0000 : 0,
    ...faultLeniencyOf(form.row),
  }
}

/** Registers that tell the time, or the processor's number. */
const TIMES: Readonly<Record<string, number>> = { rdtsc: 5, rdtscp: 7 }
/** RFLAGS.CF. */
const CARRY = 1
/** RFLAGS.AC. */
const ALIGNMENT_CHECK = 0x4_0000
const APPROXIMATE = new Set(['f2xm1', 'fyl2x', 'fyl2xp1', 'fptan', 'fpatan', 'fsin', 'fcos', 'fsincos'])
/** Estimates of 12 bits, which makers form by tables of their own. */
const ESTIMATES = new Set(['rcpss', 'rcpps', 'rsqrtss', 'rsqrtps', 'vrcpss', 'vrcpps', 'vrsqrtss', 'vrsqrtps'])
/** Two operands in memory, read without one another's help. */
const TWO_OPERANDS = new Set(['cmps'])
/** Accesses of more than 16 bytes, made in pieces of the processor's choice. */
const LONG_ACCESS = new Set([
  'fldenv', 'fnstenv', 'frstor', 'fnsave', 'fxsave', 'fxrstor', 'xsave', 'xsaveopt', 'xsavec', 'xrstor',
])

const FAR_POINTER = /^(jmpf|callf|l[defgs]s)$/

/** Where an instruction makes several accesses, which of them faults first is up to the processor, and with what. */
function faultLeniencyOf({ name, operands }: InstructionRow): FaultLeniency {
  // Ten bytes of the x87 unit are read and written as eight and two, a far pointer as its offset and its selector.
  const inPieces = LONG_ACCESS.has(name) || operands.includes('Mt') || FAR_POINTER.test(name)
  return { anyAddress: inPieces, anyFault: inPieces || TWO_OPERANDS.has(name) }
}

function merge(forms: readonly Form[]): Leniency {
  const all = forms.map(leniencyOf)
  return {
    undefinedFlags: all.reduce((mask, one) => mask | one.undefinedFlags, 0),
    undefinedRegisters: all.reduce((mask, one) => mask | (one.undefinedRegisters ?? 0), 0),
    anyAddress: all.some((one) => one.anyAddress === true),
    anyFault: all.some((one) => one.anyFault === true),
    hiddenMemory: all.reduce((mask, one) => mask | (one.hiddenMemory ?? 0), 0),
    approximate: all.some((one) => one.approximate === true),
    estimate: all.some((one) => one.estimate === true),
  }
}

const hexBytes = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ')

/** Differences of one form that are kept for showing. */
const SAMPLES = 60
const UNDEFINED_OPCODE = 6

/**
 * Instructions of the processor underneath that ours does not offer: VEX, EVEX and XOP prefixes, 3DNow, and some of
 * 0F.
 */
function isNotOffered(bytes: Uint8Array): boolean {
  let at = 0
  while (at < 14 && /^(66|67|f[023]|2e|36|3e|26|64|65|4.)$/.test(bytes[at]!.toString(16))) at += 1
  if ([0xc4, 0xc5, 0x62, 0x8f].includes(bytes[at]!)) return true
  return bytes[at] === 0x0f && NOT_OFFERED.has(bytes[at + 1]!)
}

/**
 * Second bytes behind 0F where such instructions live: system extensions, CR8 as LOCK MOV CR0, RDPID,
 * XSAVE, SSE4a, AES, SHA, MOVBE ...
 */
const NOT_OFFERED = new Set([0x01, 0x0e, 0x0f, 0x20, 0x22, 0x2b, 0x38, 0x3a, 0x78, 0x79, 0xae, 0xc7])

/** The oracle at work. */
export class Comparison {
  readonly summary: Summary
  private readonly forms: readonly Form[]
  private readonly decoders: Readonly<Record<64 | 32 | 16, Decoder>>
  private readonly code: 64 | 32
  private readonly hosted: HostedExecutor
  private readonly regions: RegionExecutor
  private readonly random: SeededRandom
  private readonly seen = new Set<string>()
  private readonly path: string
  private readonly seed: number

  /** `library`: the machine layer whose regions are judged. */
  constructor(path: string, seed: number, o: { code?: 64 | 32; only?: (form: Form) => boolean; library?: { readonly Machine: typeof Machine } } = {}) {
    const { code = 64, only = () => true } = o
    const [long, short] = [decodeMaps('long', COMPARED_LEVEL), decodeMaps('short', COMPARED_LEVEL)]
    this.decoders = { 64: new Decoder(long, 64), 32: new Decoder(short, 32), 16: new Decoder(short, 16) }
    this.code = code
    this.path = path
    this.seed = seed
    this.random = new SeededRandom(seed)
    const all = allForms(code)
    this.forms = all.filter((form) => whyNotCompared(form, code) === undefined && only(form))
    this.summary = {
      known: all.length, comparable: this.forms.length, exercised: 0, cases: 0, noise: 0, notOffered: 0, mismatches: 0,
      samples: [], byForm: new Map(),
      regions: { carried: new Map(), alone: new Set(), between: new Set(), refused: new Set(), native: 0 },
    }
    this.hosted = new HostedExecutor(seed)
    this.regions = new RegionExecutor(seed, o.library)
  }

  private draft(forms: readonly Form[], mode?: CodeMode): OracleCase | undefined {
    const recipe = this.recipe(forms, mode)
    return recipe === undefined ? undefined : caseOf(recipe)
  }

  /** A recipe for some forms, or undefined when the bytes came out as something else. */
  private recipe(forms: readonly Form[], mode = randomMode(this.random, this.code)): Recipe | undefined {
    const recipe = makeRecipe(this.random, forms, mode)
    const decoder = this.decoders[mode.code]
    const one = caseOf(recipe)
    const code = one.patches[0]!.bytes
    const padded = new Uint8Array(code.length + 15).fill(0x90)
    padded.set(code)
    let at = 0
    for (const form of forms) {
      if (decoder.decode(padded, at, padded.length) !== DECODED.OK) return undefined
      if (decoder.instruction.row !== undefined && !sameRow(decoder, form)) return undefined
      at += decoder.instruction.length
    }
    return at === code.length && code.length <= 48 && one.patches.length <= MAX_PATCHES ? recipe : undefined
  }

  /** One vector for each form, with what the processor underneath makes of it; preferably one that does not fault. */
  record(): Vector[] {
    return this.forms.flatMap((form) => {
      const recipes = [1, 2, 3, 4].map(() => this.recipe([form])).filter((recipe) => recipe !== undefined)
      const outcomes = runNatively(this.path, recipes.map(caseOf), this.seed)
      const best = Math.max(outcomes.findIndex(({ end }) => end === END.STEPS), 0)
      const [recipe, outcome] = [recipes[best], outcomes[best]]
      if (recipe === undefined || outcome === undefined || outcome.end === END.KILLED) return []
      const leniency = this.leniency([form], caseOf(recipe))
      return [{ form: `${this.code === 64 ? '' : '32-bit code: '}${form.text}`, recipe, outcome, leniency }]
    })
  }

  /** Compares `count` cases: forms in turn, each alone. */
  singles(count: number, first: number): void {
    const picked: { form: Form; one: OracleCase }[] = []
    for (let i = 0; picked.length < count && i < count * 4; i += 1) {
      const form = this.forms[(first + i) % this.forms.length]!
      const one = this.draft([form])
      if (one !== undefined) picked.push({ form, one: LONG_ACCESS.has(form.row.name) ? one : this.checkingSome(one) })
    }
    this.compareAll(picked.map(({ form, one }) => ({ forms: [form], one })))
  }

  /** Forms that no region has carried to the end in this way, and that none has refused. */
  left(way: RegionWay): readonly Form[] {
    const { regions } = this.summary
    return this.forms.filter(({ text }) => !regions[way].has(text) && !regions.refused.has(text))
  }

  /** Compares a case of each form in compiled code, alone: with what the processor underneath and the interpreter make of it. */
  regionsAlone(forms: readonly Form[] = this.forms): void {
    const picked = this.draftEach(forms, (form) => [form])
    const native = runNatively(this.path, picked.map(({ one }) => one), this.seed)
    picked.forEach(({ form, one }, index) => {
      const theirs = native[index]!
      const ours = this.hosted.run(one)
      if (ours.uncompared || theirs.end === END.KILLED) return
      this.summary.cases += 1
      this.seen.add(form.text)
      this.note({ text: form.text, one, found: differences(ours, theirs, this.leniency([form], one)) })
      const outcome = this.compareRegion(form, { one, known: ours, way: 'alone' })
      if (outcome !== undefined && differences(outcome, ours, { undefinedFlags: 0 }).length === 0) this.summary.regions.native += 1
    })
    this.summary.exercised = this.seen.size
  }

  /** The same between two other instructions, with what the interpreter makes of all three. */
  regionsBetween(forms: readonly Form[] = this.forms): void {
    const { alone } = this.summary.regions
    const plain = this.plainForms().filter(({ memory, text }) => !memory && (alone.size === 0 || alone.has(text)))
    const neighbour = (): Form => plain[below(this.random, plain.length)]!
    for (const { form, one } of this.draftEach(forms, (middle) => [neighbour(), middle, neighbour()])) {
      this.summary.cases += 1
      this.compareRegion(form, { one, known: this.hosted.run(one, 'at once'), way: 'between' })
    }
  }

  /** A case of each form, with what stands around it. */
  private draftEach(forms: readonly Form[], around: (form: Form) => Form[]): { form: Form; one: OracleCase }[] {
    return forms.flatMap((form) => {
      const one = this.draft(around(form), this.flatMode)
      return one === undefined ? [] : [{ form, one }]
    })
  }

  /** What a region makes of a case, where there is one. */
  private compareRegion(form: Form, o: { readonly one: OracleCase; readonly known: HostedOutcome; readonly way: RegionWay }): HostedOutcome | undefined {
    const { carried, found, outcome } = this.regions.run(o.one, o.known)
    const { regions } = this.summary
    regions.carried.set(carried, (regions.carried.get(carried) ?? 0) + 1)
    if (carried === 'whole') regions[o.way].add(form.text)
    if (carried === 'first-instruction' && o.way === 'alone') regions.refused.add(form.text)
    this.note({ text: `${form.text}, compiled ${o.way}`, one: o.one, found })
    return outcome
  }

  /** One case in eight runs with alignment checks on. */
  private checkingSome(one: OracleCase): OracleCase {
    return below(this.random, 8) === 0 ? { ...one, flags: one.flags | ALIGNMENT_CHECK } : one
  }

  /**
   * Compares `count` cases of an instruction that sets flags and a conditional jump over another one, run as one
   * block.
   */
  branches(count: number): void {
    const setters = this.forms.filter(({ row }) => SETS_FLAGS.test(row.name))
    const jumps = this.forms.filter(({ row, size }) => row.name === 'jCC' && row.operands[0] === 'Jb' && size !== 16)
    const skipped = this.forms.filter(({ row, memory }) =>
      /^(mov|lea|inc|xor|sub)$/.test(row.name) && !memory && row.map === '' && row.operands[0] !== 'Sw')
    const end = this.forms.find(({ row, opcode, size }) => row.name === 'jmp' && opcode === 0xeb && size !== 16)
    if (setters.length === 0 || jumps.length === 0 || end === undefined) return
    const pick = (from: readonly Form[]): Form => from[below(this.random, from.length)]!
    const picked: { forms: Form[]; one: OracleCase }[] = []
    for (let i = 0; picked.length < count && i < count * 4; i += 1) {
      const forms = [pick(setters), pick(jumps), pick(skipped), end]
      const one = this.draft(forms, this.flatMode)
      if (one !== undefined && this.aimJumps(one, forms)) picked.push({ forms, one })
    }
    this.compareAll(picked, 'at once')
  }

  /** Lets the conditional jump lead over the instruction behind it, and the last jump to what follows. */
  private aimJumps(one: OracleCase, forms: readonly Form[]): boolean {
    const code = one.patches[0]!.bytes
    const lengths: number[] = []
    let at = 0
    for (let i = 0; i < forms.length; i += 1) {
      if (this.decoders[this.code].decode(code, at, code.length) !== DECODED.OK) return false
      lengths.push(this.decoders[this.code].instruction.length)
      at += this.decoders[this.code].instruction.length
    }
    code[lengths[0]! + lengths[1]! - 1] = lengths[2]!
    code[code.length - 1] = 0
    return true
  }

  /** Compares `count` cases of random bytes: only whether the same exception comes at the same place. */
  noise(count: number): void {
    const cases = Array.from({ length: count }, () => {
      const mode = randomMode(this.random, this.code)
      const base = mode.code === 64 ? 0 : baseOf(mode.selectors[1]!)
      return randomCase(this.random, REGIONS[0].address + 0x100 - base, this.randomBytes(), mode)
    })
    const native = runNatively(this.path, cases, this.seed)
    cases.forEach((one, index) => {
      const theirs = native[index]!
      if (theirs.end === END.KILLED || !this.comparableNoise(one)) return
      const ours = this.hosted.run(one)
      if (ours.uncompared) return
      if (isMisplacedLock(ours, theirs, one)) return
      const { summary } = this
      summary.noise += 1
      if (ours.end === UNDEFINED_OPCODE && theirs.end !== UNDEFINED_OPCODE && isNotOffered(one.patches[0]!.bytes)) {
        summary.notOffered += 1
        return
      }
      this.note({ text: 'random bytes', one, found: exceptionDiffers(ours, theirs, this.faultLeniency(one)) })
    })
  }

  private faultLeniency(one: OracleCase): FaultLeniency {
    const code = one.patches[0]!.bytes
    const decoder = this.decoderOf(one)
    if (decoder.decode(code, 0, code.length) !== DECODED.OK) return {}
    return faultLeniencyOf(decoder.instruction.row)
  }

  private randomBytes(): Uint8Array {
    const bytes = Uint8Array.from({ length: 15 }, () => below(this.random, 256))
    // Two-byte opcodes and prefixes are the larger part of what can be got wrong.
    if (below(this.random, 3) === 0) bytes[below(this.random, 3)] = 0x0f
    if (below(this.random, 4) === 0) bytes[0] = [0x66, 0xf2, 0xf3, 0xf0, 0x48, 0x67][below(this.random, 6)]!
    return bytes
  }

  /** What makers decide differently, or what a native run cannot show, is left out of random bytes. */
  private comparableNoise(one: OracleCase): boolean {
    const code = one.patches[0]!.bytes
    const decoder = this.decoderOf(one)
    if (decoder.decode(code, 0, code.length) !== DECODED.OK) return true
    const { row, operandSize, reg, opcode, repeat } = decoder.instruction
    // AMD's processors take the condition of LOOPcc from a repetition prefix.
    if (row.name.startsWith('loop') && repeat !== 0) return false
    const loadsStackSegment = (row.name === 'mov' && opcode === 0x8e && (reg & 7) === 2) || row.name === 'lss'
    return !loadsStackSegment && whyNotCompared({ row, size: operandSize }, this.code) === undefined
  }

  private decoderOf(one: OracleCase): Decoder {
    return this.decoders[modeOf(one.selectors).code]
  }

  /** Code without odd segments. */
  private get flatMode(): CodeMode {
    return this.code === 64 ? LONG_MODE : FLAT_MODE
  }

  /** Forms that others may stand around. */
  private plainForms(): Form[] {
    return this.forms.filter(({ row, size }) =>
      !BREAKS_SEQUENCES.test(row.name) && !APPROXIMATE.has(row.name) &&
      !LOADS_SEGMENT.test(`${row.name} ${row.operands[0]}`) && !(size === 16 && /^sh[lr]d/.test(row.name)))
  }

  /** Compares `count` cases of several instructions in a row. */
  sequences(count: number): void {
    const plain = this.plainForms()
    if (plain.length === 0) return
    const blind = plain.filter(({ row }) => !READS_FLAGS.test(row.name))
    const picked: { forms: Form[]; one: OracleCase }[] = []
    for (let i = 0; picked.length < count && i < count * 4; i += 1) {
      const forms: Form[] = []
      for (let left = 2 + below(this.random, 4); left > 0; left -= 1) {
        const from = forms.some(({ row }) => !/^a?$/.test(row.undefinedFlags)) ? blind : plain
        forms.push(from[below(this.random, from.length)]!)
      }
      const one = this.draft(forms, this.flatMode)
      if (one !== undefined) picked.push({ forms, one })
    }
    this.compareAll(picked)
  }

  /** What not to compare of a case. */
  private leniency(forms: readonly Form[], one: OracleCase): Leniency {
    const lenient = merge(forms)
    if (!/^rd(rand|seed)$/.test(forms[0]!.row.name)) return lenient
    const { bytes } = one.patches[0]!
    const decoder = this.decoderOf(one)
    decoder.decode(bytes, 0, bytes.length)
    // A processor whose source is exhausted clears the carry flag: whether it has a number is chance, too.
    return { ...lenient, undefinedRegisters: 1 << decoder.instruction.rm, undefinedFlags: lenient.undefinedFlags | CARRY }
  }

  private compareAll(
    cases: readonly { readonly forms: readonly Form[]; readonly one: OracleCase }[],
    how: 'traced' | 'at once' = 'traced',
  ): void {
    const native = runNatively(this.path, cases.map(({ one }) => one), this.seed)
    cases.forEach(({ forms, one }, index) => {
      const theirs = native[index]!
      const ours = this.hosted.run(one, how)
      if (ours.uncompared || theirs.end === END.KILLED) return
      this.summary.cases += 1
      for (const { text } of forms) this.seen.add(text)
      const form = forms.map(({ text }) => text).join('; ')
      this.note({ text: form, one, found: differences(ours, theirs, this.leniency(forms, one)) })
    })
    this.summary.exercised = this.seen.size
  }

  private note(o: { text: string; one: OracleCase; found: readonly string[] }): void {
    if (o.found.length === 0) return
    const { summary } = this
    summary.mismatches += 1
    const count = summary.byForm.get(o.text) ?? 0
    summary.byForm.set(o.text, count + 1)
    if (count >= SAMPLES) return
    const { bytes } = o.one.patches[0]!
    const text = listing(bytes, { address: o.one.rip, codeSize: this.code })
    summary.samples.push({ form: o.text, bytes: hexBytes(bytes), text, found: o.found, one: o.one })
  }
}

/** A case's code, one instruction behind the other. */
const listing = (code: Uint8Array, options: DisassemblyOptions): string =>
  [...disassembleAll(code, options)].map(({ text }) => text.replace(/ +/g, ' ')).join('; ')

/**
 * LOCK where it may not stand. Which fault comes first when the operand has one too is up to the processor, and AMD's
 * let VERR and VERW pass with it.
 */
function isMisplacedLock(ours: Outcome, theirs: Outcome, one: OracleCase): boolean {
  const code = one.patches[0]!.bytes
  const opcode = code.findIndex((byte) => !/^(66|67|f[023]|2e|36|3e|26|64|65|4.)$/.test(byte.toString(16)))
  if (ours.end !== UNDEFINED_OPCODE || !code.subarray(0, opcode).includes(0xf0)) return false
  const [first, second, modrm] = code.subarray(opcode)
  const isVerification = first === 0x0f && second === 0 && [4, 5].includes((modrm! >> 3) & 7)
  return isVerification || [12, 13, 14].includes(theirs.end)
}

function sameRow(decoder: Decoder, form: Form): boolean {
  const { row, opcode } = decoder.instruction
  return row.name === form.row.name && opcode === form.opcode && row.operands.join() === form.row.operands.join() && row.map === form.row.map
}

/**
 * Instructions that leave a register undefined or do not go on at the next one; and those that take components of the state as EAX
 * and EDX say, which the other instructions change: the processor underneath has components that ours does not.
 */
const BREAKS_SEQUENCES =
  new RegExp('^(rdrand|rdseed|rdtsc|v?rcp|v?rsqrt|xsave|xrstor|jmp|call|ret|iret|int|sys|hlt|ud|loop|jcxz|jCC|popf|pushf|lahf|bsf|bsr|' +
    'in|out|mov[cd]r|enter|leave|l[defgs]s|aa[as]|da[as])')
/** Natively a segment register is lost at the next single step. */
const LOADS_SEGMENT = /^(mov Sw|pop [fg]s)$/
/** Instructions that compilers put before a conditional jump. */
const SETS_FLAGS = /^(add|sub|cmp|test|and|or|xor|inc|dec|neg|adc|sbb)$/
/** Instructions that depend on flags; not behind one that leaves some of them undefined. */
const READS_FLAGS = /CC$|^(fcmov|adc|sbb|rc[lr]|cmc)/
