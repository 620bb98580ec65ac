/**
 * Lifters of the x87 instructions: each goes to the TypeScript handler of its name. What the unit's control bits
 * refuse is decided here, because code is decoded anew under other bits.
 *
 * Record: SHAPES.x87. The address of a memory operand is in t3 (`result` is not set then); displacement is the opcode as
 * the unit remembers it and above it the operand size.
 */
import { SEGMENT } from '../../../x86/index.ts'
import { SEGMENT_USE } from '../layout/segment-access.ts'
import { MODE, SLOT } from '../layout/state.ts'
import type { Lift, Lifter } from './lifter.ts'

/** Where the second operand is. */
export const X87_OPERAND = {
  register: 0, single: 1, double: 2, extended: 3, integer16: 4, integer32: 5, integer64: 6, decimal: 7, block: 8,
} as const

function operandKind(name: string, code: string): number {
  if (code === 'M') return X87_OPERAND.block
  if (code === 'Mt') return DECIMAL.has(name) ? X87_OPERAND.decimal : X87_OPERAND.extended
  const integer = INTEGER.has(name)
  if (code === 'Mw') return X87_OPERAND.integer16
  if (code === 'Md') return integer ? X87_OPERAND.integer32 : X87_OPERAND.single
  return integer ? X87_OPERAND.integer64 : X87_OPERAND.double
}

const names = (text: string): ReadonlySet<string> => new Set(text.split(' '))

const DECIMAL = /* @__PURE__ */ names('fbld fbstp')
/** Instructions whose memory operand is an integer. */
const INTEGER = /* @__PURE__ */ names('fiadd fimul fisub fisubr fidiv fidivr ficom ficomp fild fist fistp fisttp')
/** Instructions that write their memory operand. */
const WRITES = /* @__PURE__ */ names('fst fstp fist fistp fisttp fbstp fnstcw fnstsw fnstenv fnsave')
/** Those of them that do not wait for a pending exception. */
const UNWAITING = /* @__PURE__ */ names('fnstcw fnstsw fnstenv fnsave')
/** Instructions whose operand is the environment without the registers. */
const ENVIRONMENTS = /* @__PURE__ */ names('fldenv fnstenv')

const CODE_BYTES: Readonly<Record<string, number>> = { Mw: 2, Md: 4, Mq: 8, Mt: 10 }

function operandBytes(l: Lifter, name: string, code: string): number {
  const environment = l.instruction.operandSize === 16 ? 14 : 28
  return CODE_BYTES[code] ?? (ENVIRONMENTS.has(name) ? environment : environment + 80)
}

const x87 = (name: string): Lift => (l) => {
  if ((l.floatUnit & (MODE.SWITCHED | MODE.EMULATED)) !== 0) return l.finalHandler('nm')
  const { operands, kinds } = l.instruction.row
  const memory = operands.find((_, index) => kinds[index]!.names === 'memory')
  if (memory !== undefined) {
    const use = WRITES.has(name) ? SEGMENT_USE.WRITE : SEGMENT_USE.READ
    const access = { bytes: operandBytes(l, name, memory), use }
    // A pending exception comes before a fault of the operand.
    if (l.isChecked(l.segmentOf(SEGMENT.ds)) && !UNWAITING.has(name)) l.handler('wait')
    l.addressInto(SLOT.t3, access)
  }
  l.fields.stackRegister = memory === undefined ? l.instruction.rm & 7 : 0
  if (memory === undefined) l.fields.result = operands[0] === 'sti' ? l.instruction.rm & 7 : 0
  l.fields.operandKind = memory === undefined ? X87_OPERAND.register : operandKind(name, memory)
  l.fields.displacement = (l.instruction.operandSize << 16) | ((l.instruction.opcode & 7) << 8) | l.instruction.modrm
  l.handler(name)
}

/** All instructions by name; their rows are in decode/x87-rows.ts. */
export const X87_NAMES = [
  ...['fadd', 'fmul', 'fsub', 'fsubr', 'fdiv', 'fdivr'].flatMap((name) => [name, `${name}p`, `fi${name.slice(1)}`]),
  'fcom', 'fcomp', 'fcompp', 'fucom', 'fucomp', 'fucompp', 'fcomi', 'fcomip', 'fucomi', 'fucomip', 'ficom', 'ficomp',
  'fld', 'fst', 'fstp', 'fild', 'fist', 'fistp', 'fisttp', 'fbld', 'fbstp', 'fxch', 'ffree', 'ffreep', 'fstpnce',
  'fld1', 'fldl2t', 'fldl2e', 'fldpi', 'fldlg2', 'fldln2', 'fldz', 'fchs', 'fabs', 'ftst', 'fxam', 'fsqrt', 'frndint',
  'f2xm1', 'fyl2x', 'fptan', 'fpatan', 'fxtract', 'fprem', 'fprem1', 'fyl2xp1', 'fsincos', 'fscale', 'fsin', 'fcos',
  'fdecstp', 'fincstp', 'fnop', 'fneni', 'fndisi', 'fnsetpm', 'fnclex', 'fninit',
  'fldcw', 'fnstcw', 'fnstsw', 'fldenv', 'fnstenv', 'frstor', 'fnsave',
  ...['b', 'e', 'be', 'u', 'nb', 'ne', 'nbe', 'nu'].map((condition) => `fcmov${condition}`),
] as const

/** Lifters by name of instruction. */
export const X87_LIFTERS: Readonly<Record<string, Lift>> = /* @__PURE__ */ Object.fromEntries(
  X87_NAMES.map((name) => [name, x87(name)]))
