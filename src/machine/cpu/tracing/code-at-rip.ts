/** The instruction that a processor executes next, read as a fetch would read it. Changes the state's fault address. */
import { PAGE_SIZE } from '../../../x86/index.ts'
import type { Views } from '../core/core.ts'
import type { ProcessorLevel } from '../cpuid/features.ts'
import { Decoder, type DecodeResult, type Instruction } from '../decode/decoder.ts'
import { decodeMaps } from '../decode/maps.ts'
import type { Disassembled } from '../../interface/disassembled.ts'
import type { Disassembler } from '../disassembler/disassembler.ts'
import { ACCESS, MODE, State } from '../layout/state.ts'

/** Longest instruction. */
const MOST_BYTES = 15

type Fetching = Views<'registers' | 'memory'>

/** The bytes that stand at rip, as far as they can be fetched, and how they are read. */
function codeAt(
  { registers, memory }: Fetching,
): { readonly address: number; readonly bytes: Uint8Array; readonly codeSize: 16 | 32 | 64 } {
  const address = registers.linearRip
  const bytes = new Uint8Array(MOST_BYTES)
  let length = 0
  while (length < MOST_BYTES) {
    const host = memory.translate(address + length, ACCESS.EXECUTE)
    if (host === 0) break
    const piece = Math.min(MOST_BYTES - length, PAGE_SIZE - (host % PAGE_SIZE))
    bytes.set(registers.bytes.subarray(host, host + piece), length)
    length += piece
  }
  const size = State.mode.get(registers.view, registers.base) & MODE.SIZE
  const codeSize = size === MODE.CODE64 ? 64 : size === MODE.CODE32 ? 32 : 16
  return { address, bytes: bytes.subarray(0, length), codeSize }
}

/** The instruction that stands at rip; undefined when it cannot be fetched. */
export function instructionAt(core: Fetching, disassembler: Disassembler): Disassembled | undefined {
  const { address, bytes, codeSize } = codeAt(core)
  return bytes.length === 0 ? undefined : disassembler.at(bytes, 0, { address, codeSize })
}

/** The same without its text. */
export function decodeAt(core: Fetching, level: ProcessorLevel): { readonly result: DecodeResult; readonly instruction: Instruction } {
  const { bytes, codeSize } = codeAt(core)
  const decoder = new Decoder(decodeMaps(codeSize === 64 ? 'long' : 'short', level), codeSize)
  return { result: decoder.decode(bytes, 0, bytes.length), instruction: decoder.instruction }
}
