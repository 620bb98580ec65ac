/**
 * From bytes to one decoded instruction, by the decode table. It fills one reused object; what is not an instruction is
 * told apart from bytes that are still missing because the page ends.
 * Reference: Intel SDM volume 2, chapter 2.
 *
 * hot path: runs for every newly met instruction, aimed at under 300 ns. Programs meet most of their code before V8 has compiled
 * this for good, so what is rare does as little as it can: a branch that has not been taken yet and looks into an object sends all
 * of it back to slow code. That is why bytes that are missing are told at the end, by how far it came.
 */
import type { DecodeMaps, OpcodeEntry } from './maps.ts'
import { PREFIX_NUMBER } from './maps.ts'
import type { InstructionRow, VexMap } from './table.ts'

/** No segment override. */
export const NO_SEGMENT = -1
/** An instruction longer than this is a general protection fault. */
export const MAX_LENGTH = 15

/** What came of decoding. An instruction that may not have its LOCK prefix is complete, but undefined. */
export const DECODED = { OK: 0, UNDEFINED: 1, MORE_BYTES: 2, TOO_LONG: 3, NOT_LOCKABLE: 4 } as const
/** One of the {@link DECODED} numbers. */
export type DecodeResult = (typeof DECODED)[keyof typeof DECODED]

const { OK, UNDEFINED, MORE_BYTES, TOO_LONG, NOT_LOCKABLE } = DECODED

/** What of an instruction somebody has looked at: see {@link Instruction.looked}. */
export const LOOKED = { DISPLACEMENT: 1, IMMEDIATE: 2 } as const

/** A decoded instruction. */
export class Instruction {
  row!: InstructionRow
  opcode = 0
  length = 0
  /** 16, 32 or 64. */
  operandSize: 16 | 32 | 64 = 32
  addressSize: 16 | 32 | 64 = 64
  segment = NO_SEGMENT
  lock = false
  /** 0, 0xf2 or 0xf3, as last given. */
  repeat = 0
  operandPrefix = false
  rex = 0
  hasModrm = false
  modrm = 0
  /** ModRM.reg and, for a register operand, ModRM.rm, with their REX bits. */
  reg = 0
  rm = 0
  isMemory = false
  /** Memory operand: registers or -1, scale as a shift. `ripRelative` counts from the next instruction. */
  base = -1
  index = -1
  scale = 0
  ripRelative = false
  /** 1 for 256 bits, and the register in VEX.vvvv; without a VEX prefix 0. */
  vexLength = 0
  vvvv = 0
  /**
   * {@link LOOKED} bits of the numbers that somebody has asked for. Whoever only passes a displacement or the first immediate on, as it
   * is, takes it from the fields below: then all instructions that differ in nothing else become the same records but for these numbers.
   */
  looked = 0
  passedDisplacement = 0
  passedImmediate = 0
  private second = 0

  get displacement(): number {
    this.looked |= LOOKED.DISPLACEMENT
    return this.passedDisplacement
  }

  set displacement(value: number) {
    this.passedDisplacement = value
  }

  /** First and second immediate; a 64-bit one has its upper half in the second. */
  get immediate(): number {
    this.looked |= LOOKED.IMMEDIATE
    return this.passedImmediate
  }

  set immediate(value: number) {
    this.passedImmediate = value
  }

  get immediate2(): number {
    this.looked |= LOOKED.IMMEDIATE
    return this.second
  }

  set immediate2(value: number) {
    this.second = value
  }
}

/** Decodes instructions for one code size. */
export class Decoder {
  readonly instruction = new Instruction()
  private readonly maps: DecodeMaps
  private readonly codeSize: 16 | 32 | 64
  /** What each byte is in front of an opcode, in this code size. */
  private readonly prefixes: Uint8Array
  /** Address sizes without a prefix and with one. */
  private readonly addressSizes: readonly [16 | 32 | 64, 16 | 32 | 64]
  private bytes: Uint8Array = new Uint8Array(0)
  private at = 0
  private end = 0
  /** Where the displacement would begin, and the immediates: what has been decoded last, if it is an instruction. */
  headEnd = 0
  displacementEnd = 0
  /** Whether its last immediate is a byte without a sign. */
  isUnsigned = false

  constructor(maps: DecodeMaps, codeSize: 16 | 32 | 64) {
    this.maps = maps
    this.codeSize = codeSize
    this.prefixes = codeSize === 64 ? LONG_PREFIXES : SHORT_PREFIXES
    this.addressSizes = codeSize === 64 ? [64, 32] : codeSize === 32 ? [32, 16] : [16, 32]
  }

  /** Decodes at `offset`; bytes from `end` on are not there yet. */
  decode(bytes: Uint8Array, offset: number, end: number): DecodeResult {
    this.bytes = bytes
    this.at = offset
    this.end = end
    const result = this.parse(offset)
    const isShort = this.at > end
    const length = (isShort ? end : this.at) - offset
    this.instruction.length = length
    if (length > MAX_LENGTH) return TOO_LONG
    if (isShort) return length === MAX_LENGTH ? TOO_LONG : MORE_BYTES
    return result
  }

  /** The next byte; 0 for one that is missing. */
  private next(): number {
    const { at } = this
    this.at = at + 1
    return at < this.end ? this.bytes[at]! : 0
  }

  private parse(offset: number): DecodeResult {
    const i = this.instruction
    const opcode = this.opcodeByte(offset)
    if ((opcode & 0xfe) === 0xc4 && this.isVex()) return this.vex(opcode)
    const entry = this.opcode(opcode)
    const prefix = i.repeat !== 0 ? (i.repeat === 0xf3 ? F3 : F2) : i.operandPrefix ? OPERAND_SIZE : NO_PREFIX
    const hasModrm = entry.modrm
    i.hasModrm = hasModrm
    let row: InstructionRow | undefined
    if (hasModrm) {
      const modrm = this.next()
      i.modrm = modrm
      row = entry.exact?.[(prefix << 8) | modrm]
      row ??= entry.rows[(prefix << 4) | (modrm >= 0xc0 ? 8 : 0) | ((modrm >> 3) & 7)]
    } else row = entry.rows[prefix << 4]
    if (row === undefined) return UNDEFINED
    i.row = row
    this.sizes(row, prefix)
    this.headEnd = this.at
    // A row of an opcode that elsewhere has no ModRM byte, as 0F 0B: nothing follows.
    if (hasModrm) this.modrm()
    this.displacementEnd = this.at
    this.immediates(row)
    const isLockable = i.isMemory && row.lock
    return i.lock && !isLockable ? NOT_LOCKABLE : OK
  }

  /** In shorter code C4 and C5 are LES and LDS where a memory operand follows. */
  private isVex(): boolean {
    return this.codeSize === 64 || (this.at < this.end && this.bytes[this.at]! >= 0xc0)
  }

  /** An instruction with a VEX prefix, whose first byte has been read. */
  private vex(first: number): DecodeResult {
    const i = this.instruction
    const hasOthers = i.lock || i.repeat !== 0 || i.operandPrefix || i.rex !== 0
    const second = this.next()
    const third = first === 0xc4 ? this.next() : second & 0x7f
    i.opcode = this.next()
    const long = this.codeSize === 64
    // Register numbers are inverted, and of three bits outside of 64-bit mode.
    const extensions = first === 0xc4 ? (~second >> 5) & 7 : ((~second >> 7) & 1) << 2
    i.rex = 0x40 | (long ? ((third >> 7) << 3) | extensions : 0)
    i.vexLength = (third >> 2) & 1
    i.vvvv = (~third >> 3) & (long ? 15 : 7)
    i.operandSize = (i.rex & 8) !== 0 ? 64 : 32
    const map = VEX_MAPS[first === 0xc4 ? second & 31 : 1]
    if (map === undefined || hasOthers) return UNDEFINED
    return this.vexRow(this.maps[map].at(i.opcode), (i.vexLength << 7) | ((third >> 7) << 6) | ((third & 3) << 4))
  }

  /** Finds the row, and reads what follows the opcode. */
  private vexRow(entry: OpcodeEntry, index: number): DecodeResult {
    const i = this.instruction
    i.hasModrm = entry.modrm
    if (entry.modrm) i.modrm = this.next()
    const row = entry.rows[entry.modrm ? index | (i.modrm >= 0xc0 ? 8 : 0) | ((i.modrm >> 3) & 7) : index]
    if (row === undefined) return UNDEFINED
    i.row = row
    const { usesSecond, indices } = row.vex!
    if (!usesSecond && i.vvvv !== 0) return UNDEFINED
    if (indices !== undefined && ((i.modrm & 7) !== 4 || i.addressSize === 16)) return UNDEFINED
    this.headEnd = this.at
    if (entry.modrm) this.modrm()
    this.displacementEnd = this.at
    this.immediates(row)
    return OK
  }

  /** Reads prefixes; returns the first opcode byte. */
  private opcodeByte(offset: number): number {
    const i = this.instruction
    i.segment = NO_SEGMENT
    i.lock = false
    i.repeat = 0
    i.operandPrefix = false
    i.rex = 0
    i.isMemory = false
    i.ripRelative = false
    i.immediate = 0
    i.immediate2 = 0
    i.vexLength = 0
    i.vvvv = 0
    i.looked = 0
    i.addressSize = this.addressSizes[0]
    for (;;) {
      const byte = this.next()
      const kind = this.prefixes[byte]!
      if (kind === PREFIX.NONE) return byte
      // A REX prefix counts only right before the opcode.
      i.rex = 0
      if (kind === PREFIX.REX) i.rex = byte
      else this.legacyPrefix(kind, byte)
      if (this.at - offset > MAX_LENGTH) return 0
    }
  }

  private legacyPrefix(kind: number, byte: number): void {
    const i = this.instruction
    if (kind === PREFIX.OPERAND) i.operandPrefix = true
    else if (kind === PREFIX.REPEAT) i.repeat = byte
    else if (kind === PREFIX.LOCK) i.lock = true
    else if (kind === PREFIX.ADDRESS) i.addressSize = this.addressSizes[1]
    else if (kind >= PREFIX.SEGMENT) i.segment = kind - PREFIX.SEGMENT
  }

  private opcode(first: number): OpcodeEntry {
    const i = this.instruction
    if (first !== 0x0f) {
      i.opcode = first
      return this.maps[''].at(first)
    }
    const second = this.next()
    if (second === 0x38 || second === 0x3a) {
      i.opcode = this.next()
      return this.maps[second === 0x38 ? '0f38' : '0f3a'].at(i.opcode)
    }
    i.opcode = second
    return this.maps['0f'].at(second)
  }

  private sizes(row: InstructionRow, prefix: number): void {
    const i = this.instruction
    // A 66 that selected the row does not also select 16-bit operands.
    const small = i.operandPrefix && !(row.prefix === '66' && prefix === OPERAND_SIZE)
    if (this.codeSize === 64) {
      if (row.width === 'f64' || (i.rex & 8) !== 0) i.operandSize = 64
      else if (small) i.operandSize = 16
      else i.operandSize = row.width === 'd64' ? 64 : 32
    } else i.operandSize = (this.codeSize === 32) === small ? 16 : 32
  }

  private modrm(): void {
    const i = this.instruction
    const { modrm, rex } = i
    i.reg = ((modrm >> 3) & 7) | ((rex & 4) << 1)
    const rm = modrm & 7
    const mod = modrm >> 6
    i.isMemory = mod !== 3 && !i.row.registerOnly
    if (!i.isMemory) {
      i.rm = rm | ((rex & 1) << 3)
      return
    }
    if (i.addressSize === 16) return this.address16(mod, rm)
    i.index = -1
    i.scale = 0
    i.base = rm | ((rex & 1) << 3)
    if (rm === 4) this.sib(mod)
    else if (rm === 5 && mod === 0) {
      i.base = -1
      i.ripRelative = this.codeSize === 64
    }
    if (mod === 1) i.displacement = this.signed8()
    else if (mod === 2 || i.base < 0) i.displacement = this.signed32()
    else i.displacement = 0
  }

  private sib(mod: number): void {
    const i = this.instruction
    const sib = this.next()
    this.headEnd = this.at
    const index = ((sib >> 3) & 7) | ((i.rex & 2) << 2)
    // A vector of indices may be in any register.
    i.index = index === 4 && i.row.vex?.indices === undefined ? -1 : index
    i.scale = sib >> 6
    i.base = (sib & 7) === 5 && mod === 0 ? -1 : (sib & 7) | ((i.rex & 1) << 3)
  }

  private address16(mod: number, rm: number): void {
    const i = this.instruction
    i.scale = 0
    i.base = BASE16[rm]!
    i.index = INDEX16[rm]!
    if (mod === 0 && rm === 6) {
      i.base = -1
      i.displacement = this.signed16()
    } else if (mod === 1) i.displacement = this.signed8()
    else i.displacement = mod === 2 ? this.signed16() : 0
  }

  /** Reads those that follow: none, one, or two. */
  private immediates({ immediates }: InstructionRow): void {
    const count = immediates.length
    if (count === 0) return
    this.isUnsigned = false
    this.instruction.immediate = this.immediateValue(immediates[0]!)
    if (count > 1) this.instruction.immediate2 = this.immediateValue(immediates[1]!)
  }

  private immediateValue(kind: string): number {
    const i = this.instruction
    switch (kind) {
      case 'Ib':
      case 'Lx':
        this.isUnsigned = true
        return this.next()
      case 'Ibs':
      case 'Jb':
        return this.signed8()
      case 'Iw': {
        const low = this.next()
        return low | (this.next() << 8)
      }
      case 'Iz':
      case 'Jz':
        return i.operandSize === 16 ? this.signed16() : this.signed32()
      case 'Iv':
        return this.wide(i.operandSize)
      case 'Ob':
      case 'Ov':
        return this.wide(i.addressSize)
      default: {
        // Ap: offset, then selector.
        const offset = i.operandSize === 16 ? this.signed16() & 0xffff : this.signed32()
        i.immediate2 = this.signed16() & 0xffff
        return offset
      }
    }
  }

  /** An immediate or address of full size; the upper half of 64 bits goes to the second immediate. */
  private wide(size: 16 | 32 | 64): number {
    if (size === 16) return this.signed16() & 0xffff
    const low = this.signed32()
    if (size === 64) this.instruction.immediate2 = this.signed32()
    return low
  }

  private signed8(): number {
    return (this.next() << 24) >> 24
  }

  private signed16(): number {
    const low = this.next()
    return ((low | (this.next() << 8)) << 16) >> 16
  }

  private signed32(): number {
    const { bytes, at } = this
    this.at = at + 4
    if (at + 4 > this.end) return 0
    return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
  }
}

const { np: NO_PREFIX, 66: OPERAND_SIZE, f3: F3, f2: F2 } = PREFIX_NUMBER
/** Opcode maps by their number in a VEX prefix. */
const VEX_MAPS: readonly (VexMap | undefined)[] = [undefined, 'vex0f', 'vex0f38', 'vex0f3a']
/** What a byte is in front of an opcode; from SEGMENT on, the override of the segment of that number. */
const PREFIX = { NONE: 0, REX: 1, OPERAND: 2, ADDRESS: 3, LOCK: 4, REPEAT: 5, IGNORED: 6, SEGMENT: 8 } as const
const SEGMENT_PREFIXES: readonly number[] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65]

function prefixKind(byte: number, code: 'long' | 'short'): number {
  const segment = SEGMENT_PREFIXES.indexOf(byte)
  // In 64-bit code only FS and GS count.
  if (segment >= 0) return code === 'long' && segment < 4 ? PREFIX.IGNORED : PREFIX.SEGMENT + segment
  if (code === 'long' && (byte & 0xf0) === 0x40) return PREFIX.REX
  const others: Readonly<Record<number, number>> = {
    0x66: PREFIX.OPERAND, 0x67: PREFIX.ADDRESS, 0xf0: PREFIX.LOCK, 0xf2: PREFIX.REPEAT, 0xf3: PREFIX.REPEAT,
  }
  return others[byte] ?? PREFIX.NONE
}

const LONG_PREFIXES = /* @__PURE__ */ Uint8Array.from({ length: 256 }, (_, byte) => prefixKind(byte, 'long'))
const SHORT_PREFIXES = /* @__PURE__ */ Uint8Array.from({ length: 256 }, (_, byte) => prefixKind(byte, 'short'))
/** Base and index registers of 16-bit addresses by ModRM.rm. */
const BASE16 = [3, 3, 5, 5, 6, 7, 5, 3] as const
const INDEX16 = [6, 7, 6, 7, -1, -1, -1, -1] as const
