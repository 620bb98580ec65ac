/**
 * The decode table as data: what every opcode is called and what its operands are. The decoder, the disassembler and
 * test generators walk it; what an instruction does is found by its name elsewhere.
 *
 * A row of text is `opcode name operands attributes...`:
 *   opcode      hex byte, or a range (50-57); `/3` demands ModRM.reg, `m` or `r` a memory or register operand, `:d0`
 *               the whole ModRM byte; `f3+` demands a mandatory prefix, `np+` none
 *   name        CC stands for the condition in the opcode's low four bits
 *   operands    Intel's letters: E ModRM operand, G register in ModRM.reg, R register in ModRM.rm, M memory, Z register
 *               in the opcode, I immediate, J branch target, A far pointer, O offset, X and Y string operands, S C D
 *               segment, control, debug register, V W U vector registers, P Q N MMX; sizes b w d q dq v (16, 32 or 64)
 *               z (16 or 32) y (32 or 64) s (sign-extended byte); anything else is a fixed register or the number 1.
 *               `x/y`: x as a register, y as memory
 *   attributes  lock: may carry LOCK with a memory destination; rep, repcc: repetition prefixes; i64, o64: not in, only
 *               in 64-bit mode; d64: 64-bit operands by default there; f64: always (near branches are d64, as with AMD); u=...: flags left undefined
 *               (letters; `count`: depends on the count); unaligned: 128 bits in memory may lie anywhere; as=...: how
 *               the assembler calls it where that is not the name of what it does here; the name of a CPUID feature
 *               (x86/cpuid.ts): exists only with it; legacy: without it the bytes are another instruction, whose row
 *               follows; host: carried out for a processor that has a host, whatever CPUID offers. Those of VEX
 *               prefixes: vex-rows.ts
 * A row whose feature is not offered is there to be named and measured; it raises #UD as any processor without it does.
 */
import { isCpuFeature } from '../../../x86/index.ts'
import type { CpuFeature } from '../../../x86/index.ts'
import { DEFAULT_LEVEL, isOffered } from '../cpuid/features.ts'
import type { ProcessorLevel } from '../cpuid/features.ts'
import { ONE_BYTE } from './one-byte.ts'
import { operandKind, type OperandKind } from './operand-codes.ts'
import { MAP_38, MAP_3A, TWO_BYTE } from './two-byte.ts'
import { VECTOR_ROWS } from './vector-rows.ts'
import { MAP_38_VEX, MAP_3A_VEX } from './vex-long-rows.ts'
import { TWO_BYTE_VEX } from './vex-rows.ts'
import { X87_ROWS } from './x87-rows.ts'

/** Opcode maps by the bytes that lead to them, those of VEX prefixes by the bytes that these stand for. */
export type OpcodeMap = '' | '0f' | '0f38' | '0f3a' | VexMap
/** Opcode maps of VEX prefixes. */
export type VexMap = 'vex0f' | 'vex0f38' | 'vex0f3a'
/** Mandatory prefixes: none at all, or one of three. */
export type MandatoryPrefix = 'np' | '66' | 'f3' | 'f2'

/** One row. Each has all properties, so that the decoder and the lifters meet objects of one shape only. */
export interface InstructionRow {
  /** Its place among all rows that have been asked for, for lists that have something for each. */
  readonly number: number
  readonly map: OpcodeMap
  /** First and last opcode byte of the row. */
  readonly opcode: number
  readonly lastOpcode: number
  readonly prefix: MandatoryPrefix | undefined
  /** Demanded ModRM.reg, kind of ModRM.mod, or whole ModRM byte. */
  readonly reg: number | undefined
  readonly mod: 'm' | 'r' | undefined
  readonly exact: number | undefined
  readonly name: string
  readonly operands: readonly string[]
  /** What each operand is. */
  readonly kinds: readonly OperandKind[]
  readonly lock: boolean
  readonly repeat: 'rep' | 'repcc' | undefined
  readonly mode: 'i64' | 'o64' | undefined
  readonly width: 'd64' | 'f64' | undefined
  /** What CPUID must offer for the instruction to exist; none for what every processor has. */
  readonly feature: CpuFeature | undefined
  /** False when the processor has not that feature: the instruction raises #UD. */
  readonly offered: boolean
  /** Is carried out all the same: whether it exists hangs on whether the processor has a host. */
  readonly isHosts: boolean
  /** An operand of 128 bits in memory may lie anywhere; with VEX any operand. */
  readonly unaligned: boolean
  /** What a VEX prefix says beyond what all instructions have; undefined without one. */
  readonly vex: VexTraits | undefined
  /** Where the processor has not the feature, there is no such row. */
  readonly legacy: boolean
  /** How assemblers call it, where that differs from `name`. */
  readonly alias: string | undefined
  /** Letters of flags that the manual leaves undefined, or `count`. */
  readonly undefinedFlags: string
  /** True when a ModRM byte follows the opcode. */
  readonly modrm: boolean
  /** ModRM.mod is ignored: the operand is a register (moves of control and debug registers). */
  readonly registerOnly: boolean
  /** Immediates that follow, by operand code. */
  readonly immediates: readonly string[]
}

/** What rows of VEX prefixes say. */
export interface VexTraits {
  /** Demanded VEX.L and VEX.W. */
  readonly length: 0 | 1 | undefined
  readonly wide: 0 | 1 | undefined
  /** An operand has 256 bits where VEX.L is 1; else that means nothing. */
  readonly usesLength: boolean
  /** VEX.vvvv names an operand; where it names none its bits have to be ones. */
  readonly usesSecond: boolean
  /** Feature of the form with 256 bits, where that is another one. */
  readonly longFeature: CpuFeature | undefined
  /** Bits of the vector that holds the indices of addresses: 128, or as many as VEX.L says; undefined for plain addresses. */
  readonly indices: 'dq' | 'x' | undefined
}

const SPEC = /^(?:(np|66|f3|f2)\+)?([0-9a-f]{2})(?:-([0-9a-f]{2}))?(?:\/([0-7]))?([mr])?(?::([0-9a-f]{2}))?$/

const stands = (code: string, place: OperandKind['place']): boolean => operandKind(code).place === place

/** Sizes of operands that follow VEX.L. */
const FOLLOWS_LENGTH = /^[A-Z][xhfe]$/

function vexTraits(operands: readonly string[], attributes: readonly string[]): VexTraits {
  const has = (attribute: string): boolean => attributes.includes(attribute)
  const value = (name: string): string | undefined => attributes.find((text) => text.startsWith(`${name}=`))?.slice(name.length + 1)
  const isAny = has('lig') || has('anyl') || operands.some((code) => FOLLOWS_LENGTH.test(code))
  const longFeature = value('y')
  return {
    length: isAny ? undefined : has('l1') ? 1 : 0,
    wide: has('w0') ? 0 : has('w1') ? 1 : undefined,
    usesLength: operands.some((code) => FOLLOWS_LENGTH.test(code) || code.endsWith('qq')) || value('vsib') === 'x',
    usesSecond: operands.some((code) => stands(code, 'vvvv')),
    longFeature: longFeature !== undefined && isCpuFeature(longFeature) ? longFeature : undefined,
    // The letters of the rows.
    indices: value('vsib') as 'dq' | 'x' | undefined,
  }
}

const isVex = (map: OpcodeMap): map is VexMap => map.startsWith('vex')

/** What the rows of a map share. */
interface MapTraits {
  readonly map: OpcodeMap
  readonly level: ProcessorLevel
  readonly usualFeature?: CpuFeature
}

/** Makes a row of its text. */
function parseRow({ map, level, usualFeature }: MapTraits, line: string, number: number): InstructionRow {
  const [spec = '', name = '', operandText = '-', ...attributes] = line.split(/\s+/)
  const match = SPEC.exec(spec)
  if (match === null || name === '') throw new Error(`not a row of the decode table: ${line}`)
  const [, prefix, first, last, reg, mod, exact] = match
  const operands = operandText === '-' ? [] : operandText.split(',')
  const has = (attribute: string): boolean => attributes.includes(attribute)
  const feature = attributes.find(isCpuFeature) ?? usualFeature
  return {
    number, map, opcode: parseInt(first!, 16), lastOpcode: parseInt(last ?? first!, 16), name, operands, kinds: operands.map(operandKind),
    prefix: prefix as MandatoryPrefix | undefined,
    reg: reg === undefined ? undefined : Number(reg),
    mod: mod as 'm' | 'r' | undefined,
    exact: exact === undefined ? undefined : parseInt(exact, 16),
    repeat: has('rep') ? 'rep' : has('repcc') ? 'repcc' : undefined,
    mode: has('i64') ? 'i64' : has('o64') ? 'o64' : undefined,
    width: has('d64') ? 'd64' : has('f64') ? 'f64' : undefined,
    feature,
    offered: feature === undefined || isOffered(feature, level),
    isHosts: has('host'),
    alias: attributes.find((text) => text.startsWith('as='))?.slice(3),
    lock: has('lock'),
    undefinedFlags: attributes.find((text) => text.startsWith('u='))?.slice(2) ?? '',
    unaligned: isVex(map) ? !has('aligned') : has('unaligned'),
    vex: isVex(map) ? vexTraits(operands, attributes) : undefined,
    legacy: has('legacy'),
    modrm: [reg, mod, exact].some((part) => part !== undefined) || operands.some((code) => stands(code, 'rm') || stands(code, 'reg')),
    registerOnly: name === 'movcr' || name === 'movdr',
    immediates: operands.filter((code) => stands(code, 'immediate')),
  }
}

/** What stands in a line before it is read: its opcodes. */
const OPCODES = /^(?:(?:np|66|f3|f2)\+)?([0-9a-f]{2})(?:-([0-9a-f]{2}))?/

/** The texts of all maps, in the order of the rows, and the feature that their rows need unless they say another one. */
const TEXTS: readonly (readonly [map: OpcodeMap, text: string, usualFeature?: CpuFeature])[] = [
  ['', ONE_BYTE], ['', X87_ROWS, 'fpu'], ['0f', TWO_BYTE], ['0f38', MAP_38], ['0f3a', MAP_3A],
  ['0f', VECTOR_ROWS['0f']], ['0f38', VECTOR_ROWS['0f38']], ['0f3a', VECTOR_ROWS['0f3a']],
  ['vex0f', TWO_BYTE_VEX], ['vex0f38', MAP_38_VEX], ['vex0f3a', MAP_3A_VEX],
]

/** One line of the table. */
interface Line {
  readonly traits: MapTraits
  readonly text: string
  /** Which of the texts it is from. */
  readonly part: number
  row: InstructionRow | undefined
}

/** The lines of a map, and those of each opcode. */
interface MapLines {
  readonly lines: Line[]
  readonly byOpcode: Line[][]
}

function linesOf(map: OpcodeMap, level: ProcessorLevel): MapLines {
  const [lines, byOpcode]: [Line[], Line[][]] = [[], []]
  for (const [part, [of, text, usualFeature]] of TEXTS.entries()) {
    if (of !== map) continue
    const traits: MapTraits = { map, level, ...(usualFeature === undefined ? {} : { usualFeature }) }
    for (const each of text.split('\n')) {
      if (each.trim() === '') continue
      const line: Line = { traits, text: each.trim(), part, row: undefined }
      const [, first, last = first] = OPCODES.exec(line.text) ?? []
      if (first === undefined || last === undefined) throw new Error(`not a row of the decode table: ${line.text}`)
      for (let opcode = parseInt(first, 16); opcode <= parseInt(last, 16); opcode += 1) (byOpcode[opcode] ??= []).push(line)
      lines.push(line)
    }
  }
  return { lines, byOpcode }
}

/**
 * The table as a processor of a level has it. There are some two thousand lines, and most programs meet a few hundred of them: a
 * map is split into lines when somebody looks into it, and a line becomes a row when somebody asks for it, the same one each time.
 */
export class InstructionTable {
  private readonly level: ProcessorLevel
  private readonly maps = new Map<OpcodeMap, MapLines>()
  private made = 0

  constructor(level: ProcessorLevel) {
    this.level = level
  }

  /** The rows of an opcode, in the order of the table. */
  at(map: OpcodeMap, opcode: number): InstructionRow[] {
    return (this.map(map).byOpcode[opcode] ?? []).map((line) => this.row(line))
  }

  /** All rows, in the order of the texts. */
  all(): InstructionRow[] {
    const maps = new Set(TEXTS.map(([map]) => map))
    const lines = [...maps].flatMap((map) => this.map(map).lines)
    return lines.sort((one, other) => one.part - other.part).map((line) => this.row(line))
  }

  private map(map: OpcodeMap): MapLines {
    let lines = this.maps.get(map)
    if (lines === undefined) this.maps.set(map, lines = linesOf(map, this.level))
    return lines
  }

  private row(line: Line): InstructionRow {
    if (line.row === undefined) {
      line.row = parseRow(line.traits, line.text, this.made)
      this.made += 1
    }
    return line.row
  }
}

/** All rows, in the order of the maps; `offered` as a processor of that level has them. */
export const instructionRows = (level: ProcessorLevel = DEFAULT_LEVEL): InstructionRow[] => new InstructionTable(level).all()
