/**
 * Every form in which the decode table lets an instruction be written in 64-bit code, or in shorter code: row, opcode,
 * register or memory operand, operand size, LOCK, repetition. The generator makes cases of each.
 */
import { isMadeByAmd, isUnderneath } from './maker.ts'
import { instructionRows } from '../../src/machine/cpu/decode/table.ts'
import type { InstructionRow } from '../../src/machine/cpu/decode/table.ts'

/** One form. */
export interface Form {
  readonly row: InstructionRow
  readonly opcode: number
  /** Whether ModRM names memory; false for rows without ModRM. */
  readonly memory: boolean
  readonly size: 16 | 32 | 64
  readonly lock: boolean
  readonly repeat: 0 | 0xf2 | 0xf3
  /** With 256 bits. */
  readonly long: boolean
  /** As the table prints it. */
  readonly text: string
}

/** Instructions whose operand size shows in no operand. */
const SIZED = new Set([
  'cbw', 'cwd', 'pushf', 'popf', 'leave', 'enter', 'ret', 'retf', 'iret', 'push', 'pop', 'cmpxchg8b', 'sgdt', 'fldenv',
  'fnstenv', 'frstor', 'fnsave', 'fxsave', 'fxrstor', 'pcmpestri', 'pcmpestrm', 'pcmpistri',
  'pusha', 'popa',
])

function sizesOf(row: InstructionRow, code: 64 | 32): readonly (16 | 32 | 64)[] {
  if (row.vex?.wide !== undefined) return [row.vex.wide === 1 && row.mode === 'o64' ? 64 : 32]
  if (row.width === 'f64') return code === 64 ? [64] : [16, 32]
  const codes = row.operands.flatMap((code) => code.split('/'))
  const varies = codes.some((code) => /^[A-Z].*[vz]$/.test(code) || code === 'rAX' || code === 'eAX' || code === 'M')
  if (row.width === 'd64') return code === 64 ? [16, 64] : [16, 32]
  if (varies || SIZED.has(row.name)) return code === 64 ? [16, 32, 64] : [16, 32]
  return code === 64 && codes.some((operand) => /y$/.test(operand)) ? [32, 64] : [32]
}

function placesOf(row: InstructionRow): readonly boolean[] {
  if (!row.modrm || row.exact !== undefined) return [false]
  if (row.mod !== undefined) return [row.mod === 'm']
  const memoryOnly = row.operands.some((code) => code.startsWith('M'))
  const registerOnly = row.operands.some((code) => /^[RUNCD]/.test(code) && !code.includes('/'))
  const either = row.operands.some((code) => /^[EWQ]/.test(code) || code.includes('/'))
  if (memoryOnly) return [true]
  return registerOnly || !either ? [false] : [false, true]
}

const hex = (value: number): string => value.toString(16).padStart(2, '0')

function textOf(form: Omit<Form, 'text'>): string {
  const { row } = form
  const opcode = `${row.prefix ?? ''}${row.prefix === undefined ? '' : '+'}${row.map}${hex(form.opcode)}`
  const reg = row.exact !== undefined ? `:${hex(row.exact)}` : row.reg === undefined ? '' : `/${row.reg}`
  return `${opcode}${reg} ${row.name} ${row.operands.join()} ${form.size}${form.memory ? ' m' : ''}` +
    `${form.lock ? ' lock' : ''}${form.repeat === 0 ? '' : ` ${hex(form.repeat)}`}${form.long ? ' 256' : ''}`
}

const lengthsOf = ({ vex }: InstructionRow): readonly boolean[] =>
  (vex?.usesLength !== true ? [false] : vex.length === undefined ? [false, true] : [vex.length === 1])

const REPEATS = { none: [0], rep: [0, 0xf3], repcc: [0, 0xf2, 0xf3] } as const

function* formsOf(row: InstructionRow, code: 64 | 32): Generator<Form> {
  for (let opcode = row.opcode; opcode <= row.lastOpcode; opcode += 1) {
    for (const size of sizesOf(row, code)) {
      if (size === 16 && (row.vex !== undefined || row.prefix === '66' || row.prefix === 'np')) continue
      for (const memory of placesOf(row)) {
        for (const repeat of REPEATS[row.repeat ?? 'none']) {
          for (const lock of row.lock && memory ? [false, true] : [false]) {
            for (const long of lengthsOf(row)) {
              const form = { row, opcode, memory, size, lock, repeat, long }
              yield { ...form, text: textOf(form) }
            }
          }
        }
      }
    }
  }
}

/** Rows that are hidden by others of processors that have TZCNT and LZCNT. */
const isHidden = ({ name, alias }: InstructionRow): boolean => alias === 'lzcnt' || (alias === 'tzcnt' && name === 'bsf')

/** The level of the processor that is compared. */
export const COMPARED_LEVEL = 'x86-64-v3'

/** All forms of 64-bit code, or of 32-bit and 16-bit code, that the processor has. */
export function allForms(code: 64 | 32 = 64): Form[] {
  return instructionRows(COMPARED_LEVEL)
    .filter((row) => row.mode !== (code === 64 ? 'i64' : 'o64') && row.offered && !isHidden(row))
    .flatMap((row) => [...formsOf(row, code)])
}

/** Why a form is not compared with the processor underneath; undefined when it is. */
export function whyNotCompared({ row, size }: Pick<Form, 'row' | 'size'>, code: 64 | 32): string | undefined {
  // Far pointers with REX.W have offsets of 32 bits with AMD and of 64 bits with Intel.
  if (size === 64 && /^(l[sfg]s|callf|jmpf)$/.test(row.name) && !isMadeByAmd()) return 'differs between makers'
  // Near branches with an operand-size prefix are of 16 bits with AMD, and not with Intel.
  const isNear = row.width === 'd64' && /^(jCC|jmp|call|ret|loop(n?e)?|jcxz)$/.test(row.name)
  if (isNear && size === 16 && code === 64 && !isMadeByAmd()) return 'differs between makers'
  // Only AMD's processors know them outside of 64-bit mode, where the system has an entry of its own for the first.
  if (code === 32 && row.name === 'syscall') return 'system call'
  if (code === 32 && row.name === 'sysret' && !isMadeByAmd()) return 'differs between makers'
  if (row.feature !== undefined && !isUnderneath(row.feature)) return 'SKIPPED: the processor underneath has it not'
  return NOT_COMPARED[row.alias ?? row.name]
}

const NOT_COMPARED: Readonly<Record<string, string>> = {
  cpuid: 'answers differ on purpose', rdpmc: 'counters',
  sgdt: 'the system emulates it', sidt: 'the system emulates it', smsw: 'the system emulates it',
  sldt: 'the system emulates it', str: 'the system emulates it',
  int1: 'looks like a single step', sysenter: 'system call',
  xgetbv: 'answers differ on purpose', xsetbv: 'not of a process',
}
