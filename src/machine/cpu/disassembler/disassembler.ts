/**
 * Disassembles by the decode table: whatever the processor decodes can be written down, and nothing else. What the
 * table does not hold is `(bad)`, but for the encodings of vector extensions (VEX, EVEX), whose length follows from
 * their form.
 * Reference: Intel SDM volume 2, sections 2.1 to 2.7; GNU objdump for the look.
 */
import type { Disassembled, Operand } from '../../interface/disassembled.ts'
import { DEFAULT_LEVEL } from '../cpuid/features.ts'
import type { ProcessorLevel } from '../cpuid/features.ts'
import { decodeMaps } from '../decode/maps.ts'
import { DECODED, Decoder } from '../decode/decoder.ts'
import type { Instruction } from '../decode/decoder.ts'
import { attWords, addressText } from './att.ts'
import type { Words } from './att.ts'
import { extensionLength } from './extensions.ts'
import { featureTitle, missingByEncoding } from './missing.ts'
import { operandCodes, operandOf, translateTable } from './operands.ts'
import type { DecodePlace } from './operands.ts'
import { listPrefixes } from './prefixes.ts'

/** How bytes are to be read and written. */
export interface DisassemblyOptions {
  /** Address of the first byte: a signed number, as registers give it. 0 unless given. */
  readonly address?: number
  /** Size of the code segment: 64 unless given. */
  readonly codeSize?: 16 | 32 | 64
}

const COLUMN = 6

/** Name, padding and operands in one line. */
function lineOf(prefixes: readonly string[], { name, operands }: Words): string {
  const front = [...prefixes, name].join(' ')
  return operands.length === 0 ? front : `${front.padEnd(COLUMN)} ${operands.join(',')}`
}

/** The address that a rip-relative operand reaches, as a remark. */
function remark(operands: readonly Operand[], place: DecodePlace): string {
  for (const operand of operands) {
    if (operand.kind === 'memory' && /^[re]ip$/.test(operand.base ?? '')) {
      return `        # 0x${addressText(operand.address ?? 0, place.codeSize)}`
    }
  }
  return ''
}

const operandsOf = (i: Instruction, place: DecodePlace): Operand[] =>
  i.row.name === 'xlat' ? [translateTable(i)] : operandCodes(i.row).map((code) => operandOf(i, code, place))

/** The feature that a row's instruction needs; one with 256 bits may need more. */
function lackingFor({ row, vexLength }: Instruction): string | undefined {
  const feature = vexLength === 1 ? row.vex?.longFeature ?? row.feature : row.feature
  return feature === undefined ? undefined : featureTitle(feature)
}

/** Turns bytes into instructions. Keeps a decoder for each code size that it has met. */
export class Disassembler {
  private readonly level: ProcessorLevel
  private readonly decoders = new Map<16 | 32 | 64, Decoder>()

  /** `level`: of the processors that are to execute it, which decides what is `lacking`; today's default unless given. */
  constructor(level: ProcessorLevel = DEFAULT_LEVEL) {
    this.level = level
  }

  /** The instruction at an offset; bytes beyond the end are missing. */
  at(bytes: Uint8Array, offset: number, options: DisassemblyOptions = {}): Disassembled {
    const place: DecodePlace = { address: options.address ?? 0, codeSize: options.codeSize ?? 64 }
    const decoder = this.decoder(place.codeSize)
    const result = decoder.decode(bytes, offset, bytes.length)
    if (result === DECODED.OK || result === DECODED.NOT_LOCKABLE) {
      const kind = result === DECODED.OK && decoder.instruction.row.offered ? 'offered' : 'refused'
      return this.describe(decoder.instruction, { bytes: bytes.subarray(offset), kind, place })
    }
    const length = extensionLength(bytes, offset, place.codeSize)
    const lacking = missingByEncoding(bytes, offset, place.codeSize)
    const base = { address: place.address, prefixes: [], operands: [], lacking }
    if (length > 0) return { ...base, length, kind: 'refused', mnemonic: '(vex)', text: '(vex)' }
    const kind = result === DECODED.MORE_BYTES ? 'cut' : 'bad'
    return { ...base, length: 1, kind, mnemonic: '(bad)', text: '(bad)' }
  }

  private describe(
    i: Instruction,
    { bytes, kind, place }: { bytes: Uint8Array; kind: 'offered' | 'refused'; place: DecodePlace },
  ): Disassembled {
    const operands = operandsOf(i, place)
    const words = attWords({ instruction: i, operands, codeSize: place.codeSize })
    const prefixes = listPrefixes(i, bytes.subarray(0, i.length), place.codeSize)
    const hint = prefixes.hint === undefined ? words : { ...words, name: `${words.name},${prefixes.hint}` }
    return {
      address: place.address, length: i.length, kind,
      lacking: i.row.offered ? undefined : lackingFor(i),
      prefixes: prefixes.words, mnemonic: hint.name, operands,
      text: lineOf(prefixes.words, hint) + remark(operands, place),
    }
  }

  private decoder(codeSize: 16 | 32 | 64): Decoder {
    let decoder = this.decoders.get(codeSize)
    if (decoder === undefined) {
      decoder = new Decoder(decodeMaps(codeSize === 64 ? 'long' : 'short', this.level), codeSize)
      this.decoders.set(codeSize, decoder)
    }
    return decoder
  }
}

/**
 * Disassembles the first instruction of `bytes`.
 *
 * @example
 * disassemble(Uint8Array.of(0x48, 0x89, 0xe5)).text // 'mov    %rsp,%rbp'
 */
export const disassemble = (bytes: Uint8Array, options: DisassemblyOptions = {}): Disassembled =>
  new Disassembler().at(bytes, 0, options)

/** Disassembles one instruction after the other to the end of `bytes`. */
export function* disassembleAll(bytes: Uint8Array, options: DisassemblyOptions = {}): Generator<Disassembled> {
  const disassembler = new Disassembler()
  const start = options.address ?? 0
  for (let offset = 0; offset < bytes.length;) {
    const one = disassembler.at(bytes, offset, { ...options, address: start + offset })
    yield one
    offset += one.length
  }
}
