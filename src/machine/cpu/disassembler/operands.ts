/**
 * From a decoded instruction and the operand codes of its row to operands as values: which register, which address,
 * which number. How they are written is not said here.
 * Reference: Intel SDM volume 2, appendix A.2.
 */
import type { MemoryOperand, Operand, OperandSize } from '../../interface/disassembled.ts'
import type { Instruction } from '../decode/decoder.ts'
import type { InstructionRow } from '../decode/table.ts'

const BYTE = ['al', 'cl', 'dl', 'bl', 'spl', 'bpl', 'sil', 'dil'] as const
const OLD_BYTE = ['al', 'cl', 'dl', 'bl', 'ah', 'ch', 'dh', 'bh'] as const
const WORD = ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di'] as const
/** Segment registers by number. */
export const SEGMENT_NAMES = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const

/** Name of a general register. */
export function registerName(number: number, size: number, hasRex = true): string {
  if (number >= 8) return `r${number}${size === 8 ? 'b' : size === 16 ? 'w' : size === 32 ? 'd' : ''}`
  if (size === 8) return (hasRex ? BYTE : OLD_BYTE)[number]!
  return `${size === 32 ? 'e' : size === 64 ? 'r' : ''}${WORD[number]!}`
}

/** What decoding knows besides the instruction itself. */
export interface DecodePlace {
  /** Address of the instruction, signed. */
  readonly address: number
  readonly codeSize: 16 | 32 | 64
}

/** Size that the last letters of an operand code stand for. */
export function sizeOf(i: Instruction, code: string): OperandSize {
  switch (code) {
    case 'al':
    case 'cl':
      return 8
    case 'ax':
    case 'dx':
      return 16
    case 'rAX': return i.operandSize
    case 'eAX': return i.operandSize === 16 ? 16 : 32
    case 'M': return 0
  }
  if (code.endsWith('dq')) return 128
  if (code.endsWith('qq')) return 256
  switch (code.slice(1, 2)) {
    case 'b': return 8
    case 'w': return 16
    case 'd': return 32
    case 'q': return 64
    case 't': return 80
    case 'y': return i.operandSize === 64 ? 64 : 32
    case 'z': return i.operandSize === 16 ? 16 : 32
    case 'x': return i.vexLength === 1 ? 256 : 128
    case 'h': return i.vexLength === 1 ? 128 : 64
    case 'f': return i.vexLength === 1 ? 64 : 32
    case 'e': return i.vexLength === 1 ? 32 : 16
    default: return i.operandSize
  }
}

/** Linear arithmetic as code of that size does it: 64-bit addresses are signed, shorter ones wrap. */
const wrap = (address: number, { codeSize }: DecodePlace): number =>
  codeSize === 64 ? address : ((address % 0x1_0000_0000) + 0x1_0000_0000) % 0x1_0000_0000

function memory(i: Instruction, place: DecodePlace, size: OperandSize): MemoryOperand {
  const bits = i.addressSize
  const name = (register: number): string | undefined => (register < 0 ? undefined : registerName(register, bits))
  const indices = i.row.vex?.indices
  const index = indices === undefined ? name(i.index) : vectorName(i.index, indices === 'x' && i.vexLength === 1 ? 256 : 128)
  const isRelative = i.ripRelative
  const address = isRelative ? wrap(place.address + i.length + i.displacement, place)
    : i.base < 0 && i.index < 0 ? i.displacement : undefined
  return {
    kind: 'memory', size, segment: i.segment < 0 ? undefined : SEGMENT_NAMES[i.segment],
    base: isRelative ? (bits === 64 ? 'rip' : 'eip') : name(i.base), index,
    scale: (1 << i.scale) as 1 | 2 | 4 | 8, displacement: i.displacement,
    hasDisplacement: (i.modrm >> 6) !== 0 || i.base < 0, address,
  }
}

/** Memory that a string instruction or XLAT reaches through a fixed register. */
function implied(i: Instruction, options: { register: number; segment: string; size: OperandSize }): MemoryOperand {
  return {
    kind: 'memory', size: options.size, segment: options.segment, base: registerName(options.register, i.addressSize),
    index: undefined, scale: 1, displacement: 0, hasDisplacement: false, address: undefined,
  }
}

const dataSegment = (i: Instruction): string => (i.segment < 0 ? 'ds' : SEGMENT_NAMES[i.segment]!)

/** An immediate as its code extends it. */
function immediate(i: Instruction, code: string): Operand {
  const size = sizeOf(i, code)
  const first = code === i.row.immediates[0]
  const number = first ? i.immediate : i.immediate2
  if (code === 'Iv' && size === 64) {
    const value = (BigInt(i.immediate2 >>> 0) << 32n) | BigInt(i.immediate >>> 0)
    return { kind: 'immediate', value, size }
  }
  // Iz and Ibs are extended to the operand's size.
  const wide = code === 'Iz' || code === 'Ibs' ? i.operandSize : size
  return { kind: 'immediate', value: BigInt.asUintN(wide, BigInt(number)), size: wide as OperandSize }
}

function target(i: Instruction, place: DecodePlace): Operand {
  const next = place.address + i.length + i.immediate
  const cut = i.operandSize === 16 ? next & 0xffff : wrap(next, place)
  return { kind: 'target', address: cut }
}

function offset(i: Instruction, code: string): MemoryOperand {
  const low = i.immediate >>> 0
  const address = i.addressSize === 64 ? (i.immediate2 | 0) * 0x1_0000_0000 + low : low
  return {
    kind: 'memory', size: sizeOf(i, code), segment: i.segment < 0 ? undefined : SEGMENT_NAMES[i.segment],
    base: undefined, index: undefined, scale: 1, displacement: address, hasDisplacement: true, address,
  }
}

/** Name of a vector register. */
const vectorName = (number: number, size: OperandSize): string => `${size === 256 ? 'ymm' : 'xmm'}${number}`

const register = (name: string, size: OperandSize): Operand => ({ kind: 'register', register: name, size })

/** A general register as an operand. */
const general = (i: Instruction, number: number, size: OperandSize): Operand =>
  register(registerName(number, size === 0 ? i.operandSize : size, i.rex !== 0), size)

function fixed(i: Instruction, code: string): Operand {
  switch (code) {
    case 'rAX':
    case 'eAX':
      return general(i, 0, sizeOf(i, code))
    case '1': return { kind: 'immediate', value: 1n, size: 8 }
    case 'st': return register('st', 80)
    case 'sti': return register(`st(${i.modrm & 7})`, 80)
    default: return register(code, sizeOf(i, code))
  }
}

/**
 * The operand codes of a row as listings read them: where 16 bits of a register are used, moves of segment registers
 * LAR and LSL name the whole register.
 */
export const operandCodes = ({ name, operands }: InstructionRow): readonly string[] =>
  name === 'lar' || name === 'lsl' || operands[0] === 'Sw' ? operands.map((code) => (code === 'Ew' ? 'Rv/Mw' : code)) : operands

/** The operand that a code of the row stands for. */
export function operandOf(i: Instruction, text: string, place: DecodePlace): Operand {
  const parts = text.split('/')
  const code = i.isMemory && parts.length > 1 ? parts[1]! : parts[0]!
  // Moves of control registers are as wide as the code's addresses.
  const size = i.row.registerOnly ? (place.codeSize === 64 ? 64 : 32) : sizeOf(i, code)
  const vector = (number: number): Operand => register(vectorName(number, size), size === 256 ? 256 : 128)
  const mmx = (number: number): Operand => register(`mm${number & 7}`, 64)
  switch (/^[A-Z]/.test(code) ? code.charAt(0) : '') {
    case 'E':
    case 'R':
      return i.isMemory ? memory(i, place, size) : general(i, i.rm, size)
    case 'M': return memory(i, place, size)
    case 'G': return general(i, i.reg, size)
    case 'Z': return general(i, (i.opcode & 7) | ((i.rex & 1) << 3), size)
    case 'H': return vector(i.vvvv)
    case 'L': return vector(i.immediate >> 4 & (place.codeSize === 64 ? 15 : 7))
    case 'B': return general(i, i.vvvv, size)
    case 'I': return immediate(i, code)
    case 'J': return target(i, place)
    case 'A': return { kind: 'far', selector: i.immediate2 & 0xffff, offset: i.immediate >>> 0 }
    case 'O': return offset(i, code)
    case 'X': return implied(i, { register: 6, segment: dataSegment(i), size })
    case 'Y': return implied(i, { register: 7, segment: 'es', size })
    case 'S': return register(SEGMENT_NAMES[i.reg & 7] ?? '?', 16)
    case 'C': return register(`cr${i.reg}`, size)
    case 'D': return register(`dr${i.reg}`, size)
    case 'V': return vector(i.reg)
    case 'W': return i.isMemory ? memory(i, place, size) : vector(i.rm)
    case 'U': return vector(i.rm)
    case 'P': return mmx(i.reg)
    case 'Q': return i.isMemory ? memory(i, place, size) : mmx(i.rm)
    case 'N': return mmx(i.rm)
    default: return fixed(i, code)
  }
}

/** The operand that XLAT implies. */
export const translateTable = (i: Instruction): MemoryOperand =>
  implied(i, { register: 3, segment: dataSegment(i), size: 8 })
