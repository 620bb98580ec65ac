/**
 * Interrupts and exceptions in 32-bit protected mode: gates of 8 bytes, stacks with a segment.
 *
 *   stack of the handler:   esp -> [error code] | eip | cs | eflags | [esp | ss, when the ring changes]
 *
 * Task gates and virtual-8086 mode are not there.
 * Reference: Intel SDM volume 3, sections 6.12 and 7.2.1.
 */
import { ATTRIBUTE, GPR, SEGMENT, SYSTEM_TYPE, VECTOR } from '../../../x86/index.ts'
import type { SegmentState } from '../../interface/registers.ts'
import type { Core, Views } from '../core/core.ts'
import type { RegisterFile } from '../core/register-file.ts'
import { fail } from '../core/faults.ts'
import { stackSegment } from './descriptors.ts'
import { codeBehindGate, enterCode, readGate } from './gates.ts'
import type { Delivery } from './gates.ts'
import { readTask, writeAs } from './tables.ts'

const GATES = [
  SYSTEM_TYPE.INTERRUPT_GATE, SYSTEM_TYPE.TRAP_GATE, SYSTEM_TYPE.INTERRUPT_GATE_16, SYSTEM_TYPE.TRAP_GATE_16,
]

/** A stack: its segment and the offset of its top. */
export interface LegacyStack {
  readonly segment: SegmentState
  readonly pointer: number
}

/** Stack of an inner ring out of the 32-bit or 16-bit task-state segment. */
export function legacyStackOfRing(core: Core, ring: number, ext = 0): LegacyStack {
  const isWide = (core.system.tr.attributes & 8) !== 0
  const words = readTask(core, isWide ? 4 + ring * 8 : 2 + ring * 4, isWide ? 2 : 1, ext)
  const selector = isWide ? words[1]! & 0xffff : words[0]! >>> 16
  const pointer = isWide ? words[0]! : words[0]! & 0xffff
  return { segment: stackSegment(core, selector, { ring, vector: VECTOR.TS, ext }), pointer }
}

/** The stack in use. */
export const legacyStack = (registers: RegisterFile): LegacyStack =>
  ({ segment: registers.segment(SEGMENT.ss), pointer: registers.low(GPR.rsp * 8) })

/**
 * Writes values of `size` bytes downwards from a stack's top, the first at the highest address; gives the new pointer.
 * Nothing is written when one of them would fault.
 */
export function pushLegacy(
  core: Views<'registers' | 'memory' | 'mode' | 'faults' | 'debug'>, stack: LegacyStack, values: readonly number[],
  how: { size: 2 | 4; ring: number; ext: number },
): number {
  const { memory } = core
  const mask = (stack.segment.attributes & ATTRIBUTE.BIG) !== 0 ? 0xffff_ffff : 0xffff
  const bytes = values.length * how.size
  const bottom = ((stack.pointer - bytes) & mask) >>> 0
  const isDown = (stack.segment.attributes & 4) !== 0
  const last = bottom + bytes - 1
  const isOutside = isDown ? bottom <= stack.segment.limit || last > mask >>> 0 : last > stack.segment.limit
  if (isOutside) fail(core.faults, VECTOR.SS, (stack.segment.selector & 0xfffc) | how.ext)
  const frame = new Uint8Array(bytes)
  const view = new DataView(frame.buffer)
  values.forEach((value, i) => {
    const at = bytes - (i + 1) * how.size
    if (how.size === 2) view.setUint16(at, value & 0xffff, true)
    else view.setUint32(at, value, true)
  })
  const start = stack.segment.baseLow + bottom
  const write = (): void => {
    values.forEach((_, i) => memory.hostForWrite((start + bytes - (i + 1) * how.size) % 0x1_0000_0000, how.size))
    memory.writeBytes(start % 0x1_0000_0000, frame)
  }
  writeAs(core, how.ring, write)
  return mask === 0xffff ? ((core.registers.low(GPR.rsp * 8) & 0xffff_0000) | bottom) >>> 0 : bottom
}

/** Enters the handler of a delivery; faults leave by GUEST_FAULT with nothing changed. */
export function enterLegacy(core: Core, delivery: Delivery): void {
  const { registers } = core
  const ext = delivery.kind === 'software' ? 0 : 1
  const gate = readGate(core, delivery, 2, GATES)
  const { code, ring } = codeBehindGate(core, gate.selector, ext)
  const isInner = ring < registers.cpl
  const stack = isInner ? legacyStackOfRing(core, ring, ext) : legacyStack(registers)
  const values = isInner ? [registers.segment(SEGMENT.ss).selector, registers.low(GPR.rsp * 8)] : []
  values.push(delivery.flags, registers.segment(SEGMENT.cs).selector, delivery.rip >>> 0)
  if (delivery.errorCode !== undefined) values.push(delivery.errorCode)
  if (gate.offset > code.limit) fail(core.faults, VECTOR.GP, ext)
  const size = gate.type < 8 ? 2 : 4
  const pointer = pushLegacy(core, stack, values, { size, ring, ext })
  if (isInner) core.mode.setSegment(SEGMENT.ss, stack.segment)
  registers.setSlot(GPR.rsp * 8, pointer, 0)
  enterCode(core, { code, offset: gate.offset, masks: (gate.type & 1) === 0 })
}
