/**
 * Control transfers between segments and privilege levels: SYSCALL, INT, IRET, far CALL, JMP and RET, POPF.
 * A hosted processor leaves what crosses privilege levels to its host.
 * Reference: Intel SDM volume 2, IRET, CALL, RET, POPF.
 */
import { GPR, RFLAGS, SEGMENT } from '../../../x86/index.ts'
import { highPart, isCanonical, lowPart } from '../../../util/index.ts'
import type { Core } from '../core.ts'
import { SLOT, STATUS } from '../state.ts'
import { checkCode, loadSegment } from './segments.ts'
import type { Handler, Handlers } from './handler.ts'

/** Flags that POPF and IRET may change in ring 3. */
const USER_FLAGS = 0xdd5 | RFLAGS.TF | RFLAGS.NT | RFLAGS.AC | RFLAGS.ID

/** Takes new flags as the privilege level allows, of which `size` bytes were given. */
export function takeFlags(core: Core, value: number, size: number): void {
  let mask = USER_FLAGS
  if (core.bare) {
    const iopl = (core.flags() >> 12) & 3
    if (core.cpl <= iopl) mask |= RFLAGS.IF
    if (core.cpl === 0) mask |= RFLAGS.IOPL
  }
  if (size === 2) mask &= 0xffff
  core.setFlags((core.flags() & ~mask) | (value & mask))
}

function popFlags(core: Core, record: number): number {
  takeFlags(core, core.low(SLOT.t0), core.field(record, 'c'))
  core.updatePermissions()
  return STATUS.CHECK
}

/** Reads `size` bytes of an element on the stack; elements are `step` bytes apart. Exact up to 53 bits. */
const readStack = (core: Core, index: number, size: number, step = size): number => {
  const address = core.stackAddress(index * step)
  return size === 8 ? core.read64(address) : size === 4 ? core.read32(address) : core.read16(address)
}

/** IRET to the same privilege level. In 64-bit mode the stack pointer is always on the frame. */
function interruptReturn(core: Core, record: number): number {
  const size = core.field(record, 'c')
  if ((core.flags() & RFLAGS.NT) !== 0) return core.protection()
  // The whole frame is read before anything is judged, flags first.
  const flags = readStack(core, 2, size === 2 ? 2 : 4, size)
  const rip = readStack(core, 0, size)
  const selector = readStack(core, 1, 2, size)
  if (core.long) {
    readStack(core, 4, 2, size)
    readStack(core, 3, size)
  }
  if ((selector & 3) < core.cpl) return core.protection(selector & 0xfffc)
  const code = checkCode(core, selector, selector & 3)
  if (typeof code === 'number') return code
  if (!isCanonical(rip)) return core.protection()
  if (core.long) {
    // Every bit of the stack pointer counts, canonical or not.
    if (size === 8) core.loadSlot(SLOT.t1, core.stackAddress(24))
    else core.setSlot(SLOT.t1, readStack(core, 3, size), 0)
    const stackSelector = readStack(core, 4, 2, size)
    const status = loadSegment(core, SEGMENT.ss, stackSelector)
    if (status !== STATUS.NEXT) return status
    core.setSlot(GPR.rsp * 8, core.low(SLOT.t1), core.high(SLOT.t1))
  } else core.moveStack(3 * size)
  core.setSegment(SEGMENT.cs, code)
  takeFlags(core, flags, size)
  core.updatePermissions()
  core.setRip(rip)
  return STATUS.CHECK_JUMP
}

/** Far JMP and CALL: offset in t0, selector in t1. */
const farTransfer = (name: 'call' | 'jmp', size: 2 | 4 | 8): Handler => (core, record) => {
  const code = checkCode(core, core.low(SLOT.t1) & 0xffff, core.cpl)
  if (typeof code === 'number') return code
  const target = size === 8 ? core.address(SLOT.t0) : size === 4 ? core.low(SLOT.t0) : core.low(SLOT.t0) & 0xffff
  if (!isCanonical(target)) return core.protection()
  if (name === 'call') {
    const next = core.instructionAddress(record) + core.instructionLength(record)
    const selector = core.segment(SEGMENT.cs).selector
    core.pushNumbers(size, [selector, next])
  }
  core.setSegment(SEGMENT.cs, code)
  core.setRip(target)
  return STATUS.CHECK_JUMP
}

function farReturn(core: Core, record: number): number {
  const size = core.field(record, 'c')
  const selector = readStack(core, 1, 2, size)
  const target = readStack(core, 0, size)
  if ((selector & 3) < core.cpl) {
    // The processor has read the outer stack pointer by then, its segment first.
    const behind = 2 * size + (core.displacement(record) & 0xffff)
    core.read16(core.stackAddress(behind + size))
    core.readBytes(core.stackAddress(behind), size)
    return core.protection(selector & 0xfffc)
  }
  const code = checkCode(core, selector, selector & 3)
  if (typeof code === 'number') return code
  if (!isCanonical(target)) return core.protection()
  core.moveStack(2 * size + (core.displacement(record) & 0xffff))
  core.setSegment(SEGMENT.cs, code)
  core.setRip(target)
  return STATUS.CHECK_JUMP
}

function interrupt(core: Core, vector: number): number {
  core.vector = vector
  return STATUS.INTERRUPT
}

/**
 * ENTER with frames to copy. As on the processor, what has been pushed stays when a later access faults; registers do
 * not change before all accesses have been made.
 */
const enter = (size: 2 | 4 | 8): Handler => (core, record) => {
  const level = core.field(record, 'a')
  const top = core.stackPointer()
  const frame = top - size
  let [to, pointer] = [frame, core.address(GPR.rbp * 8)]
  const saved = numberBytes(core.low(GPR.rbp * 8), core.high(GPR.rbp * 8), size)
  let status: number = core.writeBytes(core.stackAddress(to - top), saved)
  for (let i = 1; i < level; i += 1) {
    pointer -= size
    to -= size
    status |= core.writeBytes(core.stackAddress(to - top), core.readBytes(core.stackAddress(pointer - top), size))
  }
  to -= size
  status |= core.writeBytes(core.stackAddress(to - top), numberBytes(lowPart(frame), highPart(frame), size))
  to -= core.displacement(record) & 0xffff
  core.hostForWrite(core.stackAddress(to - top), size)
  if (size === 2) core.view.setUint16(core.base + GPR.rbp * 8, frame & 0xffff, true)
  else core.setNumber(GPR.rbp * 8, frame)
  core.moveStack(to - top)
  return status
}

function numberBytes(low: number, high: number, size: 2 | 4 | 8): Uint8Array {
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, low, true)
  view.setUint32(4, high, true)
  return bytes.subarray(0, size)
}

/** Handlers by name. */
export const INTERRUPT_HANDLERS: Handlers = {
  syscall: () => STATUS.SYSCALL,
  sysret: (core) => core.protection(),
  sysenter: (core) => core.undefinedOpcode(),
  sysexit: (core) => core.protection(),
  int: (core, record) => interrupt(core, core.displacement(record) & 0xff),
  int1: (core) => interrupt(core, 1),
  into: (core) => ((core.flags() & RFLAGS.OF) === 0 ? STATUS.NEXT : interrupt(core, 4)),
  popf: popFlags, iret: interruptReturn, retf: farReturn,
  'far-call.16': farTransfer('call', 2), 'far-call.32': farTransfer('call', 4), 'far-call.64': farTransfer('call', 8),
  'far-jmp.16': farTransfer('jmp', 2), 'far-jmp.32': farTransfer('jmp', 4), 'far-jmp.64': farTransfer('jmp', 8),
  'enter.16': enter(2), 'enter.32': enter(4), 'enter.64': enter(8),
}
