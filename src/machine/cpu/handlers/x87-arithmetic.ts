/**
 * x87 arithmetic, comparisons, and everything else that works on the register stack alone or with one memory operand
 * as its second source.
 * Reference: Intel SDM volume 1, chapter 8; volume 2, the instructions' pages.
 */
import {
  FLOAT_FLAG, Float80, REMAINDER, X87_STATUS, extract, loadConstant, loadDouble, loadInteger, loadSingle, remainder,
  scale,
} from '../../softfloat/index.ts'
import { RFLAGS } from '../../../x86/index.ts'
import type { Core, Views } from '../core/core.ts'
import type { FloatUnits } from '../core/float-units.ts'
import type { RegisterFile } from '../core/register-file.ts'
import { X87_OPERAND } from '../lift/x87.ts'
import { RECORD } from '../layout/record.ts'
import { SLOT, STATUS } from '../layout/state.ts'
import type { Handler } from '../core/handler.ts'
import { PRICE } from './prices.ts'
import { rows, type Handlers } from './rows.ts'
import {
  control, delivered, isEmpty, makeRoom, moveTop, noteInstruction, pending, pop, readRegister, report, setTag,
  stackFault, status, writeIndefinite, writeRegister,
} from './x87-unit.ts'

const { INVALID, DENORMAL, ZERO_DIVIDE } = FLOAT_FLAG
const { C0, C1, C2, C3, CONDITIONS, SUPPRESSED } = X87_STATUS
const ZERO = /* @__PURE__ */ new Float80()

/** An instruction that waits for pending exceptions. */
export const waiting = (body: (core: Core, record: number) => number | void): Handler => (core, record) => {
  const { registers } = core
  if (pending(core) !== STATUS.NEXT) return STATUS.FAULT
  core.floats.x87.setControl(control(registers))
  const ended = body(core, record) ?? STATUS.NEXT
  // As AMD's processors do: pointers are only kept for an instruction that leaves an exception pending.
  if ((status(registers) & 0x80) !== 0) noteInstruction(core, record)
  return ended
}

/** One that waits but is not itself remembered: loads of control words and environments. */
export const waitingControl = (body: (core: Core, record: number) => void): Handler => (core, record) => {
  if (pending(core) !== STATUS.NEXT) return STATUS.FAULT
  body(core, record)
  return STATUS.NEXT
}

const isNaN80 = (value: Float80): boolean =>
  (value.signExponent & 0x7fff) === 0x7fff && ((value.high & 0x7fff_ffff) | value.low) !== 0

/** A signaling NaN in memory counts as one until the operation has seen it: undoes the quieting of the load. */
function unquiet(value: Float80, loaded: number): void {
  if ((loaded & INVALID) !== 0) value.high &= ~0x4000_0000
}

/** Reads the memory operand as an 80-bit value; returns DENORMAL when it was one. */
function readOperand(
  { registers, memory, floats }: Views<'registers' | 'memory' | 'floats'>, kind: number, out: Float80,
): number {
  const unit = floats.x87
  const address = registers.address(SLOT.t3)
  const { view } = registers
  // All masked: what is wrong with the operand is the operation's to report.
  const inForce = unit.control
  unit.setControl(0x37f)
  let loaded = 0
  if (kind === X87_OPERAND.single) loaded = loadSingle(unit, memory.read32(address))
  else if (kind === X87_OPERAND.double) {
    const host = memory.hostForRead(address, 8)
    loaded = loadDouble(unit, view.getInt32(host, true), view.getInt32(host + 4, true))
  } else {
    const value = kind === X87_OPERAND.integer16 ? (memory.read16(address) << 16) >> 16 : memory.read32(address) | 0
    loadInteger(unit, value, value >> 31)
  }
  unit.setControl(inForce)
  out.copy(unit.result)
  unquiet(out, loaded)
  return loaded & DENORMAL
}

/** Adds the report of a denormal memory operand, which looks like a normal number once it is loaded. */
function withDenormal(floats: FloatUnits, result: number, other: Float80): number {
  if ((result & (INVALID | ZERO_DIVIDE)) !== 0 || isNaN80(other)) return result
  return floats.x87.traps(DENORMAL) ? DENORMAL | SUPPRESSED : result | DENORMAL
}

type Binary = 'add' | 'multiply' | 'subtract' | 'divide'

/** Leaves the second operand in `second`; the status is DENORMAL, or -1 when a register of the operation is empty. */
function takeOperands(core: Views<'registers' | 'records' | 'memory' | 'floats'>, record: number): number {
  const { registers, records } = core
  const { first, second } = core.floats
  const kind = records.field(record, RECORD.operandKind)
  if (kind !== X87_OPERAND.register) {
    const loaded = readOperand(core, kind, second)
    if (isEmpty(registers, 0)) return -1
    readRegister(registers, 0, first)
    return loaded
  }
  const [to, i] = [records.field(record, RECORD.result), records.field(record, RECORD.stackRegister)]
  if (isEmpty(registers, 0) || isEmpty(registers, i)) return -1
  readRegister(registers, to, first)
  readRegister(registers, to === 0 ? i : 0, second)
  return 0
}

const arithmetic = (operation: Binary, options: { reversed?: boolean; pops?: boolean }): Handler =>
  waiting((core, record) => {
    const { registers, records, floats } = core
    const { first, second, x87 } = floats
    const to = records.field(record, RECORD.operandKind) === X87_OPERAND.register ? records.field(record, RECORD.result) : 0
    const taken = takeOperands(core, record)
    if (taken < 0) {
      if (!stackFault(registers, 'underflow')) return
      writeIndefinite(registers, to)
    } else {
      let result = options.reversed === true ? x87[operation](second, first) : x87[operation](first, second)
      if (taken !== 0) result = withDenormal(floats, result, first)
      report(registers, result)
      if (!delivered(result)) return
      writeRegister(registers, to, x87.result)
    }
    if (options.pops === true) pop(registers)
  })

/** FCOM and its kin: conditions into the status word, or into RFLAGS. */
interface Comparison {
  readonly quiet?: boolean
  readonly pops?: number
  /** Into RFLAGS. */
  readonly flags?: boolean
  /** With zero. */
  readonly tests?: boolean
  /** With st1, whatever the record says. */
  readonly st1?: boolean
}

const compare = (options: Comparison): Handler =>
  waiting((core, record) => {
    const { registers } = core
    const { first, second, x87 } = core.floats
    const taken = takeCompared(core, record, options)
    let result: number
    if (taken < 0) {
      const masked = stackFault(registers, 'underflow')
      result = C0 | C2 | C3 | (masked ? 0 : SUPPRESSED)
    } else {
      result = options.quiet === true ? x87.compareQuietly(first, second) : x87.compare(first, second)
      if (taken !== 0 && (result & INVALID) === 0 && !isNaN80(first)) {
        result |= DENORMAL | (x87.traps(DENORMAL) ? SUPPRESSED : 0)
      }
      report(registers, result & ~CONDITIONS, options.flags === true ? 0 : C1)
    }
    deliverOrder(registers, result, options.flags === true)
    if (!delivered(result)) return
    for (let i = 0; i < (options.pops ?? 0); i += 1) pop(registers)
  })

function takeCompared(
  core: Views<'registers' | 'records' | 'memory' | 'floats'>, record: number, options: { tests?: boolean; st1?: boolean },
): number {
  const { registers, floats } = core
  if (options.tests !== true && options.st1 !== true) return takeOperands(core, record)
  if (isEmpty(registers, 0) || (options.st1 === true && isEmpty(registers, 1))) return -1
  readRegister(registers, 0, floats.first)
  if (options.st1 === true) readRegister(registers, 1, floats.second)
  else floats.second.copy(ZERO)
  return 0
}

function deliverOrder(registers: RegisterFile, result: number, flags: boolean): void {
  if (!flags) return report(registers, result & (C0 | C2 | C3), C0 | C2 | C3)
  const kept = registers.flags() & ~(RFLAGS.ZF | RFLAGS.PF | RFLAGS.CF | RFLAGS.OF | RFLAGS.SF | RFLAGS.AF)
  registers.setFlags(kept | ((result & C3) !== 0 ? RFLAGS.ZF : 0) | ((result & C2) !== 0 ? RFLAGS.PF : 0) |
    ((result & C0) !== 0 ? RFLAGS.CF : 0))
}

/** st0 := f(st0), perhaps with st1; `conditions` names the bits besides C1 that the result sets. */
const unary = (compute: (core: Core) => number, options: { two?: boolean; conditions?: number } = {}): Handler =>
  waiting((core) => {
    const { registers } = core
    const { first, second, x87 } = core.floats
    const conditions = C1 | (options.conditions ?? 0)
    if (isEmpty(registers, 0) || (options.two === true && isEmpty(registers, 1))) {
      if (stackFault(registers, 'underflow', conditions & (C1 | C2))) writeIndefinite(registers, 0)
      return
    }
    readRegister(registers, 0, first)
    readRegister(registers, 1, second)
    const result = compute(core)
    const failed = (result & (INVALID | SUPPRESSED)) !== 0 || isNaN80(first) ||
      (options.two === true && isNaN80(second))
    report(registers, result, failed ? conditions & (C1 | C2) : conditions)
    if (delivered(result)) writeRegister(registers, 0, x87.result)
  })

/** st1 := f(st0, st1), then st0 goes. */
const popping = (compute: (core: Core) => number): Handler =>
  waiting((core) => {
    const { registers } = core
    const { first, second, x87 } = core.floats
    if (isEmpty(registers, 0) || isEmpty(registers, 1)) {
      if (!stackFault(registers, 'underflow')) return
      writeIndefinite(registers, 1)
      return pop(registers)
    }
    const result = compute(withOperands(core, first, second))
    report(registers, result)
    if (!delivered(result)) return
    writeRegister(registers, 1, x87.result)
    pop(registers)
  })

function withOperands(core: Core, first: Float80, second: Float80): Core {
  const { registers } = core
  readRegister(registers, 0, first)
  readRegister(registers, 1, second)
  return core
}

/** st0 := result, then the second result is pushed. */
const pushing = (compute: (core: Core) => number, conditions = 0): Handler =>
  waiting((core) => {
    const { registers } = core
    const { first, x87 } = core.floats
    const under = isEmpty(registers, 0)
    if (under || !isEmpty(registers, 7)) {
      if (!stackFault(registers, under ? 'underflow' : 'overflow', C1 | conditions)) return
      writeIndefinite(registers, 0)
      moveTop(registers, -1)
      return writeIndefinite(registers, 0)
    }
    readRegister(registers, 0, first)
    const result = compute(core)
    report(registers, result, C1 | conditions)
    if (!delivered(result)) return
    writeRegister(registers, 0, x87.result)
    moveTop(registers, -1)
    writeRegister(registers, 0, x87.pushed)
  })

const constant = (index: number): Handler => waiting(({ registers, floats }) => {
  loadConstant(floats.x87, index)
  report(registers, 0)
  if (makeRoom(registers)) writeRegister(registers, 0, floats.x87.result)
})

const changeSign = (change: (signExponent: number) => number): Handler => waiting(({ registers, floats }) => {
  const { first } = floats
  if (isEmpty(registers, 0)) {
    if (stackFault(registers, 'underflow')) writeIndefinite(registers, 0)
    return
  }
  report(registers, 0)
  readRegister(registers, 0, first)
  first.signExponent = change(first.signExponent)
  writeRegister(registers, 0, first)
})

const exchange: Handler = waiting(({ registers, records, floats }, record) => {
  const { first, second } = floats
  const i = records.field(record, RECORD.stackRegister)
  if (isEmpty(registers, 0) || isEmpty(registers, i)) {
    if (!stackFault(registers, 'underflow')) return
    for (const register of [0, i]) if (isEmpty(registers, register)) writeIndefinite(registers, register)
  } else report(registers, 0)
  readRegister(registers, 0, first)
  readRegister(registers, i, second)
  writeRegister(registers, 0, second)
  writeRegister(registers, i, first)
})

const examine: Handler = waiting(({ registers, floats }) => {
  const { first, x87 } = floats
  readRegister(registers, 0, first)
  const result = isEmpty(registers, 0) ? C3 | C0 | ((first.signExponent & 0x8000) !== 0 ? C1 : 0) : x87.examine(first)
  report(registers, result, CONDITIONS)
})

/** FCMOVcc: `flags` any of which makes the condition true, or false when negated. */
const conditionalMove = (flags: number, negated: boolean): Handler => waiting(({ registers, records, floats }, record) => {
  const i = records.field(record, RECORD.stackRegister)
  if (isEmpty(registers, 0) || isEmpty(registers, i)) {
    if (stackFault(registers, 'underflow')) writeIndefinite(registers, 0)
    return
  }
  if (((registers.flags() & flags) !== 0) === negated) return
  writeRegister(registers, 0, readRegister(registers, i, floats.first))
})

const rotate = (by: number): Handler => waiting(({ registers }) => {
  report(registers, 0)
  moveTop(registers, by)
})

const nothing: Handler = waiting(() => {})

const OPERATIONS: readonly (readonly [name: string, operation: Binary, reversed: boolean])[] = [
  ['add', 'add', false], ['mul', 'multiply', false], ['sub', 'subtract', false], ['subr', 'subtract', true],
  ['div', 'divide', false], ['divr', 'divide', true],
]
const CONSTANTS = ['fld1', 'fldl2t', 'fldl2e', 'fldpi', 'fldlg2', 'fldln2', 'fldz']
const CARRY_OR_ZERO = RFLAGS.CF | RFLAGS.ZF

/** Handlers by name. */
export const X87_ARITHMETIC_HANDLERS: Handlers = {
  ...rows({
    ...Object.fromEntries(OPERATIONS.flatMap(([name, operation, reversed]) => [
      [`f${name}`, arithmetic(operation, { reversed })],
      [`f${name}p`, arithmetic(operation, { reversed, pops: true })],
      [`fi${name}`, arithmetic(operation, { reversed })],
    ])),
    frndint: unary(({ floats }) => floats.x87.roundToInteger(floats.first)),
    fxtract: pushing(({ floats }) => extract(floats.x87, floats.first)),
  }, { price: PRICE.x87Arithmetic }),
  ...rows({
    ...Object.fromEntries(CONSTANTS.map((name, index) => [name, constant(index)])),
    fcom: compare({}), fcomp: compare({ pops: 1 }), fcompp: compare({ pops: 2, st1: true }),
    fucom: compare({ quiet: true }), fucomp: compare({ quiet: true, pops: 1 }),
    fucompp: compare({ quiet: true, pops: 2, st1: true }),
    fcomi: compare({ flags: true }), fcomip: compare({ flags: true, pops: 1 }),
    fucomi: compare({ flags: true, quiet: true }), fucomip: compare({ flags: true, quiet: true, pops: 1 }),
    ficom: compare({}), ficomp: compare({ pops: 1 }), ftst: compare({ tests: true }), fxam: examine,
    fchs: changeSign((value) => value ^ 0x8000), fabs: changeSign((value) => value & 0x7fff), fxch: exchange,
    fcmovb: conditionalMove(RFLAGS.CF, false), fcmovnb: conditionalMove(RFLAGS.CF, true),
    fcmove: conditionalMove(RFLAGS.ZF, false), fcmovne: conditionalMove(RFLAGS.ZF, true),
    fcmovbe: conditionalMove(CARRY_OR_ZERO, false), fcmovnbe: conditionalMove(CARRY_OR_ZERO, true),
    fcmovu: conditionalMove(RFLAGS.PF, false), fcmovnu: conditionalMove(RFLAGS.PF, true),
  }, { price: PRICE.x87Move }),
  ...rows({
    fsqrt: unary(({ floats }) => floats.x87.squareRoot(floats.first)),
    fscale: unary(({ floats }) => scale(floats.x87, floats.first, floats.second), { two: true }),
  }, { price: PRICE.x87Long }),
  ...rows({
    fprem: unary(({ floats }) => remainder(floats.x87, floats.first, floats.second, REMAINDER.FPREM),
      { two: true, conditions: CONDITIONS }),
    fprem1: unary(({ floats }) => remainder(floats.x87, floats.first, floats.second, REMAINDER.FPREM1),
      { two: true, conditions: CONDITIONS }),
  }, { price: PRICE.x87Remainder }),
  ...rows({
    f2xm1: unary(({ floats }) => floats.transcendental.exp2MinusOne(floats.first)),
    fsin: unary(({ floats }) => floats.transcendental.sine(floats.first), { conditions: C2 }),
    fcos: unary(({ floats }) => floats.transcendental.cosine(floats.first), { conditions: C2 }),
    fyl2x: popping(({ floats }) => floats.transcendental.logarithm(floats.first, floats.second)),
    fyl2xp1: popping(({ floats }) => floats.transcendental.logarithmOfOnePlus(floats.first, floats.second)),
    fpatan: popping(({ floats }) => floats.transcendental.arctangent(floats.first, floats.second)),
    fptan: pushing(({ floats }) => floats.transcendental.tangent(floats.first), C2),
    fsincos: pushing(({ floats }) => floats.transcendental.sineCosine(floats.first), C2),
  }, { price: PRICE.x87Transcendental }),
  ...rows({
    fincstp: rotate(1), fdecstp: rotate(-1), fnop: nothing, fneni: () => STATUS.NEXT, fndisi: () => STATUS.NEXT,
    fnsetpm: () => STATUS.NEXT,
    ffree: waiting(({ registers, records }, record) => {
      report(registers, 0)
      setTag(registers, records.field(record, RECORD.stackRegister), 0)
    }),
    ffreep: waiting(({ registers, records }, record) => {
      report(registers, 0)
      setTag(registers, records.field(record, RECORD.stackRegister), 0)
      pop(registers)
    }),
  }),
}
