/**
 * The state of x87 and SSE as a whole: FXSAVE, FXRSTOR, FNINIT, control words.
 * Reference: Intel SDM volume 1, sections 8.1 and 10.5.
 */
import { CR0, VECTOR } from '../../../x86/index.ts'
import type { Core, Views } from '../core/core.ts'
import type { RegisterFile } from '../core/register-file.ts'
import { SLOT, STATUS, State } from '../layout/state.ts'
import { pending, setStatus } from './x87-unit.ts'
import { PRICE } from './prices.ts'
import { rows, type Handlers } from './rows.ts'

/** Bits of MXCSR that exist. */
export const MXCSR_MASK = 0xffff
/** Bytes of an FXSAVE image. */
export const FXSAVE_BYTES = 512

/** XMM registers there are, and those that the instructions reach from the code at hand. */
const ALL_VECTORS = 16
const vectorsOf = (registers: RegisterFile): number => (registers.long ? ALL_VECTORS : 8)

const X87 = State.x87.offset
const XMM = State.xmm.offset

/** x87 and SSE as after reset. */
export function resetFpu(registers: RegisterFile): void {
  State.x87Control.set(registers.view, registers.base, 0x37f)
  State.x87Status.set(registers.view, registers.base, 0)
  State.x87Tags.set(registers.view, registers.base, 0)
  State.mxcsr.set(registers.view, registers.base, 0x1f80)
}

/**
 * Writes an FXSAVE image at `at` of `view`. The register file is kept by physical number, the image by stack
 * position; the tag word holds one bit a register: not empty.
 */
export function writeFxsave(registers: RegisterFile, view: DataView, at: number, vectors = ALL_VECTORS): void {
  const { base } = registers
  const status = State.x87Status.get(registers.view, base)
  const top = (status >> 11) & 7
  view.setUint16(at, State.x87Control.get(registers.view, base), true)
  view.setUint16(at + 2, status, true)
  view.setUint8(at + 4, State.x87Tags.get(registers.view, base))
  view.setUint8(at + 5, 0)
  view.setUint16(at + 6, State.x87Opcode.get(registers.view, base), true)
  for (const [field, offset] of [[State.x87Instruction, 8], [State.x87Data, 16]] as const) {
    view.setUint32(at + offset, field.low(registers.view, base), true)
    view.setUint32(at + offset + 4, field.high(registers.view, base), true)
  }
  view.setUint32(at + 24, State.mxcsr.get(registers.view, base), true)
  view.setUint32(at + 28, MXCSR_MASK, true)
  const bytes = new Uint8Array(view.buffer, view.byteOffset)
  for (let i = 0; i < 8; i += 1) {
    const from = base + X87 + ((top + i) & 7) * 16
    bytes.set(registers.bytes.subarray(from, from + 10), at + 32 + i * 16)
    bytes.fill(0, at + 42 + i * 16, at + 48 + i * 16)
  }
  bytes.set(registers.bytes.subarray(base + XMM, base + XMM + vectors * 16), at + 160)
}

/** Takes an FXSAVE image; the caller has looked at MXCSR's reserved bits. */
export function readFxsave(registers: RegisterFile, view: DataView, at: number, vectors = ALL_VECTORS): void {
  const { base } = registers
  const status = view.getUint16(at + 2, true)
  const top = (status >> 11) & 7
  State.x87Control.set(registers.view, base, (view.getUint16(at, true) & 0x1f7f) | 0x40)
  setStatus(registers, status)
  State.x87Tags.set(registers.view, base, view.getUint8(at + 4))
  State.x87Opcode.set(registers.view, base, view.getUint16(at + 6, true) & 0x7ff)
  for (const [field, offset] of [[State.x87Instruction, 8], [State.x87Data, 16]] as const) {
    field.setParts(registers.view, base, view.getUint32(at + offset, true), view.getUint32(at + offset + 4, true))
  }
  State.mxcsr.set(registers.view, base, view.getUint32(at + 24, true))
  const bytes = new Uint8Array(view.buffer, view.byteOffset)
  for (let i = 0; i < 8; i += 1) {
    const to = base + X87 + ((top + i) & 7) * 16
    registers.bytes.set(bytes.subarray(at + 32 + i * 16, at + 42 + i * 16), to)
  }
  registers.bytes.set(bytes.subarray(at + 160, at + 160 + vectors * 16), base + XMM)
}

function save({ registers, memory, faults }: Views<'registers' | 'memory' | 'faults'>): number {
  const address = registers.address(SLOT.t3)
  if (address % 16 !== 0) return faults.protection()
  // The last reserved bytes have to be writable too.
  memory.hostForWrite(address + FXSAVE_BYTES - 16, 16)
  const image = new Uint8Array(FXSAVE_BYTES)
  writeFxsave(registers, new DataView(image.buffer), 0, vectorsOf(registers))
  // 288 bytes of registers and, in 64-bit mode, 256 of vectors; what lies behind stays as it is.
  return memory.writeBytes(address, image.subarray(0, registers.long ? 416 : 288))
}

function restore({ registers, memory, faults }: Views<'registers' | 'memory' | 'faults'>): number {
  const address = registers.address(SLOT.t3)
  if (address % 16 !== 0) return faults.protection()
  const image = memory.readBytes(address, FXSAVE_BYTES)
  const view = new DataView(image.buffer)
  if ((view.getUint32(24, true) & ~MXCSR_MASK) !== 0) return faults.protection()
  readFxsave(registers, view, 0, vectorsOf(registers))
  return STATUS.NEXT
}

function loadMxcsr({ registers, faults }: Views<'registers' | 'faults'>): number {
  const value = registers.low(SLOT.t0)
  if ((value & ~MXCSR_MASK) !== 0) return faults.protection()
  State.mxcsr.set(registers.view, registers.base, value)
  return STATUS.NEXT
}

/** FWAIT. */
function wait(core: Core): number {
  const watched = CR0.MP | CR0.TS
  return (core.registers.controlLow(0) & watched) === watched ? core.faults.raise(VECTOR.NM) : pending(core)
}

/** Handlers by name. */
export const FPU_HANDLERS: Handlers = {
  ...rows({ fxsave: save, fxrstor: restore }, { price: PRICE.floatImage }),
  ...rows({ 'load-mxcsr': loadMxcsr, wait }),
}
