/**
 * Runs batches of cases on both processors and says where they differ, form by form. What is left out of a comparison follows from
 * the decode table's rows and from a few facts about the processor underneath, given here with their reason.
 */
import { DECODED, Decoder } from '../../src/machine/cpu/decode/decoder.ts'
import { buildMaps, instructionRows } from '../../src/machine/cpu/decode/table.ts'
import { below, SeededRandom } from '../../src/util/index.ts'
import { differences } from './compare.ts'
import type { Leniency } from './compare.ts'
import { makeCase } from './encode.ts'
import { type Form, allForms, whyNotCompared } from './forms.ts'
import { HostedExecutor } from './hosted.ts'
import { runNatively } from './native.ts'
import { END, type OracleCase } from './wire.ts'

const FLAG_BITS: Readonly<Record<string, number>> = { c: 0x1, p: 0x4, a: 0x10, z: 0x40, s: 0x80, o: 0x800 }
const lettersMask = (letters: string): number => [...letters].reduce((mask, letter) => mask | (FLAG_BITS[letter] ?? 0), 0)

/** A difference found. */
export interface Mismatch {
  readonly form: string
  readonly bytes: string
  readonly found: readonly string[]
  readonly one: OracleCase
}

/** What a run came to. */
export interface Summary {
  readonly known: number
  readonly comparable: number
  exercised: number
  cases: number
  mismatches: number
  readonly samples: Mismatch[]
  readonly byForm: Map<string, number>
}

/** Flags that shifts and rotations leave undefined, by their count: at most everything but what a count of 1 defines. */
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
  // SYSCALL leaves rcx and r11 to the host; natively a filter stands in its way.
  const undefinedRegisters = name === 'syscall' ? 0x802 : 0
  return {
    undefinedFlags: mask, undefinedRegisters, approximate: APPROXIMATE.has(name),
    hiddenMemory: name === 'pushf' ? 0x0101_0101 : name === 'fxsave' ? 0x2_0000 : 0, hiddenAddress: LONG_ACCESS.has(name) ? 0xfff : 0,
  }
}

const APPROXIMATE = new Set(['f2xm1', 'fyl2x', 'fyl2xp1', 'fptan', 'fpatan', 'fsin', 'fcos', 'fsincos'])
/** Accesses of more than 16 bytes, made in pieces of the processor's choice. */
const LONG_ACCESS = new Set(['fldenv', 'fnstenv', 'frstor', 'fnsave', 'fxsave', 'fxrstor'])

function merge(forms: readonly Form[]): Leniency {
  const all = forms.map(leniencyOf)
  return {
    undefinedFlags: all.reduce((mask, one) => mask | one.undefinedFlags, 0),
    undefinedRegisters: all.reduce((mask, one) => mask | (one.undefinedRegisters ?? 0), 0),
    hiddenAddress: all.reduce((mask, one) => mask | (one.hiddenAddress ?? 0), 0),
    hiddenMemory: all.reduce((mask, one) => mask | (one.hiddenMemory ?? 0), 0),
    approximate: all.some((one) => one.approximate === true),
  }
}

const hexBytes = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ')

/** The oracle at work. */
export class Comparison {
  readonly summary: Summary
  private readonly forms: readonly Form[]
  private readonly decoder = new Decoder(buildMaps(instructionRows(), true), 64)
  private readonly hosted: HostedExecutor
  private readonly random: SeededRandom
  private readonly seen = new Set<string>()
  private readonly path: string
  private readonly seed: number

  constructor(path: string, seed: number, only: (form: Form) => boolean = () => true) {
    this.path = path
    this.seed = seed
    this.random = new SeededRandom(seed)
    const all = allForms()
    this.forms = all.filter((form) => whyNotCompared(form) === undefined && only(form))
    this.summary = {
      known: all.length, comparable: this.forms.length, exercised: 0, cases: 0, mismatches: 0, samples: [], byForm: new Map(),
    }
    this.hosted = new HostedExecutor(seed)
  }

  /** A case of one form, or undefined when the bytes came out as something else. */
  draft(forms: readonly Form[]): OracleCase | undefined {
    const one = makeCase(this.random, forms)
    const code = one.patches[0]!.bytes
    const padded = new Uint8Array(code.length + 15).fill(0x90)
    padded.set(code)
    let at = 0
    for (const form of forms) {
      if (this.decoder.decode(padded, at, padded.length) !== DECODED.OK) return undefined
      if (this.decoder.instruction.row !== undefined && !sameRow(this.decoder, form)) return undefined
      at += this.decoder.instruction.length
    }
    if (forms.some(({ row }) => /^(lsl|lar|ver[rw])$/.test(row.name)) && pointsAtProcessorNumber(one)) return undefined
    return at === code.length && code.length <= 48 ? one : undefined
  }

  /** Compares `count` cases: forms in turn, each alone. */
  singles(count: number, first: number): void {
    const picked: { form: Form; one: OracleCase }[] = []
    for (let i = 0; picked.length < count && i < count * 4; i += 1) {
      const form = this.forms[(first + i) % this.forms.length]!
      const one = this.draft([form])
      if (one !== undefined) picked.push({ form, one })
    }
    this.compareAll(picked.map(({ form, one }) => ({ forms: [form], one })))
  }

  /** Compares `count` cases of several instructions in a row. */
  sequences(count: number): void {
    const plain = this.forms.filter(({ row, size }) =>
      !BREAKS_SEQUENCES.test(row.name) && !(size === 16 && /^sh[lr]d/.test(row.name)))
    const blind = plain.filter(({ row }) => !READS_FLAGS.test(row.name))
    const picked: { forms: Form[]; one: OracleCase }[] = []
    for (let i = 0; picked.length < count && i < count * 4; i += 1) {
      const forms: Form[] = []
      for (let left = 2 + below(this.random, 4); left > 0; left -= 1) {
        const from = forms.some(({ row }) => !/^a?$/.test(row.undefinedFlags)) ? blind : plain
        forms.push(from[below(this.random, from.length)]!)
      }
      const one = this.draft(forms)
      if (one !== undefined) picked.push({ forms, one })
    }
    this.compareAll(picked)
  }

  private compareAll(cases: readonly { readonly forms: readonly Form[]; readonly one: OracleCase }[]): void {
    const native = runNatively(this.path, cases.map(({ one }) => one), this.seed)
    cases.forEach(({ forms, one }, index) => {
      const theirs = native[index]!
      const ours = this.hosted.run(one)
      if (ours.uncompared || theirs.end === END.KILLED) return
      this.summary.cases += 1
      for (const { text } of forms) this.seen.add(text)
      this.note({ forms, one, found: differences(ours, theirs, merge(forms)) })
    })
    this.summary.exercised = this.seen.size
  }

  private note(o: { forms: readonly Form[]; one: OracleCase; found: readonly string[] }): void {
    if (o.found.length === 0) return
    const { summary } = this
    summary.mismatches += 1
    const form = o.forms.map(({ text }) => text).join('; ')
    const count = summary.byForm.get(form) ?? 0
    summary.byForm.set(form, count + 1)
    if (count < 25) summary.samples.push({ form, bytes: hexBytes(o.one.patches[0]!.bytes), found: o.found, one: o.one })
  }
}

/** Linux keeps the processor's number in the limit of a segment of its own. */
const pointsAtProcessorNumber = (one: OracleCase): boolean =>
  one.general.some((word, index) => index % 2 === 0 && (word & 0xfffc) === 0x78)

function sameRow(decoder: Decoder, form: Form): boolean {
  const { row, opcode } = decoder.instruction
  return row.name === form.row.name && opcode === form.opcode && row.operands.join() === form.row.operands.join()
}

/** Instructions that leave a register undefined or do not go on at the next one. */
const BREAKS_SEQUENCES =
  /^(jmp|call|ret|iret|int|syscall|sysret|hlt|ud|loop|jcxz|jCC|popf|pushf|lahf|bsf|bsr|in|out|mov[cd]r|enter|leave|l[defgs]s)/
/** Instructions that depend on flags; not behind one that leaves some of them undefined. */
const READS_FLAGS = /CC$|^(fcmov|adc|sbb|rc[lr]|cmc)/
