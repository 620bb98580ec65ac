/**
 * x87 loads, stores, control words and environments.
 * Reference: Intel SDM volume 1, section 8.1.10 (formats of the environment); volume 2, FLD to FSTP, FLDENV, FNSAVE.
 */
import {
  FLOAT_FLAG, Float80, loadDecimal, loadDouble, loadInteger, loadSingle, storeDecimal, storeDouble, storeInteger,
  storeSingle,
} from '../../softfloat/index.ts'
import { GPR } from '../../../x86/index.ts'
import type { Views } from '../core/core.ts'
import type { FloatUnits } from '../core/float-units.ts'
import type { Records } from '../core/records.ts'
import type { RegisterFile } from '../core/register-file.ts'
import { X87_OPERAND } from '../lift/x87.ts'
import { RECORD } from '../layout/record.ts'
import { SLOT, STATUS, State } from '../layout/state.ts'
import type { Handler } from '../core/handler.ts'
import { waiting, waitingControl } from './x87-arithmetic.ts'
import { PRICE } from './prices.ts'
import { rows, type Handlers } from './rows.ts'
import {
  CONTROL_RESET, control, delivered, isEmpty, makeRoom, moveTop, pop, readRegister, report, setControl, setStatus,
  stackFault,
  status, writeIndefinite, writeRegister,
} from './x87-unit.ts'

/** Bytes of a memory operand by its kind. */
const BYTES: Readonly<Record<number, number>> = {
  [X87_OPERAND.single]: 4, [X87_OPERAND.double]: 8, [X87_OPERAND.extended]: 10, [X87_OPERAND.integer16]: 2,
  [X87_OPERAND.integer32]: 4, [X87_OPERAND.integer64]: 8, [X87_OPERAND.decimal]: 10,
}

/** Converts the operand at a host address; the value stands in the unit's result. */
function convertLoaded({ registers, floats }: Views<'registers' | 'floats'>, kind: number, host: number): number {
  const { view } = registers
  const { x87, words } = floats
  const low = kind === X87_OPERAND.integer16 ? view.getInt16(host, true) : view.getInt32(host, true)
  switch (kind) {
    case X87_OPERAND.single:
      return loadSingle(x87, low)
    case X87_OPERAND.double:
      return loadDouble(x87, low, view.getInt32(host + 4, true))
    case X87_OPERAND.integer16:
    case X87_OPERAND.integer32:
      return loadInteger(x87, low, low >> 31)
    case X87_OPERAND.integer64:
      return loadInteger(x87, low, view.getInt32(host + 4, true))
    case X87_OPERAND.decimal:
      words.word0 = low
      words.word1 = view.getInt32(host + 4, true)
      words.word2 = view.getUint16(host + 8, true)
      return loadDecimal(x87, words)
    default:
      x87.result.set(view.getUint16(host + 8, true), view.getInt32(host + 4, true), low)
      return 0
  }
}

const load: Handler = waiting((core, record) => {
  const { registers, records } = core
  const kind = records.field(record, RECORD.operandKind)
  if (kind === X87_OPERAND.register) return loadRegister(core, records.field(record, RECORD.stackRegister))
  const host = core.memory.hostForRead(registers.address(SLOT.t3), BYTES[kind]!)
  if (isEmpty(registers, 7)) {
    const result = convertLoaded(core, kind, host)
    report(registers, result)
    if (!delivered(result)) return
  }
  if (makeRoom(registers)) writeRegister(registers, 0, core.floats.x87.result)
})

function loadRegister({ registers, floats }: Views<'registers' | 'floats'>, i: number): void {
  const { first } = floats
  if (isEmpty(registers, i)) {
    if (!stackFault(registers, 'underflow')) return
    moveTop(registers, -1)
    return writeIndefinite(registers, 0)
  }
  report(registers, 0)
  readRegister(registers, i, first)
  if (makeRoom(registers)) writeRegister(registers, 0, first)
}

/** An operand that every store answers as an invalid operation: what an empty register is stored as. */
const UNSUPPORTED = /* @__PURE__ */ new Float80(0x7fff, 0, 0)

/** Converts st0 into the words to be written. */
function convert(floats: FloatUnits, kind: number, options: { from: Float80; truncate: boolean }): number {
  const { x87, words } = floats
  const { from, truncate } = options
  switch (kind) {
    case X87_OPERAND.single: return storeSingle(x87, from, words)
    case X87_OPERAND.double: return storeDouble(x87, from, words)
    case X87_OPERAND.integer16: return storeInteger(x87, from, words, { bits: 16, truncate })
    case X87_OPERAND.integer32: return storeInteger(x87, from, words, { bits: 32, truncate })
    case X87_OPERAND.integer64: return storeInteger(x87, from, words, { bits: 64, truncate })
    case X87_OPERAND.decimal: return storeDecimal(x87, from, words)
    default:
      words.word0 = from.low
      words.word1 = from.high
      words.word2 = from.signExponent
      return 0
  }
}

function writeWords(
  { registers, memory, floats }: Views<'registers' | 'memory' | 'floats'>, host: number, bytes: number,
): number {
  const { view } = registers
  const { words } = floats
  if (bytes === 2) view.setUint16(host, words.word0 & 0xffff, true)
  else view.setInt32(host, words.word0, true)
  if (bytes > 4) view.setInt32(host + 4, words.word1, true)
  if (bytes > 8) view.setUint16(host + 8, words.word2 & 0xffff, true)
  return memory.finishWrite(host)
}

const store = (options: { pops?: boolean; truncate?: boolean }): Handler =>
  waiting((core, record) => {
    const { registers, records, floats } = core
    const kind = records.field(record, RECORD.operandKind)
    if (kind === X87_OPERAND.register) return storeRegister(core, records.field(record, RECORD.stackRegister), options.pops === true)
    const bytes = BYTES[kind]!
    const host = core.memory.hostForWrite(registers.address(SLOT.t3), bytes)
    const { first } = floats
    if (isEmpty(registers, 0)) {
      if (!stackFault(registers, 'underflow')) return
      const indefinite = kind === X87_OPERAND.extended
      convert(floats, kind, { from: indefinite ? INDEFINITE : UNSUPPORTED, truncate: false })
    } else {
      const result = convert(floats, kind, { from: readRegister(registers, 0, first), truncate: options.truncate === true })
      report(registers, result)
      if (!delivered(result)) return
    }
    const ended = writeWords(core, host, bytes)
    if (options.pops === true) pop(registers)
    return ended
  })

const INDEFINITE = /* @__PURE__ */ new Float80(0xffff, -0x4000_0000, 0)

function storeRegister({ registers, floats }: Views<'registers' | 'floats'>, i: number, pops: boolean): void {
  if (isEmpty(registers, 0)) {
    if (!stackFault(registers, 'underflow')) return
    writeIndefinite(registers, i)
  } else {
    report(registers, 0)
    writeRegister(registers, i, readRegister(registers, 0, floats.first))
  }
  if (pops) pop(registers)
}

const CONTROL_ALL = FLOAT_FLAG.ALL

function initialize({ registers }: Views<'registers'>): number {
  const { view, base } = registers
  State.x87Tags.set(view, base, 0)
  State.x87Opcode.set(view, base, 0)
  State.x87Instruction.setParts(view, base, 0, 0)
  State.x87Data.setParts(view, base, 0, 0)
  State.x87Status.set(view, base, 0)
  setControl(registers, CONTROL_RESET)
  return STATUS.NEXT
}

/** Two bits a register, by physical number: 0 valid, 1 zero, 2 special, 3 empty. */
function fullTags({ registers, floats }: Views<'registers' | 'floats'>): number {
  const { first } = floats
  const top = (status(registers) >> 11) & 7
  let tags = 0
  for (let i = 0; i < 8; i += 1) tags |= tagOf(registers, i, first) << (((top + i) & 7) * 2)
  return tags
}

function tagOf(registers: RegisterFile, i: number, scratch: Float80): number {
  if (isEmpty(registers, i)) return 3
  readRegister(registers, i, scratch)
  const exponent = scratch.signExponent & 0x7fff
  if (exponent === 0 && (scratch.high | scratch.low) === 0) return 1
  return exponent === 0 || exponent === 0x7fff || scratch.high >= 0 ? 2 : 0
}

function takeTags(registers: RegisterFile, tags: number): void {
  let kept = 0
  for (let i = 0; i < 8; i += 1) if (((tags >> (i * 2)) & 3) !== 3) kept |= 1 << i
  State.x87Tags.set(registers.view, registers.base, kept)
}

/** Bytes of an environment by operand size. */
const environmentBytes = (records: Records, record: number): 14 | 28 => (records.displacement(record) >>> 16 === 16 ? 14 : 28)

function environment(core: Views<'registers' | 'floats'>, bytes: 14 | 28): Uint8Array {
  const { registers } = core
  const { view, base } = registers
  const image = new Uint8Array(bytes + 80)
  const to = new DataView(image.buffer)
  const words = [control(registers), status(registers), fullTags(core)]
  // Pointers are told only while an exception is pending, as AMD's processors do.
  const told = (status(registers) & 0x80) !== 0
  const [ip, data] = told ? [State.x87Instruction.low(view, base), State.x87Data.low(view, base)] : [0, 0]
  if (bytes === 14) {
    [...words, ip & 0xffff, 0, data & 0xffff, 0].forEach((word, index) => to.setUint16(index * 2, word, true))
    return image
  }
  words.forEach((word, index) => to.setUint32(index * 4, 0xffff_0000 + word, true))
  to.setUint32(12, ip, true)
  to.setUint32(16, told ? State.x87Opcode.get(view, base) << 16 : 0, true)
  to.setUint32(20, data, true)
  to.setUint32(24, 0xffff_0000, true)
  return image
}

function takeEnvironment(registers: RegisterFile, image: Uint8Array, bytes: 14 | 28): void {
  const { view, base } = registers
  const from = new DataView(image.buffer, image.byteOffset)
  const step = bytes === 14 ? 2 : 4
  const pointer = (at: number): number => (bytes === 14 ? from.getUint16(at, true) : from.getUint32(at, true))
  takeTags(registers, from.getUint16(2 * step, true))
  State.x87Instruction.setParts(view, base, pointer(3 * step), 0)
  State.x87Data.setParts(view, base, pointer(5 * step), 0)
  State.x87Opcode.set(view, base, bytes === 14 ? 0 : from.getUint16(18, true) & 0x7ff)
  State.x87Status.set(view, base, from.getUint16(step, true))
  setControl(registers, from.getUint16(0, true))
}

const storeEnvironment: Handler = (core, record) => {
  const { registers } = core
  const bytes = environmentBytes(core.records, record)
  const ended = core.memory.writeBytes(registers.address(SLOT.t3), environment(core, bytes).subarray(0, bytes))
  setControl(registers, control(registers) | CONTROL_ALL)
  return ended
}

const loadEnvironment: Handler = waitingControl(({ registers, records, memory }, record) => {
  const bytes = environmentBytes(records, record)
  takeEnvironment(registers, memory.readBytes(registers.address(SLOT.t3), bytes), bytes)
})

const saveAll: Handler = (core, record) => {
  const { registers } = core
  const bytes = environmentBytes(core.records, record)
  const image = environment(core, bytes)
  const to = new DataView(image.buffer)
  const { first } = core.floats
  for (let i = 0; i < 8; i += 1) {
    readRegister(registers, i, first)
    to.setInt32(bytes + i * 10, first.low, true)
    to.setInt32(bytes + i * 10 + 4, first.high, true)
    to.setUint16(bytes + i * 10 + 8, first.signExponent, true)
  }
  const ended = core.memory.writeBytes(registers.address(SLOT.t3), image)
  initialize(core)
  return ended
}

const restoreAll: Handler = waitingControl(({ registers, records, memory, floats }, record) => {
  const bytes = environmentBytes(records, record)
  const image = memory.readBytes(registers.address(SLOT.t3), bytes + 80)
  const from = new DataView(image.buffer, image.byteOffset)
  takeEnvironment(registers, image, bytes)
  const kept = State.x87Tags.get(registers.view, registers.base)
  for (let i = 0; i < 8; i += 1) {
    const at = bytes + i * 10
    const { first } = floats
    first.set(from.getUint16(at + 8, true), from.getInt32(at + 4, true), from.getInt32(at, true))
    writeRegister(registers, i, first)
  }
  State.x87Tags.set(registers.view, registers.base, kept)
})

const write16 = ({ registers, memory }: Views<'registers' | 'memory'>, value: number): number => {
  const host = memory.hostForWrite(registers.address(SLOT.t3), 2)
  registers.view.setUint16(host, value, true)
  return memory.finishWrite(host)
}

/** Handlers by name. */
export const X87_MEMORY_HANDLERS: Handlers = {
  ...rows({
    fld: load, fild: load, fst: store({}), fstp: store({ pops: true }), fist: store({}), fistp: store({ pops: true }),
    fisttp: store({ pops: true, truncate: true }),
  }, { price: PRICE.x87Move }),
  ...rows({
    fbld: load, fbstp: store({ pops: true }), fninit: initialize, fldenv: loadEnvironment, fnstenv: storeEnvironment,
  }, { price: PRICE.x87Long }),
  ...rows({ frstor: restoreAll, fnsave: saveAll }, { price: PRICE.x87Image }),
  ...rows({
    // FSTP without a stack fault: an empty register is not stored.
    fstpnce: waiting(({ registers, records, floats }, record) => {
      report(registers, 0)
      if (!isEmpty(registers, 0)) writeRegister(registers, records.field(record, RECORD.stackRegister), readRegister(registers, 0, floats.first))
      pop(registers)
    }),
    fldcw: waitingControl(({ registers, memory }) => setControl(registers, memory.read16(registers.address(SLOT.t3)))),
    fnstcw: (core) => write16(core, control(core.registers)),
    fnstsw: (core, record) => {
      const { registers } = core
      if (core.records.field(record, RECORD.operandKind) !== X87_OPERAND.register) return write16(core, status(registers))
      registers.view.setUint16(registers.base + GPR.rax * 8, status(registers), true)
      return STATUS.NEXT
    },
    fnclex: ({ registers }) => {
      setStatus(registers, status(registers) & 0x7f00)
      return STATUS.NEXT
    },
  }),
}
