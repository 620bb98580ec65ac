/**
 * Writes instructions in AT&T's language as GNU objdump 2.40 prints them: sources first, sizes as suffixes where no
 * register tells them.
 * Reference: GNU as manual, "i386-Dependent".
 */
import type { MemoryOperand, Operand } from '../../interface/disassembled.ts'
import type { Instruction } from '../decode/decoder.ts'
import { CARRYLESS, COMPARISON_NAMES, baseName } from './names.ts'
import { operandCodes } from './operands.ts'

/** An instruction on its way to text. */
export interface Draft {
  readonly instruction: Instruction
  readonly operands: readonly Operand[]
  readonly codeSize: 16 | 32 | 64
}

/** Name and operands of an instruction in one of the two languages. */
export interface Words {
  readonly name: string
  readonly operands: readonly string[]
}

const SUFFIX: Readonly<Record<number, string>> = { 8: 'b', 16: 'w', 32: 'l', 64: 'q' }
const FLOAT_SUFFIX: Readonly<Record<number, string>> = { 32: 's', 64: 'l', 80: 't' }
const INTEGER_SUFFIX: Readonly<Record<number, string>> = { 16: 's', 32: 'l', 64: 'll' }

/** Instructions whose size shows in a suffix when no general register tells it. */
const SUFFIXED = new Set([
  'add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp', 'test', 'mov', 'inc', 'dec', 'not', 'neg', 'mul', 'imul',
  'div', 'idiv', 'rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'sar', 'bt', 'bts', 'btr', 'btc', 'nop', 'cvtsi2ss',
  'cvtsi2sd',
])
const FLOATS = new Set(['fadd', 'fmul', 'fcom', 'fcomp', 'fsub', 'fsubr', 'fdiv', 'fdivr', 'fld', 'fst', 'fstp'])
const INTEGERS = new Set([
  'fiadd', 'fimul', 'ficom', 'ficomp', 'fisub', 'fisubr', 'fidiv', 'fidivr', 'fild', 'fist', 'fistp', 'fisttp',
])
/** Conversions to a vector of 128 bits whose length only their operand in memory tells. */
const NARROWING = new Set(['vcvtpd2ps', 'vcvtpd2dq', 'vcvttpd2dq'])
/** Those whose operands an assembler writes in the manual's order. */
const UNREVERSED = new Set(['enter', 'bound'])
/** Vector instructions that compare or choose by xmm0 without encoding it. */
const BY_XMM0 = new Set(['pblendvb', 'blendvps', 'blendvpd', 'sha256rnds2'])
/** Registers that instructions without operands work on, as listings name them. */
const IMPLIED: Readonly<Record<string, readonly string[]>> = {
  monitor: ['%rax', '%ecx', '%edx'], mwait: ['%eax', '%ecx'], monitorx: ['%rax', '%ecx', '%edx'],
  mwaitx: ['%eax', '%ecx', '%ebx'], vmrun: ['%rax'], vmload: ['%rax'], vmsave: ['%rax'], skinit: ['%eax'],
  invlpga: ['%rax', '%ecx'], clzero: ['%rax'],
}

/** An address as hexadecimal digits, 64-bit ones in two's complement. */
export function addressText(address: number, codeSize: number): string {
  if (address >= 0) return address.toString(16)
  return (codeSize === 64 ? BigInt.asUintN(64, BigInt(address)) : BigInt(address >>> 0)).toString(16)
}

const signedHex = (value: number): string => (value < 0 ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`)

/** The index register as encoded: an SIB byte without one is shown where it would get lost. */
function indexText(operand: MemoryOperand, { instruction: i, codeSize }: Draft): string | undefined {
  if (operand.index !== undefined) return operand.index
  const hasSib = i.addressSize !== 16 && i.hasModrm && (i.modrm & 7) === 4
  // Without a base, 32-bit code has a shorter form for the same.
  const isLonger = codeSize !== 64 && i.base < 0
  const shows = hasSib && (i.scale !== 0 || isLonger || (i.base >= 0 && (i.base & 7) !== 4))
  return shows ? (i.addressSize === 64 ? 'riz' : 'eiz') : undefined
}

/** Address of an operand that is nothing but an offset, every bit of it. */
function offsetText(operand: MemoryOperand, { instruction: i, codeSize }: Draft): string {
  if (i.hasModrm && i.addressSize === 16) return signedHex(operand.displacement)
  if (i.hasModrm || i.addressSize !== 64) return `0x${addressText(operand.displacement, codeSize)}`
  return `0x${((BigInt(i.immediate2 >>> 0) << 32n) | BigInt(i.immediate >>> 0)).toString(16)}`
}

function memoryText(operand: MemoryOperand, draft: Draft): string {
  const { instruction: i, codeSize } = draft
  const { segment, base, displacement } = operand
  const isFixed = base !== undefined && !i.hasModrm
  const visible = segment !== undefined && (isFixed || codeSize !== 64 || i.segment >= 4)
  const prefix = visible ? `%${segment}:` : ''
  const index = isFixed ? undefined : indexText(operand, draft)
  if (base === undefined && index === undefined) {
    return `${prefix}${offsetText(operand, draft)}`
  }
  const number = operand.hasDisplacement ? signedHex(displacement) : ''
  const first = base === undefined ? '' : `%${base}`
  const scale = i.addressSize === 16 ? '' : `,${operand.scale}`
  return `${prefix}${number}(${first}${index === undefined ? '' : `,%${index}${scale}`})`
}

/** One operand. */
function operandText(operand: Operand, draft: Draft): string {
  switch (operand.kind) {
    case 'register': return `%${operand.register.replace(/^dr/, 'db')}`
    case 'immediate': return `$0x${operand.value.toString(16)}`
    case 'target': return `0x${addressText(operand.address, draft.codeSize)}`
    case 'far': return `$0x${operand.selector.toString(16)},$0x${operand.offset.toString(16)}`
    case 'memory': return memoryText(operand, draft)
  }
}

const memoryOf = (operands: readonly Operand[]): MemoryOperand | undefined =>
  operands.find((operand): operand is MemoryOperand => operand.kind === 'memory')

/** True when one of the operands is a general register that tells the size. */
const tellsSize = (i: Instruction): boolean =>
  operandCodes(i.row).some((code) => /^([GRZS]|al$|[re]AX$)/.test(code))

/** Suffix of an instruction that has no size of its own. */
function suffixOf({ instruction: i, operands, codeSize }: Draft): string {
  const { name } = i.row
  const memory = memoryOf(operands)
  if (memory !== undefined) {
    if (SUFFIXED.has(name) && i.row.alias === undefined && !tellsSize(i)) return SUFFIX[memory.size] ?? ''
    if (/^v?cvtsi2s/.test(name)) return SUFFIX[memory.size] ?? ''
    if (NARROWING.has(name)) return memory.size === 256 ? 'y' : 'x'
    if (FLOATS.has(name)) return FLOAT_SUFFIX[memory.size] ?? ''
    if (INTEGERS.has(name)) return INTEGER_SUFFIX[memory.size] ?? ''
  }
  if (/^(movs|cmps|ins|outs)$/.test(name)) return SUFFIX[memory!.size]!
  if (name.startsWith('loop') && i.addressSize !== codeSize) return SUFFIX[i.addressSize]!
  if (name === 'crc32') return SUFFIX[sizeOfOperand(operands[1]!)]!
  if (/^(fldenv|fnstenv|frstor|fnsave)$/.test(name)) return i.operandSize === 16 ? 's' : ''
  if (/^[sl][gi]dt$/.test(name) && codeSize !== 64) return SUFFIX[i.operandSize]!
  return i.operandSize === 16 && codeSize !== 16 && isNarrow(i, operands) ? 'w' : ''
}

const WITHOUT_OPERANDS = /^(pushf|popf|pusha|popa|leave|enter|ret)$/

/** True for an instruction on the stack or a branch whose 16 bits no register tells. */
function isNarrow({ row }: Instruction, operands: readonly Operand[]): boolean {
  if (row.operands.includes('Jb') || row.name === 'jCC') return false
  if (WITHOUT_OPERANDS.test(row.name)) return true
  const telling = operands.some(({ kind }, index) => kind === 'register' && !/^[cdefgs]s$/.test(row.operands[index]!))
  return /^(push|pop|call|jmp|callf|jmpf|xbegin)$/.test(row.name) && !telling
}

const sizeOfOperand = (operand: Operand): number => ('size' in operand ? operand.size : 0)

/** MOVZX and MOVSX carry both sizes in their name. */
function extending(i: Instruction, operands: readonly Operand[]): string {
  const [to, from] = operands
  const stem = i.row.name === 'movzx' ? 'movz' : 'movs'
  return `${stem}${SUFFIX[sizeOfOperand(from!)]!}${SUFFIX[sizeOfOperand(to!)]!}`
}

/** Subtractions and divisions into another register than the top of the stack swap names with their reverses. */
function swapped(name: string): string {
  const match = /^(fsub|fdiv)(r?)(p?)$/.exec(name)
  return match === null ? name : `${match[1]!}${match[2] === 'r' ? '' : 'r'}${match[3]!}`
}

function nameOf(draft: Draft): string {
  const { instruction: i, operands } = draft
  const { row } = i
  if (row.name === 'movzx' || row.name === 'movsx') return extending(i, operands)
  if (row.operands[0] === 'Ap') return (row.name === 'call' ? 'lcall' : 'ljmp') + suffixOf(draft)
  if (row.name === 'sysexit' && draft.codeSize !== 64) return 'sysexit'
  if (row.name === 'movsxd') return i.operandSize === 64 ? 'movslq' : 'movsxd'
  if (row.name === 'mov' && (row.immediates[0]?.startsWith('O') === true ? i.addressSize === 64
    : row.operands[1] === 'Iv' && i.operandSize === 64)) return 'movabs'
  if (row.operands[0] === 'sti' && row.map === '') return swapped(baseName(i))
  return baseName(i) + suffixOf(draft)
}

/** Comparisons named by their immediate; undefined for others. */
export function namedByImmediate(i: Instruction): string | undefined {
  const match = /^(v?cmp)([sp][sd])$/.exec(i.row.name)
  const named = i.row.vex === undefined ? 8 : COMPARISON_NAMES.length
  if (match !== null && i.immediate < named) return `${match[1]!}${COMPARISON_NAMES[i.immediate]!}${match[2]!}`
  if (i.row.name !== 'pclmulqdq' || CARRYLESS[i.immediate] === undefined) return undefined
  return `pclmul${CARRYLESS[i.immediate]!}dq`
}

/** Operands as they are listed, the manual's order. */
function listed(draft: Draft): string[] {
  const { instruction: i, operands } = draft
  const { row } = i
  const texts = operands.map((operand, index) => {
    const code = row.operands[index]!
    if (code === 'dx') return '(%dx)'
    return operandText(operand, draft)
  })
  if (/^(call|jmp)f?$/.test(row.name) && /^[EM]/.test(row.operands[0]!)) texts[0] = `*${texts[0]!}`
  const hidden = (index: number): boolean => row.operands[index] === '1' ||
    (row.operands[index] === 'st' && (memoryOf(operands) !== undefined || /^f(u?comp?p?|ucom)$/.test(row.name)))
  return texts.filter((_, index) => !hidden(index))
}

/** Name and operands as AT&T writes them. */
export function attWords(draft: Draft): Words {
  const { instruction: i } = draft
  const { row } = i
  const isNop = row.name === 'xchg' && row.map === '' && i.opcode === 0x90 && (i.rex & 1) === 0 && i.operandSize !== 16
  if (isNop) return { name: 'nop', operands: [] }
  const operands = listed(draft)
  const special = namedByImmediate(i)
  if (special !== undefined) return { name: special, operands: operands.slice(0, -1).reverse() }
  if (BY_XMM0.has(row.name)) operands.push('%xmm0')
  const implied = IMPLIED[row.name]
  if (implied !== undefined && row.alias === undefined) return { name: nameOf(draft), operands: implied }
  if (!UNREVERSED.has(row.name)) operands.reverse()
  return { name: nameOf(draft), operands }
}
