/**
 * The state of x87, SSE and AVX part by part: XSAVE, XSAVEOPT, XSAVEC, XRSTOR, and XCR0, which says what of it software
 * may use. A part counts as in use while it differs from what it is after reset; no modification is tracked beyond that.
 * XSAVES and XRSTORS are for state that only a supervisor has, of which there is none.
 * Reference: Intel SDM volume 1, chapter 13; volume 2, the instructions' pages; AMD64 APM volume 4, XSAVE.
 */
import { CR0, CR4, GPR, VECTOR, XCR0 } from '../../../x86/index.ts'
import type { Core, Views } from '../core/core.ts'
import type { Handler } from '../core/handler.ts'
import type { RegisterFile } from '../core/register-file.ts'
import { SLOT, STATUS, State } from '../layout/state.ts'
import { COMPACTED_HIGH, XSAVE } from '../layout/xsave-area.ts'
import { FXSAVE_BYTES, MXCSR_MASK, readFxsave, writeFxsave } from './fpu.ts'
import { PRICE } from './prices.ts'
import { rows } from './rows.ts'
import type { Handlers } from './rows.ts'

const MXCSR_AFTER_RESET = 0x1f80
const CONTROL_AFTER_RESET = 0x37f
const ALIGNMENT = 64
/** Halves of a state's vector registers begin there. */
const [XMM, UPPER] = [State.xmm.offset, State.ymmHigh.offset]

const isZero = ({ bytes, base }: RegisterFile, offset: number, count: number): boolean => {
  for (let at = base + offset; at < base + offset + count; at += 1) if (bytes[at] !== 0) return false
  return true
}

function isX87InUse(registers: RegisterFile): boolean {
  const { view, base } = registers
  return State.x87Control.get(view, base) !== CONTROL_AFTER_RESET || State.x87Status.get(view, base) !== 0 ||
    State.x87Tags.get(view, base) !== 0 || State.x87Opcode.get(view, base) !== 0 ||
    !isZero(registers, State.x87.offset, 128) || !isZero(registers, State.x87Instruction.offset, 16)
}

/** Parts of the state, as bits of XCR0, that differ from what they are after reset; MXCSR is none of them. */
export function partsInUse(registers: RegisterFile): number {
  return (isX87InUse(registers) ? XCR0.X87 : 0) | (isZero(registers, XMM, XSAVE.sseBytes) ? 0 : XCR0.SSE) |
    (isZero(registers, UPPER, XSAVE.avxBytes) ? 0 : XCR0.AVX)
}

/** The parts, with that of SSE in use while MXCSR is not as after reset, as the compacted form takes it. */
const compactedInUse = (registers: RegisterFile): number =>
  partsInUse(registers) | (State.mxcsr.get(registers.view, registers.base) === MXCSR_AFTER_RESET ? 0 : XCR0.SSE)

/** The whole area in its standard form; `parts` are those that its header names. */
export function writeXsave(registers: RegisterFile, parts = partsInUse(registers)): Uint8Array<ArrayBuffer> {
  const image = new Uint8Array(XSAVE.bytes)
  writeFxsave(registers, new DataView(image.buffer), 0)
  image[XSAVE.holds] = parts
  image.set(registers.bytes.subarray(registers.base + UPPER, registers.base + UPPER + XSAVE.avxBytes), XSAVE.avx)
  return image
}

/** Parts of x87's state in the area: control words and registers. */
const X87_PIECES = [[0, XSAVE.mxcsr], [32, XSAVE.sse]] as const

/** What an area, header looked at, gives of its parts: `load` from it, `clear` to what they are after reset. */
interface Choice {
  readonly load: number
  readonly clear: number
  readonly vectors: number
  readonly mxcsr: number
}

/** Takes parts of an area in its standard or compacted form; MXCSR has been looked at. */
function takeParts(registers: RegisterFile, image: Uint8Array, choice: Choice): void {
  const { load, clear, vectors, mxcsr } = choice
  const state = writeXsave(registers)
  const view = new DataView(state.buffer)
  for (const [from, to] of X87_PIECES) {
    if ((load & XCR0.X87) !== 0) state.set(image.subarray(from, to), from)
    else if ((clear & XCR0.X87) !== 0) state.fill(0, from, to)
  }
  if ((clear & XCR0.X87) !== 0) view.setUint16(0, CONTROL_AFTER_RESET, true)
  const take = (part: number, from: number): void => {
    if ((load & part) !== 0) state.set(image.subarray(from, from + vectors * 16), from)
    else if ((clear & part) !== 0) state.fill(0, from, from + vectors * 16)
  }
  take(XCR0.SSE, XSAVE.sse)
  take(XCR0.AVX, XSAVE.avx)
  view.setUint32(XSAVE.mxcsr, mxcsr, true)
  readFxsave(registers, view, 0)
  registers.bytes.set(state.subarray(XSAVE.avx, XSAVE.bytes), registers.base + UPPER)
}

/** Takes a whole area in its standard form: what its header does not name is as after reset. False for a bad MXCSR. */
export function readXsave(registers: RegisterFile, image: Uint8Array): boolean {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength)
  const mxcsr = view.getUint32(XSAVE.mxcsr, true)
  if ((mxcsr & ~MXCSR_MASK) !== 0) return false
  const all = XCR0.X87 | XCR0.SSE | XCR0.AVX
  const load = view.getUint32(XSAVE.holds, true) & all
  takeParts(registers, image, { load, clear: all & ~load, vectors: 16, mxcsr })
  return true
}

/** Why the instruction may not be executed: a status; undefined when it may. */
function refusal({ registers, faults }: Views<'registers' | 'faults'>): number | undefined {
  if ((registers.controlLow(4) & CR4.OSXSAVE) === 0) return faults.undefinedOpcode()
  return (registers.controlLow(0) & CR0.TS) === 0 ? undefined : faults.raise(VECTOR.NM)
}

/** Parts that are asked for: EDX:EAX, as far as XCR0 has them. */
const requested = ({ view, base, low }: { view: DataView; base: number; low: number }): number => low & State.xcr0.get(view, base)

const chosen = (registers: RegisterFile): number =>
  requested({ view: registers.view, base: registers.base, low: registers.low(GPR.rax * 8) })

/** What each of the instructions writes. */
const FORMS = {
  xsave: { skipsUnused: false, isCompacted: false }, xsaveopt: { skipsUnused: true, isCompacted: false },
  xsavec: { skipsUnused: true, isCompacted: true },
} as const

/** Pieces of the area, first byte and end, that hold the parts. */
function piecesOf(parts: number, o: { vectors: number; mxcsr: boolean; header: number }): (readonly [number, number])[] {
  return [
    ...((parts & XCR0.X87) === 0 ? [] : X87_PIECES),
    ...(o.mxcsr ? [[XSAVE.mxcsr, XSAVE.mxcsr + 8] as const] : []),
    ...((parts & XCR0.SSE) === 0 ? [] : [[XSAVE.sse, XSAVE.sse + o.vectors * 16] as const]),
    [XSAVE.header, XSAVE.header + o.header],
    ...((parts & XCR0.AVX) === 0 ? [] : [[XSAVE.avx, XSAVE.avx + o.vectors * 16] as const]),
  ]
}

const save = (name: keyof typeof FORMS): Handler => (core) => {
  const { registers, memory, faults } = core
  const refused = refusal(core)
  if (refused !== undefined) return refused
  const address = registers.address(SLOT.t3)
  if (address % ALIGNMENT !== 0) return faults.protection()
  const { skipsUnused, isCompacted } = FORMS[name]
  const wanted = chosen(registers)
  const used = isCompacted ? compactedInUse(registers) : partsInUse(registers)
  const parts = skipsUnused ? wanted & used : wanted
  const image = writeXsave(registers)
  const view = new DataView(image.buffer)
  const mxcsr = ((isCompacted ? parts & XCR0.SSE : wanted & (XCR0.SSE | XCR0.AVX))) !== 0
  // The compacted form has a header of its own; the standard one keeps what it says of other parts.
  const old = isCompacted ? [0, 0] as const : [memory.read32(address + XSAVE.holds), memory.read32(address + XSAVE.holds + 4)] as const
  view.setUint32(XSAVE.holds, (old[0] & ~wanted) | (used & wanted), true)
  view.setUint32(XSAVE.holds + 4, old[1], true)
  view.setUint32(XSAVE.form, wanted, true)
  view.setUint32(XSAVE.form + 4, COMPACTED_HIGH, true)
  const pieces = piecesOf(parts, { vectors: registers.long ? 16 : 8, mxcsr, header: isCompacted ? 16 : 8 })
  for (const [from, to] of pieces) for (let at = from; at < to; at += 16) memory.hostForWrite(address + at, Math.min(16, to - at))
  let status: number = STATUS.NEXT
  for (const [from, to] of pieces) status |= memory.writeBytes(address + from, image.subarray(from, to))
  return status
}

/** What a header says; undefined for one that faults. */
function readHeader(header: DataView, xcr0: number): { readonly holds: number; readonly isCompacted: boolean } | undefined {
  const [holds, holdsHigh, form, formHigh] = [0, 4, 8, 12].map((at) => header.getUint32(at, true)) as [number, number, number, number]
  const isCompacted = (formHigh & COMPACTED_HIGH) !== 0
  if (holdsHigh !== 0 || (holds & ~(isCompacted ? form : xcr0)) !== 0) return undefined
  if (isCompacted ? (form & ~xcr0) !== 0 || formHigh !== COMPACTED_HIGH : (form | formHigh) !== 0) return undefined
  for (let at = 16; at < (isCompacted ? XSAVE.headerBytes : 24); at += 4) if (header.getUint32(at, true) !== 0) return undefined
  return { holds, isCompacted }
}

/** XRSTOR of either form. */
const restore: Handler = (core) => {
  const { registers, memory, faults } = core
  const refused = refusal(core)
  if (refused !== undefined) return refused
  const address = registers.address(SLOT.t3)
  if (address % ALIGNMENT !== 0) return faults.protection()
  const { view, base } = registers
  const header = readHeader(new DataView(memory.readBytes(address + XSAVE.header, XSAVE.headerBytes).buffer), State.xcr0.get(view, base))
  if (header === undefined) return faults.protection()
  const wanted = chosen(registers)
  const load = wanted & header.holds
  const image = new Uint8Array(XSAVE.bytes)
  image.set(memory.readBytes(address, FXSAVE_BYTES))
  if ((load & XCR0.AVX) !== 0) image.set(memory.readBytes(address + XSAVE.avx, registers.long ? 256 : 128), XSAVE.avx)
  const own = State.mxcsr.get(view, base)
  // In the standard form MXCSR comes with SSE and AVX, whether the area holds them or not; in the other it is part of SSE.
  const takesMxcsr = header.isCompacted ? load & XCR0.SSE : wanted & (XCR0.SSE | XCR0.AVX)
  const clears = header.isCompacted && (wanted & ~load & XCR0.SSE) !== 0
  const mxcsr = takesMxcsr !== 0 ? new DataView(image.buffer).getUint32(XSAVE.mxcsr, true) : clears ? MXCSR_AFTER_RESET : own
  if ((mxcsr & ~MXCSR_MASK) !== 0) return faults.protection()
  takeParts(registers, image, { load, clear: wanted & ~load, vectors: registers.long ? 16 : 8, mxcsr })
  return STATUS.NEXT
}

/** XGETBV: XCR0, or what of it is in use. */
const readControl: Handler = ({ registers, faults }) => {
  if ((registers.controlLow(4) & CR4.OSXSAVE) === 0) return faults.undefinedOpcode()
  const which = registers.low(GPR.rcx * 8)
  if (which > 1) return faults.protection()
  const xcr0 = State.xcr0.get(registers.view, registers.base)
  registers.setSlot(GPR.rax * 8, which === 0 ? xcr0 : xcr0 & compactedInUse(registers), 0)
  registers.setSlot(GPR.rdx * 8, 0, 0)
  return STATUS.NEXT
}

/** Whether XCR0 may have a value where CPUID offers these bits: x87 always, AVX only with SSE. */
export const isXcr0 = (value: number, offered: number): boolean =>
  (value & ~offered) === 0 && (value & XCR0.X87) !== 0 && ((value & XCR0.AVX) === 0 || (value & XCR0.SSE) !== 0)

/** XSETBV: a hosted processor's host decides, ring 0 of a bare one by what CPUID offers it. */
const writeControl: Handler = (core: Core, record) => {
  const { registers, faults, outside } = core
  if ((registers.controlLow(4) & CR4.OSXSAVE) === 0) return faults.undefinedOpcode()
  if (!core.bare) return outside.leave('xsetbv', record)
  const value = registers.low(GPR.rax * 8)
  const isGood = registers.cpl === 0 && registers.low(GPR.rcx * 8) === 0 && registers.low(GPR.rdx * 8) === 0 &&
    isXcr0(value, outside.cpuid.read(0xd, 0)[0])
  if (!isGood) return faults.protection()
  core.mode.setXcr0(value)
  return STATUS.CHECK
}

/** Handlers by name. `xsave-check` stands before the address is looked at. */
export const XSAVE_HANDLERS: Handlers = {
  ...rows({ xsave: save('xsave'), xsaveopt: save('xsaveopt'), xsavec: save('xsavec'), xrstor: restore }, { price: PRICE.extendedImage }),
  ...rows({ 'xsave-check': (core) => refusal(core) ?? STATUS.NEXT, xgetbv: readControl, xsetbv: writeControl }),
}
