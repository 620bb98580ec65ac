/**
 * Single instructions for random programs: the oracle's forms with operands that mostly lie in the test's data. Left out is
 * what leads elsewhere, and, where the processor underneath is to judge, what it leaves undefined.
 */
import { SeededRandom, below, type Random } from '../../src/util/index.ts'
import { drawInstruction } from '../oracle/encode.ts'
import { allForms, whyNotCompared, type Form } from '../oracle/forms.ts'
import { oneIn } from '../oracle/short-address.ts'
import type { Patch } from '../oracle/wire.ts'
import { disassembler } from '../support/assembler-names.ts'
import { writeNeighbours } from './neighbours.ts'
import type { ProgramWriter } from './writer.ts'

/** Who judges a program: the processor underneath, or another processor of ours, which leaves nothing undefined. */
export type Judge = 'native' | 'ours'

/** Control transfers, and what only hosts and kernels carry out. */
const LEADS_ELSEWHERE = /^(jmpf?|callf?|retf?|iret|int[13o]?|sys|hlt|ud|loop|jcxz|jCC|ins?$|outs?$|in$|mov[cd]r|cli|sti|l[defgs]s|bound|sgdt|sidt|smsw|sldt|str|cpuid|rdpmc)/
/** A program would lose its data with its segments, or its flags for good. */
const LOSES = /^(mov Sw|pop [c-gs]s|popf|wr[fg]sbase|v?ldmxcsr|fldcw|fldenv|frstor|fxrstor|xrstor|fninit|arpl)/
/**
 * Undefined results, other addresses of the x87 unit's last instruction, the time, reserves of random numbers; gathers, which may show a
 * single step behind any of their elements.
 */
const NOT_NATIVE = /^(rdrand|rdseed|rdtsc|v?rcp|v?rsqrt|vp?gather|pushf|lahf|bs[fr]|enter|leave|aa[as]|da[as]|fnst?env|fnsave|fxsave|xsave|v?stmxcsr|f2xm1|fyl2x|fptan|fpatan|fsin|fcos|cmps)/
/** AF alone is undefined so often, and read so rarely, that those who read it are left out instead. */
const ONLY_AF = /^a?$/

/** Vectors by VEX are a third of all forms and end a region: by their number they would leave little else to be seen. */
const IS_VEX = /vex/
const VEX_ONE_IN = 8
/** Instructions with some accesses near to each other before them. */
const NEIGHBOURS_ONE_IN = 6

interface Stock {
  readonly vex: readonly Form[]
  readonly others: readonly Form[]
}

const stocks = new Map<string, Stock>()

function stockOf(code: 64 | 32, judge: Judge): Stock {
  const key = `${code} ${judge}`
  let stock = stocks.get(key)
  if (stock === undefined) {
    const forms = allForms(code).filter((form) => {
      const { row, size } = form
      const name = `${row.name} ${row.operands[0] ?? ''}`
      if (LEADS_ELSEWHERE.test(row.name) || LOSES.test(name)) return false
      return judge === 'ours' || (whyNotCompared(form, code) === undefined && !NOT_NATIVE.test(name) && !(size === 16 && /^sh[lr]d/.test(row.name)))
    })
    const vex = forms.filter(({ text }) => IS_VEX.test(text))
    stocks.set(key, stock = { vex, others: forms.filter((form) => !vex.includes(form)) })
  }
  return stock
}

/** Whether an instruction changes the stack pointer by naming it; its stack would be gone. */
function movesStack(bytes: readonly number[], isLong: boolean): boolean {
  const text = disassembler.at(Uint8Array.from(bytes), 0, { codeSize: isLong ? 64 : 32 }).text
  return /%(rsp|esp|spl?)(,|$)/.test(text)
}

/** Writes single instructions for one judge. */
export class Fillers {
  private readonly random: Random
  private readonly writer: ProgramWriter
  private readonly judge: Judge
  private readonly stock: Stock
  /** Memory that instructions want to find. */
  readonly patches: Patch[] = []

  constructor(random: Random, writer: ProgramWriter, judge: Judge) {
    this.random = random
    this.writer = writer
    this.judge = judge
    this.stock = stockOf(writer.isLong ? 64 : 32, judge)
  }

  /** One instruction, behind those that give its registers what it wants. */
  one(): void {
    const { random, writer } = this
    const forms = this.stock[oneIn(random, VEX_ONE_IN) ? 'vex' : 'others']
    const form = forms[below(random, forms.length)]!
    const seed = random.next()
    const draw = (rip: number): ReturnType<typeof drawInstruction> =>
      drawInstruction(new SeededRandom(seed), form, { rip, mode: writer.mode })
    // Undefined flags are none of the question there.
    if (writer.isLong && this.judge === 'ours' && seed % NEIGHBOURS_ONE_IN === 0) writeNeighbours(new SeededRandom(seed), writer)
    const first = draw(writer.here)
    if (movesStack(first.bytes, writer.isLong) && !oneIn(random, 16)) return
    for (const [register, [low, high]] of first.general) {
      // What stands in a register by chance is seldom an address.
      if (register === 4 || oneIn(random, 10)) continue
      writer.set(register, low >>> 0, high >>> 0)
    }
    const { bytes, patches } = draw(writer.here)
    this.patches.push(...patches)
    writer.raw(...bytes)
    if (this.judge === 'native' && !ONLY_AF.test(form.row.undefinedFlags)) writer.raw(0x39, 0xc0 | below(random, 64))
  }
}
