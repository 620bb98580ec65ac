/**
 * Which rows of the decode table an assembler's mnemonic may stand for. Nothing is listed here: each row is encoded with
 * each size and each kind of operand, and the disassembler says what it is called.
 */
import { Disassembler } from '../../src/machine/index.ts'
import { instructionRows, type InstructionRow, type OpcodeMap } from '../../src/machine/cpu/decode/table.ts'

/** A row as one mnemonic means it. */
export interface NamedForm {
  readonly row: InstructionRow
  /** One of the row's opcodes. */
  readonly opcode: number
  /** A prefix byte that makes the operands 16 or 32 bits wide, or REX.W. */
  readonly size: 'usual' | 'other' | 'wide'
  /** A prefix byte for the other address size, where the name depends on it and no operand shows it. */
  readonly otherAddress: boolean
}

/** One for all: it keeps its decoders. */
export const disassembler = new Disassembler()

/** Bytes of a map's escape. */
export const ESCAPES: Readonly<Record<OpcodeMap, readonly number[]>> = {
  '': [], '0f': [0x0f], '0f38': [0x0f, 0x38], '0f3a': [0x0f, 0x3a], vex0f: [], vex0f38: [], vex0f3a: [],
}
/** Bytes of mandatory prefixes. */
export const MANDATORY = { np: [], 66: [0x66], f3: [0xf3], f2: [0xf2] } as const

/** ModRM bytes by which a row may be met: a register, memory, what it demands. */
function modrmsOf({ modrm, exact, reg, mod }: InstructionRow): (number | undefined)[] {
  if (!modrm) return [undefined]
  if (exact !== undefined) return [exact]
  const low = (reg ?? 0) << 3
  return [...(mod === 'm' ? [] : [0xc0 | low | 1]), ...(mod === 'r' ? [] : [low | 1])]
}

const SIZES = ['usual', 'other', 'wide'] as const

/** Immediates that are part of a name: comparisons, halves of a product. */
export const NAMED_NUMBERS = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17] as const

function sample(row: InstructionRow, opcode: number, size: NamedForm['size'], modrm: number | undefined, [immediate, isOther]: readonly [number, boolean]): Uint8Array {
  const prefix = row.prefix === undefined ? [] : MANDATORY[row.prefix]
  return Uint8Array.from([
    ...(isOther ? [0x67] : []), ...(size === 'other' ? [0x66] : []), ...prefix, ...(size === 'wide' ? [0x48] : []), ...ESCAPES[row.map], opcode,
    ...(modrm === undefined ? [] : [modrm]), immediate, ...new Array<number>(11).fill(0),
  ])
}

const indexes = new Map<number, Map<string, NamedForm[]>>()

function buildIndex(codeSize: 16 | 32 | 64): Map<string, NamedForm[]> {
  const index = new Map<string, NamedForm[]>()
  const add = (name: string, form: NamedForm): void => {
    const known = index.get(name) ?? []
    const isKnown = known.some(({ row, opcode, size, otherAddress }) =>
      row === form.row && opcode === form.opcode && size === form.size && otherAddress === form.otherAddress)
    if (!isKnown) known.push(form)
    index.set(name, known)
  }
  for (const row of instructionRows()) {
    // It writes no VEX prefixes.
    if (row.mode === (codeSize === 64 ? 'i64' : 'o64') || row.vex !== undefined) continue
    for (let opcode = row.opcode; opcode <= row.lastOpcode; opcode += 1) {
      for (const size of SIZES) {
        if (size === 'wide' && codeSize !== 64) continue
        for (const modrm of modrmsOf(row)) {
          const numbers = row.immediates[0] === 'Ib' && (modrm ?? 0) >= 0xc0 ? NAMED_NUMBERS : [0]
          // LOOP and JCXZ count with the address size.
          const places = row.operands[0] === 'Jb' && row.lastOpcode === row.opcode ? [false, true] : [false]
          for (const [number, otherAddress] of numbers.flatMap((each) => places.map((place) => [each, place] as const))) {
            const found = disassembler.at(sample(row, opcode, size, modrm, [number, otherAddress]), 0, { codeSize })
            if (found.kind === 'offered' || found.kind === 'refused') add(found.mnemonic, { row, opcode, size, otherAddress })
          }
        }
      }
    }
  }
  return index
}

/** The forms that are called so, in the order of the table. */
export function namesOf(name: string, codeSize: 16 | 32 | 64): readonly NamedForm[] {
  let index = indexes.get(codeSize)
  if (index === undefined) indexes.set(codeSize, index = buildIndex(codeSize))
  return index.get(name) ?? []
}

/** Every mnemonic. */
export function allNames(codeSize: 16 | 32 | 64): readonly string[] {
  namesOf('', codeSize)
  return [...indexes.get(codeSize)!.keys()]
}
