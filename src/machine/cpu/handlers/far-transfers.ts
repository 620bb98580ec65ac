/**
 * Transfers between segments and rings: IRET, far CALL, JMP and RET, and call gates. A hosted processor reaches outer rings
 * by returning, inner ones by its host; a bare one these through gates too. In real mode there is none of it.
 * Reference: Intel SDM volume 2, IRET, CALL, JMP, RET; volume 3, section 5.8.
 */
import { ATTRIBUTE, DPL_SHIFT, GPR, PAGE_SIZE, RFLAGS, SEGMENT, SYSTEM_TYPE, VECTOR, dplOf, isConforming } from '../../../x86/index.ts'
import { highPart, isCanonical, lowPart, signedFromParts } from '../../../util/index.ts'
import type { SegmentState } from '../../interface/registers.ts'
import type { Core, Views } from '../core/core.ts'
import type { RegisterFile } from '../core/register-file.ts'
import { RECORD } from '../layout/record.ts'
import { SLOT, STATUS, State } from '../layout/state.ts'
import { codeBehindGate } from '../system/gates.ts'
import { legacyStack, legacyStackOfRing, pushLegacy } from '../system/legacy-delivery.ts'
import { enterReal, isReal } from '../system/real-mode.ts'
import { afterJump, dropInnerSegments, nullSegment, pushWide, readOwnDescriptor, stackOfRing } from '../system/tables.ts'
import { takeAllowedFlags } from './flags.ts'
import type { Handler } from '../core/handler.ts'
import { checkCode, readDescriptor, returnStack } from '../system/descriptors.ts'
import { PRICE } from './prices.ts'
import { rows, type Handlers } from './rows.ts'

type Width = 2 | 4 | 8

/** Reads `size` bytes of an element on the stack; elements are `step` bytes apart. Exact up to 53 bits. */
const readStack = ({ memory, stack }: Views<'memory' | 'stack'>, index: number, size: number, step = size): number => {
  const address = stack.place(index * step, size)
  return size === 8 ? memory.read64(address) : size === 4 ? memory.read32(address) : memory.read16(address)
}

/** True when a hidden code segment runs 64-bit code. */
const runsLong = (registers: RegisterFile, code: SegmentState): boolean =>
  registers.isLongMode && (code.attributes & ATTRIBUTE.LONG) !== 0

/** A target has to be canonical in 64-bit code, and inside the segment elsewhere. */
function isReachable(registers: RegisterFile, code: SegmentState, target: number): boolean {
  if (runsLong(registers, code)) return isCanonical(target)
  return target >= 0 && target <= code.limit
}

/** Takes the stack of a return. Bits that its segment does not use stay as they are. */
function setStack({ registers, mode }: Views<'registers' | 'mode'>, code: SegmentState, stack: SegmentState): void {
  const whole = runsLong(registers, code) || registers.long
  const pointer = registers.low(SLOT.t1)
  if (whole) registers.setSlot(GPR.rsp * 8, pointer, registers.high(SLOT.t1))
  else if ((stack.attributes & ATTRIBUTE.BIG) !== 0) registers.setSlot(GPR.rsp * 8, pointer, 0)
  else registers.setSlot(GPR.rsp * 8, ((registers.low(GPR.rsp * 8) & 0xffff_0000) | (pointer & 0xffff)) >>> 0, 0)
  mode.setSegment(SEGMENT.ss, stack)
}

/** Leaves the stack pointer that lies at `offset` in t1. Every bit of it counts, canonical or not. */
function loadPointer(
  { registers, memory, stack }: Views<'registers' | 'memory' | 'stack'>, offset: number, size: number,
): void {
  const address = stack.place(offset, size)
  if (size === 8) memory.loadSlot(SLOT.t1, address)
  else registers.setSlot(SLOT.t1, size === 4 ? memory.read32(address) : memory.read16(address), 0)
}

/** What IRET finds on the stack, but for the stack pointer, which is left in t1. */
interface ReturnFrame {
  readonly flags: number
  readonly rip: number
  readonly selector: number
  /** 0 where the frame has none. */
  readonly stackSelector: number
}

/** Reads all of the frame before anything is judged, flags first. */
function readFrame(core: Core, size: number): ReturnFrame {
  const { registers } = core
  const host = size === 8 ? wholeFrame(core) : 0
  if (host !== 0) {
    const { view } = registers
    registers.setSlot(SLOT.t1, view.getUint32(host + 24, true), view.getUint32(host + 28, true))
    return {
      flags: view.getUint32(host + 16, true), selector: view.getUint16(host + 8, true), stackSelector: view.getUint16(host + 32, true),
      rip: signedFromParts(view.getUint32(host, true), view.getUint32(host + 4, true)),
    }
  }
  const flags = readStack(core, 2, size === 2 ? 2 : 4, size)
  const rip = readStack(core, 0, size)
  const selector = readStack(core, 1, 2, size)
  let stackSelector = 0
  if (registers.long || (selector & 3) !== registers.cpl) {
    stackSelector = readStack(core, 4, 2, size)
    loadPointer(core, 3 * size, size)
  }
  return { flags, rip, selector, stackSelector }
}

/**
 * Host address of a frame of 64-bit code that lies in one page, all of which can be read when its flags can; 0 for another,
 * and while somebody looks at each access.
 */
function wholeFrame({ registers, memory }: Views<'registers' | 'memory'>): number {
  if (!registers.long || State.watch.get(registers.view, registers.base) !== 0) return 0
  const top = registers.address(GPR.rsp * 8)
  return (top & (PAGE_SIZE - 1)) <= PAGE_SIZE - 40 ? memory.hostForRead(top + 16, 4) - 16 : 0
}

/** Takes a far pointer off the stack in real mode, and `bytes` in all. */
function returnReal(core: Core, size: number, bytes: number): void {
  const target = readStack(core, 0, size)
  enterReal(core, readStack(core, 1, 2, size), target)
  core.stack.move(bytes)
}

/** IRET in real mode. */
function realInterruptReturn(core: Core, size: number): number {
  const flags = readStack(core, 2, size === 2 ? 2 : 4, size)
  returnReal(core, size, 3 * size)
  takeAllowedFlags(core, flags, size, 'iret')
  core.events.nmiBlocked = false
  return afterJump(core)
}

/** Far JMP and CALL in real mode. */
function realTransfer(core: Core, record: number, to: { name: 'call' | 'jmp'; size: Width; selector: number }): number {
  const { registers } = core
  const offset = to.size === 2 ? registers.low(SLOT.t0) & 0xffff : registers.low(SLOT.t0)
  if (offset > registers.limit(SEGMENT.cs)) return core.faults.protection()
  if (to.name === 'call') core.stack.push(to.size, [registers.selector(SEGMENT.cs), core.records.nextOf(record)])
  enterReal(core, to.selector, offset)
  return STATUS.CHECK_JUMP
}

/** True when a return to these selectors leaves code and stack segment of a hosted processor as they are. */
function staysInSegments({ registers, outside }: Views<'registers' | 'outside'>, code: number, stack: number): boolean {
  const { descriptors } = outside
  return code === registers.selector(SEGMENT.cs) && stack === registers.selector(SEGMENT.ss)
    && descriptors?.isConstant?.(code) === true && descriptors.isConstant(stack)
}

/**
 * IRET of a hosted processor's 64-bit code to segments that it has, which cannot have changed; false for any other one, of which
 * nothing has been done. hot path: Linux returns to itself after each instruction that it patches.
 */
function returnWithin(core: Core): boolean {
  const host = wholeFrame(core)
  if (host === 0) return false
  const { registers, registers: { view, base } } = core
  if (!staysInSegments(core, view.getUint16(host + 8, true), view.getUint16(host + 32, true))) return false
  const [ripLow, ripHigh] = [view.getUint32(host, true), view.getUint32(host + 4, true)]
  if (!isCanonical(signedFromParts(ripLow, ripHigh))) return false
  const [stackLow, stackHigh] = [view.getUint32(host + 24, true), view.getUint32(host + 28, true)]
  takeAllowedFlags(core, view.getUint32(host + 16, true), 8, 'iret')
  registers.setSlot(GPR.rsp * 8, stackLow, stackHigh)
  core.events.nmiBlocked = false
  State.rip.setParts(view, base, ripLow, ripHigh)
  return true
}

/** IRET. In 64-bit mode the stack pointer is always on the frame, elsewhere when the ring changes. */
function interruptReturn(core: Core, record: number): number {
  const { registers, faults } = core
  const size = core.records.field(record, RECORD.operandBytes)
  if (isReal(registers)) return realInterruptReturn(core, size)
  if ((registers.systemFlags & RFLAGS.NT) !== 0) return faults.protection()
  if (size === 8 && !core.bare && returnWithin(core)) return afterJump(core)
  const { flags, rip, selector, stackSelector } = readFrame(core, size)
  const ring = selector & 3
  const { cpl } = registers
  const hasStack = registers.long || ring > cpl
  if (ring < cpl) return faults.protection(selector & 0xfffc)
  const code = checkCode(core, selector, ring)
  if (typeof code === 'number') return code
  if (!isReachable(registers, code, rip)) return faults.protection()
  if (hasStack) {
    const stack = returnStack(core, stackSelector, { ring, isLong: runsLong(registers, code) })
    takeAllowedFlags(core, flags, size, 'iret')
    setStack(core, code, stack)
  } else {
    takeAllowedFlags(core, flags, size, 'iret')
    core.stack.move(3 * size)
  }
  core.mode.setSegment(SEGMENT.cs, code)
  if (ring > cpl) dropInnerSegments(core, ring)
  core.events.nmiBlocked = false
  registers.setRip(rip)
  return afterJump(core)
}

/** A selector in an element of the stack, all of which is read. */
const readSelector = ({ memory, stack }: Views<'memory' | 'stack'>, offset: number, size: number): number => {
  const [low, high] = memory.readBytes(stack.place(offset, size), size)
  return low! | (high! << 8)
}

/** Far RET. A return to an outer ring takes its stack from behind the parameters, which it drops on both stacks. */
function farReturn(core: Core, record: number): number {
  const { registers, records, memory, stack, faults } = core
  const size = records.field(record, RECORD.operandBytes)
  if (isReal(registers)) {
    returnReal(core, size, 2 * size + (records.displacement(record) & 0xffff))
    return STATUS.CHECK_JUMP
  }
  const selector = readSelector(core, size, size)
  const target = readStack(core, 0, size)
  const ring = selector & 3
  const { cpl } = registers
  const released = records.displacement(record) & 0xffff
  const behind = 2 * size + released
  if (ring !== cpl) {
    // The processor has read the outer stack pointer before it judges, its segment first.
    readSelector(core, behind + size, size)
    memory.readBytes(stack.place(behind, size), size)
    if (ring < cpl) return faults.protection(selector & 0xfffc)
  }
  const code = checkCode(core, selector, ring)
  if (typeof code === 'number') return code
  if (!isReachable(registers, code, target)) return faults.protection()
  if (ring === cpl) stack.move(behind)
  else {
    loadPointer(core, behind, size)
    const stackSelector = memory.read16(stack.address(behind + size))
    setStack(core, code, returnStack(core, stackSelector, { ring, isLong: runsLong(registers, code) }))
  }
  core.mode.setSegment(SEGMENT.cs, code)
  if (ring > cpl) {
    stack.move(released)
    dropInnerSegments(core, ring)
  }
  registers.setRip(target)
  return STATUS.CHECK_JUMP
}

/** A direct transfer to code that is not conforming may not ask for less than the present ring. */
function asksForLess(core: Core, selector: number): boolean {
  if ((selector & 3) <= core.registers.cpl) return false
  const segment = readDescriptor(core, selector)
  return segment !== undefined && !isConforming(segment.attributes)
}

/** Far JMP and CALL: offset in t0, selector in t1. */
const farTransfer = (name: 'call' | 'jmp', size: Width): Handler => (core, record) => {
  const { registers, faults } = core
  const selector = registers.low(SLOT.t1) & 0xffff
  if (isReal(registers)) return realTransfer(core, record, { name, size, selector })
  if (core.bare && (selector & 0xfffc) !== 0) {
    const words = readOwnDescriptor(core, selector)
    if (words === undefined) return faults.protection(selector & 0xfffc)
    const access = (words[1]! >>> 8) & 0xff
    if ((access & ATTRIBUTE.SEGMENT) === 0) return throughGate(core, record, { name, selector, access })
  }
  if (asksForLess(core, selector)) return faults.protection(selector & 0xfffc)
  const code = checkCode(core, selector, registers.cpl)
  if (typeof code === 'number') return code
  const low = registers.low(SLOT.t0)
  const target = size === 8 ? registers.address(SLOT.t0) : size === 4 ? low : low & 0xffff
  const pointer = registers.low(GPR.rsp * 8)
  const upper = registers.high(GPR.rsp * 8)
  if (name === 'call') pushReturn(core, code, { size, next: core.records.nextOf(record) })
  if (!isReachable(registers, code, target)) {
    // As on processors, what has been pushed stays in memory.
    registers.setSlot(GPR.rsp * 8, pointer, upper)
    return faults.protection()
  }
  core.mode.setSegment(SEGMENT.cs, code)
  registers.setRip(target)
  return STATUS.CHECK_JUMP
}

/** Pushes where a far CALL comes back to, by the rules of the code that is called: that of 64 bits has no stack base. */
function pushReturn(
  { registers, stack, mode }: Views<'registers' | 'stack' | 'mode'>, code: SegmentState, to: { size: Width; next: number },
): void {
  const old = registers.segment(SEGMENT.cs)
  mode.setSegment(SEGMENT.cs, code)
  try {
    stack.push(to.size, [old.selector, to.next])
  } finally {
    mode.setSegment(SEGMENT.cs, old)
  }
}

interface FarGate {
  readonly name: 'call' | 'jmp'
  readonly selector: number
  readonly access: number
}

/** Far CALL and JMP through a call gate. Task gates and task switches are not there: they fault. */
function throughGate(core: Core, record: number, gate: FarGate): number {
  const { registers, faults } = core
  const code = gate.selector & 0xfffc
  const long = registers.isLongMode
  const type = gate.access & 15
  const isGate = type === SYSTEM_TYPE.CALL_GATE || (!long && type === SYSTEM_TYPE.CALL_GATE_16)
  const dpl = dplOf(gate.access)
  if (!isGate || dpl < Math.max(registers.cpl, gate.selector & 3)) return faults.protection(code)
  if ((gate.access & ATTRIBUTE.PRESENT) === 0) return faults.raise(VECTOR.NP, code)
  const words = readOwnDescriptor(core, gate.selector, long ? 4 : 2)
  // The second half of a 64-bit gate has a type of its own, which is to be 0.
  if (words === undefined || (long && (words[3]! & 0x1f00) !== 0)) return faults.protection(code)
  const target = codeBehindGate(core, words[0]! >>> 16)
  if (gate.name === 'jmp' && target.ring !== registers.cpl) return faults.protection(words[0]! >>> 16 & 0xfffc)
  const low = ((words[0]! & 0xffff) | (words[1]! & 0xffff_0000)) >>> 0
  const offset = long ? signedFromParts(low, words[2]!) : type === SYSTEM_TYPE.CALL_GATE ? low : low & 0xffff
  if (!isReachable(registers, target.code, offset)) return faults.protection()
  if (gate.name === 'call') {
    const next = core.records.nextOf(record)
    if (long) pushLongCall(core, target.ring, next)
    else {
      const size = type === SYSTEM_TYPE.CALL_GATE ? 4 : 2
      pushLegacyCall(core, { ring: target.ring, next, size, parameters: words[1]! & 31 })
    }
  }
  core.mode.setSegment(SEGMENT.cs, target.code)
  registers.setRip(offset)
  return STATUS.CHECK_JUMP
}

/** The frame of a call through a 64-bit gate, on the ring's stack. */
function pushLongCall(core: Core, ring: number, next: number): void {
  const { registers } = core
  const isInner = ring < registers.cpl
  const top = isInner ? stackOfRing(core, ring) : registers.address(GPR.rsp * 8)
  const words: [number, number][] = isInner
    ? [[registers.segment(SEGMENT.ss).selector, 0], [registers.low(GPR.rsp * 8), registers.high(GPR.rsp * 8)]] : []
  words.push([registers.segment(SEGMENT.cs).selector, 0], [lowPart(next), highPart(next)])
  pushWide(core, top, words, ring)
  if (isInner) core.mode.setSegment(SEGMENT.ss, { ...nullSegment(ring), attributes: ring << DPL_SHIFT })
  registers.setNumber(GPR.rsp * 8, top - words.length * 8)
}

/** The frame of a call through a 32-bit or 16-bit gate; parameters are copied to an inner ring's stack. */
function pushLegacyCall(
  core: Core, call: { ring: number; next: number; size: 2 | 4; parameters: number },
): void {
  const { registers } = core
  const { ring, size } = call
  const isInner = ring < registers.cpl
  const stack = isInner ? legacyStackOfRing(core, ring) : legacyStack(registers)
  const values: number[] = []
  if (isInner) {
    values.push(registers.segment(SEGMENT.ss).selector, registers.low(GPR.rsp * 8))
    for (let i = call.parameters - 1; i >= 0; i -= 1) values.push(readStack(core, i, size))
  }
  values.push(registers.segment(SEGMENT.cs).selector, call.next >>> 0)
  const pointer = pushLegacy(core, stack, values, { size, ring, ext: 0 })
  if (isInner) core.mode.setSegment(SEGMENT.ss, stack.segment)
  registers.setSlot(GPR.rsp * 8, pointer, 0)
}

/** Handlers by name. */
export const FAR_HANDLERS: Handlers = {
  ...rows({
    iret: interruptReturn, retf: farReturn,
    'far-call.16': farTransfer('call', 2), 'far-call.32': farTransfer('call', 4), 'far-call.64': farTransfer('call', 8),
  }, { price: PRICE.farTransfer, usesStack: true }),
  ...rows({
    'far-jmp.16': farTransfer('jmp', 2), 'far-jmp.32': farTransfer('jmp', 4), 'far-jmp.64': farTransfer('jmp', 8),
  }, { price: PRICE.farTransfer }),
}
