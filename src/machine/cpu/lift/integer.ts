/** Lifters of integer instructions: moves, arithmetic, shifts, multiplication, bits. */
import type { Size } from '../emit/binder.ts'
import { CONDITIONS, SEGMENT } from '../../../x86/index.ts'
import type { OperandKind } from '../decode/operand-codes.ts'
import { SEGMENT_USE } from '../layout/segment-access.ts'
import { SLOT } from '../layout/state.ts'
import { BINARY } from '../uops/arithmetic.ts'
import { BIT_TESTS } from '../uops/bits.ts'
import { SHIFTS } from '../uops/shift.ts'
import { reads, writes } from './access.ts'
import type { Access } from './access.ts'
import type { Lift, Lifter } from './lifter.ts'
import { BySize, formNames, sizedNames } from './names.ts'
import type { FormNames } from './names.ts'

/** Two operands, the first of which is also the destination; for MOV and the arithmetic group. */
function binary(name: string): Lift {
  const names = formNames(name)
  return (l) => {
    const { operands, kinds } = l.instruction.row
    const size = l.size(operands[0]!)
    const { rr, ri, rm, mr, mi } = names.of(size)
    const source = kinds[1]!.place
    if (source === 'immediate') {
      const isRm = kinds[0]!.place === 'rm'
      l.fields.immediate = l.instruction.passedImmediate
      if (isRm && l.instruction.isMemory) return l.emitMemory(mi)
      l.fields.destination = isRm ? l.rmSlot(size) : 0
      return l.emit(ri)
    }
    l.fields.destination = l.regSlot(size)
    if (l.instruction.isMemory) return l.emitMemory(source === 'reg' ? mr : rm)
    l.fields.source = l.rmSlot(size)
    if (source === 'reg') {
      l.fields.destination = l.rmSlot(size)
      l.fields.source = l.regSlot(size)
    }
    l.emit(rr)
  }
}

const plainMove = /* @__PURE__ */ binary('mov')
const MOVE = /* @__PURE__ */ formNames('mov')

/** An absolute address that stands in the code. */
const isOffset = ({ place, names }: OperandKind): boolean => place === 'immediate' && names === 'memory'

const move: Lift = (l) => {
  const { operands, kinds } = l.instruction.row
  const [to, from] = kinds as [OperandKind, OperandKind]
  if (to.names === 'segment') return loadSegment(l)
  if (from.names === 'segment') return storeSegment(l)
  if (to.place === 'opcode') return moveImmediate(l, operands[0]!)
  if (isOffset(to) || isOffset(from)) return moveOffset(l)
  plainMove(l)
}

function moveImmediate(l: Lifter, code: string): void {
  const size = l.size(code)
  l.fields.destination = l.opcodeSlot(size)
  l.fields.immediate = l.instruction.passedImmediate
  if (size !== 64) return l.emit(MOVE.of(size).ri)
  const { immediate, immediate2 } = l.instruction
  if (immediate2 === immediate >> 31) return l.emit(MOVE.of(size).ri)
  l.fields.displacement = immediate
  l.fields.immediate = immediate2
  l.emit('mov.64.rw')
}

/** MOV between the accumulator and an absolute address. */
function moveOffset(l: Lifter): void {
  const load = isOffset(l.instruction.row.kinds[1]!)
  const size = (l.instruction.opcode & 1) === 0 ? 8 : l.instruction.operandSize
  l.fields.destination = SLOT.t2
  l.fields.displacement = l.instruction.immediate
  l.fields.immediate = l.instruction.addressSize === 64 ? l.instruction.immediate2 : 0
  l.emit('mov.64.rw')
  l.fields.register = 0
  l.fields.base = SLOT.t2
  l.fields.index = SLOT.zero
  l.fields.displacement = 0
  if (l.codeSize === 64) l.fields.scale = l.segmentSlot(SEGMENT.ds)
  else l.through(l.segmentOf(SEGMENT.ds), load ? reads(size / 8) : writes(size / 8))
  l.emit(`mov.${size}.${load ? 'rm' : 'mr'}2`)
}

function loadSegment(l: Lifter): void {
  // REX.R does not reach segment registers.
  const reg = l.instruction.reg & 7
  if (reg > 5 || reg === 1) return l.undefined()
  const slot = l.source(16)
  l.fields.register = slot
  l.fields.segment = reg
  l.finalHandler('load-segment')
}

function storeSegment(l: Lifter): void {
  const { isMemory, operandSize } = l.instruction
  const reg = l.instruction.reg & 7
  if (reg > 5) return l.undefined()
  l.fields.destination = SLOT.t0
  l.emit(`selector.${reg}`)
  l.store(isMemory ? 16 : operandSize, SLOT.t0)
}

/** MOVZX, MOVSX and MOVSXD. */
function extension(name: 'movzx' | 'movsx'): Lift {
  const names = new BySize((to) => new BySize((from) => ({ rr: `${name}.${to}.${from}.rr`, rm: `${name}.${to}.${from}.rm` })))
  return (l) => extend(l, name, names)
}

function extend(l: Lifter, name: 'movzx' | 'movsx', names: BySize<BySize<Pick<FormNames, 'rr' | 'rm'>>>): void {
  const [first, second] = l.instruction.row.operands as [string, string]
  const to = l.size(first)
  const from = l.size(second)
  l.fields.destination = l.regSlot(to)
  if (from >= to) {
    // MOVZX and MOVSX of a word into a word, MOVSXD without REX.W: plain moves.
    // All of the source is read, also what the destination has no room for.
    const slot = l.source(from)
    l.fields.destination = l.regSlot(to)
    l.fields.source = slot
    return l.emit(MOVE.of(to).rr)
  }
  // Clearing the upper half comes with any 32-bit destination.
  const target = name === 'movzx' && to === 64 ? 32 : to
  const { rr, rm } = names.of(target).of(from)
  if (l.instruction.isMemory) return l.emitMemory(rm)
  l.fields.source = l.rmSlot(from)
  l.emit(rr)
}

const LEA = /* @__PURE__ */ new BySize((size) => ['', `lea.${size}.1`, `lea.${size}.2`] as const)

const lea: Lift = (l) => {
  l.instruction.segment = -1
  const size = l.instruction.operandSize
  if (!l.instruction.isMemory) return l.undefined()
  l.fields.destination = l.regSlot(size)
  const form = l.memory()
  l.emit(LEA.of(size)[form])
}

const EXCHANGE = /* @__PURE__ */ sizedNames('xchg', 'rr')

const exchange: Lift = (l) => {
  const { operands, kinds } = l.instruction.row
  const size = l.size(operands[0]!)
  if (kinds[0]!.place === 'opcode') {
    // 90 is NOP, not an exchange of eax with itself, which would clear the upper half.
    if (l.instruction.opcode === 0x90 && (l.instruction.rex & 1) === 0) return l.emit('nop')
    l.fields.destination = l.opcodeSlot(size)
    l.fields.source = operands[1] === 'rAX' ? 0 : l.regSlot(size)
    return l.emit(EXCHANGE.of(size))
  }
  readModifyWrite(l, EXCHANGE.of(size), size)
}

/** The destination is the E operand, the source the G operand. */
function readModifyWrite(l: Lifter, micro: string, size: Size): void {
  l.fields.destination = l.open(size)
  l.fields.source = l.regSlot(size)
  l.emit(micro)
  l.close(size)
}

/** One E operand, changed in place. */
function unary(name: string): Lift {
  const [inRegister, inMemory] = [sizedNames(name, 'r'), sizedNames(name, 'm')]
  return (l) => {
    const { operands, kinds } = l.instruction.row
    const size = l.size(operands[0]!)
    if (kinds[0]!.place === 'opcode') {
      l.fields.destination = l.opcodeSlot(size)
      return l.emit(inRegister.of(size))
    }
    if (l.instruction.isMemory && l.usesMemory(inMemory.of(size))) return l.emitMemory(inMemory.of(size))
    l.fields.destination = l.open(size)
    l.emit(inRegister.of(size))
    l.close(size)
  }
}

function shift(name: string): Lift {
  const [byCount, byImmediate] = [sizedNames(name, 'rc'), sizedNames(name, 'ri')]
  return (l) => {
    const [code, countCode] = l.instruction.row.operands as [string, string]
    const size = l.size(code)
    const count = countCode === '1' ? 1 : l.instruction.immediate & (size === 64 ? 63 : 31)
    const slot = l.open(size)
    l.fields.destination = slot
    if (countCode === 'cl') l.emit(byCount.of(size))
    else if (count === 0) {
      // Flags stay; only the upper half of a 32-bit register goes.
      l.fields.source = slot
      l.emit(size === 32 ? MOVE.of(size).rr : 'nop')
    } else {
      l.fields.count = count
      l.emit(byImmediate.of(size))
    }
    l.close(size)
  }
}

const doubleShift = (name: 'shld' | 'shrd'): Lift => (l) => {
  const size = l.instruction.operandSize
  const immediate = l.instruction.row.operands[2] === 'Ib'
  l.fields.destination = l.open(size)
  l.fields.source = l.regSlot(size)
  l.fields.immediate = l.instruction.passedImmediate
  l.emit(`${name}.${size}.${immediate ? 'rri' : 'rrc'}`)
  l.close(size)
}

const MULTIPLY = /* @__PURE__ */ new BySize((size) => [`imul.${size}.rr`, `imul.${size}.rri`] as const)

/** IMUL in its three forms. */
const signedMultiply: Lift = (l) => {
  const { operands } = l.instruction.row
  const size = l.size(operands[0]!)
  const slot = l.source(size)
  if (operands.length === 1) {
    l.fields.register = slot
    return l.emit(`imul.${size}.r`)
  }
  l.fields.destination = l.regSlot(size)
  l.fields.source = slot
  l.fields.immediate = l.instruction.passedImmediate
  l.emit(MULTIPLY.of(size)[operands.length === 2 ? 0 : 1])
}

/** One E operand as a source; DIV of 64 bits may need its handler. */
const accumulator = (name: 'mul' | 'div' | 'idiv'): Lift => (l) => {
  const size = l.size(l.instruction.row.operands[0]!)
  l.fields.register = l.source(size)
  if (size === 64 && name !== 'mul') l.handler(name, `${name}.64.r`)
  else l.emit(`${name}.${size}.r`)
}

function bitTest(name: string): Lift {
  const forms = formNames(name)
  const isRead = name === 'bt'
  return (l) => {
    const i = l.instruction
    const size = i.operandSize
    const isImmediate = i.row.operands[1] === 'Ib'
    if (!i.isMemory) return testBit(l, l.rmSlot(size), forms.of(size))
    const access = { bytes: size / 8, use: isRead ? SEGMENT_USE.READ : SEGMENT_USE.WRITE }
    const form = isImmediate ? l.memory(access) : bitWord(l, size, access)
    l.fields.destination = SLOT.t0
    l.emit(isRead ? `mov.${size}.rm${form}` : `modify.${size}.${form}`)
    testBit(l, SLOT.t0, forms.of(size))
    if (!isRead) l.close(size)
  }
}

/** The bit of a slot that the second operand tells. */
function testBit(l: Lifter, slot: number, { rr, ri }: FormNames): void {
  const { row, operandSize, passedImmediate } = l.instruction
  l.fields.destination = slot
  l.fields.source = l.regSlot(operandSize)
  l.fields.immediate = passedImmediate
  l.emit(row.operands[1] === 'Ib' ? ri : rr)
}

/** A bit offset in a register reaches beyond the operand: works out the word that holds the bit. */
function bitWord(l: Lifter, size: Size, access: Access): 1 | 2 {
  const { base } = l.instruction
  const fallback = base === 4 || base === 5 ? SEGMENT.ss : SEGMENT.ds
  const segment = l.segmentSlot(fallback)
  l.memory()
  l.fields.destination = SLOT.t2
  l.emit('lea.64.2')
  l.fields.register = l.regSlot(size)
  l.fields.base = SLOT.t2
  l.fields.displacement = 0
  l.emit(`bit-word.${size}.${l.instruction.addressSize}`)
  l.fields.base = SLOT.t1
  l.fields.index = SLOT.zero
  if (l.codeSize !== 64) return l.through(l.segmentOf(fallback), access)
  l.fields.scale = segment
  return 2
}

/** G := operation of E. */
function into(name: string): Lift {
  const names = sizedNames(name, 'rr')
  return (l) => {
    const size = l.instruction.operandSize
    const slot = l.source(size)
    l.fields.destination = l.regSlot(size)
    l.fields.source = slot
    l.emit(names.of(size))
  }
}

const CONDITIONAL_MOVES = /* @__PURE__ */ CONDITIONS.map((condition) => into(`cmov${condition}`))
const SET = /* @__PURE__ */ CONDITIONS.map((condition) => `set${condition}.8.r`)

const conditionalMove: Lift = (l) => CONDITIONAL_MOVES[l.instruction.opcode & 15]!(l)

const conditionalSet: Lift = (l) => {
  const { opcode, isMemory } = l.instruction
  l.fields.destination = isMemory ? SLOT.t0 : l.rmSlot(8)
  l.emit(SET[opcode & 15]!)
  if (isMemory) l.emitMemory('mov.8.mr')
}

/** CMPXCHG and XADD. */
function exchanging(name: 'cmpxchg' | 'xadd'): Lift {
  const names = sizedNames(name, 'rr')
  return (l) => {
    const size = l.size(l.instruction.row.operands[0]!)
    readModifyWrite(l, names.of(size), size)
  }
}

const plain = (name: string): Lift => (l) => l.emit(name)

/** Lifters by name of instruction. */
export const INTEGER_LIFTERS: Readonly<Record<string, Lift>> = {
  ...Object.fromEntries(BINARY.map((name) => [name, binary(name)])),
  ...Object.fromEntries(SHIFTS.map((name) => [name, shift(name)])),
  ...Object.fromEntries(BIT_TESTS.map((name) => [name, bitTest(name)])),
  mov: move, movzx: extension('movzx'), movsx: extension('movsx'), movsxd: extension('movsx'), lea, xchg: exchange,
  inc: unary('inc'), dec: unary('dec'), neg: unary('neg'), not: unary('not'),
  shld: doubleShift('shld'), shrd: doubleShift('shrd'),
  imul: signedMultiply, mul: accumulator('mul'), div: accumulator('div'), idiv: accumulator('idiv'),
  bsf: into('bsf'), bsr: into('bsr'), popcnt: into('popcnt'),
  bswap: unary('bswap'), cmovCC: conditionalMove, setCC: conditionalSet,
  cmpxchg: exchanging('cmpxchg'), xadd: exchanging('xadd'),
  cmpxchg8b: (l) => l.emitMemory(l.instruction.operandSize === 64 ? 'cmpxchg16b.m' : 'cmpxchg8b.m'),
  movnti: (l) => {
    l.fields.register = l.regSlot(l.size('Gy'))
    l.emitMemory(`mov.${l.size('Gy')}.mr`)
  },
  cbw: (l) => l.emit(`widen.${l.instruction.operandSize}`),
  cwd: (l) => l.emit(`sign.${l.instruction.operandSize}`),
  nop: plain('nop'), pause: plain('nop'), wait: (l) => l.handler('wait'),
  lfence: plain('nop'), mfence: plain('nop'), sfence: plain('nop'), clflush: (l) => touch(l),
  clc: plain('clc'), stc: plain('stc'), cmc: plain('cmc'), cld: plain('cld'), std: plain('std'),
  lahf: plain('lahf'), sahf: plain('sahf'), salc: plain('salc'),
  xlat: (l) => {
    l.fields.destination = SLOT.t2
    l.emit(`xlat.${l.instruction.addressSize}`)
    l.fields.base = SLOT.t2
    l.fields.destination = 0
    if (l.codeSize !== 64) l.through(l.segmentOf(SEGMENT.ds), reads(1))
    l.fields.index = SLOT.zero
    l.fields.scale = l.codeSize === 64 ? l.segmentSlot(SEGMENT.ds) : SLOT.zero
    l.fields.displacement = 0
    l.emit('mov.8.rm2')
  },
}

/** Reads a byte for its faults only. */
function touch(l: Lifter): void {
  l.fields.destination = SLOT.t0
  l.emitMemory('mov.8.rm')
}
