/**
 * Vector instructions without floating point that are too involved for generated code: string comparison, MPSADBW,
 * PHMINPOSUW, masked stores, and MXCSR.
 * Reference: Intel SDM volume 1, section 4.1 of volume 2 (imm8 of PCMPxSTRx); volume 2, the instructions' pages.
 */
import { GPR, RFLAGS } from '../../../x86/index.ts'
import type { Views } from '../core/core.ts'
import type { RegisterFile } from '../core/register-file.ts'
import { RECORD } from '../layout/record.ts'
import { SLOT, STATUS, State } from '../layout/state.ts'
import type { Handler } from '../core/handler.ts'
import { useMmx } from './sse-float.ts'
import { PRICE } from './prices.ts'
import { rows, type Handlers } from './rows.ts'

const place = (registers: RegisterFile, unit: number): number => registers.base + unit * 16
const first = ({ registers, records }: Views<'registers' | 'records'>, record: number): number =>
  place(registers, records.field(record, RECORD.destination))
const second = ({ registers, records }: Views<'registers' | 'records'>, record: number): number =>
  place(registers, records.field(record, RECORD.source))

/** Sums of absolute differences of four bytes at `b` and at eight neighbouring places from `a` on. */
export const differences = (bytes: Uint8Array, a: number, b: number): number[] => Array.from({ length: 8 }, (_, i) =>
  [0, 1, 2, 3].reduce((sum, k) => sum + Math.abs(bytes[a + i + k]! - bytes[b + k]!), 0))

/** MPSADBW. */
const sumsOfDifferences: Handler = (core, record) => {
  const { registers } = core
  const { bytes } = registers
  const [to, from, immediate] = [first(core, record), second(core, record), core.records.field(record, RECORD.control)]
  const [a, b] = [to + (immediate & 4), from + (immediate & 3) * 4]
  differences(bytes, a, b).forEach((sum, i) => registers.view.setUint16(to + i * 2, sum, true))
  return STATUS.NEXT
}

const smallestWord: Handler = (core, record) => {
  const { view } = core.registers
  const [to, from] = [first(core, record), second(core, record)]
  let least = 0x1_0000
  let at = 0
  for (let i = 0; i < 8; i += 1) {
    const word = view.getUint16(from + i * 2, true)
    if (word >= least) continue
    least = word
    at = i
  }
  view.setUint32(to, least | (at << 16), true)
  for (let i = 4; i < 16; i += 4) view.setUint32(to + i, 0, true)
  return STATUS.NEXT
}

/** One operand of a string comparison: its elements, how many there are and how many of them count. */
interface Text {
  readonly elements: Int32Array
  count: number
  valid: number
}

/** Made once for each handler: string functions of C libraries execute little else, and garbage would be most of it. */
const blankText = (): Text => ({ elements: new Int32Array(16), count: 16, valid: 16 })

function read({ bytes, view }: RegisterFile, at: number, { text, immediate }: { text: Text; immediate: number }): void {
  const { elements } = text
  const shift = (immediate & 2) !== 0 ? 32 : 0
  text.count = (immediate & 1) !== 0 ? 8 : 16
  if (text.count === 8) for (let i = 0; i < 8; i += 1) elements[i] = shift === 0 ? view.getUint16(at + i * 2, true) : view.getInt16(at + i * 2, true)
  else for (let i = 0; i < 16; i += 1) elements[i] = shift === 0 ? bytes[at + i]! : (bytes[at + i]! << 24) >> 24
}

function endAtZero(text: Text): void {
  let end = 0
  while (end < text.count && text.elements[end] !== 0) end += 1
  text.valid = end
}

/** Length in a register: its magnitude, at most all elements. */
function endAtLength(registers: RegisterFile, text: Text, { register, wide }: { register: number; wide: boolean }): void {
  const low = registers.low(register * 8)
  const high = wide ? registers.high(register * 8) | 0 : (low | 0) >> 31
  const { count } = text
  const magnitude = high === 0 ? low : high === -1 ? (low === 0 ? count : -(low | 0) >>> 0) : count
  text.valid = Math.min(high !== 0 && high !== -1 ? count : magnitude, count)
}

/** Whether an element of the second operand is to be found: among those of the first, in one of its ranges, at its place there, or as the beginning of all of the first. */
type Holds = (a: Text, b: Text, i: number) => boolean

const equalsAny: Holds = (a, b, i) => {
  if (i >= b.valid) return false
  for (let j = 0; j < a.valid; j += 1) if (a.elements[j] === b.elements[i]) return true
  return false
}

const inRange: Holds = (a, b, i) => {
  if (i >= b.valid) return false
  const value = b.elements[i]!
  for (let j = 0; j + 1 < a.valid; j += 2) if (a.elements[j]! <= value && value <= a.elements[j + 1]!) return true
  return false
}

const equalsEach: Holds = (a, b, i) => (i < a.valid ? i < b.valid && a.elements[i] === b.elements[i] : i >= b.valid)

const beginsAll: Holds = (a, b, i) => {
  for (let j = 0; j < a.valid && i + j < b.count; j += 1) if (i + j >= b.valid || a.elements[j] !== b.elements[i + j]) return false
  return true
}

/** By bits 2 and 3 of the immediate. */
const KINDS: readonly Holds[] = [equalsAny, inRange, equalsEach, beginsAll]

/** Bit i of the result for element i of the second operand. */
function aggregate(a: Text, b: Text, holds: Holds): number {
  let result = 0
  for (let i = 0; i < b.count; i += 1) if (holds(a, b, i)) result |= 1 << i
  return result
}

const POLARITY = { ALL: 1, VALID_ONLY: 3 } as const

/** PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM. */
const compareStrings = (length: 'explicit' | 'implicit', gives: 'index' | 'mask'): Handler => {
  const [a, b] = [blankText(), blankText()]
  return (core, record) => {
    const { registers, records } = core
    const immediate = records.field(record, RECORD.control)
    const wide = records.field(record, RECORD.operandBits) === 64
    read(registers, first(core, record), { text: a, immediate })
    read(registers, second(core, record), { text: b, immediate })
    if (length === 'implicit') {
      endAtZero(a)
      endAtZero(b)
    } else {
      endAtLength(registers, a, { register: GPR.rax, wide })
      endAtLength(registers, b, { register: GPR.rdx, wide })
    }
    return tellResult(registers, { a, b, immediate, gives })
  }
}

/** The result of a comparison, its flags, and where it is put. */
function tellResult(registers: RegisterFile, { a, b, immediate, gives }: { a: Text; b: Text; immediate: number; gives: 'index' | 'mask' }): number {
  const { count } = a
  const all = (1 << count) - 1
  let result = aggregate(a, b, KINDS[(immediate >> 2) & 3]!)
  const polarity = (immediate >> 4) & 3
  if (polarity === POLARITY.ALL) result ^= all
  else if (polarity === POLARITY.VALID_ONLY) result ^= (1 << b.valid) - 1
  const kept = registers.flags() & ~(RFLAGS.OF | RFLAGS.SF | RFLAGS.AF | RFLAGS.ZF | RFLAGS.PF | RFLAGS.CF)
  registers.setFlags(kept | (result !== 0 ? RFLAGS.CF : 0) | (b.valid < count ? RFLAGS.ZF : 0) |
    (a.valid < count ? RFLAGS.SF : 0) | ((result & 1) !== 0 ? RFLAGS.OF : 0))
  if (gives === 'index') {
    const last = (immediate & 0x40) !== 0
    const chosen = last ? result : result & -result
    registers.setSlot(GPR.rcx * 8, result === 0 ? count : 31 - Math.clz32(chosen), 0)
  } else writeMask(registers, result, { count, expand: (immediate & 0x40) !== 0 })
  return STATUS.NEXT
}

/** The result into XMM0, as bits or as lanes of all ones. */
function writeMask(registers: RegisterFile, result: number, how: { count: number; expand: boolean }): void {
  const { view } = registers
  const to = registers.base + State.xmm.offset
  const bytes = 16 / how.count
  for (let i = 0; i < 16; i += 4) view.setUint32(to + i, 0, true)
  if (!how.expand) return view.setUint16(to, result, true)
  for (let i = 0; i < 16; i += 1) view.setUint8(to + i, (result >> Math.floor(i / bytes)) & 1 ? 0xff : 0)
}

/** The processor stores words of 8 bytes: more alignment than theirs is not asked for. */
function hostForWords({ registers, memory, debug }: Views<'registers' | 'memory' | 'debug'>, count: number): number {
  debug.alignment = 8
  try {
    return memory.hostForWrite(registers.address(SLOT.t3), count)
  } finally {
    debug.alignment = undefined
  }
}

/**
 * Writes those bytes of the destination operand whose mask byte in the source has its top bit set, to the address in t3; operandBytes is the number of
 * bytes.
 */
const maskedStore: Handler = (core, record) => {
  const { registers } = core
  const { bytes } = registers
  const [from, mask, count] = [first(core, record), second(core, record), core.records.field(record, RECORD.operandBytes)]
  if (count === 8) useMmx(registers)
  const host = hostForWords(core, count)
  for (let i = 0; i < count; i += 1) if (bytes[mask + i]! >= 0x80) bytes[host + i] = bytes[from + i]!
  return core.memory.finishWrite(host)
}

/** Handlers by name. */
export const SSE_OTHER_HANDLERS: Handlers = {
  ...rows({ mpsadbw: sumsOfDifferences, phminposuw: smallestWord, maskmov: maskedStore }, { price: PRICE.shortWork }),
  ...rows({
    pcmpestrm: compareStrings('explicit', 'mask'), pcmpestri: compareStrings('explicit', 'index'),
    pcmpistrm: compareStrings('implicit', 'mask'), pcmpistri: compareStrings('implicit', 'index'),
  }, { price: PRICE.longVector }),
}
