/**
 * The prefixes of an instruction that a listing names as words of their own: LOCK and repetitions, and those without
 * effect, so that the line can be assembled to the same bytes again.
 * Reference: Intel SDM volume 2, section 2.1.1; GNU as manual, "i386-Prefixes".
 */
import type { Instruction } from '../decode/decoder.ts'
import { operandCodes } from './operands.ts'

/** What a listing shows of the prefixes. */
export interface PrefixWords {
  readonly words: readonly string[]
  /** Prediction of a conditional jump. */
  readonly hint: 'pt' | 'pn' | undefined
}

const SEGMENTS: Readonly<Record<number, string>> = {
  0x26: 'es', 0x2e: 'cs', 0x36: 'ss', 0x3e: 'ds', 0x64: 'fs', 0x65: 'gs',
}
const REX = { W: 8, R: 4, X: 2, B: 1 } as const

const isRex = (byte: number, codeSize: number): boolean => codeSize === 64 && (byte & 0xf0) === 0x40
const isPrefix = (byte: number, codeSize: number): boolean =>
  SEGMENTS[byte] !== undefined || [0x66, 0x67, 0xf0, 0xf2, 0xf3].includes(byte) || isRex(byte, codeSize)

/** Instructions whose operand size shows in no operand code. */
const SIZED = new Set([
  'cbw', 'cwd', 'pushf', 'popf', 'leave', 'enter', 'ret', 'retf', 'iret', 'push', 'pop', 'pusha', 'popa', 'call',
  'callf', 'jmp', 'jmpf', 'xbegin', 'fldenv', 'fnstenv', 'frstor', 'fnsave',
])
/** Instructions that REX.W makes another: see names.ts. */
const WIDE = new Set([
  'cbw', 'cwd', 'iret', 'retf', 'sysret', 'sysexit', 'cmpxchg8b', 'fxsave', 'fxrstor', 'xsave', 'xrstor', 'xsaveopt',
  'xsavec', 'xsaves', 'xrstors',
])

/** The half of an operand code that counts for this ModRM. */
const part = (i: Instruction, code: string): string => code.split('/')[i.isMemory && code.includes('/') ? 1 : 0]!

const hasSizedOperand = (i: Instruction): boolean =>
  operandCodes(i.row).some((code) => /^[A-Z].*[vz]$|^[re]AX$/.test(part(i, code)))

/** True when the operand-size prefix changes the instruction, or is part of its opcode. */
function usesData(i: Instruction, codeSize: number): boolean {
  if (i.row.prefix === '66') return true
  if (i.operandSize === 64 || (i.row.width === 'f64' && codeSize === 64)) return false
  if (i.row.operands.includes('Jb') || i.row.name === 'jCC') return false
  return hasSizedOperand(i) || SIZED.has(i.row.name)
}

const usesAddress = (i: Instruction): boolean =>
  i.isMemory || /^(xlat|jcxz|loopn?e?|monitorx?|maskmov.*)$/.test(i.row.name) ||
  i.row.operands.some((code) => /^[XY]/.test(code))

/** True when a segment prefix applies to an operand. */
const usesSegment = (i: Instruction): boolean =>
  i.isMemory || i.row.name === 'xlat' || i.row.operands.some((code) => /^[XO]/.test(code))

/** Branches that may carry a prediction. */
const isPredicted = (i: Instruction): boolean => /^(jCC|jcxz|loopn?e?)$/.test(i.row.name)

/** Bits of REX that select something. */
function usedRex(i: Instruction): number {
  const { row } = i
  let used = 0
  // NOP is an exchange in name only.
  if (row.name === 'xchg' && i.opcode === 0x90 && row.map === '' && (i.rex & 1) === 0) return 0
  const letters = (pattern: RegExp): boolean =>
    row.operands.some((code) => code.split('/').some((half) => pattern.test(half)))
  const hasSize = operandCodes(row).some((code) => /[vy]$|^[A-Z]z$/.test(part(i, code)) || code === 'rAX')
  const sized = WIDE.has(row.name) || (hasSize && !/^(ins|outs|movcr|movdr)$/.test(row.name))
  if (sized && row.width === undefined) used |= REX.W
  if (letters(/^[GVCD]/)) used |= REX.R
  if (letters(/^[ZRU]/) || (row.modrm && letters(/^[EWM]/)) || (i.isMemory && letters(/^Q/))) used |= REX.B
  if (i.isMemory && (i.modrm & 7) === 4) used |= REX.X
  return used
}

/** True when a REX prefix without bits makes SPL to DIL of AH to BH. */
const choosesBytes = (i: Instruction): boolean => i.row.operands.some((code) => {
  if (!/^[EGZR]b/.test(code) || (i.isMemory && code.startsWith('E'))) return false
  const number = code.startsWith('G') ? i.reg : code.startsWith('Z') ? i.opcode : i.rm
  return (number & 4) !== 0
})

/** Stores that may carry XRELEASE. */
const ELISION_ENDS = new Set([0x88, 0x89, 0xc6, 0xc7])

/** Name of a repetition prefix for this instruction; undefined when it is part of the opcode. */
function repetition(i: Instruction, byte: number): string | undefined {
  const { row } = i
  if (row.prefix === 'f2' || row.prefix === 'f3') return undefined
  // On an exchange or a locked instruction they elide the lock; a plain store can end that.
  const isLocked = i.isMemory && ((i.lock && row.lock) || row.name === 'xchg')
  if (isLocked) return byte === 0xf2 ? 'xacquire' : 'xrelease'
  if (row.name === 'mov' && i.isMemory && byte === 0xf3 && ELISION_ENDS.has(i.opcode)) return 'xrelease'
  if (row.repeat === 'rep' && byte === 0xf3) return 'rep'
  const branches = /^(call|jmp|ret|jCC)$/.test(row.name) && !row.operands.includes('Ap')
  if (branches && byte === 0xf2) return 'bnd'
  return byte === 0xf2 ? 'repnz' : 'repz'
}

/** Name of a prefix without effect; undefined for REX and segments. */
function plainWord(byte: number, codeSize: number): string | undefined {
  switch (byte) {
    case 0x66: return codeSize === 16 ? 'data32' : 'data16'
    case 0x67: return codeSize === 32 ? 'addr16' : 'addr32'
    case 0xf0: return 'lock'
    case 0xf2: return 'repnz'
    case 0xf3: return 'repz'
    default: return undefined
  }
}

const rexName = (byte: number): string => {
  const letters = Object.entries(REX).filter(([, bit]) => (byte & bit) !== 0).map(([letter]) => letter).join('')
  return letters === '' ? 'rex' : `rex.${letters}`
}

/** Words for an instruction's prefixes, in the order of its bytes. */
export function listPrefixes(i: Instruction, bytes: Uint8Array, codeSize: 16 | 32 | 64): PrefixWords {
  let end = 0
  while (isPrefix(bytes[end] ?? 0x90, codeSize)) end += 1
  if (end === 0) return { words: [], hint: undefined }
  const last = (fits: (byte: number) => boolean): number => {
    for (let at = end - 1; at >= 0; at -= 1) if (fits(bytes[at]!)) return at
    return -1
  }
  const lasts = {
    segment: last((byte) => SEGMENTS[byte] !== undefined), data: last((byte) => byte === 0x66),
    address: last((byte) => byte === 0x67), repeat: last((byte) => byte === 0xf2 || byte === 0xf3),
  }
  let hint: PrefixWords['hint']
  const wordOf = (byte: number, at: number): string | undefined => {
    if (SEGMENTS[byte] !== undefined) {
      if (at !== lasts.segment) return SEGMENTS[byte]
      if (isPredicted(i) && (byte === 0x2e || byte === 0x3e)) hint = byte === 0x3e ? 'pt' : 'pn'
      return segmentWord(i, byte, codeSize)
    }
    if (byte === 0x66 && at === lasts.data && usesData(i, codeSize)) return undefined
    if (byte === 0x67 && at === lasts.address && usesAddress(i)) return undefined
    if ((byte === 0xf2 || byte === 0xf3) && at === lasts.repeat) return repetition(i, byte)
    const plain = plainWord(byte, codeSize)
    if (plain !== undefined) return plain
    const isUsed = at === end - 1 && (byte & 15 & ~usedRex(i)) === 0 && ((byte & 15) !== 0 || choosesBytes(i))
    return isUsed ? undefined : rexName(byte)
  }
  const words: string[] = []
  for (let at = 0; at < end; at += 1) {
    const word = wordOf(bytes[at]!, at)
    if (word !== undefined) words.push(word)
  }
  return { words, hint }
}

function segmentWord(i: Instruction, byte: number, codeSize: number): string | undefined {
  if (isPredicted(i) && (byte === 0x2e || byte === 0x3e)) return undefined
  const isIndirect = /^(call|jmp)$/.test(i.row.name) && i.row.operands[0]!.startsWith('E')
  if (byte === 0x3e && isIndirect) return 'notrack'
  const isString = !i.isMemory && usesSegment(i) && i.row.immediates.length === 0
  const isWritten = usesSegment(i) && (isString || codeSize !== 64 || byte === 0x64 || byte === 0x65)
  return isWritten ? undefined : SEGMENTS[byte]
}
