/** Lifters of MMX, SSE and x87 instructions. */
import { SLOT, State } from '../state.ts'
import type { Lift, Lifter } from './lifter.ts'

/** Pseudo register 16: a place for a memory operand. */
const TEMPORARY = 16

/** Moves of 16 bytes between a vector register and register or memory. */
const move128 = (alignment: 'a' | 'u'): Lift => (l) => {
  const load = l.instruction.row.operands[0]!.charAt(0) === 'V'
  l.a = l.instruction.reg * 16
  if (l.instruction.isMemory) return l.emitMemory(`${load ? 'load' : 'store'}128.${alignment}`)
  l.b = l.instruction.rm * 16
  if (!load) [l.a, l.b] = [l.b, l.a]
  l.emit('move128')
}

/** MOVD and MOVQ between vector and general registers or memory. */
const moveGeneral: Lift = (l) => {
  const size = l.size('Ey')
  if (l.instruction.row.operands[0] === 'Vdq') {
    const slot = l.source(size)
    l.a = l.instruction.reg * 16
    l.b = slot
    return l.emit(`vector-from.${size}`)
  }
  l.a = l.instruction.isMemory ? SLOT.t0 : l.instruction.rm * 8
  l.b = l.instruction.reg * 16
  l.emit(`vector-to.${size}`)
  if (l.instruction.isMemory) l.store(size, SLOT.t0)
}

/** MOVQ between the low halves of vector registers or memory; a register's upper half is cleared. */
const moveLow: Lift = (l) => {
  const load = l.instruction.row.operands[0] === 'Vdq'
  const { isMemory, reg, rm } = l.instruction
  if (load && isMemory) {
    const slot = l.source(64)
    l.a = reg * 16
    l.b = slot
    return l.emit('vector-from.64')
  }
  l.a = SLOT.t0
  l.b = (load ? rm : reg) * 16
  l.emit('vector-to.64')
  if (!load && isMemory) return l.store(64, SLOT.t0)
  l.a = (load ? reg : rm) * 16
  l.b = SLOT.t0
  l.emit('vector-from.64')
}

const logic = (micro: string): Lift => (l) => {
  l.b = vectorSource(l)
  l.a = l.instruction.reg * 16
  l.emit(micro)
}

/** Place of the W operand: a register, or the temporary, loaded from aligned memory. */
function vectorSource(l: Lifter): number {
  if (!l.instruction.isMemory) return l.instruction.rm * 16
  // The temporary lies behind the 16 registers: byte 256 from the first, which a record's field cannot name, so that
  // operations on it go through register 15's neighbour by an offset of their own.
  l.a = TEMPORARY * 15
  l.emitMemory('load128.a')
  return TEMPORARY * 15
}

/** Loads a 16- or 32-bit control word from memory and hands it to a handler. */
const controlWord = (size: 16 | 32, handler: string): Lift => (l) => {
  l.source(size)
  l.handler(handler)
}

/** Stores what a handler leaves. */
const storeWord = (size: 16 | 32, handler: string): Lift => (l) => {
  l.handler(handler)
  if (l.instruction.isMemory) return l.store(size, SLOT.t0)
  l.a = 0
  l.b = SLOT.t0
  l.emit('mov.16.rr')
}

const withAddress = (handler: string): Lift => (l) => {
  l.a = SLOT.t3
  l.emit(`lea.64.${l.memory()}`)
  l.handler(handler)
}

/** Lifters by name of instruction. */
export const VECTOR_LIFTERS: Readonly<Record<string, Lift>> = {
  movups: move128('u'), movupd: move128('u'), movdqu: move128('u'), movaps: move128('a'), movapd: move128('a'),
  movdqa: move128('a'), movd: moveGeneral, movq: moveLow, pxor: logic('v128.xor'),
  fninit: (l) => l.handler('fninit'), fnclex: (l) => l.handler('fnclex'),
  fldcw: controlWord(16, 'load-control-word'), fnstcw: storeWord(16, 'read-control-word'),
  fnstsw: storeWord(16, 'read-status-word'), ldmxcsr: controlWord(32, 'load-mxcsr'), stmxcsr: storeWord(32, 'read-mxcsr'),
  fxsave: withAddress('fxsave'), fxrstor: withAddress('fxrstor'),
}

/** Bytes of the vector registers in the state; named here for the head comment's sake. */
export const VECTOR_BYTES = State.xmm.size
